"""study.toml, checked whole before anything is trained: which runs a study has, each with all its settings.

A study is a grid of variants (an agent with settings), environments and seeds, and extra rows. Settings come from,
later over earlier: presets, tuned files, the top of the file, `[run]`, the environment, the variant, the extra row.
They are resolved here, as `morl.train` would, into the config.toml of each run: what was checked is what is trained.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from morl.experiment.logger_choice import choose_loggers
from morl.experiment.messages import file_style, sentence_of, spoken
from morl.experiment.run import Run, load
from morl.experiment.settings import file_sources
from morl.experiment.toml import read_table
from morl.experiment.training import find_experiment
from morl.output_files import check_output_folder, checked_folder, checked_path
from morl.run_folder import parse_config
from morl.studies.executors import Job
from morl.studies.existing import check_existing
from morl.studies.values import (
    OWN_SETTINGS,
    Table,
    check_keys,
    count_value,
    flag_value,
    known_entry,
    merged_tables,
    name_value,
    names_value,
    run_settings,
    seeds_value,
    steps_entry,
    table_value,
)

STUDIES = Path("studies")
"""Where studies lie, unless the user says otherwise."""
STUDY = "study.json"
"""In a study's folder: which runs it has."""
FORMAT = 1
"""Of study.json."""
TOP_KEYS = ("name", "total_steps", "seeds", "envs", "cores", "loggers", "keep_checkpoints", "run", "agents", "extra")
ENV_KEYS = ("id", "name", "options", "total_steps", "run")
VARIANT_KEYS = ("agent", "preset", "config", "file", "total_steps", "envs", "run")
EXTRA_KEYS = ("variant", "env", "seeds", "total_steps", "run")
_NAME = re.compile(r"\w[\w.+@:-]*")
_LABEL = re.compile(r"\w[\w.+@:-]*(/\w[\w.+@:-]*)*")


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        variant: name of the agent with its settings.
        env: name of the environment with its options, such as "fruit-tree-v0-depth-7".
        seed: of the run.
        agent_name: the agent's name, or "module:Class".
        env_id: the environment's id, or "module:Name-v0".
        total_steps: environment steps of training.
        run_dir: the run folder.
        overrides: the settings that the study gives, as a table that `--config` would take.
        file: path of a settings file below them; None where there is none.
        config: config.toml, which holds all settings, resolved.
        cores: of the machine.
        loggers: where the run is logged.
        keep_checkpoints: whether its checkpoints stay when it is done.
    """

    variant: str
    env: str
    seed: int
    agent_name: str
    env_id: str
    total_steps: int
    run_dir: Path
    overrides: Table = field(repr=False)
    config: str = field(repr=False)
    file: str | None = None
    cores: int = 1
    loggers: tuple[str, ...] = ("tensorboard",)
    keep_checkpoints: bool = False

    @property
    def name(self) -> str:
        """Return the run's name in the study: variant, environment and seed."""
        return f"{self.variant}/{self.env}/seed-{self.seed}"

    @property
    def table(self) -> dict[str, object]:
        """Return config.toml as a nested table."""
        return parse_config(self.config.encode())

    @property
    def settings_sha256(self) -> str:
        """Return the SHA-256 of all settings but the seed: runs that differ in the seed alone share it."""
        table = {key: value for key, value in self.table.items() if key != "seed"}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()

    def load(self) -> Run:
        """Return the run from its folder.

        Raises:
            ValueError: it has no front yet, or is damaged.
        """
        return load(self.run_dir, trust=True)

    def job(self, command: Sequence[str] = ("morl", "study"), paths: Sequence[str] = ()) -> Job:
        """Return the run as an executor takes it.

        Args:
            command: the words that command.txt records.
            paths: folders in which modules of the user's own are looked for.
        """
        return Job(
            run_dir=str(self.run_dir.absolute()),
            config=self.config,
            cores=self.cores,
            loggers=self.loggers,
            command=tuple(command),
            paths=tuple(paths),
            keep_checkpoints=self.keep_checkpoints,
        )


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study, checked.

    Attributes:
        name: of the study.
        folder: holds its run folders and study.json.
        file: the study.toml; None where the study was given as a table.
        runs: all runs, variant by variant, environment by environment, seed by seed, extra rows last.
        cores: of the machine, for each run.
        notes: what planning said of settings, such as schedules that were shortened, one sentence each.
        warnings: what is logged when the study begins, one sentence each.
    """

    name: str
    folder: Path
    file: Path | None
    runs: tuple[PlannedRun, ...]
    cores: int = 1
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return what study.json holds."""
        return {
            "format": FORMAT,
            "name": self.name,
            "file": None if self.file is None else str(self.file.absolute()),
            "runs": [
                {
                    "variant": run.variant,
                    "env": run.env,
                    "seed": run.seed,
                    "folder": run.run_dir.relative_to(self.folder).as_posix(),
                    "total_steps": run.total_steps,
                    "settings_sha256": run.settings_sha256,
                }
                for run in self.runs
            ],
        }


def read_study(source: "str | Path | Table | Study", folder: str | Path = STUDIES, refuse_others: bool = True) -> Study:
    """Return a study, checked whole; nothing is written.

    Args:
        source: the path of a study.toml, or what such a file holds.
        folder: where studies lie; the runs of this one go to <folder>/<name>/<variant>/<env>/seed-<seed>.
        refuse_others: refuse a study whose run folders hold other runs than it asks for; False to look at the study:
            status and tables name such runs instead.

    Raises:
        ValueError: something is wrong with the study, in one sentence.
        FileExistsError: the folder exists and is no folder.
        TypeError: the folder is no path.
    """
    if isinstance(source, Study):
        check_existing(source.runs, refuse_others)
        return source
    check = check_output_folder if refuse_others else checked_folder
    place = check(spoken("--folder", "folder"), folder)
    if isinstance(source, Mapping):
        with file_style():
            return _Planner(source, place, None).study(refuse_others)
    if not isinstance(source, str | Path):
        raise ValueError(f"study is {source!r:.100}, but must be the path of a study.toml, or what such a file holds")
    file = checked_path("study", source)
    table = read_table(file, "study")
    try:
        with file_style():
            return _Planner(table, place, file).study(refuse_others)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


# --- The parts of the file --------------------------------------------------------------------------------------------


class _Variant(NamedTuple):
    """An entry of `[agents]`."""

    name: str
    agent_name: str
    settings: Table
    """As a table that `--config` takes."""
    file: str | None
    """Path of a settings file below them."""
    envs: tuple[str, ...] | None
    """The environments that it is trained on; None: all."""


class _Env(NamedTuple):
    """An entry of `envs`."""

    name: str
    env_id: str
    settings: Table


class _Row(NamedTuple):
    """A variant on an environment, with some seeds."""

    where: str
    variant: _Variant
    env: _Env
    seeds: tuple[int, ...]
    settings: Table


class _Planner:
    """Turns one study.toml into a `Study`.

    Args:
        table: the file.
        folder: where studies lie.
        file: its path; None where there is none.
    """

    def __init__(self, table: Table, folder: Path, file: Path | None) -> None:
        check_keys("the study", table, TOP_KEYS)
        self._table = table
        self._beside = Path() if file is None else file.parent
        self._file = file
        default = None if file is None else file.stem
        self._name = name_value("name", table.get("name", default), _NAME)
        self._folder = folder / self._name.replace(":", ".")
        self._cores = count_value("cores", table.get("cores", 1))
        self._loggers = names_value("loggers", table.get("loggers", ["tensorboard"]))
        self._keep_checkpoints = flag_value("keep_checkpoints", table.get("keep_checkpoints", False))
        self._common = {**steps_entry("", table), **run_settings("run", table.get("run", {}))}
        self._envs = {one.name: one for one in _envs(table.get("envs"))}
        self._variants = self._read_variants()
        self._notes: list[str] = []

    def study(self, refuse_others: bool) -> Study:
        """Return the study.

        Args:
            refuse_others: as for `read_study`.

        Raises:
            ValueError: something is wrong with it, in one sentence.
        """
        choose_loggers(self._loggers)
        runs: dict[Path, PlannedRun] = {}
        for row in self._rows():
            for run in self._runs_of(row):
                if run.run_dir in runs:
                    raise ValueError(
                        f"{row.where} asks for {run.name} a second time: give each variant, environment and seed once,"
                        " and a variant with other settings another name"
                    )
                runs[run.run_dir] = run
        if not runs:
            raise ValueError("the study has no runs: give agents and envs, or rows of [[extra]]")
        found = check_existing(tuple(runs.values()), refuse_others)
        return Study(
            name=self._name,
            folder=self._folder,
            file=self._file,
            runs=tuple(runs.values()),
            cores=self._cores,
            notes=tuple(self._notes),
            warnings=tuple(found),
        )

    def _read_variants(self) -> dict[str, _Variant]:
        given = self._table.get("agents", {})
        if isinstance(given, list | tuple):
            given = {name: {} for name in names_value("agents", given)}
        if not isinstance(given, Mapping) or not given:
            what = "agents is missing" if given in ({}, []) else f"agents is {given!r:.100}, which is neither"
            raise ValueError(f'{what}: give names, agents = ["pd-morl"], or a table [agents.NAME] for each')
        return {str(name): self._variant(str(name), entry) for name, entry in given.items()}

    def _variant(self, name: str, entry: object) -> _Variant:
        where = f"agents.{name}"
        name_value(f"agents.{name:.60}", name, _NAME)
        if name == STUDY:
            raise ValueError(f"{where} has the name of the file beside the variants' folders: give it another name")
        table = table_value(where, entry)
        check_keys(where, table, VARIANT_KEYS)
        agent = dict(table_value(f"{where}.config", table.get("config", {})))
        if "preset" in table:
            agent["preset"] = table["preset"]
        file = None if "file" not in table else str(self._beside / checked_path(f"{where}.file", table["file"]))
        settings = {**steps_entry(where, table), **run_settings(f"{where}.run", table.get("run", {}))}
        if agent:
            settings["agent"] = agent
        envs = None if "envs" not in table else names_value(f"{where}.envs", table["envs"])
        for env in envs or ():
            known_entry(f"{where}.envs", env, self._envs, "the study's envs")
        return _Variant(name, str(table.get("agent", name)), settings, file, envs)

    def _rows(self) -> Iterator[_Row]:
        """Yield the grid, variant by variant, then the extra rows."""
        extra = self._table.get("extra", [])
        if not isinstance(extra, list | tuple):
            raise ValueError(f"extra is {extra!r:.100}, but must be rows: [[extra]]")
        seeds = None if "seeds" not in self._table else seeds_value("seeds", self._table["seeds"])
        if seeds is None and not extra:
            raise ValueError("seeds is missing: give a list, such as [0, 1, 2], or how many, such as 5")
        for variant in self._variants.values():
            for env in self._envs.values() if seeds is not None else ():
                if variant.envs is None or env.name in variant.envs:
                    yield _Row(f"agents.{variant.name} on {env.name}", variant, env, seeds or (), {})
        for number, entry in enumerate(extra, start=1):
            yield self._extra_row(f"row {number} of extra", entry, seeds)

    def _extra_row(self, where: str, entry: object, seeds: tuple[int, ...] | None) -> _Row:
        table = table_value(where, entry)
        check_keys(where, table, EXTRA_KEYS)
        for name in ("variant", "env"):
            if name not in table:
                raise ValueError(f"{where} has no {name}, which it needs")
        variant = known_entry(f"variant of {where}", str(table["variant"]), self._variants, "the study's agents")
        env = _env(f"env of {where}", table["env"], self._envs)
        own = seeds if "seeds" not in table else seeds_value(f"seeds of {where}", table["seeds"])
        if own is None:
            raise ValueError(f"{where} has no seeds, and neither has the study")
        settings = {**steps_entry(where, table), **run_settings(f"run of {where}", table.get("run", {}))}
        return _Row(f"{where} ({variant.name} on {env.name})", variant, env, own, settings)

    def _runs_of(self, row: _Row) -> Iterator[PlannedRun]:
        """Yield the runs of a row.

        Raises:
            ValueError: the agent or the environment does not exist, or settings are wrong.
        """
        variant, env = row.variant, row.env
        overrides = merged_tables([self._common, env.settings, variant.settings, row.settings])
        try:
            with _noted(row.where, self._notes):
                experiment = find_experiment(variant.agent_name, env.env_id, [*file_sources(variant.file), overrides])
            experiment.check_agent()
            configs = {seed: experiment.with_seed(seed).to_toml() for seed in row.seeds}
        except Exception as error:  # of an environment's constructor too
            raise ValueError(f"{row.where}: {sentence_of(error)}") from error
        if experiment.settings.time_limit_minutes is not None:
            raise ValueError(f"{row.where}: time_limit_minutes is set: use {OWN_SETTINGS['time_limit_minutes']}")
        place = self._folder / variant.name.replace(":", ".") / PurePosixPath(env.name.replace(":", "."))
        for seed, config in configs.items():
            yield PlannedRun(
                variant=variant.name,
                env=env.name,
                seed=seed,
                agent_name=variant.agent_name,
                env_id=env.env_id,
                total_steps=experiment.settings.total_steps,
                run_dir=place / f"seed-{seed}",
                overrides=overrides,
                config=config,
                file=variant.file,
                cores=self._cores,
                loggers=self._loggers,
                keep_checkpoints=self._keep_checkpoints,
            )


def _envs(value: object) -> list[_Env]:
    """Return the environments of the study."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ValueError(f"envs is {value!r:.100}, but must be a list of ids, or of tables with an id and options")
    envs = [_env(f"entry {number} of envs", entry, {}) for number, entry in enumerate(value, start=1)]
    names = [one.name for one in envs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"envs has {twice} twice, but must have each environment once, or under another name")
    return envs


def _env(where: str, entry: object, envs: Mapping[str, _Env]) -> _Env:
    """Return an environment.

    Args:
        where: for the error.
        entry: the name of one of `envs`, an id, or a table.
        envs: the environments of the study, by name.
    """
    if isinstance(entry, str) and entry in envs:
        return envs[entry]
    table = {"id": entry} if isinstance(entry, str) else table_value(where, entry)
    check_keys(where, table, ENV_KEYS)
    env_id = table.get("id")
    if not isinstance(env_id, str):
        raise ValueError(f"{where} has the id {env_id!r:.100}, but must have the id of an environment")
    options = table_value(f"options of {where}", table.get("options", {}))
    label = env_id + "".join(f"-{key}-{value}" for key, value in sorted(options.items()))
    name = name_value(f"name of {where}", table.get("name", label), _LABEL)
    settings = {
        **steps_entry(f"entry {env_id} of envs", table),
        **run_settings(f"run of {where}", table.get("run", {})),
    }
    return _Env(name, env_id, settings | ({"env_options": options} if options else {}))


@contextmanager
def _noted(where: str, notes: list[str]) -> Iterator[None]:
    """Collect what is logged in the block as notes, instead of printing it."""
    logger = logging.getLogger("morl")
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(f"{where}: {record.getMessage()}")  # type: ignore[method-assign]
    propagates = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
