"""Hypervolume: how much of the objective space the points dominate, down to a reference point."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points, as_vector
from morl.pareto.compilation import kernel
from morl.pareto.contributions import contributions_2d, contributions_3d, contributions_4d, contributions_few
from morl.pareto.dominance import maximal, non_dominated, not_below_the_best_sum
from morl.pareto.hypervolume_2d3d import hypervolume_2d, hypervolume_3d
from morl.pareto.hypervolume_4d import hypervolume_4d
from morl.pareto.hypervolume_5d import MOST_5D, hypervolume_5d
from morl.pareto.hypervolume_few import MOST, hypervolume_of_few
from morl.pareto.hypervolume_wfg import hypervolume_wfg
from morl.pareto.order import descending, falls, places_descending
from morl.pareto.scaling import (
    SMALLEST_UNIT_VOLUME,
    UnitBoxes,
    differences,
    limits,
    times_power_of_two,
    unit_boxes,
    within,
)

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

FEW = 256  # points, up to which one kernel that sorts by counting is quicker than NumPy's sort between two kernels
NO_LIMITS = (0.0, math.inf)
MANY = 512  # points, from which on the sweep in four objectives is worth a look for a strong point first


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume that `points` dominate above `reference`, exactly; 0.0 for an empty set.

    HV(P, r) = volume of the union over p in P of the boxes [r, p] (Zitzler and Thiele 1998). Only points
    strictly better than the reference in every objective count. Not scale-free: it carries the product of the
    objectives' units.

    Args:
        points: [n, objective], finite, in any order, dominated points and copies allowed.
        reference: [objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, or magnitudes so different that the volume is lost to underflow.
    """
    corner = as_vector(reference, "reference")
    rows = as_points(points, objectives=corner.shape[0])
    return measure(rows, corner)


def measure(points: Array, corner: Array, name: str = "points") -> float:
    """Return the hypervolume of checked `points` [n, objective] above `corner` [objective], at any magnitude.

    Args:
        points: [n, objective], finite.
        corner: [objective], finite.
        name: the name of `points` for the error message.

    Raises:
        ValueError: the points exceed the corner by amounts of too many different magnitudes.
    """
    volume = _volume(points, corner, limits(corner.shape[0]))
    if not math.isnan(volume):
        return volume
    units = unit_boxes(points, corner)
    volume = _volume(units.boxes, np.zeros_like(corner), NO_LIMITS)
    if volume < SMALLEST_UNIT_VOLUME and not units.lossless and units.exponent > 0:
        raise ValueError(_too_wide(units, name))
    return times_power_of_two(volume, units.exponent)


def _too_wide(units: UnitBoxes, name: str = "points") -> str:
    """Return the error message for boxes whose volumes underflow in any units."""
    orders = np.log10(np.maximum(units.boxes.min(axis=0), 5e-324)).round().astype(int)
    return (
        f"{name} must exceed the reference by amounts of similar magnitude for a volume in float64, "
        f"got amounts that differ by factors of up to {[f'1e{-order}' for order in orders.tolist()]} in the objectives"
    )


@kernel
def _above(points: Array, corner: Array) -> Array:
    n, m = points.shape
    boxes = np.empty((n, m))
    below = 0
    for i in range(n):
        for k in range(m):
            boxes[i, k] = points[i, k] - corner[k]
            below += boxes[i, k] <= 0.0
    if below == 0:  # nearly always
        return boxes
    count = 0
    for i in range(n):
        boxes[count] = boxes[i]
        count += boxes[i].min() > 0.0
    return boxes[:count]


def _volume(points: Array, corner: Array, within_limits: tuple[float, float]) -> float:
    """Return the hypervolume, or NaN where a box has a coordinate outside the limits."""
    m = corner.shape[0]
    smallest, largest = within_limits
    if 2 <= m <= 5 and points.shape[0] <= FEW:
        return _few(points, corner, smallest, largest)
    boxes = _above(points, corner)
    n = boxes.shape[0]
    if n == 0:
        return 0.0
    if not within(boxes, smallest, largest):
        return math.nan
    if m == 1:
        return float(boxes.max())
    if n > MOST and m >= 5:  # fewer are not worth a filter: the recursion meets dominated points with grace
        boxes = boxes[maximal(boxes)]
        n = boxes.shape[0]
    if n > MANY and m == 4:
        boxes = boxes[not_below_the_best_sum(boxes)]
    if m == 5 and n <= MOST_5D:
        return hypervolume_5d(np.ascontiguousarray(boxes.T), n)
    order = np.argsort(boxes[:, -1].copy())[::-1]  # NumPy sorts what lies side by side with vector instructions
    if m == 2:
        return hypervolume_2d(boxes, order)
    if m == 3:
        return hypervolume_3d(boxes, order)
    if m == 4:
        return _in_order_4d(boxes, order)
    boxes = boxes[order]
    orders = np.argsort(boxes.T, axis=1)
    return hypervolume_of_few(boxes, orders) if n <= MOST and m <= 8 else hypervolume_wfg(boxes, orders)


@kernel
def _few(points: Array, corner: Array, smallest: float, largest: float) -> float:
    """Return the hypervolume of few points in two to five objectives: one kernel costs a microsecond or two.

    NaN where a box has a coordinate outside the limits.
    """
    boxes = _above(points, corner)
    if not within(boxes, smallest, largest):
        return np.nan
    m = boxes.shape[1]
    if m == 5:
        return _few_5d(boxes)
    order = places_descending(boxes[:, m - 1].copy(), boxes.shape[0])
    if m == 2:
        return hypervolume_2d(boxes, order)
    return hypervolume_3d(boxes, order) if m == 3 else _in_order_4d(boxes, order)


@kernel
def _in_order_4d(boxes: Array, order: Indices) -> float:
    n = order.shape[0]
    rows = np.empty((n, 4))
    for i in range(n):
        for k in range(4):
            rows[i, k] = boxes[order[i], k]
    return hypervolume_4d(rows, n, np.empty((3, n + 1)), np.empty((2, n + 1)))


@kernel
def _few_5d(boxes: Array) -> float:
    candidates = not_below_the_best_sum(boxes)
    columns = np.empty((5, candidates.shape[0]))
    for place in range(candidates.shape[0]):
        for k in range(5):
            columns[k, place] = boxes[candidates[place], k]
    return hypervolume_5d(columns, candidates.shape[0])


def volumes_in_stack(points: Array, ends: Indices, corner: Array) -> Array:
    """Return the volume of each of the sets points[ends[i]:ends[i + 1]] above `corner`: an array [set].

    Raises:
        ValueError: as `measure`, for one of the sets.
    """
    volumes = np.zeros(ends.shape[0] - 1)
    one_by_one = np.diff(ends) > 0
    if 2 <= corner.shape[0] <= 5:
        smallest, largest = limits(corner.shape[0])
        _few_by_few(points, ends, corner, smallest, largest, volumes)
        one_by_one = (np.diff(ends) > FEW) | np.isnan(volumes)
    for i in np.flatnonzero(one_by_one):
        volumes[i] = measure(points[ends[i] : ends[i + 1]], corner, f"fronts[{i}]")
    return volumes


@kernel
def _few_by_few(points: Array, ends: Indices, corner: Array, smallest: float, largest: float, volumes: Array) -> None:
    for i in range(volumes.shape[0]):
        few = points[ends[i] : ends[i + 1]]
        if 0 < few.shape[0] <= FEW:
            volumes[i] = _few(few, corner, smallest, largest)


def hypervolume_contributions(points: ArrayLike, reference: ArrayLike) -> Array:
    """Return the exclusive volume of each point [n]: what no other non-dominated point covers.

    Dominated points get 0 and take nothing from others (in moocore's convention); copies of a point share all they
    have and get 0; points that do not exceed the reference in every objective get 0.

    Args:
        points: [n, objective], finite.
        reference: [objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, or magnitudes so different that a volume is lost to underflow.
    """
    corner = as_vector(reference, "reference")
    rows = as_points(points, objectives=corner.shape[0])
    smallest, largest = limits(corner.shape[0])
    boxes, safe, rounded = _relative(rows, corner, smallest, largest)
    if safe:
        contributions = _contributions(boxes)
        if not rounded or contributions.all():
            return contributions
    kept = non_dominated(rows, keep_duplicates=True)  # dominance among the boxes may be another than among the points
    contributions = np.zeros(rows.shape[0])
    if not kept.all():
        contributions[kept] = hypervolume_contributions(rows[kept], corner)
        return contributions
    contribute = _contributions if non_dominated(boxes).all() else _contributions_one_by_one
    if safe:
        return contribute(boxes)
    units = unit_boxes(rows, corner)
    in_units = contribute(units.boxes)
    _, place, copies = np.unique(rows[units.counting], axis=0, return_inverse=True, return_counts=True)
    unsure = (in_units < SMALLEST_UNIT_VOLUME) & (copies[place.ravel()] == 1)
    if unsure.any() and not units.lossless and units.exponent > 0:
        raise ValueError(_too_wide(units))
    contributions[units.counting] = [times_power_of_two(value, units.exponent) for value in in_units.tolist()]
    return contributions


@kernel
def _relative(points: Array, corner: Array, smallest: float, largest: float) -> tuple[Array, bool, bool]:
    """Return points - corner [n, objective], whether the volumes are safe to compute, and whether rounding took part.

    Safe are volumes where each point that exceeds the corner does so by amounts between the limits.
    """
    n, m = points.shape
    boxes = np.empty((n, m))
    outside = 0
    rounded = 0
    for i in range(n):
        inside = 0
        below = 0
        for k in range(m):
            box = points[i, k] - corner[k]
            boxes[i, k] = box
            rounded += box + corner[k] != points[i, k]
            inside += (box >= smallest) & (box <= largest)
            below += box <= 0.0
        outside += (inside < m) & (below == 0)
    return boxes, outside == 0, rounded > 0


def _contributions_one_by_one(boxes: Array) -> Array:
    """Return the exclusive volumes [n] of boxes [n, objective], also of those that others cover."""
    counting = (boxes > 0.0).all(axis=1)
    gains = np.zeros(boxes.shape[0])
    for i in np.flatnonzero(counting):
        gains[i] = _gain(np.delete(boxes, i, axis=0), boxes[i])
    return gains


def _contributions(boxes: Array) -> Array:
    n, m = boxes.shape
    if n > 0 and m == 2:
        return contributions_2d(boxes, descending(boxes))
    if n > 0 and m == 3:
        order = descending(boxes)
        if falls(boxes, order, 1):  # see `hypervolume_3d`
            boxes = np.ascontiguousarray(boxes[:, [0, 2, 1]])
            order = descending(boxes)
        return contributions_3d(boxes, order)
    contributions = np.zeros(n)
    kept = maximal(boxes)
    front = np.nonzero(kept & (boxes > 0.0).all(axis=1))[0]
    if front.size > 0:
        contributions[front] = np.maximum(_exclusive(boxes[front]), 0.0)
        if not kept.all():
            copies = {tuple(row) for row in boxes[maximal(boxes, keep_duplicates=True) & ~kept]}
            contributions[[i for i in front if copies and tuple(boxes[i]) in copies]] = 0.0
    return contributions


def _exclusive(boxes: Array) -> Array:
    """Return the exclusive volumes [n] of non-dominated, different boxes in one, four or more objectives."""
    n, m = boxes.shape
    if m == 1:
        return boxes[:, 0]
    order = np.argsort(boxes[:, -1])[::-1]
    volumes = np.empty(n)
    boxes = boxes[order]
    if m == 4:
        volumes[order] = contributions_4d(boxes)
    elif n <= MOST and m <= 8:
        volumes[order] = contributions_few(boxes, np.argsort(boxes.T, axis=1))
    else:
        volumes[order] = [_gain(np.delete(boxes, i, axis=0), boxes[i]) for i in range(n)]
    return volumes


def hypervolume_improvement(points: ArrayLike, candidates: ArrayLike, reference: ArrayLike) -> float | Array:
    """Return how much the hypervolume of `points` grows when a candidate joins them, each candidate on its own.

    Only the part of the set below the candidate is measured: HVI(c) = volume [r, c] - HV({min(p, c)}, r).

    Args:
        points: [n, objective], finite.
        candidates: [objective] for one float, or [k, objective] for an array [k]; finite.
        reference: [objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity.
    """
    corner = as_vector(reference, "reference")
    rows = as_points(points, objectives=corner.shape[0])
    try:
        only_one = np.ndim(candidates) == 1 and np.size(candidates) > 0
    except ValueError:  # rows of different lengths: `as_points` says so
        only_one = False
    if only_one:
        rows_of_candidates = as_vector(candidates, "candidates", corner.shape[0])[None]
    else:
        rows_of_candidates = as_points(candidates, "candidates", objectives=corner.shape[0])
    smallest, largest = limits(corner.shape[0])
    boxes = _above(rows, corner)
    safe = within(boxes, smallest, largest)
    gains = np.zeros(rows_of_candidates.shape[0])
    for place, candidate in enumerate(rows_of_candidates):
        box, doublings = differences(candidate, corner)
        if safe and doublings == 0 and within(box[None], smallest, largest):
            gains[place] = _gain(boxes, box)
        elif (candidate > corner).all():
            gains[place] = _gain_in_units(rows, candidate, corner)
    return float(gains[0]) if only_one else gains


def _gain_in_units(rows: Array, candidate: Array, corner: Array) -> float:
    """Return the hypervolume that a candidate [objective] adds to `rows` [n, objective], at any magnitude."""
    limited = np.minimum(rows, candidate)
    if (limited == candidate).all(axis=1).any():
        return 0.0
    units = unit_boxes(candidate[None], corner)
    box: float = math.prod(units.boxes[0].tolist())
    with np.errstate(over="ignore"):  # what lies far below the corner does not count, minus infinity neither
        others = np.ldexp(limited / 2 - corner / 2, 1 - units.exponents)
    return times_power_of_two(max(box - _volume(others, np.zeros_like(corner), NO_LIMITS), 0.0), units.exponent)


def _gain(boxes: Array, candidate: Array) -> float:
    """Return the volume that the box `candidate` [objective] adds to `boxes` [n, objective]."""
    limited = np.minimum(boxes, candidate)
    if (limited == candidate).all(axis=1).any():
        return 0.0
    box: float = math.prod(candidate.tolist())
    return max(box - _volume(limited, np.zeros(limited.shape[1]), NO_LIMITS), 0.0)


WIDEST_BOX = 1e3
"""Longest side of the largest box, in shortest ones, whose volume is estimated."""


def hypervolume_approximate(
    points: ArrayLike, reference: ArrayLike, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return an unbiased estimate of the hypervolume and its standard error.

    In polar coordinates HV = c E[R(w)^m], where w is a direction drawn uniformly from the positive part of the
    sphere, R(w) = max_p min_k (p_k - r_k) / w_k is how far the dominated region reaches along it, and c is the volume
    of the positive part of the unit ball. Source: Deng and Zhang 2019. Objectives are first divided by their largest
    value above the reference, so units do not matter. The more objectives, the fewer directions carry most of the
    volume: from about twelve on a few thousand samples can miss them, and the standard error is then too small. The
    same holds for points that differ by many orders of magnitude.

    Args:
        points: [n, objective], finite.
        reference: [objective], finite.
        samples: number of directions, at least 2.
        seed: of the directions; the same seed gives the same estimate.

    Raises:
        ValueError: a wrong shape, NaN or infinity, fewer than two samples, a seed that is none, or magnitudes so
            different that volumes are lost to underflow.
    """
    if not isinstance(samples, int | np.integer) or samples < 2:
        raise ValueError(f"samples must be an integer of at least 2, got {samples!r}")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    corner = as_vector(reference, "reference")
    units = unit_boxes(as_points(points, objectives=corner.shape[0]), corner)
    n, m = units.boxes.shape
    if n == 0:
        return 0.0, 0.0
    largest = units.boxes.max(axis=0)
    if not units.lossless:
        raise ValueError(_too_wide(units))
    boxes = units.boxes[non_dominated(units.boxes)] / largest
    with np.errstate(divide="ignore"):
        most = boxes[np.log(boxes).sum(axis=1).argmax()]
    if most.max() > WIDEST_BOX * most.min():  # most of the volume may lie along directions that no sample meets
        raise ValueError(_too_wide(units))
    generator = np.random.default_rng(seed)
    reach = np.empty(samples)
    block = max(1, 1_000_000 // boxes.size)  # keeps the temporary [block, n, objective] within some megabytes
    for start in range(0, samples, block):
        directions = np.abs(generator.standard_normal((min(block, samples - start), m)))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        reach[start : start + block] = (boxes / directions[:, None, :]).min(axis=2).max(axis=1)
    ball = math.pi ** (m / 2) / math.gamma(m / 2 + 1) / 2**m
    furthest = float(reach.max())
    volumes = (reach / furthest) ** m * ball  # powers of very short reaches would be zero
    mean = float(volumes.mean())
    error = float(volumes.std(ddof=1) / math.sqrt(samples))
    unit, exponent = _product([*largest.tolist(), *[furthest] * m])
    exponent += units.exponent
    return times_power_of_two(mean * unit, exponent), times_power_of_two(error * unit, exponent)


def _product(factors: list[float]) -> tuple[float, int]:
    """Return a product of positive numbers as (f, e), f times two to the e, at any magnitude."""
    parts = [math.frexp(factor) for factor in factors]
    return math.prod(fraction for fraction, _ in parts), sum(exponent for _, exponent in parts)
