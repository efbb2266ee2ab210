"""The definitions behind `morl.pareto` in exact arithmetic: slow, short, and obviously right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Exact = Fraction | float
"""A number; infinities stay floats."""
Point = list[Exact]
DIGITS = Context(prec=60, Emax=10**6, Emin=-(10**6))

UNSQUARED = Fraction(1, 10**138)
"""Scale of distances: the squares of those below 1e-150 are no numbers any more, and may count as 0."""


@dataclass(frozen=True)
class Number:
    """An exact value, and the size of what it is the difference of: rounding goes by that."""

    value: Exact
    scale: Fraction = Fraction(0)


def numbers(array: NDArray[np.float64]) -> Any:
    """Return an array as nested lists of exact numbers."""
    if array.ndim > 1:
        return [numbers(row) for row in array]
    return [Fraction(value) if math.isfinite(value) else value for value in array.tolist()]


def dominates(one: Point, other: Point) -> bool:
    """Return whether one point is at least as good in every objective, and better in one."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


def non_dominated(points: list[Point]) -> list[bool]:
    """Return which points no other dominates; of copies the first."""
    return [
        not any(dominates(other, point) for other in points) and point not in points[:place]
        for place, point in enumerate(points)
    ]


def front_of(points: list[Point]) -> list[Point]:
    """Return the non-dominated points."""
    return [point for point, keep in zip(points, non_dominated(points), strict=True) if keep]


def ranks(points: list[Point]) -> list[int]:
    """Return in which front each point is when fronts are taken away one by one."""
    found = [-1] * len(points)
    rank = 0
    while -1 in found:
        left = [place for place, each in enumerate(found) if each == -1]
        leaders = [p for p in left if not any(dominates(points[other], points[p]) for other in left)]
        for place in leaders:
            found[place] = rank
        rank += 1
    return found


def cardinality(points: list[Point]) -> list[int]:
    """Return how many different non-dominated points there are."""
    return [sum(non_dominated(points))]


def sparsity(points: list[Point]) -> list[Number]:
    """Return the mean squared gap between neighbours of the front."""
    front = front_of(points)
    if len(front) < 2:
        return [Number(Fraction(0))]
    columns = [sorted(column) for column in zip(*front, strict=True)]
    total = sum((b - a) ** 2 for column in columns for a, b in pairwise(column))
    return [Number(Fraction(total) / (len(front) - 1))]


def crowding(points: list[Point]) -> list[Number | None]:
    """Return the crowding distances; None where equal values leave the neighbours open."""
    originals = [place for place, point in enumerate(points) if point not in points[:place]]
    found: list[Number | None] = [Number(Fraction(0))] * len(points)
    if len(originals) <= 2:
        return [Number(math.inf) if place in originals else Number(Fraction(0)) for place in range(len(points))]
    rows = [points[place] for place in originals]
    columns = list(zip(*rows, strict=True))
    if any(len(set(column)) < len(column) for column in columns):
        return [None if place in originals else Number(Fraction(0)) for place in range(len(points))]
    for row, place in enumerate(originals):
        total: Exact = Fraction(0)
        for column in columns:
            ordered = sorted(column)
            at = ordered.index(rows[row][columns.index(column)])
            ends = at in (0, len(ordered) - 1)
            total += math.inf if ends else Fraction(ordered[at + 1] - ordered[at - 1]) / (ordered[-1] - ordered[0])
        found[place] = Number(total / len(columns) if isinstance(total, Fraction) else math.inf, Fraction(1))
    return found


def volume_of_union(boxes: Sequence[Sequence[Fraction]]) -> Fraction:
    """Return the volume of the union of boxes [0, corner], by inclusion and exclusion."""
    total = Fraction(0)
    for count in range(1, len(boxes) + 1):
        for chosen in combinations(boxes, count):
            total += (-1) ** (count + 1) * math.prod(map(min, zip(*chosen, strict=True)))
    return total


def boxes_of(points: list[Point], reference: Point) -> list[list[Fraction]]:
    """Return the sides of the boxes between the reference and the non-dominated points above it."""
    above = [[Fraction(p) - Fraction(r) for p, r in zip(point, reference, strict=True)] for point in points]
    return front_of([box for box in above if min(box) > 0])  # type: ignore[arg-type, return-value]


def around(boxes: list[list[Fraction]]) -> Fraction:
    """Return the volume of the box around all boxes."""
    return math.prod(map(max, zip(*boxes, strict=True))) if boxes else Fraction(0)


def hypervolume(points: list[Point], reference: Point) -> list[Number]:
    """Return the volume that the points dominate above the reference."""
    boxes = boxes_of(points, reference)
    return [Number(volume_of_union(boxes), around(boxes))]


def contributions(points: list[Point], reference: Point) -> list[Number]:
    """Return what each point covers alone; copies cover nothing alone, and what is dominated takes nothing."""
    boxes = boxes_of(points, reference)
    whole = volume_of_union(boxes)
    scale = around(boxes)
    found = []
    for point in points:
        others = [front for front in front_of(points) if front != point]
        alone = points.count(point) == 1 and point in front_of(points)
        rest = volume_of_union(boxes_of(others, reference))
        found.append(Number(whole - rest if alone else Fraction(0), scale))
    return found


def improvement(points: list[Point], candidate: Point, reference: Point) -> list[Number]:
    """Return by how much the volume grows when a candidate joins."""
    before = boxes_of(points, reference)
    after = boxes_of([*points, candidate], reference)
    return [Number(volume_of_union(after) - volume_of_union(before), around(boxes_of([candidate], reference)))]


def utility(weights: Point, point: Point) -> Fraction:
    """Return the weighted sum of a point."""
    return sum((Fraction(w) * Fraction(p) for w, p in zip(weights, point, strict=True)), Fraction(0))


def size_of(weights: list[Point], points: list[Point]) -> Fraction:
    """Return the largest sum of absolute terms in a weighted sum."""
    absolute = [[abs(Fraction(value)) for value in point] for point in points]
    return max((utility(row, point) for row in weights for point in absolute), default=Fraction(0))  # type: ignore[arg-type]


def expected_utility(points: list[Point], preferences: list[Point]) -> list[Number]:
    """Return the mean over preferences of the best weighted sum."""
    if not points:
        return [Number(-math.inf)]
    best = [max(utility(weights, point) for point in points) for weights in preferences]
    return [Number(sum(best, Fraction(0)) / len(best), size_of(preferences, points))]


def utility_loss(points: list[Point], known: list[Point], preferences: list[Point]) -> list[Number]:
    """Return by how much the points fall short of the known front for the preference that loses most."""
    if not points:
        return [Number(math.inf)]
    losses = [max(utility(w, q) for q in known) - max(utility(w, p) for p in points) for w in preferences]
    return [Number(max(losses), size_of(preferences, points + known))]


def root(square: Fraction) -> Fraction:
    """Return a square root to 60 digits."""
    quotient = DIGITS.divide(Decimal(square.numerator), Decimal(square.denominator))
    return Fraction(DIGITS.sqrt(quotient))


def mean_distance(points: list[Point], known: list[Point], shortfall: bool) -> list[Number]:
    """Return the mean distance from the known front to the nearest point."""
    if not points:
        return [Number(math.inf)]
    gaps = [[[Fraction(b) - Fraction(a) for a, b in zip(p, q, strict=True)] for p in points] for q in known]
    if shortfall:
        gaps = [[[max(gap, Fraction(0)) for gap in row] for row in rows] for rows in gaps]
    nearest = [min(sum((gap**2 for gap in row), Fraction(0)) for row in rows) for rows in gaps]
    return [Number(sum((root(square) for square in nearest), Fraction(0)) / len(known), UNSQUARED)]


def igd(points: list[Point], known: list[Point]) -> list[Number]:
    """Return the inverted generational distance."""
    return mean_distance(points, known, shortfall=False)


def igd_plus(points: list[Point], known: list[Point]) -> list[Number]:
    """Return the inverted generational distance that counts shortfalls only."""
    return mean_distance(points, known, shortfall=True)


def epsilon(points: list[Point], known: list[Point]) -> list[Number]:
    """Return by how much every point must rise to cover the known front."""
    if not points:
        return [Number(math.inf)]
    shortfalls = [
        min(max(Fraction(b) - Fraction(a) for a, b in zip(point, goal, strict=True)) for point in points)
        for goal in known
    ]
    return [Number(max(shortfalls))]


def convex_coverage(points: list[Point]) -> list[Point]:
    """Return the points themselves: `wrong_coverage` judges a mask of them."""
    return points


def wrong_coverage(mask: list[bool], points: list[Point]) -> str:
    """Return what is wrong with a convex coverage set: not part of the front, or worse for some weights, or too large.

    In two objectives the weights at which the best point changes are known, and tried; above, random ones are.
    """
    if len(mask) != len(points):
        return f"{len(mask)} values instead of {len(points)}"
    if not points:
        return ""
    kept = [point for point, keep in zip(points, mask, strict=True) if keep]
    if any(keep and not good for keep, good in zip(mask, non_dominated(points), strict=True)):
        return "a dominated point or a copy was kept"
    objectives = len(points[0])
    generator = np.random.default_rng(0)
    weights = [[Fraction(int(k == j)) for k in range(objectives)] for j in range(objectives)]
    weights += [[Fraction(w) for w in row] for row in generator.dirichlet(np.ones(objectives), 30).tolist()]
    for row in weights:
        scale = size_of([row], points)  # type: ignore[list-item]
        best, reached = (max((utility(row, p) for p in some), default=None) for some in (points, kept))  # type: ignore[arg-type]
        if reached is None or best - reached > scale / 10**6:
            return f"for weights {[float(w) for w in row]} the set is worse than all points"
    return ""
