"""Train, resume, load: everything that surrounds an agent, whatever the agent is.

The agent owns its loop, a generator; the runner owns evaluation for the record, logs, checkpoints, time limits and
Ctrl-C. One run is one folder (docs/decisions.md names its files).
"""

import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.acting import PolicyBank
from morl.agents import find_agent
from morl.envs.core.registry import EnvBuilder, env_name, problem
from morl.evaluation import Returns
from morl.experiment import checkpoint
from morl.experiment.front import Front, normalised_preference, read_front
from morl.experiment.loop import drive
from morl.experiment.policy import Policy
from morl.experiment.population import Member
from morl.experiment.session import Session, build_agent, build_evaluator, stated_problem
from morl.experiment.settings import Settings, file_arguments, parse, resolve, to_toml
from morl.learning.processor import prepared_processor, resolve_device
from morl.policy_files import PolicyData
from morl.protocols import Problem
from morl.seeding import derived_seed
from morl.utilities import linear

Utility = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""(points [n, objective], weights [objective]) -> values [n]."""


@dataclass(frozen=True)
class Run:
    """A run folder and what it holds.

    Attributes:
        directory: the run folder.
        algorithm: the agent's name.
        env: the environment, as it was given.
        settings: the resolved settings.
        front: the latest front.
        problem: the environment's spaces, objectives and known front.
    """

    directory: Path
    algorithm: str
    env: EnvBuilder
    settings: Settings[Any]
    problem: Problem
    front: Front

    def policy(
        self, preference: Sequence[float] | None = None, *, row: int | None = None, utility: Utility = linear
    ) -> Policy:
        """Return the policy that serves a preference best, or the one behind a row of the front, ready to `predict`.

        It is the member of the front with the highest utility, w.J if nothing else is said. Where the agent's network
        is conditioned on preferences, it acts under the preference that produced that point: what was measured is what
        you get.

        Args:
            preference: [objective] weights >= 0; scaled to sum one.
            row: a row of `front.points`, instead of a preference: any other way to choose ends in one.
            utility: (points [n, objective], weights [objective]) -> values [n], such as those of `morl.utilities` with
                their other arguments filled in.

        Raises:
            ValueError: the preference has the wrong length or a negative weight, there is no such row, both or neither
                are given, or a policy file is damaged.
        """
        row = self._row(preference, row, utility)
        if preference is None:
            weights = self.front.preferences[row]
        else:
            weights = normalised_preference(preference, self.front.objectives)
        conditioning, policy_id = self.front.preferences[row], int(self.front.policy_ids[row])
        return Policy(self._agent(), self.problem.observation_space, weights, conditioning, policy_id)

    def best_row(self, preference: Sequence[float], utility: Utility = linear) -> int:
        """Return the row of the front that has the highest utility for a preference; arguments as for `policy`.

        Where constraints were given, only rows that break them least, or not at all, are looked at.
        """
        weights = normalised_preference(preference, self.front.objectives)
        allowed = np.flatnonzero(self.front.violations == self.front.violations.min())
        return int(allowed[np.argmax(utility(self.front.points[allowed], weights))])

    def _row(self, preference: Sequence[float] | None, row: int | None, utility: Utility = linear) -> int:
        if (preference is None) == (row is None):
            raise ValueError(f"one of preference and row must be given, not {preference} and {row}")
        if row is None:
            assert preference is not None
            return self.best_row(preference, utility)
        if not 0 <= row < len(self.front.points):
            raise ValueError(f"row is {row}, but must lie between 0 and {len(self.front.points) - 1}")
        return row

    def evaluate(
        self, preference: Sequence[float] | None = None, episodes: int = 10, seed: int = 0, *, row: int | None = None
    ) -> Returns:
        """Return mean returns on fresh episodes: one row for one policy, or one for each of the front.

        Args:
            preference: [objective] as for `policy`; the whole front where neither it nor a row is given.
            episodes: episodes of each row.
            seed: of the evaluation; it shares no stream with training.
            row: of `front.points`, as for `policy`.
        """
        if episodes < 1:
            raise ValueError(f"episodes is {episodes}, but must be at least 1")
        rows = slice(None) if preference is None and row is None else [self._row(preference, row)]
        policies, preferences = self.front.policy_ids[rows], self.front.preferences[rows]
        evaluator = build_evaluator(self.env, self.settings.env_options, self.front.discount)
        returns = evaluator(self._agent().act, policies, preferences, episodes, derived_seed(seed, "user evaluation"))
        evaluator.close()
        return returns

    def _agent(self) -> Any:
        """Return the agent with its policies, as far as acting needs it."""
        cpu = resolve_device("cpu")
        agent_class = find_agent(self.algorithm, self.problem.action_space)
        agent = agent_class(self.problem, self.settings.agent, self.settings.seed, self.settings.num_envs, cpu)
        files = {int(file.stem): file for file in (self.directory / "policies").glob("*.pt")}
        if not files:
            raise ValueError(f"run {self.directory} has no policies yet: it stopped before its first evaluation")
        policies = {number: checkpoint.load_file(file) for number, file in sorted(files.items())}
        states = {number: state for number, state in policies.items() if "spec" in state}
        if states:  # for the transition to `morl.acting` (branch P): on merging, the runner's own version wins
            loaded = {number: PolicyData.of_state_dict(state) for number, state in states.items()}
            bank = PolicyBank(next(iter(loaded.values())).spec, cpu)
            for number, data in loaded.items():
                bank.add(number, data)
            return _SavedPolicies(bank)
        agent.import_policies(policies)
        return agent


class _SavedPolicies:
    """Acts with saved policies, for the transition to `morl.acting` (branch P): on merging, the runner's wins."""

    def __init__(self, bank: PolicyBank) -> None:
        self.bank = bank

    def act(
        self, observations: Any, preferences: NDArray[np.float64], policies: NDArray[np.int64], masks: Any = None
    ) -> NDArray[Any]:
        """Return the actions [env, ...] of policies [env] under preferences [env, objective]."""
        return self.bank.act(observations, preferences, policies, masks=masks)


def train(
    agent: str,
    env: EnvBuilder,
    *,
    total_steps: int | None = None,
    seed: int | None = None,
    run_dir: str | Path | None = None,
    device: str | None = None,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool = False,
    **settings: Any,
) -> Run:
    """Train an agent on an environment and return the run.

    Args:
        agent: name of an agent (`morl list agents`), or your own "module:Class".
        env: any Gymnasium id, "module:Name-v0", or a callable that builds an environment with a vector reward.
        total_steps: environment steps of training.
        seed: the one integer that every random stream is derived from.
        run_dir: the run folder; `runs/<agent>/<env-id>/seed-<seed>` where not given.
        device: "auto", "cpu" or "cuda".
        config: settings of the agent, such as {"learning_rate": 1e-3}.
        overwrite: replace a run folder that exists.
        progress: show a progress bar.
        settings: further fields of `morl.experiment.settings.Settings`: num_envs=64, env_options={"depth": 7}, ...

    Raises:
        ValueError: something is wrong with the input, in one sentence; nothing is left behind.
        FileExistsError: the run folder exists and `overwrite` is False.
    """
    overrides = {"total_steps": total_steps, "seed": seed, "device": device, "agent": config, **settings}
    resolved = _resolve(agent, env, overrides)
    return start(agent, env, resolved, None if run_dir is None else [Path(run_dir)], overwrite, progress)[0]


def train_seeds(
    agent: str,
    env: EnvBuilder,
    seeds: Sequence[int],
    *,
    run_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
    **settings: Any,
) -> list[Run]:
    """Train an agent once for each seed, all in one process, and return the runs.

    Agents that can (PD-MORL) train all seeds as one batch, which costs far less than one after another; every run is
    what `train` makes of its seed, to rounding, in a run folder of its own.

    Args:
        agent: as for `train`.
        env: as for `train`.
        seeds: different integers.
        run_dir: folder that holds the run folders seed-<seed>; `runs/<agent>/<env-id>` where not given.
        overwrite: as for `train`.
        progress: as for `train`.
        settings: everything else that `train` takes: total_steps=..., device=..., config=...

    Raises:
        ValueError: as `train`, or seeds are missing or appear twice.
        FileExistsError: as `train`.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {list(seeds)}, but must be different integers")
    overrides = {"agent" if name == "config" else name: value for name, value in settings.items()}
    resolved = _resolve(agent, env, *[overrides | {"seed": seed} for seed in seeds])
    run_dirs = None if run_dir is None else [Path(run_dir) / f"seed-{seed}" for seed in seeds]
    return start(agent, env, resolved, run_dirs, overwrite, progress)


def start(
    algorithm: str,
    env: EnvBuilder,
    settings: Sequence[Settings[Any]],
    run_dirs: Sequence[Path] | None,
    overwrite: bool,
    progress: bool,
) -> list[Run]:
    """Train with resolved settings that differ in the seed alone, in new run folders; arguments are as for `train`."""
    folders = run_dirs or [default_run_dir(algorithm, env, one) for one in settings]
    agent_class = find_agent(algorithm, stated_problem(env, settings[0]).action_space)
    if len(settings) == 1 or getattr(agent_class, "several_learners", False):
        return _start_together(algorithm, env, settings, folders, overwrite, progress)
    return [
        _start_together(algorithm, env, [one], [folder], overwrite, progress)[0]
        for one, folder in zip(settings, folders, strict=True)
    ]


@prepared_processor()
def _start_together(
    algorithm: str,
    env: EnvBuilder,
    settings: Sequence[Settings[Any]],
    folders: Sequence[Path],
    overwrite: bool,
    progress: bool,
) -> list[Run]:
    if len(settings) == 1:
        sessions = [Session(algorithm, env, settings[0], folders[0])]
        agent: Any = sessions[0].agent
    else:
        seeds = tuple(one.seed for one in settings)
        agent = build_agent(algorithm, stated_problem(env, settings[0]), settings[0], seeds)
        sessions = [
            Session(algorithm, env, one, folder, Member(agent, learner))
            for learner, (one, folder) in enumerate(zip(settings, folders, strict=True))
        ]
    claimed: list[Path] = []
    try:
        for session in sessions:
            _claim(session.run_dir, overwrite)
            claimed.append(session.run_dir)
            session.create_files(_environment_name(env), shlex.join(sys.argv))
        drive(sessions, agent, progress)
        return [load(folder, env=env) for folder in folders]
    except BaseException:
        for folder in claimed:
            if checkpoint.newest(folder) is None:  # nothing in it is of use to anybody
                for session in sessions:
                    session.close()
                shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for session in sessions:
            session.close()


@prepared_processor()
def resume(
    run_dir: str | Path, total_steps: int | None = None, *, env: EnvBuilder | None = None, progress: bool = False
) -> Run:
    """Go on with a run from its newest checkpoint, exactly as if it had never stopped, and return the run.

    A run that was killed while it was evaluated for the last time is evaluated.

    Args:
        run_dir: the run folder.
        total_steps: train until this many steps in all; as the run was first set where not given.
        env: the environment again, where the run was started with a callable.
        progress: show a progress bar.

    Raises:
        ValueError: there is no checkpoint, it is damaged or foreign, or the run already has that many steps.
    """
    run_dir = Path(run_dir)
    algorithm, environment, settings = _read_config(run_dir, env)
    newest = checkpoint.newest(run_dir)
    if newest is None:
        raise ValueError(f"run {run_dir} has no checkpoint to resume from: train it anew with --overwrite")
    planned = settings.total_steps
    if total_steps is not None:
        settings = replace(settings, total_steps=total_steps)
    session = Session(algorithm, env or environment, settings, run_dir)
    try:
        session.restore(newest)
        evaluated = settings.total_steps != planned or session.published_steps() >= session.agent.steps
        if session.agent.steps >= settings.total_steps and evaluated:
            raise ValueError(
                f"run {run_dir} already has {session.agent.steps:,} steps: total_steps is {settings.total_steps:,},"
                " but must be greater"
            )
        session.continue_records()
        checkpoint.write_text(run_dir / "config.toml", to_toml(settings, algorithm, environment))
        drive([session], session.agent, progress)
        return load(run_dir, env=env)
    finally:
        session.close()


def load(run_dir: str | Path, *, env: EnvBuilder | None = None) -> Run:
    """Return a run from its folder, to look at its front and act with its policies.

    Args:
        run_dir: the run folder.
        env: the environment again, where the run was started with a callable.

    Raises:
        ValueError: the folder is not that of a run, or is damaged.
    """
    run_dir = Path(run_dir)
    algorithm, environment, settings = _read_config(run_dir, env)
    known = problem(env or environment, **settings.env_options)
    discount = known.discount if settings.discount is None else settings.discount
    known_front = None if known.known_front is None else known.known_front(discount)
    return Run(run_dir, algorithm, env or environment, settings, known, read_front(run_dir / "front.json", known_front))


def default_run_dir(algorithm: str, env: EnvBuilder, settings: Settings[Any]) -> Path:
    """Return runs/<agent>/<env-id>/seed-<seed>; environment options that were given are part of the id."""
    options = "".join(f"-{key}-{value}" for key, value in sorted(settings.env_options.items()))
    return Path("runs") / algorithm.replace(":", ".") / f"{env_name(env)}{options}" / f"seed-{settings.seed}"


def _resolve(agent: str, env: EnvBuilder, *overrides: Mapping[str, Any]) -> list[Settings[Any]]:
    """Return the settings of runs that differ in the seed alone; each of `overrides` as for `resolve`."""
    action_space = problem(env, **(overrides[0].get("env_options") or {})).action_space
    agent_class = find_agent(agent, action_space)
    return [resolve(agent_class, agent, env_name(env), one) for one in overrides]


def _claim(run_dir: Path, overwrite: bool) -> None:
    """Make the run folder; with `overwrite`, remove the run that it holds."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        if not overwrite:
            raise FileExistsError(
                f"run folder {run_dir} exists: choose another --run-dir, continue it with `morl resume {run_dir}`,"
                " or replace it with --overwrite"
            )
        if not (run_dir / "config.toml").is_file():
            raise FileExistsError(f"{run_dir} exists and does not hold a run, so that --overwrite will not remove it")
        shutil.rmtree(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)


def _read_config(run_dir: Path, env: EnvBuilder | None) -> tuple[str, str, Settings[Any]]:
    """Return algorithm, environment and settings of a run folder."""
    file = run_dir / "config.toml"
    if not file.is_file():
        raise ValueError(f"{run_dir} is not a run folder: it has no config.toml")
    arguments = file_arguments(file)
    table = tomllib.loads(file.read_text())
    try:
        algorithm, environment = str(table["algorithm"]), str(table["environment"])
    except KeyError as error:
        raise ValueError(f"{file} is damaged: it does not say which {error.args[0]} the run is of") from error
    action_space = problem(env or environment, **table.get("env_options", {})).action_space
    schema: Any = Settings[find_agent(algorithm, action_space).config_class]  # type: ignore[misc]
    return algorithm, environment, parse(schema, arguments, program=str(file))


def _environment_name(env: EnvBuilder) -> str:
    return env if isinstance(env, str) else env_name(env)
