"""What a tuning maximizes: an indicator of the fronts of its runs, on fresh episodes, over seeds and environments."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morl.experiment.front import delivered_utility
from morl.pareto import hypervolume
from morl.studies.executors import Measured, ObjectiveName

if TYPE_CHECKING:
    from morl.experiment.run import Run

INDICATOR: Mapping[ObjectiveName, str] = {"hypervolume": "hypervolume", "expected-utility": "expected_utility"}
"""Objective -> the indicator of a run's own evaluations that comes nearest to it; pruning compares these."""


def measure(run: "Run", objective: ObjectiveName, episodes: int) -> Measured:
    """Return the objective of a finished run, from returns on episodes that neither trained nor selected anything.

    The policies of the front that break the user's constraints least are played again on fresh episodes. Returns are
    measured from the reference point. Where the true front is known, the hypervolume is a share of that of the true
    front, and the expected utility is in units of the range between reference point and best known returns; else the
    environment's registered scales are the units, or the environment's own. Objectives that the user has bounded do not
    count.

    Args:
        run: the run.
        objective: "hypervolume", or "expected-utility": of users who choose by the returns that the run reports.
        episodes: of each policy.
    """
    front = run.front
    free = np.array([place for place, name in enumerate(front.objectives) if name not in run.constraints])
    kept = front.violations == front.violations.min()
    fresh = run.evaluate(episodes=episodes, seed=run.seed or 0).discounted[kept][:, free]
    reference = np.array(front.reference_point)[free]
    known = None if run.constraints else front.known_front  # what is best under constraints is not known
    if objective == "hypervolume":
        value = hypervolume(fresh, reference) / (1.0 if known is None else hypervolume(known, reference))
    else:
        scales = run.problem.scales
        units = np.ones(len(reference)) if scales is None else np.array(scales)[free]
        if known is not None:
            units = known.max(axis=0) - reference
        chosen = (front.choice_points[kept][:, free] - reference) / units
        value = delivered_utility((fresh - reference) / units, chosen, _weights(run, free))
    return Measured(float(value), float(front.violations.min()))


def _weights(run: "Run", free: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the preferences of the evaluation grid that weigh free objectives alone [n, free objective]."""
    grid = run.experiment.evaluation_preferences
    bounded = np.setdiff1d(np.arange(grid.shape[1]), free)
    weights: NDArray[np.float64] = grid[(grid[:, bounded] == 0.0).all(axis=1)][:, free]
    return weights


def combined(values: Iterable[tuple[str, float]]) -> float:
    """Return one number for the runs of a trial: the mean over seeds, and over environments the geometric mean.

    The geometric mean ranks trials alike whatever the units of each environment are. An environment whose mean is not
    above zero, that is not above its reference point, makes it 0; where there is only one environment, its mean counts
    as it is.

    Args:
        values: environment and objective of each run.
    """
    by_env: dict[str, list[float]] = {}
    for env, value in values:
        by_env.setdefault(env, []).append(value)
    means = [mean(of_env) for of_env in by_env.values()]
    return means[0] if len(means) == 1 else geometric_mean([max(value, 0.0) for value in means])


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of numbers that are not negative; 0 where one is 0."""
    roots = [value ** (1.0 / len(values)) for value in values]
    return float(prod(roots))
