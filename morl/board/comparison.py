"""Comparable runs: settings (runs that differ in their seed alone) and a common reference point."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from morl.board.folder import RunFolder
from morl.board.library import key_of, problem_of
from morl.board.records import Published
from morl.pareto import hypervolume

KEYS_IN_A_LABEL = 3
LARGEST_FRONT = {2: 100_000, 3: 20_000, 4: 2_000}
"""Objectives -> points up to which a hypervolume is computed anew; 150 with more objectives."""


@dataclass(frozen=True)
class Setting:
    """Runs of one problem that differ in their seed alone."""

    key: str
    problem: str
    label: str
    runs: list[str]


def settings_of(shown: Iterable[tuple[RunFolder, Published]]) -> list[Setting]:
    """Return the settings of runs, in the order of the runs, with labels that distinguish those of one problem."""
    members: dict[tuple[str, str], list[tuple[RunFolder, Published]]] = {}
    for folder, published in shown:
        problem = key_of(problem_of(published))
        key = key_of([problem, published.agent, folder.setting])
        members.setdefault((problem, key), []).append((folder, published))
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


def _label(agent: str, setting: dict[str, Any], rivals: Sequence[dict[str, Any]]) -> str:
    """Return the agent and the settings in which it differs from its rivals, as "pd-morl, learning rate 1e-3"."""
    keys = sorted({key for rival in rivals for key in rival})
    differing = [key for key in keys if len({str(rival.get(key)) for rival in rivals}) > 1]
    words = [f"{key.rpartition('.')[2].replace('_', ' ')} {setting.get(key, 'unset')}" for key in differing]
    more = [f"{len(words) - KEYS_IN_A_LABEL} more"] if len(words) > KEYS_IN_A_LABEL else []
    return ", ".join([agent, *words[:KEYS_IN_A_LABEL], *more])


def common_reference(group: Iterable[Published]) -> tuple[float, ...] | None:
    """Return the lowest reference point, objective by objective; None where no run of the group has one."""
    points = [published.reference_point for published in group if published.reference_point is not None]
    return tuple(np.min(points, axis=0).tolist()) if points else None


def comparable_indicators(
    folder: RunFolder, published: Published, reference: tuple[float, ...] | None
) -> tuple[dict[str, float], str]:
    """Return a run's indicators and a note; the hypervolume is computed anew where its reference point is another.

    What the run recorded was computed by `morl.pareto` with the run's own reference point. Large fronts of many
    objectives would take too long: their hypervolume is left out.
    """
    if reference is None or reference == published.reference_point or "hypervolume" not in published.indicators:
        return published.indicators, ""
    if len(published.points) > LARGEST_FRONT.get(len(reference), 150):
        others = {name: value for name, value in published.indicators.items() if name != "hypervolume"}
        return others, "its reference point is another, so that its hypervolume cannot be compared"
    if reference not in folder.hypervolumes:
        folder.hypervolumes[reference] = hypervolume(published.points, reference)
    point = ", ".join(f"{value:.6g}" for value in reference)
    note = f"its reference point is another: the hypervolume is that above ({point})"
    return {**published.indicators, "hypervolume": folder.hypervolumes[reference]}, note
