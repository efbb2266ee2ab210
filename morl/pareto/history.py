"""The indicators of many fronts in one call: a whole training history at once.

Each function has the name, the arguments and the meaning of the one for a single front; it takes a list of fronts where
that takes points, and returns an array with one value per front, equal to it up to rounding:

    history.hypervolume(fronts, reference)[i] == hypervolume(fronts[i], reference)

A front is [n, objective], as many points as it has, possibly none. All points are checked and laid end to end once,
and then one kernel passes over them. Wrong input raises ValueError, which names the first
front that is wrong: `fronts[3] must be finite, got nan at [0, 1]`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import all_finite, as_points, as_vector
from morl.pareto.compilation import kernel, ordered_kernel
from morl.pareto.dominance import non_dominated_in_stack
from morl.pareto.indicators import (
    SAFE,
    best_utilities,
    distances,
    known_points,
    largest_shortfalls,
    mean_of,
    products_are_safe,
    some_preferences,
    sparsity_of,
)
from morl.pareto.order import places_descending
from morl.pareto.volumes import volumes_in_stack

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class _Stack:
    """Fronts laid end to end: front i is points[ends[i]:ends[i + 1]]."""

    points: Array
    ends: Indices


def hypervolume(fronts: Iterable[ArrayLike], reference: ArrayLike) -> Array:
    """Return the volume that each front dominates above `reference` [objective]: an array [front]."""
    corner = as_vector(reference, "reference")
    stack = _stack(fronts, corner.shape[0])
    return volumes_in_stack(stack.points, stack.ends, corner)


def cardinality(fronts: Iterable[ArrayLike]) -> Indices:
    """Return how many different non-dominated points each front has: an array [front]."""
    return np.diff(_without_dominated(_stack(fronts)).ends)


def sparsity(fronts: Iterable[ArrayLike]) -> Array:
    """Return the mean squared gap between neighbours of each front: an array [front]."""
    stack = _without_dominated(_stack(fronts))
    found = _sparsities(stack.points, stack.ends)
    for i in np.flatnonzero((np.diff(stack.ends) > 1) & ~((found > 1.0 / SAFE) & (found < SAFE))):
        found[i] = sparsity_of(stack.points[stack.ends[i] : stack.ends[i + 1]])
    return found


def expected_utility(fronts: Iterable[ArrayLike], preferences: ArrayLike) -> Array:
    """Return the best utility in each front, mean over `preferences` [k, objective]: an array [front]."""
    weights = some_preferences(preferences)
    stack = _stack(fronts, weights.shape[1])
    if not products_are_safe(stack.points, weights):
        return np.array([mean_of(utilities) for utilities in _one_by_one(stack, weights)])
    means, _ = _utilities(stack.points, stack.ends, weights.T.copy(), np.zeros(weights.shape[0]))
    return means


def maximum_utility_loss(fronts: Iterable[ArrayLike], known_front: ArrayLike, preferences: ArrayLike) -> Array:
    """Return the largest utility loss against `known_front` [l, objective], over preferences: an array [front]."""
    weights = some_preferences(preferences)
    known = best_utilities(known_points(known_front, weights.shape[1]), weights, "known_front")
    stack = _stack(fronts, weights.shape[1])
    if not products_are_safe(stack.points, weights):
        with np.errstate(over="ignore"):  # infinite then
            return np.array([(known - utilities).max() for utilities in _one_by_one(stack, weights)])
    _, losses = _utilities(stack.points, stack.ends, weights.T.copy(), known)
    return losses


def igd(fronts: Iterable[ArrayLike], known_front: ArrayLike) -> Array:
    """Return the inverted generational distance of each front to `known_front` [l, objective]: an array [front]."""
    known = known_points(known_front)
    stack = _stack(fronts, known.shape[1])
    return distances(stack.points, stack.ends, known, False)


def igd_plus(fronts: Iterable[ArrayLike], known_front: ArrayLike) -> Array:
    """Return how far each front falls short of `known_front` [l, objective] on average: an array [front]."""
    known = known_points(known_front)
    stack = _stack(fronts, known.shape[1])
    return distances(stack.points, stack.ends, known, True)


def epsilon_additive(fronts: Iterable[ArrayLike], known_front: ArrayLike) -> Array:
    """Return by how much each front would have to rise to cover `known_front` [l, objective]: an array [front]."""
    known = known_points(known_front)
    stack = _stack(fronts, known.shape[1])
    return largest_shortfalls(stack.points, stack.ends, known)


def _stack(fronts: Iterable[ArrayLike], objectives: int | None = None) -> _Stack:
    try:
        given = list(fronts)
    except TypeError:
        raise ValueError(f"fronts must be a list of fronts, each [n, objective], got {fronts!r}") from None
    rows: list[Array] = []
    for place, front in enumerate(given):
        if type(front) is np.ndarray and front.ndim == 2 and front.dtype == np.float64 and front.shape[1] == objectives:
            rows.append(front)  # finite or not is seen below, for all at once
        else:
            rows.append(as_points(front, f"fronts[{place}]", objectives=objectives))
            objectives = objectives or rows[-1].shape[1] or None  # where nothing else says, the first that has any
    some = [row for row in rows if row.shape[0] > 0] or [np.empty((0, objectives or 1))]
    points = np.ascontiguousarray(np.concatenate(some))  # NumPy keeps the order of memory where all fronts share one
    if not all_finite(points):
        for place, row in enumerate(rows):
            as_points(row, f"fronts[{place}]")  # raises for the first one that is not finite
    return _Stack(points, np.cumsum([0, *map(len, rows)]))


def _one_by_one(stack: _Stack, weights: Array) -> Iterator[Array]:
    """Yield the best utilities [preference] of each front, whatever the magnitudes."""
    for i in range(stack.ends.shape[0] - 1):
        yield best_utilities(stack.points[stack.ends[i] : stack.ends[i + 1]], weights, f"fronts[{i}]")


def _without_dominated(stack: _Stack) -> _Stack:
    """Return the fronts without dominated points and copies."""
    mask = non_dominated_in_stack(stack.points, stack.ends)
    return _Stack(stack.points[mask], np.concatenate([[0], np.cumsum(mask)])[stack.ends])


@kernel
def _sparsities(points: Array, ends: Indices) -> Array:
    """Return the sparsity of each of the fronts points[ends[i]:ends[i + 1]], without dominated points and copies."""
    sums = np.zeros(ends.shape[0] - 1)
    for i in range(sums.shape[0]):
        n = ends[i + 1] - ends[i]
        for k in range(points.shape[1]):
            values = points[ends[i] : ends[i + 1], k].copy()
            order = places_descending(values, n)
            for place in range(1, n):
                sums[i] += (values[order[place - 1]] - values[order[place]]) ** 2
        sums[i] /= max(n - 1, 1)
    return sums


@ordered_kernel
def _utilities(points: Array, ends: Indices, weights: Array, known: Array) -> tuple[Array, Array]:
    """Return mean and worst case over preferences, of max_p w.p and of known - max_p w.p: two arrays [front].

    Args:
        points: [n, objective], the fronts end to end.
        ends: front i is points[ends[i]:ends[i + 1]].
        weights: [objective, preference].
        known: [preference], the utility to compare with.
    """
    fronts = ends.shape[0] - 1
    preferences = weights.shape[1]
    means = np.zeros(fronts)
    losses = np.full(fronts, -np.inf)
    utility = np.empty(preferences)
    best = np.empty(preferences)
    for i in range(fronts):
        best[:] = -np.inf
        for p in range(ends[i], ends[i + 1]):
            for w in range(preferences):
                utility[w] = points[p, 0] * weights[0, w]
            for k in range(1, weights.shape[0]):
                for w in range(preferences):
                    utility[w] += points[p, k] * weights[k, w]
            for w in range(preferences):
                best[w] = max(best[w], utility[w])
        for w in range(preferences):
            means[i] += best[w] / preferences
            losses[i] = max(losses[i], known[w] - best[w])
    return means, losses
