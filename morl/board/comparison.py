"""Comparable runs: settings (runs that differ in their seed alone) and a common reference point."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from morl.board.library import key_of, problem_of
from morl.pareto import hypervolume

if TYPE_CHECKING:
    from morl.board.folder import RunFolder
    from morl.board.records import ReportedFront, Settings

MOST_ENTRIES = 6
"""Entries of config.toml in a label; settings that these do not tell apart are numbered."""
LETTERS_OF_A_VALUE = 40
"""Letters of a setting's value in a label."""
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


def settings_of(shown: "Iterable[tuple[RunFolder, ReportedFront]]") -> list[Setting]:
    """Return the settings of runs, in the order of the runs, with labels that distinguish those of one problem."""
    members: dict[tuple[str, str], list[tuple[RunFolder, ReportedFront]]] = {}
    for folder, reported in shown:
        problem = key_of(problem_of(reported))
        key = key_of([problem, reported.agent, folder.setting])
        members.setdefault((problem, key), []).append((folder, reported))
    rivals: dict[tuple[str, str], dict[str, Settings]] = {}
    for (problem, key), runs in members.items():
        folder, reported = runs[0]
        rivals.setdefault((problem, reported.agent), {})[key] = folder.setting
    labels = {
        key: ", ".join([agent, *words])
        for (_, agent), settings in rivals.items()
        for key, words in differences(settings).items()
    }
    return [
        Setting(key, problem, labels[key], [folder.name for folder, _ in runs])
        for (problem, key), runs in members.items()
    ]


def differences(settings: "Mapping[str, Settings]") -> dict[str, list[str]]:
    """Return what tells each of several settings from the others, as ["learning rate 0.1", "2 more"], by its name.

    All are described by the same entries: those that tell most of them apart first, until no two are alike, and one
    word for how many more entries differ.

    Args:
        settings: name -> entries of config.toml; no two are equal.
    """
    names = list(settings)
    differing = {}
    for entry in sorted({entry for setting in settings.values() for entry in setting}):
        values = [_value(settings[name].get(entry)) for name in names]
        if len(set(values)) > 1:
            differing[entry] = values
    chosen: list[str] = []
    told_apart = [""] * len(names)
    while len(set(told_apart)) < len(names) and len(chosen) < min(len(differing), MOST_ENTRIES):
        left = [entry for entry in differing if entry not in chosen]
        best = max(left, key=lambda entry: len(set(zip(told_apart, differing[entry], strict=True))))
        chosen.append(best)
        told_apart = [f"{before}|{value}" for before, value in zip(told_apart, differing[best], strict=True)]
    last_words = [entry.rpartition(".")[2] for entry in chosen]
    words = {
        entry: (last if last_words.count(last) == 1 else entry).replace("_", " ")
        for entry, last in zip(chosen, last_words, strict=True)
    }
    hidden = len(differing) - len(chosen)
    described: dict[str, list[str]] = {}
    for place, name in enumerate(names):
        label = [f"{words[entry]} {differing[entry][place]}" for entry in chosen]
        alike = told_apart[:place].count(told_apart[place])  # they differ elsewhere, or where a long value was cut
        numbered = [f"number {alike + 1}"] if alike else []
        described[name] = [*label, *numbered, *([f"{hidden} more"] if hidden else [])]
    return described


def _value(value: bool | int | float | str | None) -> str:
    """Return the value of a setting in few letters; long texts keep both ends, where they differ most often."""
    text = "unset" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, float) and float(text) != value:
        text = repr(value)
    half = LETTERS_OF_A_VALUE // 2
    if len(text) <= LETTERS_OF_A_VALUE:
        return text
    return f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def problem_labels(problems: "Mapping[str, ReportedFront]") -> dict[str, str]:
    """Return a name of each problem, by its key: the environment, and what tells it from others of that environment.

    Args:
        problems: key -> a run of the problem.
    """
    same_env: dict[str, dict[str, Settings]] = {}
    for key, reported in problems.items():
        described: Settings = {
            **reported.env_options,
            "discount": reported.discount,
            "objectives": ", ".join(reported.objectives),
        }
        same_env.setdefault(reported.env, {})[key] = described
    labels = {}
    for env, described_by in same_env.items():
        for key, words in differences(described_by).items():
            alone = [f"{name} {_value(value)}" for name, value in problems[key].env_options.items()]
            labels[key] = ", ".join([env, *(words if len(described_by) > 1 else alone)])
    return labels


def common_reference(group: "Iterable[ReportedFront]") -> tuple[float, ...] | None:
    """Return the lowest reference point, objective by objective; None where no run of the group has one.

    Reference points far below all points of their run are passed over where there are others: one damaged run must not
    take the others' hypervolumes away.
    """
    members = [reported for reported in group if reported.reference_point is not None]
    plausible = [reported for reported in members if _has_plausible_reference(reported)]
    points = [reported.reference_point for reported in plausible or members]
    return tuple(np.min(np.array(points, dtype=np.float64), axis=0).tolist()) if points else None


def _has_plausible_reference(reported: "ReportedFront") -> bool:
    sizes = np.abs(reported.points).max(axis=0, initial=1.0)
    lowest = reported.points.min(axis=0, initial=np.inf)
    with np.errstate(over="ignore"):
        return bool((lowest - np.asarray(reported.reference_point) <= FARTHEST_REFERENCE * sizes).all())


def comparable_indicators(
    folder: "RunFolder", reported: "ReportedFront", reference: tuple[float, ...] | None
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
        return others, "its reference point differs, so its hypervolume cannot be compared"
    point = ", ".join(f"{value:.6g}" for value in reference)
    note = f"its reference point differs: the hypervolume is measured from ({point})"
    return {**reported.indicators, "hypervolume": volume}, note


def _volume(folder: "RunFolder", reported: "ReportedFront", reference: tuple[float, ...]) -> float:
    """Return the hypervolume above another reference point; infinite or NaN where float64 cannot hold it."""
    if reference not in folder.hypervolumes:
        try:
            folder.hypervolumes[reference] = hypervolume(reported.points, reference)
        except ValueError:  # numbers of too many magnitudes
            folder.hypervolumes[reference] = math.nan
    return folder.hypervolumes[reference]
