"""Several runs side by side: one row a run, and means over seeds where agent, environment and settings are the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from morl.experiment.reading import read_config
from morl.tables import Column, ShownTable, number, short_labels, vector

if TYPE_CHECKING:
    from morl.experiment.run import Run

INDICATORS = ("hypervolume", "expected_utility", "igd_plus", "maximum_utility_loss", "sparsity")
"""Indicators of the summaries, the most important first; further ones are left to the tables of single runs."""
BETWEEN_SEEDS = ("seed", "checkpoint_minutes", "time_limit_minutes", "log_every")
"""Settings that may differ between the seeds of one group: they change no result, but for the seed."""
MOST_SETTINGS = 6
"""Settings that tell groups apart in the notes; further ones are counted."""


def runs_table(runs: "Sequence[Run]") -> ShownTable:
    """Return a table with one row for each run.

    Args:
        runs: at least one.
    """
    columns = [
        Column(title="run", cells=tuple(short_labels([run.directory for run in runs])), key=True, left=True),
        *_named(runs, dropped=5),
        Column(title="seed", cells=tuple("-" if run.seed is None else str(run.seed) for run in runs), dropped=6),
        Column(title="steps", cells=tuple(_steps(run) for run in runs), dropped=3),
        Column(title="policies", cells=tuple(str(len(run.front.points)) for run in runs), dropped=4),
    ]
    for place, name in enumerate(_indicators(runs)):
        cells = tuple(number(run.front.indicators.get(name, float("nan"))) for run in runs)
        columns.append(Column(title=name.replace("_", " "), cells=cells, dropped=0 if place < 2 else 5 + place))
    references = {run.front.reference_point for run in runs}
    notes = [f"reference point {vector(next(iter(references)))}"] if len(references) == 1 else []
    if len(references) > 1:
        notes.append("the reference points differ: hypervolumes of different reference points cannot be compared")
    return ShownTable(title=f"{len(runs)} runs{_common(runs)}", columns=tuple(columns), notes=tuple(notes))


def seeds_table(runs: "Sequence[Run]") -> ShownTable | None:
    """Return a table of means and standard deviations over seeds; None where no two runs differ in their seed alone.

    Args:
        runs: any runs; those of the same agent, environment and settings are one group.
    """
    groups = _groups(runs)
    if all(len(group.runs) < 2 for group in groups):
        return None
    columns = [replace(one, key=True) for one in _named([group.runs[0] for group in groups], dropped=0)]
    letters = {
        group.settings: ascii_uppercase[place % 26] for place, group in enumerate(g for g in groups if g.settings)
    }
    if letters:
        cells = tuple(letters.get(group.settings, "-") for group in groups)
        columns.append(Column(title="settings", cells=cells, key=True))
    columns.append(Column(title="seeds", cells=tuple(str(len(group.runs)) for group in groups), key=True))
    for place, name in enumerate(_indicators(runs)):
        cells = tuple(_spread(group.runs, name) for group in groups)
        columns.append(Column(title=name.replace("_", " "), cells=cells, dropped=0 if place < 2 else place))
    notes = ["mean ± standard deviation over seeds", *(f"{letter}: {words}" for words, letter in letters.items())]
    if any(len({run.front.reference_point for run in group.runs}) > 1 for group in groups):
        notes.append("hypervolume -: the reference points of the seeds differ")
    return ShownTable(title=f"Over seeds{_common(runs)}", columns=tuple(columns), notes=tuple(notes))


@dataclass(frozen=True)
class _Group:
    """Runs that differ in their seed alone.

    Attributes:
        runs: one for each seed.
        settings: the settings that tell this group from others of the same agent and environment, in words.
    """

    runs: "list[Run]"
    settings: str


def _groups(runs: "Sequence[Run]") -> list[_Group]:
    found: dict[tuple[str, str, str], dict[int | None, Run]] = {}
    tables: dict[tuple[str, str, str], dict[str, str]] = {}
    for run in runs:
        flat = _flat(
            {key: value for key, value in read_config(run.directory).table.items() if key not in BETWEEN_SEEDS}
        )
        key = (run.agent_name, run.env_id, json.dumps(flat, sort_keys=True))
        found.setdefault(key, {})[run.seed] = run
        tables[key] = flat
    groups = []
    for key, by_seed in found.items():
        rivals = [table for other, table in tables.items() if other[:2] == key[:2]]
        names = sorted({name for table in rivals for name in table})
        differing = [name for name in names if len({table.get(name) for table in rivals}) > 1]
        words = ", ".join(f"{name} {tables[key].get(name, 'none')}" for name in differing[:MOST_SETTINGS])
        words += f" and {len(differing) - MOST_SETTINGS} more" if len(differing) > MOST_SETTINGS else ""
        groups.append(_Group(list(by_seed.values()), words))
    return groups


def _flat(table: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def _spread(runs: "Sequence[Run]", name: str) -> str:
    values = np.array([run.front.indicators.get(name, float("nan")) for run in runs])
    if name == "hypervolume" and len({run.front.reference_point for run in runs}) > 1:
        return "-"
    if len(values) == 1 or np.isnan(values).any():
        return number(float(values.mean()))
    return f"{number(float(values.mean()))} ± {number(float(values.std(ddof=1)))}"


def _indicators(runs: "Sequence[Run]") -> list[str]:
    return [name for name in INDICATORS if any(name in run.front.indicators for run in runs)]


def _named(runs: "Sequence[Run]", dropped: int) -> list[Column]:
    """Return the columns of agent and environment, where they differ."""
    columns = []
    for title, names in (("agent", [run.agent_name for run in runs]), ("env", [run.env_id for run in runs])):
        if len(set(names)) > 1:
            columns.append(Column(title=title, cells=tuple(names), dropped=dropped, left=True))
    return columns


def _common(runs: "Sequence[Run]") -> str:
    """Return what all runs have in common, as the end of a title."""
    agents = {run.agent_name for run in runs}
    envs = {run.env_id for run in runs}
    agent = f" of {next(iter(agents))}" if len(agents) == 1 else ""
    return f"{agent} on {next(iter(envs))}" if len(envs) == 1 else agent


def _steps(run: "Run") -> str:
    steps = run.training_steps
    return "-" if steps is None else f"{steps:,}"
