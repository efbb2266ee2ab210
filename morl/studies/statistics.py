"""Statistics of few runs on several environments: estimates with bootstrap intervals.

The definitions are those of Agarwal, Schwarzer, Castro, Courville and Bellemare 2021, "Deep reinforcement learning at
the edge of the statistical precipice" (NeurIPS, arXiv 2108.13264). What they call a task is an environment here, and a
score is an indicator that is comparable between environments, such as a share of the known front's hypervolume.

Runs come as strata: a sequence with one array for each environment, whose first axis is the run. A statistic maps
strata of [run] to a number, and strata of [run, resample] to one number for each resample, [resample], so that the same
function serves the estimate and its interval.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from morl.board.folds import CONFIDENCE, RESAMPLES, interquartile_mean
from morl.protocols import FloatArray

Strata: TypeAlias = Sequence[FloatArray]
"""One array for each environment: [run], or [run, resample]."""
Statistic: TypeAlias = Callable[[Strata], FloatArray]


class Estimate(NamedTuple):
    """A statistic of the runs and its 95 % percentile bootstrap interval; numbers, or arrays of one shape."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def pooled_interquartile_mean(strata: Strata) -> FloatArray:
    """Return the mean of the middle half of all runs of all environments.

    IQM = mean of x_(c + 1), ..., x_(N - c), with x_(1) <= ... <= x_(N) the N runs of all environments together and
    c = floor(N / 4). It is less biased by few extreme runs than the mean, and varies less from one set of seeds to the
    next than the median. Source: Agarwal et al. 2021, section 4.3.

    Args:
        strata: [run] or [run, resample] each.
    """
    return interquartile_mean(np.concatenate(list(strata)))


def optimality_gap(strata: Strata, target: float = 1.0) -> FloatArray:
    """Return by how much runs miss a target on average: mean of max(0, target - x), smaller is better.

    Each environment counts alike, however many runs it has. What exceeds the target counts nothing. Source: Agarwal et
    al. 2021, section 4.3.

    Args:
        strata: [run] or [run, resample] each.
        target: 1 is the front that indicators are normalized by.
    """
    gaps = [np.maximum(0.0, target - stratum).mean(axis=0) for stratum in strata]
    mean: FloatArray = np.mean(gaps, axis=0)
    return mean


def probability_of_improvement(first: Strata, second: Strata) -> FloatArray:
    """Return how probable it is that a run of the first is better than one of the second, mean over environments.

    P(X > Y) = 1/M sum_m 1/(N K) sum_i sum_j S(x_mi, y_mj), with S = 1 where x > y, 1/2 where x = y, and 0 elsewhere:
    the statistic of Mann and Whitney's U test. It says how often, not by how much. Source: Agarwal et al. 2021, section
    4.3.

    Args:
        first: N runs on each of M environments, [run] or [run, resample] each.
        second: K runs on the same environments, in the same order.

    Raises:
        ValueError: the numbers of environments differ.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"both must have runs on the same environments, got {len(first)} and {len(second)}")
    shares = []
    for better, worse in zip(first, second, strict=True):
        pairs = (better[:, None] > worse[None]) + 0.5 * (better[:, None] == worse[None])
        shares.append(pairs.mean(axis=(0, 1)))
    mean: FloatArray = np.mean(shares, axis=0)
    return mean


def performance_profile(strata: Strata, thresholds: FloatArray) -> FloatArray:
    """Return the share of runs that are better than each threshold, mean over environments: [threshold, ...].

    F(tau) = 1/M sum_m 1/N_m sum_n [x_mn > tau]. Where the profile of one variant lies above that of another everywhere,
    it is better whatever one asks for. Source: Agarwal et al. 2021, section 4.2 (run-score distributions).

    Args:
        strata: [run] or [run, resample] each.
        thresholds: [threshold] tau.
    """
    profile: FloatArray = np.stack(
        [np.mean([(stratum > threshold).mean(axis=0) for stratum in strata], axis=0) for threshold in thresholds]
    )
    return profile


def resampled(strata: Strata, seed: int = 0, resamples: int = RESAMPLES) -> list[FloatArray]:
    """Return bootstrap resamples of each environment's runs: [run, resample].

    Resampling is stratified: each resample has as many runs of each environment as there are. Source: Agarwal et al.
    2021, section 4.1.

    Args:
        strata: [run] each.
        seed: of the resampling.
        resamples: how many.
    """
    random = np.random.default_rng(seed)
    return [stratum[random.integers(len(stratum), size=(len(stratum), resamples))] for stratum in strata]


def estimate(strata: Strata, statistic: Statistic = pooled_interquartile_mean, seed: int = 0) -> Estimate:
    """Return a statistic with its 95 % interval: the percentiles of the statistic over stratified bootstrap resamples.

    With few runs such an interval is too narrow, because resamples vary less than new seeds would: of normally
    distributed runs of one environment, 95 % intervals of the interquartile mean contain the true one in 75 % of cases
    with three runs, 91 % with five and 94 % with ten (`tests/studies/test_statistics.py` counts it).

    Args:
        strata: [run] each, finite; one environment alone is resampled as the board does.
        statistic: of strata.
        seed: of the resampling: the same runs always have the same interval.

    Raises:
        ValueError: there are no runs, or one is no finite number.
    """
    checked = [_checked(stratum) for stratum in strata]
    if not checked:
        raise ValueError("strata must be at least one array of runs, got none")
    value = statistic(checked)
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(statistic(resampled(checked, seed)), [tail, 100.0 - tail], axis=-1)
    return Estimate(value, low, high)


def estimated_improvement(first: Strata, second: Strata, seed: int = 0) -> Estimate:
    """Return the probability of improvement with its interval; the runs of both are resampled independently.

    Args:
        first: [run] for each environment.
        second: [run] for each of the same environments.
        seed: of the resampling.
    """
    count = len(first)

    def improvement(strata: Strata) -> FloatArray:
        return probability_of_improvement(strata[:count], strata[count:])

    return estimate([*first, *second], improvement, seed)


def _checked(stratum: FloatArray) -> FloatArray:
    values = np.asarray(stratum, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"strata must be arrays [run] of finite numbers with at least one run, got {values!r:.100}")
    return values
