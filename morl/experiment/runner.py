"""Train, resume, load: everything that surrounds an agent, whatever the agent is.

The agent owns its loop, a generator; the runner owns evaluation for the record, logs, checkpoints, time limits and
Ctrl-C. One run is one folder (docs/decisions.md names its files).
"""

import shlex
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from morl.agents import find_agent
from morl.envs.registry import EnvBuilder, env_name, problem
from morl.evaluation import Returns
from morl.experiment import checkpoint
from morl.experiment.front import Front, normalised_preference, read_front
from morl.experiment.interrupt import stop_on_signals
from morl.experiment.policy import Policy
from morl.experiment.progress import ProgressBar
from morl.experiment.session import Session, build_evaluator
from morl.experiment.settings import Settings, file_arguments, parse, resolve, to_toml
from morl.learning.processor import prepared_processor, resolve_device
from morl.protocols import Problem
from morl.seeding import derived_seed


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

    def policy(self, preference: Sequence[float]) -> Policy:
        """Return the policy that serves a preference best, ready to `predict`.

        It is the member of the front with the highest utility w.J. Where the agent's network is conditioned on
        preferences, it acts under the preference that produced that point: what was measured is what you get.

        Args:
            preference: [objective] weights >= 0; scaled to sum one.

        Raises:
            ValueError: the preference has the wrong length or a negative weight, or a policy file is damaged.
        """
        row = self.best_row(preference)
        weights = normalised_preference(preference, self.front.objectives)
        conditioning, policy_id = self.front.preferences[row], int(self.front.policy_ids[row])
        return Policy(self._agent(), self.problem.observation_space, weights, conditioning, policy_id)

    def best_row(self, preference: Sequence[float]) -> int:
        """Return the row of the front that has the highest utility w.J for a preference; arguments as for `policy`."""
        return int((self.front.points @ normalised_preference(preference, self.front.objectives)).argmax())

    def evaluate(self, preference: Sequence[float] | None = None, episodes: int = 10, seed: int = 0) -> Returns:
        """Return mean returns on fresh episodes: one row for the policy of a preference, or one for each of the front.

        Args:
            preference: [objective] as for `policy`; the whole front where not given.
            episodes: episodes of each row.
            seed: of the evaluation; it shares no stream with training.
        """
        if episodes < 1:
            raise ValueError(f"episodes is {episodes}, but must be at least 1")
        rows = slice(None) if preference is None else [self.best_row(preference)]
        policies, preferences = self.front.policy_ids[rows], self.front.preferences[rows]
        evaluator = build_evaluator(self.env, self.settings.env_options, self.front.discount)
        returns = evaluator(self._agent().act, policies, preferences, episodes, derived_seed(seed, "user evaluation"))
        evaluator.close()
        return returns

    def _agent(self) -> Any:
        """Return the agent with its policies, as far as acting needs it."""
        cpu = resolve_device("cpu")
        agent = find_agent(self.algorithm)(self.problem, self.settings.agent, self.settings.seed, 1, cpu)
        files = {int(file.stem): file for file in (self.directory / "policies").glob("*.pt")}
        if not files:
            raise ValueError(f"run {self.directory} has no policies yet: it stopped before its first evaluation")
        agent.import_policies({number: checkpoint.load_file(file) for number, file in sorted(files.items())})
        return agent


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
    resolved = resolve(find_agent(agent), agent, env_name(env), overrides)
    return start(agent, env, resolved, None if run_dir is None else Path(run_dir), overwrite, progress)


@prepared_processor()
def start(
    algorithm: str, env: EnvBuilder, settings: Settings[Any], run_dir: Path | None, overwrite: bool, progress: bool
) -> Run:
    """Train with resolved settings in a new run folder; the arguments are those of `train`."""
    run_dir = run_dir or default_run_dir(algorithm, env, settings)
    session = Session(algorithm, env, settings, run_dir)
    try:
        _claim(run_dir, overwrite)
        try:
            session.create_files(_environment_name(env), shlex.join(sys.argv))
            return _drive(session, settings, progress)
        except BaseException:
            if checkpoint.newest(run_dir) is None:  # nothing in it is of use to anybody
                session.close()
                shutil.rmtree(run_dir, ignore_errors=True)
            raise
    finally:
        session.close()


@prepared_processor()
def resume(
    run_dir: str | Path, total_steps: int | None = None, *, env: EnvBuilder | None = None, progress: bool = False
) -> Run:
    """Go on with a run from its newest checkpoint, exactly as if it had never stopped, and return the run.

    Args:
        run_dir: the run folder.
        total_steps: train until this many steps in all; as the run was first set where not given.
        env: the environment again, where the run was started with a callable.
        progress: show a progress bar.

    Raises:
        ValueError: there is no checkpoint, it is damaged or foreign, or the run already has that many steps.
    """
    run_dir = Path(run_dir)
    algorithm, environment, settings = _read_config(run_dir)
    newest = checkpoint.newest(run_dir)
    if newest is None:
        raise ValueError(f"run {run_dir} has no checkpoint to resume from: train it anew with --overwrite")
    if total_steps is not None:
        settings = replace(settings, total_steps=total_steps)
    session = Session(algorithm, env or environment, settings, run_dir)
    try:
        session.restore(newest)
        if session.agent.steps >= settings.total_steps:
            raise ValueError(
                f"run {run_dir} already has {session.agent.steps:,} steps: total_steps is {settings.total_steps:,},"
                " but must be greater"
            )
        session.continue_records()
        checkpoint.write_text(run_dir / "config.toml", to_toml(settings, algorithm, environment))
        return _drive(session, settings, progress)
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
    algorithm, environment, settings = _read_config(run_dir)
    known = problem(env or environment, **settings.env_options)
    discount = known.discount if settings.discount is None else settings.discount
    known_front = None if known.known_front is None else known.known_front(discount)
    return Run(run_dir, algorithm, env or environment, settings, known, read_front(run_dir / "front.json", known_front))


def default_run_dir(algorithm: str, env: EnvBuilder, settings: Settings[Any]) -> Path:
    """Return runs/<agent>/<env-id>/seed-<seed>; environment options that were given are part of the id."""
    options = "".join(f"-{key}-{value}" for key, value in sorted(settings.env_options.items()))
    return Path("runs") / algorithm.replace(":", ".") / f"{env_name(env)}{options}" / f"seed-{settings.seed}"


def _drive(session: Session, settings: Settings[Any], progress: bool) -> Run:
    """Pull the agent's loop; evaluate, log, save and stop where its state is consistent."""
    agent = session.agent
    next_evaluation = _next_multiple(agent.steps, settings.evaluate_every)
    next_log = _next_multiple(agent.steps, settings.log_every)
    next_save = time.monotonic() + 60 * settings.checkpoint_minutes
    deadline = time.monotonic() + 60 * (settings.time_limit_minutes or float("inf"))
    with ProgressBar(settings.total_steps, agent.steps, progress) as bar, stop_on_signals() as stop:
        for _ in agent.learn(session.envs, settings.total_steps, session.evaluate_keys):
            if agent.steps >= next_log:
                session.log()
                bar.update(agent.steps)
                next_log = _next_multiple(agent.steps, settings.log_every)
            if next_evaluation <= agent.steps < settings.total_steps:
                bar.show_front(agent.steps, session.evaluate(scheduled=True))
                next_evaluation = _next_multiple(agent.steps, settings.evaluate_every)
            if time.monotonic() >= next_save:
                session.save()
                next_save = time.monotonic() + 60 * settings.checkpoint_minutes
            if stop.requested or time.monotonic() >= deadline:
                break
        finished = agent.steps >= settings.total_steps
        if not finished:
            bar.say(f"stopped at step {agent.steps:,}; to go on: morl resume {session.run_dir}")
        session.save()  # before the evaluation, which may take long: from here on nothing is lost
        if finished or session.best is None:
            bar.show_front(agent.steps, session.evaluate(scheduled=agent.steps >= next_evaluation))
            session.save()  # again, with what the evaluation found
    if finished:
        session.finish()
    return load(session.run_dir, env=session.env)


def _next_multiple(steps: int, period: int) -> int:
    return (steps // period + 1) * period


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


def _read_config(run_dir: Path) -> tuple[str, str, Settings[Any]]:
    """Return algorithm, environment and settings of a run folder."""
    file = run_dir / "config.toml"
    if not file.is_file():
        raise ValueError(f"{run_dir} is not a run folder: it has no config.toml")
    algorithm, environment = _names(file)
    schema: Any = Settings[find_agent(algorithm).config_class]  # type: ignore[misc]
    return algorithm, environment, parse(schema, file_arguments(file), program=str(file))


def _names(file: Path) -> tuple[str, str]:
    table = tomllib.loads(file.read_text())
    try:
        return str(table["algorithm"]), str(table["environment"])
    except KeyError as error:
        raise ValueError(f"{file} is damaged: it does not say which {error.args[0]} the run is of") from error


def _environment_name(env: EnvBuilder) -> str:
    return env if isinstance(env, str) else env_name(env)
