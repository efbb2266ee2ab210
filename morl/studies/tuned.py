"""What a tuning has found so far: the best settings as a file that `--config` takes, and a study that checks them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.study import Study as Journal
from optuna.trial import FrozenTrial, TrialState

from morl.experiment.files import write_text
from morl.experiment.toml import entry_line, toml_value, write_table
from morl.studies.optuna_study import VIOLATION, settings_of
from morl.tables import Column, ShownTable
from morl.version import VERSION, source_commit

if TYPE_CHECKING:
    from morl.studies.tuning_plan import Tuning

BEST = "best.toml"
"""In the tuning's folder: the best settings so far."""
COMPARISON = "compare.toml"
"""In the tuning's folder: a study of the file's own settings and the best ones on fresh seeds."""
FRESH_SEEDS = 5
"""Seeds of that study."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The state of a tuning.

    Attributes:
        tuning: the tuning.
        first: trial 0, which has the settings of the file itself; None while it is not complete.
        best: the best complete trial; None while there is none.
        complete: number of complete trials.
        pruned: number of trials that were worse than the median.
        failed: number of trials whose settings do not work.
    """

    tuning: "Tuning"
    first: FrozenTrial | None
    best: FrozenTrial | None
    complete: int
    pruned: int
    failed: int

    @staticmethod
    def of(tuning: "Tuning", journal: Journal) -> "Tuned":
        """Return what a journal holds."""
        trials = journal.get_trials(deepcopy=False)
        states = [trial.state for trial in trials]
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        return Tuned(
            tuning=tuning,
            first=next((trial for trial in complete if trial.number == 0), None),
            best=min(complete, key=_rank, default=None),
            complete=len(complete),
            pruned=states.count(TrialState.PRUNED),
            failed=states.count(TrialState.FAIL),
        )

    @property
    def values(self) -> dict[str, object]:
        """Return the best settings: setting of the search space -> value; empty where those of the file are the best.

        Raises:
            ValueError: no trial is complete.
        """
        return settings_of(self._complete_best, self.tuning.space)

    @property
    def value(self) -> float:
        """Return the objective of the best settings.

        Raises:
            ValueError: no trial is complete.
        """
        value = self._complete_best.value
        assert value is not None
        return value

    @property
    def file(self) -> Path:
        """Return the path of the best settings, for `--config`."""
        return self.tuning.folder / BEST

    @property
    def comparison(self) -> Path:
        """Return the path of the study that compares them with the settings of the file."""
        return self.tuning.folder / COMPARISON

    @property
    def sentence(self) -> str:
        """Return what was found, in one line."""
        counts = f"{self.complete} complete, {self.pruned} pruned, {self.failed} failed"
        if self.best is None:
            return f"tuning {self.tuning.name}: no trial is complete ({counts})"
        objective = self.tuning.search.objective
        first = "" if self.first is None else f"; with the settings of the file {self.first.value:.6g}"
        broken = violation(self.best)
        kept = f", breaking a bound by {broken:.2%} of its size" if broken else ""
        return (
            f"tuning {self.tuning.name}: the best {objective} is {self.value:.6g} (trial {self.best.number}{kept})"
            f"{first} ({counts})"
        )

    def __rich__(self) -> ShownTable:
        """Return the settings of the file and the best ones as a table for `rich.print`."""
        of_file = self._settings_of_the_file()
        columns = [
            Column(title="setting", cells=tuple(name.removeprefix("agent.") for name in of_file), key=True, left=True),
            Column(title="of the file", cells=tuple(_spelled(value) for value in of_file.values())),
        ]
        notes = []
        if self.best is not None:
            best = of_file | self.values
            columns.append(Column(title="best", cells=tuple(_spelled(best[name]) for name in of_file)))
            notes = [f"settings: {self.file}", f"compare:  morl study {self.comparison}"]
            if not self.values:
                notes.insert(0, "the settings of the file are the best")
        return ShownTable(title=self.sentence, columns=tuple(columns), notes=tuple(notes))

    def _repr_html_(self) -> str:
        """Return the same table for a notebook."""
        return self.__rich__().to_html()

    def write(self) -> None:
        """Write the best settings and the study that checks them.

        Raises:
            OSError: a file cannot be written.
        """
        if self.best is not None:
            write_text(self.file, self.to_toml())
            write_text(self.comparison, self.comparison_toml())

    def to_toml(self) -> str:
        """Return the best settings with where they come from in comments."""
        return "\n".join([*self._comments(), write_table(self._settings())])

    def comparison_toml(self) -> str:
        """Return a study of the file's own settings and the best ones, on seeds that no trial was trained with."""
        used = [run.seed for run in self.tuning.study.runs]
        table = dict(self.tuning.table)
        agents = {"defaults": self.tuning.variant_with({}), "tuned": self.tuning.variant_with(self.values)}
        for entry in agents.values():
            entry.setdefault("agent", self.tuning.variant)
        plain = {key: value for key, value in table.items() if key not in ("agents", "extra", "run", "loggers")}
        plain |= {"name": f"{self.tuning.name}-compare", "seeds": [max(used) + 1 + k for k in range(FRESH_SEEDS)]}
        lines = [
            f"# {self.tuning.name}: do the tuned settings help on seeds that chose nothing?",
            f"# morl study {self.comparison}  &&  morl study table {self.comparison}",
            *(entry_line(key, value) for key, value in plain.items() if value is not None),
        ]
        sections = {"run": table.get("run", {})} | {f"agents.{name}": entry for name, entry in agents.items()}
        for section, entries in sections.items():
            if isinstance(entries, Mapping) and entries:
                lines += ["", f"[{section}]", *(entry_line(key, value) for key, value in entries.items())]
        return "\n".join(lines) + "\n"

    @property
    def _complete_best(self) -> FrozenTrial:
        if self.best is None:
            raise ValueError(f"tuning {self.tuning.name} has no complete trial")
        return self.best

    def _comments(self) -> list[str]:
        search = self.tuning.search
        runs = self.tuning.study.runs
        envs = ", ".join(dict.fromkeys(run.env for run in runs))
        seeds = ", ".join(str(seed) for seed in dict.fromkeys(run.seed for run in runs))
        commit = source_commit()
        lines = [
            self.sentence,
            f"{runs[0].agent_name} on {envs}, seeds {seeds}, {runs[0].total_steps:,} steps; {search.objective} on"
            f" {search.episodes} fresh episodes of each policy.",
            "The best of many trials is worth less on seeds that chose nothing: compare.toml measures it.",
            f"morl {VERSION}{'' if commit is None else f', commit {commit}'}; Optuna {optuna.__version__}.",
            *(f"  {name} = {toml_value(value)}" for name, value in self.values.items()),
        ]
        return [f"# {line}" for line in lines]

    def _settings_of_the_file(self) -> dict[str, object]:
        """Return what the searched settings are without a search, where environments differ those of the first."""
        config = tomllib.loads(self.tuning.study.runs[0].config)
        agent = _table(config.get("agent"))
        return {
            name: agent.get(name.removeprefix("agent.")) if name.startswith("agent.") else config.get(name)
            for name in self.tuning.space
        }

    def _settings(self) -> dict[str, object]:
        """Return the settings of the best trial as a table that `--config` takes."""
        study = self.tuning.trial(self._complete_best.number, self.values)
        overrides = dict(study.runs[0].overrides)
        if len({run.env for run in study.runs}) > 1:
            overrides.pop("env_options", None)
        file = self.tuning.variant_with({}).get("file")
        if file is not None:
            below = tomllib.loads(Path(str(file)).read_text(encoding="utf-8-sig"))
            agent = {**_table(below.get("agent")), **_table(overrides.get("agent"))}
            overrides = {**below, **overrides, "agent": agent}
        return overrides


def violation(trial: FrozenTrial) -> float:
    """Return by how much the fronts of a trial break the user's constraints; 0 where they keep them."""
    return max(0.0, float(trial.constraints.get(VIOLATION, 0.0)))


def _rank(trial: FrozenTrial) -> tuple[float, float, int]:
    """Return what orders complete trials: those that keep constraints, then by value, the earliest of equal ones."""
    assert trial.value is not None
    return violation(trial), -trial.value, trial.number


def _spelled(value: object) -> str:
    return "-" if value is None else toml_value(value)


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
