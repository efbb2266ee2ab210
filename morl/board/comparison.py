"""Comparable runs: settings (runs that differ in their seed alone) and a common reference point."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from morl.board.folder import RunFolder
from morl.board.library import key_of, problem_of
from morl.board.records import ReportedFront, Settings
from morl.pareto import hypervolume

KEYS_IN_A_LABEL = 3
FARTHEST_REFERENCE = 1e6
"""In units of the largest value of an objective: how far below a run's points its reference point can lie."""
LARGEST_FRONT = {2: 100_000, 3: 20_000, 4: 2_000}
"""Objectives -> points up to which a hypervolume is computed anew; 150 with more objectives."""


@dataclass(frozen=True)
class Setting:
    """Runs of one problem that differ in their seed alone."""

    key: str
    problem: str
    label: str
    runs: list[str]


def settings_of(shown: Iterable[tuple[RunFolder, ReportedFront]]) -> list[Setting]:
    """Return the settings of runs, in the order of the runs, with labels that distinguish those of one problem."""
    members: dict[tuple[str, str], list[tuple[RunFolder, ReportedFront]]] = {}
    for folder, reported in shown:
        problem = key_of(problem_of(reported))
        key = key_of([problem, reported.agent, folder.setting])
        members.setdefault((problem, key), []).append((folder, reported))
    settings = []
    for (problem, key), runs in members.items():
        rivals = [
            group[0][0].setting
            for (other, _), group in members.items()
            if other == problem and group[0][1].agent == runs[0][1].agent
        ]
        label = _label(runs[0][1].agent, runs[0][0].setting, rivals)
        settings.append(Setting(key, problem, label, [folder.name for folder, _ in runs]))
    return settings


def _label(agent: str, setting: Settings, rivals: Sequence[Settings]) -> str:
    """Return the agent and the settings in which it differs from its rivals, as "pd-morl, learning rate 1e-3"."""
    keys = sorted({key for rival in rivals for key in rival})
    differing = [key for key in keys if len({str(rival.get(key)) for rival in rivals}) > 1]
    words = [f"{key.rpartition('.')[2].replace('_', ' ')} {setting.get(key, 'unset')}" for key in differing]
    more = [f"{len(words) - KEYS_IN_A_LABEL} more"] if len(words) > KEYS_IN_A_LABEL else []
    return ", ".join([agent, *words[:KEYS_IN_A_LABEL], *more])


def common_reference(group: Iterable[ReportedFront]) -> tuple[float, ...] | None:
    """Return the lowest reference point, objective by objective; None where no run of the group has one.

    Reference points far below all points of their run are passed over where there are others: one damaged run must not
    take the others' hypervolumes away.
    """
    members = [reported for reported in group if reported.reference_point is not None]
    plausible = [reported for reported in members if _has_plausible_reference(reported)]
    points = [reported.reference_point for reported in plausible or members]
    return tuple(np.min(np.array(points, dtype=np.float64), axis=0).tolist()) if points else None


def _has_plausible_reference(reported: ReportedFront) -> bool:
    sizes = np.abs(reported.points).max(axis=0, initial=1.0)
    lowest = reported.points.min(axis=0, initial=np.inf)
    with np.errstate(over="ignore"):
        return bool((lowest - np.asarray(reported.reference_point) <= FARTHEST_REFERENCE * sizes).all())


def comparable_indicators(
    folder: RunFolder, reported: ReportedFront, reference: tuple[float, ...] | None
) -> tuple[dict[str, float], str]:
    """Return a run's indicators and a note; the hypervolume is computed anew where its reference point is another.

    What the run recorded was computed by `morl.pareto` with the run's own reference point. Large fronts of many
    objectives would take too long: their hypervolume is left out.
    """
    if reference is None or reference == reported.reference_point or "hypervolume" not in reported.indicators:
        return reported.indicators, ""
    volume = math.nan
    if len(reported.points) <= LARGEST_FRONT.get(len(reference), 150):
        volume = _volume(folder, reported, reference)
    if not math.isfinite(volume):
        others = {name: value for name, value in reported.indicators.items() if name != "hypervolume"}
        return others, "its reference point is another, so that its hypervolume cannot be compared"
    point = ", ".join(f"{value:.6g}" for value in reference)
    note = f"its reference point is another: the hypervolume is that above ({point})"
    return {**reported.indicators, "hypervolume": volume}, note


def _volume(folder: RunFolder, reported: ReportedFront, reference: tuple[float, ...]) -> float:
    """Return the hypervolume above another reference point; infinite or NaN where float64 cannot hold it."""
    if reference not in folder.hypervolumes:
        try:
            folder.hypervolumes[reference] = hypervolume(reported.points, reference)
        except ValueError:  # numbers of too many magnitudes
            folder.hypervolumes[reference] = math.nan
    return folder.hypervolumes[reference]
