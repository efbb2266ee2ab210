"""Quality indicators of a set of points: utilities, distances to a known front, sparsity. Everything is maximized."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import kernel, ordered_kernel
from morl.pareto.dominance import non_dominated
from morl.pareto.scaling import times_power_of_two

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

SAFE = 2.0**1000
"""Products and sums of squares up to here, and down to its inverse, are computed as they are."""
SAFE_DISTANCE = 2.0**450
"""Distances up to here, and down to its inverse, whose squares are safe."""


def expected_utility(points: ArrayLike, preferences: ArrayLike) -> float:
    """Return the mean over preferences w of max_p w.p, the average utility; minus infinity for an empty set.

    Source: expected utility metric, Zintgraf et al. 2015.

    Args:
        points: [n, objective], finite.
        preferences: [k, objective], at least one, finite, not negative. The value depends on them: report them with it.

    Raises:
        ValueError: a wrong shape, NaN or infinity, no or negative preferences, utilities beyond float64.
    """
    utilities, _ = _best_utilities(points, preferences)
    return mean_of(utilities)


def maximum_utility_loss(points: ArrayLike, known_front: ArrayLike, preferences: ArrayLike) -> float:
    """Return max over preferences w of (max_q w.q - max_p w.p), q from the known front: the worst user's regret.

    Below zero when `points` beat the known front for every preference; infinite for an empty set. Source: Zintgraf et
    al. 2015.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.
        preferences: [k, objective], at least one, finite, not negative.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front, no or negative preferences, utilities beyond
            float64.
    """
    utilities, weights = _best_utilities(points, preferences)
    known = best_utilities(known_points(known_front, weights.shape[1]), weights, "known_front")
    with np.errstate(over="ignore"):  # infinite then
        return float((known - utilities).max())


def _best_utilities(points: ArrayLike, preferences: ArrayLike) -> tuple[Array, Array]:
    weights = some_preferences(preferences)
    values = as_points(points, objectives=weights.shape[1])
    return best_utilities(values, weights), weights


def best_utilities(values: Array, weights: Array, name: str = "points") -> Array:
    """Return max_p w.p for each preference: an array [preference]; minus infinity for an empty set.

    Args:
        values: [n, objective], finite.
        weights: [preference, objective], finite, not negative.
        name: the name of `values` for the error message.

    Raises:
        ValueError: a utility is beyond the largest float64, or lost to underflow.
    """
    if values.shape[0] == 0:
        return np.full(weights.shape[0], -np.inf)
    if products_are_safe(values, weights):
        return _best_products(values, weights)
    _, value_exponents = np.frexp(np.abs(values).max(axis=0))
    mantissas, weight_exponents = np.frexp(weights)
    weight_exponents += value_exponents  # the units of the values move to the weights
    row_exponents = np.where(mantissas > 0.0, weight_exponents, -10_000).max(axis=1)
    in_units = np.ldexp(mantissas, weight_exponents - row_exponents[:, None])
    best = _best_products(np.ldexp(values, -value_exponents), in_units)
    with np.errstate(over="ignore"):
        utilities: Array = np.ldexp(best, row_exponents)
    lost = (in_units == 0.0) & (mantissas > 0.0) & (np.abs(best) < 2.0**-900)[:, None]
    if lost.any() or not np.isfinite(utilities).all():
        raise ValueError(f"{name} and preferences must have utilities within float64, got products of other magnitudes")
    return utilities


def products_are_safe(values: Array, weights: Array) -> bool:
    """Return whether no product of a value and a weight is too large or, unless negligible, too small for float64."""
    smallest_value, largest_value = _extremes(values)
    smallest_weight, largest_weight = _extremes(weights)
    if max(largest_value, 1.0) > SAFE / max(largest_weight, 1.0):
        return False
    return smallest_value * smallest_weight > 1.0 / SAFE


@ordered_kernel
def _extremes(values: Array) -> tuple[float, float]:
    """Return the smallest absolute value, zeros apart, and the largest; infinity and 0 where there is none."""
    smallest = np.inf
    largest = 0.0
    for value in values.reshape(values.size):
        size = abs(value)
        largest = max(largest, size)
        smallest = min(smallest, size if size > 0.0 else np.inf)
    return smallest, largest


def _best_products(values: Array, weights: Array) -> Array:
    rows = max(1, 10_000_000 // values.shape[0])  # the product [rows, n] stays within 80 MB
    best = [(weights[start : start + rows] @ values.T).max(axis=1) for start in range(0, weights.shape[0], rows)]
    return np.concatenate(best)


def mean_of(utilities: Array) -> float:
    """Return the mean, also where the sum would be beyond the largest float64."""
    with np.errstate(over="ignore"):
        mean = float(utilities.mean())
    return mean if math.isfinite(mean) else float((utilities / utilities.size).sum())


def some_preferences(preferences: ArrayLike) -> Array:
    """Return `preferences` as an array [k, objective] of at least one, or raises ValueError."""
    weights = as_points(preferences, "preferences")
    if weights.shape[0] == 0:
        raise ValueError("preferences must hold at least one preference, got an empty set")
    if weights.min() < 0.0:
        place = np.argwhere(weights < 0.0)[0]
        raise ValueError(f"preferences must not be negative, got {weights[tuple(place)]} at {place.tolist()}")
    return weights


def known_points(known_front: ArrayLike, objectives: int | None = None) -> Array:
    """Return `known_front` as an array [l, objective] of at least one point, or raises ValueError."""
    front = as_points(known_front, "known_front", objectives=objectives)
    if front.shape[0] == 0:
        raise ValueError("known_front must hold at least one point, got an empty set")
    return front


def sparsity(points: ArrayLike) -> float:
    """Return the sparsity of the non-dominated set: the mean squared gap between neighbours, 0.0 below two points.

    S(P) = 1 / (|P| - 1) * sum over objectives of the sum of (gap between consecutive sorted values)^2, after removing
    dominated points and copies. Lower is denser; misleading alone, since one point scores 0. Source: PG-MORL, Xu et
    al. 2020.

    Args:
        points: [n, objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity.
    """
    values = as_points(points)
    front = values[non_dominated(values)]
    if front.shape[0] < 2:
        return 0.0
    return sparsity_of(front)


def sparsity_of(front: Array) -> float:
    """Return the sparsity of a front [n, objective] of two or more non-dominated, different points."""
    with np.errstate(over="ignore"):
        gaps = np.diff(np.sort(front, axis=0), axis=0)
        total = float(np.square(gaps).sum() / (front.shape[0] - 1))
    if 1.0 / SAFE < total < SAFE:
        return total
    halves = np.diff(np.sort(front, axis=0) / 2, axis=0)
    exponent = int(np.frexp(halves.max())[1])
    total = float(np.square(np.ldexp(halves, -exponent)).sum() / (front.shape[0] - 1))
    return times_power_of_two(total, 2 * exponent + 2)


def cardinality(points: ArrayLike) -> int:
    """Return how many different non-dominated points there are, |P|; 0 for an empty set.

    Says how much choice there is, not how good it is: a better set can have fewer points.

    Args:
        points: [n, objective], finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity.
    """
    return int(non_dominated(as_points(points)).sum())


def igd(points: ArrayLike, known_front: ArrayLike) -> float:
    """Return the inverted generational distance: mean over the known front of the distance to the nearest point.

    IGD(P, Q) = 1/|Q| * sum over q of min_p |p - q|_2; infinite for an empty set. Not Pareto-compliant: a better set
    can score worse. Source: Coello and Reyes Sierra 2004 (power 1).

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front.
    """
    values, ends, front = _pair(points, known_front)
    return float(distances(values, ends, front, False)[0])


def igd_plus(points: ArrayLike, known_front: ArrayLike) -> float:
    """Return IGD with a distance that counts only objectives where the point falls short of the known front.

    IGD+(P, Q) = 1/|Q| * sum over q of min_p |max(q - p, 0)|_2; infinite for an empty set. Weakly Pareto-compliant.
    Source: Ishibuchi et al. 2015.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front.
    """
    values, ends, front = _pair(points, known_front)
    return float(distances(values, ends, front, True)[0])


def epsilon_additive(points: ArrayLike, known_front: ArrayLike) -> float:
    """Return the smallest e such that raising every point by e in every objective covers the known front.

    eps(P, Q) = max_q min_p max_k (q_k - p_k); infinite for an empty set. Source: Zitzler et al. 2003.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front.
    """
    values, ends, front = _pair(points, known_front)
    return float(largest_shortfalls(values, ends, front)[0])


def _pair(points: ArrayLike, known_front: ArrayLike) -> tuple[Array, Indices, Array]:
    """Return the points [n, objective], the ends of the one set that they are, [0, n], and the known front."""
    front = known_points(known_front)
    values = as_points(points, objectives=front.shape[1])
    return values, np.array([0, values.shape[0]]), front


def distances(points: Array, ends: Indices, known: Array, only_shortfall: bool) -> Array:
    """Return the IGD or IGD+ of several sets of points: an array [set].

    Args:
        points: [n, objective], the sets end to end.
        ends: [set + 1]; set i is points[ends[i]:ends[i + 1]].
        known: [l, objective], the known front.
        only_shortfall: count only the objectives where a point falls short (IGD+).
    """
    found = _mean_distances(points, ends, known, only_shortfall)
    for i in np.flatnonzero((found > SAFE_DISTANCE) | (found < 1.0 / SAFE_DISTANCE)):
        if ends[i + 1] > ends[i]:
            found[i] = 2.0 * _mean_wide_distance(points[ends[i] : ends[i + 1]] / 2, known / 2, only_shortfall)
    return found


@ordered_kernel
def _mean_distances(points: Array, ends: Indices, known: Array, only_shortfall: bool) -> Array:
    distances = np.empty(ends.shape[0] - 1)
    for i in range(distances.shape[0]):
        total = 0.0
        for q in range(known.shape[0]):
            nearest = np.inf
            for p in range(ends[i], ends[i + 1]):
                square = 0.0
                for k in range(known.shape[1]):
                    gap = known[q, k] - points[p, k]
                    if only_shortfall:
                        gap = max(gap, 0.0)
                    square += gap * gap
                nearest = min(nearest, square)
            total += np.sqrt(nearest)
        distances[i] = total / known.shape[0]
    return distances


@kernel
def _mean_wide_distance(points: Array, known: Array, only_shortfall: bool) -> float:
    """Return the mean distance of one set of points, each divided by its largest coordinate before it is squared."""
    mean = 0.0
    for q in range(known.shape[0]):
        nearest = np.inf
        for p in range(points.shape[0]):
            largest = 0.0
            for k in range(known.shape[1]):
                gap = known[q, k] - points[p, k]
                largest = max(largest, gap if only_shortfall else abs(gap))
            square = 0.0
            for k in range(known.shape[1]):
                gap = known[q, k] - points[p, k]
                if largest > 0.0 and (gap > 0.0 or not only_shortfall):
                    square += (gap / largest) ** 2
            nearest = min(nearest, largest * np.sqrt(square))
        mean += nearest / known.shape[0]
    return mean


@ordered_kernel
def largest_shortfalls(points: Array, ends: Indices, known: Array) -> Array:
    """Return the additive epsilon of several sets of points: an array [set].

    Args:
        points: [n, objective], the sets end to end.
        ends: [set + 1]; set i is points[ends[i]:ends[i + 1]].
        known: [l, objective], the known front.
    """
    worst = np.full(ends.shape[0] - 1, -np.inf)
    for i in range(worst.shape[0]):
        for q in range(known.shape[0]):
            smallest = np.inf
            for p in range(ends[i], ends[i + 1]):
                largest = -np.inf
                for k in range(known.shape[1]):
                    largest = max(largest, known[q, k] - points[p, k])
                smallest = min(smallest, largest)
            worst[i] = max(worst[i], smallest)
    return worst
