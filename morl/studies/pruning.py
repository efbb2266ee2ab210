"""When a trial ends early: its evaluations, counted through all its runs, compared with those of complete trials."""

from collections.abc import Mapping, Sequence
from statistics import mean

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

PRUNED_AGAINST = 4
"""Trials that must be complete before others are compared with them."""


class Schedule:
    """Places of evaluations in a trial: numbers that count through all its runs.

    Args:
        evaluations: of each run, in the order in which the runs are made.
    """

    def __init__(self, evaluations: Sequence[int]) -> None:
        self.evaluations = tuple(evaluations)
        self._starts = [sum(evaluations[:run]) for run in range(len(evaluations))]

    def place(self, run: int, evaluation: int) -> int:
        """Return the place of an evaluation.

        Args:
            run: of the trial, from 0.
            evaluation: of the run, from 1; later ones than planned count as its last.
        """
        return self._starts[run] + min(max(evaluation, 1), self.evaluations[run]) - 1

    def newest(self, reported: Mapping[int, float], place: int) -> list[float | None]:
        """Return the newest value of each run up to a place; None for a run that has none yet.

        Args:
            reported: place -> value.
            place: the last that counts.
        """
        values: list[float | None] = []
        for start, count in zip(self._starts, self.evaluations, strict=True):
            known = [each for each in reported if start <= each < start + count and each <= place]
            values.append(reported[max(known)] if known else None)
        return values


class MedianOfComplete(BasePruner):
    """Prunes a trial that is worse than the median of the complete trials after as many evaluations.

    Runs of a trial may lie on different scales, because environments do. So what counts is the share of complete trials
    that are better than the trial after as many evaluations of a run, in the mean over its runs so far: where it is
    more than half, the trial is pruned. With one run this is the median rule of Golovin et al. 2017 (Vizier).

    Args:
        evaluations: of each run of a trial, in order.
    """

    def __init__(self, evaluations: Sequence[int]) -> None:
        self._schedule = Schedule(evaluations)
        self._first = max(0, self._schedule.evaluations[0] // 3)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial should end at its newest evaluation.

        Args:
            study: the study.
            trial: the trial, with the values that it has reported.
        """
        place = trial.last_step
        if place is None or place < self._first:
            return False
        others = [
            self._schedule.newest(other.intermediate_values, place)
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ]
        if len(others) < PRUNED_AGAINST:
            return False
        shares = []
        for run, value in enumerate(self._schedule.newest(trial.intermediate_values, place)):
            compared = [other[run] for other in others]
            known = [each for each in compared if each is not None]
            if value is not None and known:
                shares.append(mean(float(each > value) for each in known))
        return bool(shares) and mean(shares) > 0.5
