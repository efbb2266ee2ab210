"""What the runs of a study reached: hypervolume and expected utility, comparable between variants and environments.

An indicator I of a run becomes a share of what is known to be possible on its environment,

    share = (I - lowest) / (best - lowest),

where best is that of the known front of the environment or else of the best front over all runs of the study, and
lowest that of the reference point: 0 for the hypervolume, mean_w w . reference for the expected utility.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from morl.board.curves import as_numbers, folded_curve, latest_rows
from morl.board.folds import attainment_surface
from morl.protocols import FloatArray

Indicator = Literal["hypervolume", "expected_utility"]
INDICATORS: tuple[Indicator, ...] = ("hypervolume", "expected_utility")
Clock = Literal["environment_steps", "wall_seconds"]


class ListedRun(NamedTuple):
    """A run as study.json lists it."""

    variant: str
    env: str
    """Name of the environment with its options."""
    seed: int
    directory: Path
    total_steps: int | None
    """Environment steps of training; None: those of its config.toml."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a finished run reached.

    Attributes:
        listed: the run.
        points: [n, objective] of the front that it published, on episodes that selected nothing.
        values: hypervolume and expected utility of these points.
        conditioned_utility: mean utility of the policies that are conditioned on the very preference, in the evaluation
            that selected; NaN where an agent has none, or measures it in units of its own.
        training_steps: environment steps of training.
        environment_steps: all environment steps: training, pre-training and evaluation.
        wall_seconds: of the clock.
        curve: hypervolume and expected utility of each evaluation, as the board's `curve_of` returns it.
        system: what its system.json says: commit, machine, versions; nothing where that is missing or damaged.
    """

    listed: ListedRun
    points: FloatArray
    values: Mapping[Indicator, float]
    conditioned_utility: float
    training_steps: float
    environment_steps: float
    wall_seconds: float
    curve: dict[str, Any]
    system: Mapping[str, object]

    def value_at(self, indicator: Indicator, clock: Clock, time: float) -> float:
        """Return an indicator of the latest evaluation at a time, published or not; NaN before any, or if not known.

        Args:
            indicator: which.
            clock: of the time.
            time: environment steps of all kinds, or seconds.
        """
        values = as_numbers(self.curve["indicators"].get(indicator, []))
        if not np.isfinite([time, *as_numbers(self.curve[clock])]).all():
            return math.nan  # metrics.jsonl is missing or damaged
        row = int(latest_rows(self.curve, clock, [time])[0])
        return float(values[row]) if 0 <= row < len(values) else math.nan

    def evaluated_by(self, clock: Clock, time: float) -> bool:
        """Return whether the run had been evaluated at a time.

        Args:
            clock: of the time.
            time: environment steps of all kinds, or seconds.
        """
        return bool((as_numbers(self.curve[clock]) <= time).any())

    def last(self, clock: Clock) -> float:
        """Return the time of the last evaluation; NaN where it is not known."""
        times = as_numbers(self.curve[clock])
        return float(times[-1]) if len(times) else math.nan


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What the indicators of an environment are shares of.

    Attributes:
        source: in words, for tables.
        lowest: indicator -> its value at the reference point.
        best: indicator -> its value of the best front.
    """

    source: str
    lowest: Mapping[Indicator, float]
    best: Mapping[Indicator, float]

    def share(self, indicator: Indicator, values: Sequence[float | None]) -> FloatArray:
        """Return values of an indicator as shares; NaN where the best is no better than the lowest."""
        span = self.best[indicator] - self.lowest[indicator]
        numbers = as_numbers(values) - self.lowest[indicator]
        return numbers / (span if span > 0.0 else math.nan)


class FoldedCurve(NamedTuple):
    """The seeds of a variant as one curve: at each time [n] the interquartile mean and its 95 % bootstrap interval."""

    times: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The finished runs of one environment: the same options, objectives and discount.

    Attributes:
        label: name of the environment, with what tells it from others of the study.
        runs: variant -> its runs, in the order of study.json.
        objectives: their names.
        known_front: [k, objective] the known front; None where there is none.
        reference: [objective] the reference point of its hypervolumes; None where there is none.
        normalization: what its indicators are shares of.
        notes: what a reader of its numbers must know.
    """

    label: str
    runs: Mapping[str, Sequence[FinishedRun]]
    objectives: tuple[str, ...]
    known_front: FloatArray | None
    reference: tuple[float, ...] | None
    normalization: Normalization
    notes: tuple[str, ...] = ()

    def shares(self, variant: str, indicator: Indicator) -> FloatArray:
        """Return the published indicator of each run of a variant as a share: [run], without those that have none."""
        values = [run.values[indicator] for run in self.runs.get(variant, ())]
        return _known(self.normalization.share(indicator, values))

    def conditioned_shares(self, variant: str) -> FloatArray:
        """Return the conditioned utility of each run as a share of the best expected utility: [run], as `shares`."""
        values = [run.conditioned_utility for run in self.runs.get(variant, ())]
        return _known(self.normalization.share("expected_utility", values))

    def shares_at(self, variant: str, indicator: Indicator, clock: Clock, time: float) -> FloatArray:
        """Return the indicator of each run at a time as a share: [run]; none of them where a run has none by then.

        The others would be a selection: those that are evaluated more often, or were faster.

        Args:
            variant: whose runs.
            indicator: which.
            clock: of the time.
            time: environment steps of all kinds, or seconds.
        """
        values = [run.value_at(indicator, clock, time) for run in self.runs.get(variant, ())]
        shares = self.normalization.share(indicator, values)
        return shares if np.isfinite(shares).all() else shares[:0]

    def curve(self, variant: str, indicator: Indicator, clock: Clock) -> "FoldedCurve | None":
        """Return the share that the seeds of a variant have over time; None without a stretch that all of them have.

        Args:
            variant: one with runs.
            indicator: which.
            clock: what the curve runs along.
        """
        folded = folded_curve([run.curve for run in self.runs[variant]], clock)
        if folded is None or indicator not in folded["indicators"]:
            return None
        ends = folded["indicators"][indicator]
        return FoldedCurve(
            times=as_numbers(folded[clock]),
            mean=self.normalization.share(indicator, ends["mean"]),
            low=self.normalization.share(indicator, ends["low"]),
            high=self.normalization.share(indicator, ends["high"]),
        )

    def attainment(self, variant: str, level: int) -> FloatArray:
        """Return the corners [corner, 2] of what at least `level` seeds of a variant attain, of two objectives."""
        return attainment_surface([run.points for run in self.runs[variant]], level)

    def common_time(self, clock: Clock) -> float:
        """Return the latest time that all runs have reached; NaN where it is not known of one."""
        return float(np.min([run.last(clock) for runs in self.runs.values() for run in runs]))


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """What the finished runs of a study reached.

    Attributes:
        name: of the study.
        file: its TOML file, as study.json names it; None where the study was given as a table.
        variants: in the order of study.json; runs of a variant that an extra row trains for other steps than its first
            run on that environment are one of their own, such as "pd-morl, 6,000 steps".
        compared: those variants that are compared over environments: all but such groups.
        problems: the environments with finished runs.
        listed: all runs of the study.
        unfinished: run -> why it is not in the results, in few words.
        notes: what a reader must know of which runs these are.
    """

    name: str
    file: str | None
    variants: tuple[str, ...]
    compared: tuple[str, ...]
    problems: tuple[Problem, ...]
    listed: tuple[ListedRun, ...]
    unfinished: Mapping[ListedRun, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def cells(self) -> Iterator[tuple[Problem, str]]:
        """Yield the environments and variants that have finished runs."""
        for problem in self.problems:
            yield from ((problem, variant) for variant in self.variants if variant in problem.runs)

    def strata(self, variant: str, indicator: Indicator) -> list[FloatArray]:
        """Return the published shares of a variant, [run] for each environment that `complete_problems` returns."""
        return [problem.shares(variant, indicator) for problem in self.complete_problems]

    @property
    def complete_problems(self) -> list[Problem]:
        """Return the environments on which each of `compared` has a result: these can be compared as a whole."""
        return [
            problem
            for problem in self.problems
            if all(len(problem.shares(variant, name)) for variant in self.compared for name in INDICATORS)
        ]


def _known(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]
