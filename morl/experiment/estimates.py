"""Standard errors of a front's indicators, and where further episodes are worth most."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from morl.protocols import FloatArray, IndexArray

if TYPE_CHECKING:
    from morl.evaluation import Returns

DRAWS = 256
"""Draws of a whole front, from which the standard errors of its indicators are computed."""
DRAWS_OF_MANY_OBJECTIVES = 16
"""The same for five objectives or more, whose hypervolumes take their time."""
PRECISION = 0.02
"""Standard error that is good enough, as a share of the front's range."""
FURTHER_EPISODES = 3
"""Further episodes of a policy whose returns are less precise, in multiples of those that it has."""
ROUND_STEPS = 4
"""At most so many environment steps, in multiples of those of training until the next evaluation, take the further
episodes of one round: they are stepped side by side without learning, and cost a fraction of a training step each."""
MOST_EPISODES = 64
"""At most so many times as many episodes as the first ones are spent on a policy."""
PRIOR_WEIGHT = 4
"""Episodes by whose weight the variance of a policy's returns is drawn to the mean over all policies."""


def moderated_errors(returns: "Returns", earlier: "Sequence[Returns]") -> FloatArray:
    """Return the standard errors of mean returns [row, objective]; NaN where there was one episode of each policy.

    A few episodes may be equal by chance, and would promise an error of zero. So the variance is estimated from all
    evaluations of a policy, and drawn to the mean variance over policies (Smyth 2004, section 3):
    s_r^2 = (d_r v_r + d_0 v_0) / (d_r + d_0), for d degrees of freedom; the error is s_r / sqrt(episodes).

    Args:
        returns: of the front's policies.
        earlier: other evaluations of the same policies, row by row, which add to the estimate of the variance.
    """
    evaluations = [returns, *earlier]
    squares = sum(np.square(each.deviations).sum(axis=1) for each in evaluations)
    freedom = np.sum([each.episodes - 1 for each in evaluations], axis=0)[:, None]
    if not freedom.any():
        return np.full_like(returns.discounted, np.nan)
    mean_variance = np.sum(squares, axis=0) / freedom.sum()
    variances = (squares + PRIOR_WEIGHT * mean_variance) / (freedom + PRIOR_WEIGHT)
    errors: FloatArray = np.sqrt(variances / returns.episodes[:, None])
    return errors


def indicator_errors(
    indicators: Callable[[FloatArray], dict[str, float]],
    returns: "Returns",
    errors: FloatArray,
    random: np.random.Generator,
) -> dict[str, float]:
    """Return the standard error of each indicator; NaN where there was one episode of each policy.

    The deviation of the indicators over fronts whose points are normal around the measured ones (a parametric
    bootstrap: Efron and Tibshirani 1993, chapter 6.5). Episodes with the same seed move all points together: a draw
    weighs the deviations of episode j of every policy with the same standard normal number. What `errors` add to the
    variance is independent.

    Args:
        indicators: points [n, objective] -> name -> value.
        returns: of the front's policies.
        errors: [n, objective] standard errors of their means.
        random: stream of the draws.
    """
    points = returns.discounted
    names = indicators(points)
    if np.isnan(errors).any():
        return dict.fromkeys(names, float("nan"))
    if not errors.any():
        return dict.fromkeys(names, 0.0)
    draws = DRAWS if points.shape[1] < 5 else DRAWS_OF_MANY_OBJECTIVES
    episodes = returns.episodes[:, None, None].astype(np.float64)
    scaled = returns.deviations / np.sqrt(episodes * np.maximum(episodes - 1.0, 1.0))
    common = np.einsum("de,rej->drj", random.standard_normal((draws, scaled.shape[1])), scaled)
    added = np.sqrt(np.maximum(np.square(errors) - np.nan_to_num(np.square(returns.standard_errors)), 0.0))
    shifts = common + added * random.standard_normal((draws, *points.shape))
    drawn = [indicators(points + shift) for shift in shifts]
    return {name: float(np.std([values[name] for values in drawn], ddof=1)) for name in names}


def imprecise_rows(returns: "Returns", errors: FloatArray) -> IndexArray:
    """Return the rows whose mean return in some objective is not known to `PRECISION` of the range of all rows.

    Args:
        returns: of the front's policies.
        errors: [n, objective] standard errors of their means.
    """
    points = returns.discounted
    ranges = np.ptp(points, axis=0)
    sizes = np.where(ranges > 0.0, ranges, np.abs(points).max(axis=0))
    rows: IndexArray = np.flatnonzero((np.nan_to_num(errors) > PRECISION * sizes).any(axis=1))
    return rows


def repeats_exactly(one: "Returns", other: "Returns") -> bool:
    """Return whether two evaluations of the same policies on different seeds found the same: nothing is random."""
    same = np.array_equal(one.discounted, other.discounted) and np.array_equal(one.undiscounted, other.undiscounted)
    return bool(same and not one.deviations.any() and not other.deviations.any())
