"""Standard errors of a front's indicators, and where further episodes are worth most."""

from collections.abc import Callable

import numpy as np

from morl.evaluation import Returns
from morl.protocols import FloatArray, IndexArray

DRAWS = 256
"""Draws of a whole front, from which the standard errors of its indicators are computed."""
DRAWS_OF_MANY_OBJECTIVES = 16
"""The same for five objectives or more, whose hypervolumes take their time."""
PRECISION = 0.02
"""Standard error that is good enough, as a share of the front's range."""
FURTHER_EPISODES = 3
"""Further episodes of a policy whose returns are less precise, in multiples of those that it has."""


def indicator_errors(
    indicators: Callable[[FloatArray], dict[str, float]], returns: Returns, random: np.random.Generator
) -> dict[str, float]:
    """Return the standard error of each indicator; NaN where there was one episode of each policy.

    A parametric bootstrap (Efron and Tibshirani 1993, chapter 6.5): the deviation of the indicators over fronts whose
    points are normal around the measured ones, with the covariances of their means.

    Args:
        indicators: points [n, objective] -> name -> value.
        returns: of the front's policies.
        random: stream of the draws.
    """
    points = returns.discounted
    names = indicators(points)
    covariances = returns.covariances
    if np.isnan(covariances).any():
        return dict.fromkeys(names, float("nan"))
    if not covariances.any():
        return dict.fromkeys(names, 0.0)
    draws = DRAWS if points.shape[1] < 5 else DRAWS_OF_MANY_OBJECTIVES
    noise = random.standard_normal((draws, *points.shape))
    shifts = np.einsum("rij,drj->dri", _roots(covariances), noise)
    drawn = [indicators(points + shift) for shift in shifts]
    return {name: float(np.std([values[name] for values in drawn], ddof=1)) for name in names}


def _roots(covariances: FloatArray) -> FloatArray:
    """Return matrices A [row, objective, objective] with A A' = covariance."""
    values, vectors = np.linalg.eigh(covariances)
    roots: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return roots


def imprecise_rows(returns: Returns) -> IndexArray:
    """Return the rows whose mean return in some objective is not known to `PRECISION` of the range of all rows."""
    points = returns.discounted
    ranges = np.ptp(points, axis=0)
    sizes = np.where(ranges > 0.0, ranges, np.abs(points).max(axis=0))
    errors = np.nan_to_num(returns.standard_errors)
    rows: IndexArray = np.flatnonzero((errors > PRECISION * sizes).any(axis=1))
    return rows


def repeats_exactly(one: Returns, other: Returns) -> bool:
    """Return whether two evaluations of the same policies on different seeds found the same: nothing is random."""
    same = np.array_equal(one.discounted, other.discounted) and np.array_equal(one.undiscounted, other.undiscounted)
    return bool(same and not one.scatter.any() and not other.scatter.any())
