"""tune.toml, checked whole before the first trial: what is searched, and how.

The file is a study.toml with one agent and two more tables: `[ranges]` and `[tune]`. Every trial is a study of its own,
with the values of the trial in the place of the ranges, so that it is checked and trained as any other study.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast

from morl.experiment.messages import spoken
from morl.experiment.parsing import arguments, parse
from morl.experiment.toml import read_table
from morl.experiment.training import experiment_of_table
from morl.output_files import check_output_folder, checked_path
from morl.studies.plan import PlannedRun, Study, read_study
from morl.studies.search_settings import Search
from morl.studies.search_spaces import AGENT, Choice, Range, SearchSpace, default_space, parse_ranges

if TYPE_CHECKING:
    from morl.experiment.components import Experiment
    from morl.studies.values import Table

TUNINGS = Path("tunings")
"""Where tunings lie, unless the user says otherwise."""
RUN_SETTINGS = ("num_envs", "reward_units")
"""Settings of a run, beside those of its agent, that may have a range; others decide what is measured, or for how long
it is learned."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A tuning, checked.

    Attributes:
        name: of the tuning.
        folder: holds its journal, its trials and what they found.
        table: the study that every trial changes.
        variant: the name of its one agent.
        search: how settings are searched.
        space: the settings that are searched.
        study: the study of trial 0, which changes nothing.
        source: what the file holds, for other processes.
        parent: where tunings lie.
    """

    name: str
    folder: Path
    table: "Table" = field(repr=False)
    variant: str
    search: Search
    space: SearchSpace
    study: Study
    source: "Table" = field(repr=False)
    parent: Path

    def trial(self, number: int, values: Mapping[str, object]) -> Study:
        """Return the study of a trial, checked.

        Args:
            number: of the trial.
            values: setting of the space -> its value.

        Raises:
            ValueError: the settings do not work together.
        """
        return _trial(self.table, self.folder, f"trial-{number}", values)

    def variant_with(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return the entry of `agents` with other values of some settings."""
        return _changed(_agents(self.table)[self.variant], values)

    @property
    def constrained(self) -> bool:
        """Return whether the user has bounded objectives, which only the fronts of whole runs are measured against."""
        config = tomllib.loads(self.study.runs[0].config)
        agent = config.get("agent")
        return isinstance(agent, Mapping) and bool(agent.get("constraints"))

    @property
    def schedule(self) -> tuple[int, ...] | None:
        """Return the number of evaluations of each run of a trial; None where no trial is pruned."""
        if not self.search.prune or self.constrained:
            return None
        return tuple(math.ceil(run.total_steps / evaluate_every(run)) for run in self.study.runs)

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of all that makes trials comparable: they must not be mixed with others."""
        searched = {name: repr(self.space[name]) for name in sorted(self.space)}
        how = {name: getattr(self.search, name) for name in ("objective", "episodes", "prune", "seed")}
        settings = [run.config for run in self.study.runs]
        return hashlib.sha256(json.dumps([settings, searched, how]).encode()).hexdigest()


def evaluate_every(run: PlannedRun) -> int:
    """Return the environment steps between two evaluations of a planned run."""
    steps = tomllib.loads(run.config)["evaluate_every"]
    assert isinstance(steps, int)
    return steps


def read_tuning(source: "str | Path | Table", folder: str | Path = TUNINGS) -> Tuning:
    """Return a tuning, checked whole; nothing is written.

    Args:
        source: the path of a tune.toml, or what such a file holds.
        folder: where tunings lie; this one goes to <folder>/<name>.

    Raises:
        ValueError: something is wrong with the file, in one sentence.
    """
    place = check_output_folder(spoken("--folder", "folder"), folder)
    if isinstance(source, Mapping):
        return _read(dict(source), place)
    file = checked_path("tuning", source)
    table = read_table(file, "tuning")
    try:
        return _read({"name": file.stem} | _with_absolute_files(table, file.parent), place)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _read(given: dict[str, object], folder: Path) -> Tuning:
    table = dict(given)
    search = _search(table.pop("tune", {}))
    ranges = table.pop("ranges", {})
    if not isinstance(ranges, Mapping):
        raise ValueError(f"ranges is {ranges!r:.100}, but must be a table of settings")
    name = str(table.get("name", ""))
    table = {"loggers": []} | table | {"agents": _agents(table)}
    place = folder / name.replace(":", ".")
    study = _trial(table, place, "trial-0", {})
    experiments = {run.env: experiment_of_table(tomllib.loads(run.config)) for run in study.runs}
    for env, experiment in experiments.items():
        if experiment.problem.reference_point is None:
            raise ValueError(
                f"{env} has no reference point, from which trials are measured: give reference_point in the table run"
            )
    space = _default(search, study, list(experiments.values())) | parse_ranges(ranges)
    if not space:
        raise ValueError('there is nothing to search: give [ranges], or space = "default" in the table tune')
    for setting in space:
        _check_name(setting, list(experiments.values()))
    _check_values(space, table, place)
    (variant,) = _agents(table)
    return Tuning(
        name=name,
        folder=place,
        table=table,
        variant=variant,
        search=search,
        space=space,
        study=study,
        source=given,
        parent=folder,
    )


def _search(table: object) -> Search:
    """Return the table `[tune]`, checked.

    Raises:
        ValueError: a name or value is wrong.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"tune is {table!r:.100}, but must be a table")
    try:
        return parse(Search, list(arguments(table)), "morl tune", style="file")
    except ValueError as error:
        raise ValueError(f"table tune: {error}") from None


def _agents(table: "Table") -> dict[str, dict[str, object]]:
    """Return the one agent of a table as an entry of `agents`.

    Raises:
        ValueError: there is none, or more than one.
    """
    agents = table.get("agents", {})
    if isinstance(agents, list | tuple):
        agents = {str(name): {} for name in agents}
    if not isinstance(agents, Mapping) or len(agents) != 1 or not isinstance(next(iter(agents.values())), Mapping):
        raise ValueError(
            f'agents is {agents!r:.100}, but a tuning has exactly one: agents = ["pd-morl"], or a table [agents.NAME]'
        )
    return {str(name): dict(entry) for name, entry in agents.items()}


def _with_absolute_files(table: dict[str, object], beside: Path) -> dict[str, object]:
    """Return a table in which the agents' settings files are found from any folder."""
    agents = table.get("agents")
    if not isinstance(agents, Mapping):
        return table
    entries = {
        name: {**entry, "file": str((beside / checked_path(f"agents.{name}.file", entry["file"])).absolute())}
        if isinstance(entry, Mapping) and "file" in entry
        else entry
        for name, entry in agents.items()
    }
    return table | {"agents": entries}


# --- Ranges -----------------------------------------------------------------------------------------------------------


def _default(search: Search, study: Study, experiments: "list[Experiment]") -> dict[str, Range | Choice]:
    """Return the shipped search space of the agent, where it is asked for.

    Raises:
        ValueError: there is none, or the environments have actions of several kinds.
    """
    if search.space == "none":
        return {}
    kinds = sorted({type(one.problem.action_space).__name__ for one in experiments})
    if len(kinds) > 1:
        raise ValueError(
            f"space is {search.space!r}, but the environments have actions of several kinds, {' and '.join(kinds)}:"
            " write the ranges under [ranges]"
        )
    steps = min(run.total_steps for run in study.runs)
    return default_space(study.runs[0].agent_name, kinds[0], steps)


def _check_name(setting: str, experiments: "list[Experiment]") -> None:
    """Check that a setting exists, and that it is one that can be tuned.

    Raises:
        ValueError: it is not; the nearest names are in the message.
    """
    for experiment in experiments:
        settings = [one.name for one in fields(cast(type, experiment.agent_class.config_class))]
        known = [*RUN_SETTINGS, f"{AGENT}preset", *(f"{AGENT}{name}" for name in settings)]
        if setting not in known:
            near = get_close_matches(setting, known, n=3, cutoff=0.5) or [*RUN_SETTINGS, f"{AGENT}..."]
            raise ValueError(
                f"ranges has {setting}, which cannot be tuned for {experiment.agent_name}; the nearest are"
                f" {', '.join(near)}"
            )


def _check_values(space: SearchSpace, table: "Table", folder: Path) -> None:
    """Check each value at the ends of a range alone, and all first and all last values together.

    Raises:
        ValueError: a trial with such values would fail.
    """
    alone = [{name: value} for name, one in space.items() for value in one.examples]
    together = [{name: one.examples[place] for name, one in space.items()} for place in (0, -1)]
    for values in [*alone, *together]:
        try:
            _trial(table, folder, "trial", values)
        except ValueError as error:
            spelled = ", ".join(f"{name} = {value!r}" for name, value in values.items())
            raise ValueError(f"ranges has {spelled}, with which a trial fails: {error}") from None


def _trial(table: "Table", folder: Path, name: str, values: Mapping[str, object]) -> Study:
    """Return the study of a trial."""
    agents = {variant: _changed(entry, values) for variant, entry in _agents(table).items()}
    return read_study({**table, "name": name, "agents": agents}, folder)


def _changed(entry: Mapping[str, object], values: Mapping[str, object]) -> dict[str, object]:
    """Return an entry of `agents` with other values of some settings.

    Args:
        entry: with the tables `config` and `run`.
        values: setting, the agent's as "agent.<name>" -> value.
    """
    changed = dict(entry)
    of_agent = {name.removeprefix(AGENT): value for name, value in values.items() if name.startswith(AGENT)}
    of_run = {name: value for name, value in values.items() if not name.startswith(AGENT)}
    for key, new in (("config", of_agent), ("run", of_run)):
        if new:
            old = changed.get(key, {})
            changed[key] = {**old, **new} if isinstance(old, Mapping) else old
    if "preset" in of_agent:
        changed.pop("preset", None)
    return changed
