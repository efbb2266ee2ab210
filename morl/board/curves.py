"""Indicators over training, of one run and of several seeds folded into one."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morl.board.folds import bootstrap_interval, interquartile_mean
from morl.board.records import ReportedFront, thinned_rows
from morl.board.text import finite_or_none
from morl.pareto import history

if TYPE_CHECKING:
    from morl.board.evaluations import Evaluations
    from morl.board.folder import RunFolder

CLOCKS = ("training_steps", "environment_steps", "wall_seconds")
EVALUATIONS_SHOWN = 500
EVALUATIONS_FOLDED = 60


def curve_of(folder: "RunFolder", reported: ReportedFront, reference: tuple[float, ...] | None) -> dict[str, Any]:
    """Return a run's indicators over its evaluations: `{"training_steps": [...], ..., "indicators": {name: [...]}}`.

    `environment_steps` counts evaluation and pre-training too. Where `reference` is not the run's own reference point,
    the hypervolume is computed anew from the fronts that are kept, and is None elsewhere.
    """
    evaluations = folder.evaluations
    published = evaluations.published
    chosen = [published[row] for row in thinned_rows(len(published), EVALUATIONS_SHOWN)]
    steps = [evaluation.training_steps for evaluation in chosen]
    names = list(dict.fromkeys(name for evaluation in chosen for name in evaluation.indicators))
    indicators = {name: [evaluation.indicators.get(name) for evaluation in chosen] for name in names}
    if reference is not None and reference != reported.reference_point and "hypervolume" in indicators:
        volumes = _volumes(evaluations, reference)
        indicators["hypervolume"] = [finite_or_none(volumes.get(step, math.nan)) for step in steps]
    clocks = [evaluations.clocks.get(step) for step in steps]
    return {
        "version": folder.history_version(),
        "training_steps": steps,
        "environment_steps": [clock and clock.environment_steps for clock in clocks],
        "wall_seconds": [clock and clock.wall_seconds for clock in clocks],
        "indicators": indicators,
    }


def _volumes(evaluations: "Evaluations", reference: tuple[float, ...]) -> dict[int, float]:
    """Return the hypervolume of each front that is kept, by training step; nothing above four objectives.

    Nothing either where the numbers of a front are of no magnitude that has a volume in float64.
    """
    kept = evaluations.published_fronts
    if len(reference) > 4 or not kept:
        return {}
    fronts = list(kept.values())
    try:
        volumes = history.hypervolume(fronts, reference)
    except ValueError:
        return {}
    return dict(zip(kept, volumes.tolist(), strict=True))


def folded_curve(runs: Sequence[dict[str, Any]], clock: str = "training_steps") -> dict[str, Any] | None:
    """Return the interquartile mean and 95 % interval of each indicator over seeds; None without a common stretch.

    At each evaluation of any seed, every seed counts with its latest evaluation; the curve spans the stretch where all
    seeds have one. The other clocks of a seed are averaged.

    Args:
        runs: what `curve_of` returned for each seed.
        clock: one of `CLOCKS`, along which the curve runs.
    """
    if not all(run[clock] and None not in run[clock] for run in runs):
        return None
    first = max(run[clock][0] for run in runs)
    last = min(run[clock][-1] for run in runs)
    union = sorted({time for run in runs for time in run[clock] if first <= time <= last})
    if not union:
        return None
    times = [union[row] for row in thinned_rows(len(union), EVALUATIONS_FOLDED)]
    rows = [latest_rows(run, clock, times) for run in runs]
    shared = [name for name in runs[0]["indicators"] if all(name in run["indicators"] for run in runs)]
    tables = {
        name: np.array([as_numbers(run["indicators"][name])[row] for run, row in zip(runs, rows, strict=True)])
        for name in shared
    }
    clocks = {
        name: np.array([as_numbers(run[name])[row] for run, row in zip(runs, rows, strict=True)]).mean(axis=0)
        for name in CLOCKS
    }
    return {
        **{name: _json(values) for name, values in clocks.items()},
        clock: times,
        "indicators": {name: _with_interval(table) for name, table in tables.items()},
    }


def latest_rows(run: dict[str, Any], clock: str, times: Sequence[float]) -> NDArray[np.int64]:
    """Return the row of a run's latest evaluation at each time, -1 before the first.

    Args:
        run: what `curve_of` returned.
        clock: one of `CLOCKS`.
        times: on that clock.
    """
    return np.searchsorted(as_numbers(run[clock]), times, side="right") - 1


def _with_interval(table: NDArray[np.float64]) -> dict[str, list[float | None]]:
    low, high = bootstrap_interval(table)
    return {"mean": _json(interquartile_mean(table)), "low": _json(low), "high": _json(high)}


def as_numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return the numbers of a curve as an array, NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _json(values: NDArray[np.float64]) -> list[float | None]:
    return [finite_or_none(value) for value in values.tolist()]
