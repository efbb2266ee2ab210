"""Quality indicators of a set of points: utilities, distances to a known front, sparsity. Everything is maximized."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import ordered_kernel
from morl.pareto.dominance import non_dominated

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def expected_utility(points: ArrayLike, preferences: ArrayLike) -> float:
    """Return the mean over preferences w of max_p w.p, the average utility; minus infinity for an empty set.

    Source: expected utility metric, Zintgraf et al. 2015.

    Args:
        points: [n, objective], finite.
        preferences: [k, objective], at least one, finite, not negative. The value depends on them: report them with it.

    Raises:
        ValueError: a wrong shape, NaN or infinity, no or negative preferences.
    """
    utilities, _ = _best_utilities(points, preferences)
    return float(utilities.mean())


def maximum_utility_loss(points: ArrayLike, known_front: ArrayLike, preferences: ArrayLike) -> float:
    """Return max over preferences w of (max_q w.q - max_p w.p), q from the known front: the worst user's regret.

    Below zero when `points` beat the known front for every preference; infinite for an empty set. Source: Zintgraf et
    al. 2015.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.
        preferences: [k, objective], at least one, finite, not negative.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front, no or negative preferences.
    """
    utilities, weights = _best_utilities(points, preferences)
    known: Array = (weights @ known_points(known_front, weights.shape[1]).T).max(axis=1)
    return float((known - utilities).max())


def _best_utilities(points: ArrayLike, preferences: ArrayLike) -> tuple[Array, Array]:
    weights = some_preferences(preferences)
    values = as_points(points, objectives=weights.shape[1])
    if values.shape[0] == 0:
        return np.full(weights.shape[0], -np.inf), weights
    rows = max(1, 10_000_000 // values.shape[0])  # the product [rows, n] stays within 80 MB
    best = [(weights[start : start + rows] @ values.T).max(axis=1) for start in range(0, weights.shape[0], rows)]
    return np.concatenate(best), weights


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
    with np.errstate(over="ignore"):  # infinite then
        return float(np.square(np.diff(np.sort(front, axis=0), axis=0)).sum() / (front.shape[0] - 1))


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
    return float(mean_distances(values, ends, front, False)[0])


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
    return float(mean_distances(values, ends, front, True)[0])


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


@ordered_kernel
def mean_distances(points: Array, ends: Indices, known: Array, only_shortfall: bool) -> Array:
    """Return the IGD or IGD+ of several sets of points: an array [set].

    Args:
        points: [n, objective], the sets end to end.
        ends: [set + 1]; set i is points[ends[i]:ends[i + 1]].
        known: [l, objective], the known front.
        only_shortfall: count only the objectives where a point falls short (IGD+).
    """
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
