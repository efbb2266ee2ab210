"""How good a set of points is, for the weights of its users or beside a known front. Everything is maximised."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import kernel
from morl.pareto.dominance import non_dominated

Array = NDArray[np.float64]


def expected_utility(points: ArrayLike, preferences: ArrayLike) -> float:
    """Returns the mean over preferences w of max_p w.p: what a user gets on average; minus infinity for an empty set.

    Source: expected utility metric, Zintgraf et al. 2015.

    Args:
        points: [n, objective], finite.
        preferences: [k, objective], at least one, finite; say with the figure which ones.

    Raises:
        ValueError: a wrong shape, NaN or infinity, no preferences.
    """
    utilities, _ = _best_utilities(points, preferences)
    return float(utilities.mean())


def maximum_utility_loss(points: ArrayLike, known_front: ArrayLike, preferences: ArrayLike) -> float:
    """Returns max over preferences w of (max_q w.q - max_p w.p), q from the known front: the worst user's regret.

    Below zero when `points` beat the known front for every preference; infinite for an empty set. Source: Zintgraf et
    al. 2015.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.
        preferences: [k, objective], at least one, finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front, no preferences.
    """
    utilities, weights = _best_utilities(points, preferences)
    front = as_points(known_front, "known_front", objectives=weights.shape[1])
    if front.shape[0] == 0:
        raise ValueError("known_front must hold at least one point, got an empty set")
    known: Array = (weights @ front.T).max(axis=1)
    return float((known - utilities).max())


def _best_utilities(points: ArrayLike, preferences: ArrayLike) -> tuple[Array, Array]:
    weights = as_points(preferences, "preferences")
    if weights.shape[0] == 0:
        raise ValueError("preferences must hold at least one preference, got an empty set")
    values = as_points(points, objectives=weights.shape[1])
    if values.shape[0] == 0:
        return np.full(weights.shape[0], -np.inf), weights
    rows = max(1, 10_000_000 // values.shape[0])  # the product [rows, n] stays within 80 MB
    best = [(weights[start : start + rows] @ values.T).max(axis=1) for start in range(0, weights.shape[0], rows)]
    return np.concatenate(best), weights


def sparsity(points: ArrayLike) -> float:
    """Returns the sparsity of the non-dominated set: the mean squared gap between neighbours, 0.0 below two points.

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
    return float(np.square(np.diff(np.sort(front, axis=0), axis=0)).sum() / (front.shape[0] - 1))


def igd(points: ArrayLike, known_front: ArrayLike) -> float:
    """Returns the inverted generational distance: mean over the known front of the distance to the nearest point.

    IGD(P, Q) = 1/|Q| * sum over q of min_p |p - q|_2; infinite for an empty set. Not Pareto-compliant: a better set
    can score worse. Source: Coello and Reyes Sierra 2004 (power 1).

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front.
    """
    return _mean_distance(*_pair(points, known_front), False)


def igd_plus(points: ArrayLike, known_front: ArrayLike) -> float:
    """Returns IGD with a distance that counts only objectives where the point falls short of the known front.

    IGD+(P, Q) = 1/|Q| * sum over q of min_p |max(q - p, 0)|_2; infinite for an empty set. Weakly Pareto-compliant.
    Source: Ishibuchi et al. 2015.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front.
    """
    return _mean_distance(*_pair(points, known_front), True)


def epsilon_additive(points: ArrayLike, known_front: ArrayLike) -> float:
    """Returns the smallest e such that raising every point by e in every objective covers the known front.

    eps(P, Q) = max_q min_p max_k (q_k - p_k); infinite for an empty set. Source: Zitzler et al. 2003.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front.
    """
    return _largest_shortfall(*_pair(points, known_front))


def _pair(points: ArrayLike, known_front: ArrayLike) -> tuple[Array, Array]:
    front = as_points(known_front, "known_front")
    if front.shape[0] == 0:
        raise ValueError("known_front must hold at least one point, got an empty set")
    return as_points(points, objectives=front.shape[1]), front


@kernel
def _mean_distance(points: Array, front: Array, only_shortfall: bool) -> float:
    total = 0.0
    for q in range(front.shape[0]):
        nearest = np.inf
        for p in range(points.shape[0]):
            square = 0.0
            for k in range(front.shape[1]):
                gap = front[q, k] - points[p, k]
                if gap > 0.0 or not only_shortfall:
                    square += gap * gap
            nearest = min(nearest, square)
        total += np.sqrt(nearest)
    return float(total / front.shape[0])


@kernel
def _largest_shortfall(points: Array, front: Array) -> float:
    worst = -np.inf
    for q in range(front.shape[0]):
        smallest = np.inf
        for p in range(points.shape[0]):
            largest = -np.inf
            for k in range(front.shape[1]):
                largest = max(largest, front[q, k] - points[p, k])
            smallest = min(smallest, largest)
        worst = max(worst, smallest)
    return worst
