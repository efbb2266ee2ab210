"""Indicators of many samples: how much of a front they hold, their distance in R2, and how different they are."""

import numpy as np
from numpy.typing import ArrayLike

from morl.pareto.arguments import as_points
from morl.pareto.indicators import known_points, some_preferences


def r2(points: ArrayLike, ideal: ArrayLike, preferences: ArrayLike) -> float:
    """Return mean over preferences w of min_p max_k w_k (z_k - p_k): the weighted distance to the ideal point z.

    Lower is better; infinite for an empty set. Source: Hansen and Jaszkiewicz 1998, with weighted Tchebycheff
    utilities; the metric of Jain et al. 2023.

    Args:
        points: [n, objective], finite.
        ideal: [objective] z, at least as good as every point in every objective.
        preferences: [k, objective], at least one, finite, not negative. The value depends on them: report them with it.

    Raises:
        ValueError: a wrong shape, NaN or infinity, no or negative preferences, a point better than the ideal.
    """
    weights = some_preferences(preferences)
    values = as_points(points, objectives=weights.shape[1])
    best = as_points(np.asarray(ideal)[None], "ideal", objectives=weights.shape[1])
    if not len(values):
        return float("inf")
    if (values > best).any():
        raise ValueError(f"ideal must be at least as good as every point, got {best[0].tolist()}")
    shortfalls = best - values
    nearest = [(weight * shortfalls).max(axis=1).min() for weight in weights]
    return float(np.mean(nearest))


def share_found(points: ArrayLike, known_front: ArrayLike, tolerance: float = 1e-6) -> float:
    """Return the share of the known front that is among the points.

    Args:
        points: [n, objective], finite.
        known_front: [l, objective], at least one point, finite.
        tolerance: largest difference in an objective between a point and the one of the front that it counts for.

    Raises:
        ValueError: a wrong shape, NaN or infinity, an empty known front.
    """
    front = known_points(known_front)
    values = np.unique(as_points(points, objectives=front.shape[1]), axis=0)
    found = [(np.abs(values - point) <= tolerance).all(axis=1).any() for point in front]
    return float(np.mean(found))


def mean_distance(candidates: ArrayLike) -> float:
    """Return the mean Euclidean distance between two different candidates, their diversity; 0.0 below two.

    Args:
        candidates: [n, width] objects as numbers, finite; copies count as often as they occur.

    Raises:
        ValueError: a wrong shape, NaN or infinity.
    """
    values = as_points(candidates, "candidates")
    count = len(values)
    if count < 2:
        return 0.0
    total = sum(float(np.sqrt(np.square(values - one).sum(axis=1)).sum()) for one in values)
    return total / (count * (count - 1))
