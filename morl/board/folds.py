"""Several seeds as one: attainment surfaces, interquartile means and bootstrap intervals.

Pure functions of NumPy arrays. An indicator's fold is the interquartile mean over seeds with a percentile bootstrap
interval, as Agarwal et al. 2021 ("Deep reinforcement learning at the edge of the statistical precipice") recommend.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morl.pareto import non_dominated

Array = NDArray[np.float64]

RESAMPLES = 2_000
"""Bootstrap resamples; the ends of a 95 % interval then wander by about a hundredth of its width."""
CONFIDENCE = 0.95


def attainment_surface(fronts: Sequence[Array], level: int) -> Array:
    """Return the corners of what at least `level` of the fronts attain, from left to right: [corner, 2].

    A front attains everything that one of its points weakly dominates; level 1 is the best attainment surface,
    len(fronts) the worst, (len(fronts) + 1) // 2 the median. Source: Grunert da Fonseca and Fonseca 2001.

    Args:
        fronts: each [n, 2]; an empty one attains nothing.
        level: from 1 to len(fronts).

    Raises:
        ValueError: `level` is outside that range.
    """
    if not 1 <= level <= len(fronts):
        raise ValueError(f"level is {level}, but must lie between 1 and {len(fronts)}, the number of fronts")
    places = np.unique(np.concatenate([front[:, 0] for front in fronts]))
    if not len(places):
        return np.empty((0, 2))
    heights = np.stack([_heights(front, places) for front in fronts])
    # The level-th highest of the fronts at each place.
    attained = np.partition(heights, len(fronts) - level, axis=0)[len(fronts) - level]
    corners = np.stack([places, attained], axis=1)[np.isfinite(attained)]
    # A place is a corner where the surface falls right after it.
    falls = np.append(corners[1:, 1] < corners[:-1, 1], True)[: len(corners)]
    surface: Array = corners[falls]
    return surface


def _heights(front: Array, places: Array) -> Array:
    """Return the highest second objective that a front [n, 2] attains together with each first one in `places` [k]."""
    if not len(front):
        return np.full(len(places), -np.inf)
    ordered = front[np.argsort(front[:, 0])]
    from_the_right = np.maximum.accumulate(ordered[::-1, 1])[::-1]
    first = np.searchsorted(ordered[:, 0], places, side="left")
    heights: Array = np.append(from_the_right, -np.inf)[first]
    return heights


def best_of(fronts: Sequence[Array]) -> Array:
    """Return the non-dominated points of all fronts together: what at least one of them attains, in any dimension."""
    together = np.concatenate(fronts)
    best: Array = together[non_dominated(together)]
    return best


def interquartile_mean(values: Array) -> Array:
    """Return the mean over the first axis without its lowest and highest quarter (rounded down).

    Up to three values that is the plain mean.
    """
    cut = len(values) // 4
    with np.errstate(over="ignore"):  # infinite then
        mean: Array = np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)
    return mean


def bootstrap_interval(values: Array, seed: int = 0) -> tuple[Array, Array]:
    """Return the lower and upper end of a 95 % percentile bootstrap interval of the interquartile mean.

    Args:
        values: [seed, ...]; resampled along the first axis, all columns alike.
        seed: of the resampling: the same values always have the same interval.
    """
    drawn = np.random.default_rng(seed).integers(len(values), size=(len(values), RESAMPLES))
    means = np.stack([interquartile_mean(values[:, column][drawn]) for column in range(values.shape[1])], axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    with np.errstate(over="ignore", invalid="ignore"):  # NaN then
        low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high
