"""`morl.train` and `morl.train_seeds`: new runs in new folders."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, cast

from morl.arguments import check_optional_switches, check_switches
from morl.envs.core.registry import EnvBuilder, env_name
from morl.experiment.components import Experiment, Task, find_task
from morl.experiment.layers import checked_options
from morl.experiment.logger_choice import choose_loggers
from morl.experiment.loggers import Chosen, LoggerChoice
from morl.experiment.loop import OnStep, drive
from morl.experiment.on_step import check_on_step
from morl.experiment.ownership import OwnedFolder
from morl.experiment.population import Member
from morl.experiment.run import Run, load
from morl.experiment.session import Session
from morl.experiment.settings import (
    SeedsArguments,
    Settings,
    SettingsArguments,
    Source,
    WholeNumber,
    env_options_of,
    resolve_config,
    resolve_sources,
)
from morl.learning.processor import prepared_processor
from morl.output_files import check_output_folder, checked_path
from morl.protocols import Agent, SeveralLearners


def train(
    agent: str,
    env: EnvBuilder,
    *,
    total_steps: WholeNumber | None = None,
    seed: int | None = None,
    run_dir: str | Path | None = None,
    device: str | None = None,
    config: Mapping[str, object] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    on_step: OnStep | None = None,
    loggers: Sequence[Chosen] | None = None,
    **settings: Unpack[SettingsArguments],
) -> Run:
    """Train an agent on an environment and return the run.

    Args:
        agent: name of an agent (`morl list agents`), or your own "module:Class".
        env: any Gymnasium id, "module:Name-v0", or a callable that builds an environment with a vector reward.
        total_steps: environment steps of training; 1e6 works too.
        seed: the one integer that every random stream is derived from.
        run_dir: the run folder; default: `runs/<agent>/<env-id>/seed-<seed>`.
        device: "auto", "cpu" or "cuda".
        config: settings of the agent, such as {"preset": "paper", "learning_rate": 1e-3}.
        overwrite: replace the run that the folder holds.
        progress: show a progress bar; default: in a terminal or notebook.
        on_step: function that is called with a `morl.Progress` whenever the state of the run is consistent; it returns
            True to end the run, which can then be resumed.
        loggers: names ("tensorboard", "csv", "wandb", "mlflow", "module:Class") and objects (`morl.WandB(...)`);
            metrics.jsonl and fronts.jsonl are written in any case; default: TensorBoard.
        settings: further fields of `morl.experiment.settings.Settings`: num_envs=64, env_options={"depth": 7}, ...

    Raises:
        ValueError: an argument is wrong; nothing is written then.
        FileExistsError: the run folder exists and `overwrite` is False.
        KeyboardInterrupt: Ctrl-C; the run is saved, and a note has the command to resume it. SIGTERM: SystemExit.
    """
    check_switches(overwrite=overwrite)
    folder = None if run_dir is None else checked_path("run_dir", run_dir)
    own = {"total_steps": total_steps, "seed": seed, "device": device, "agent": config}
    overrides: dict[str, object] = {**own, **settings}
    experiment = find_experiment(agent, env, [overrides])
    watchers = Watchers.of(progress, on_step, loggers)
    return start([experiment], None if folder is None else [folder], overwrite, watchers)[0]


def train_seeds(
    agent: str,
    env: EnvBuilder,
    seeds: Sequence[int],
    *,
    run_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    on_step: OnStep | None = None,
    loggers: Sequence[Chosen] | None = None,
    **settings: Unpack[SeedsArguments],
) -> list[Run]:
    """Train an agent once for each seed, all in one process, and return the runs.

    Agents that support it (PD-MORL) train all seeds as one batch, which is much faster than one after another. Every
    run equals the one of `train` with its seed up to rounding, and has a separate run folder.

    Args:
        agent: name of an agent, or "module:Class".
        env: Gymnasium id, "module:Name-v0", or a callable that builds an environment.
        seeds: different integers.
        run_dir: folder that holds the run folders seed-<seed>; default: `runs/<agent>/<env-id>`.
        overwrite: replace the runs that the folders hold.
        progress: show a progress bar; default: in a terminal or notebook.
        on_step: as in `train`, called for each seed. Returning True ends that seed. If all seeds train as one batch,
            the batch ends when it has returned True for all of them.
        loggers: as in `train`; each run has its own.
        settings: the other arguments of `train`: total_steps=..., device=..., config=...

    Raises:
        ValueError: an argument is wrong, or seeds are missing or appear twice.
        FileExistsError: a run folder exists and `overwrite` is False.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {list(seeds)}, but must be different integers")
    check_switches(overwrite=overwrite)
    folder = None if run_dir is None else checked_path("run_dir", run_dir)
    overrides: dict[str, object] = {"agent" if name == "config" else name: value for name, value in settings.items()}
    task = find_task(agent, env, env_options_of(agent, env_name(env), [overrides]))
    experiments = [_experiment(task, overrides | {"seed": seed}) for seed in seeds]
    run_dirs = None if folder is None else [folder / f"seed-{seed}" for seed in seeds]
    return start(experiments, run_dirs, overwrite, Watchers.of(progress, on_step, loggers))


@dataclass(frozen=True)
class Watchers:
    """What follows a run and decides nothing about its results.

    Attributes:
        progress: show a progress bar; None: where somebody watches.
        on_step: the user's function; None for none.
        loggers: of each run.
    """

    progress: bool | None
    on_step: OnStep | None
    loggers: LoggerChoice

    @staticmethod
    def of(
        progress: bool | None = None, on_step: OnStep | None = None, loggers: Sequence[Chosen] | None = None
    ) -> "Watchers":
        """Return what the user asks for, checked.

        Raises:
            ValueError: there is no such logger, `on_step` is no function, or `progress` no bool.
        """
        check_optional_switches(progress=progress)
        if on_step is not None:
            check_on_step(on_step)
        return Watchers(progress, on_step, choose_loggers(loggers))


def start(
    experiments: Sequence[Experiment], run_dirs: Sequence[Path] | None, overwrite: bool, watchers: Watchers
) -> list[Run]:
    """Train experiments that differ in the seed alone, in new run folders, and return the runs.

    Args:
        experiments: at least one.
        run_dirs: the run folders; default: `default_run_dir` of each.
        overwrite: replace the runs that the folders hold.
        watchers: progress bar, `on_step` and loggers.

    Raises:
        ValueError: a folder cannot be made or written to.
    """
    folders = run_dirs or [default_run_dir(one.agent_name, one.env, one.settings) for one in experiments]
    for folder in folders:
        check_output_folder("run_dir", folder)
    together = isinstance(experiments[0].agent_class, SeveralLearners) and experiments[0].agent_class.several_learners
    if len(experiments) == 1 or together:
        return _start_together(experiments, folders, overwrite, watchers)
    return [
        _start_together([one], [folder], overwrite, watchers)[0]
        for one, folder in zip(experiments, folders, strict=True)
    ]


def default_run_dir(agent_name: str, env: EnvBuilder, settings: Settings[Any]) -> Path:
    """Return runs/<agent>/<env-id>/seed-<seed>; environment options that were given are part of the id."""
    options = "".join(f"-{key}-{value}" for key, value in sorted(settings.env_options.items()))
    name = f"{env_name(env)}{options}".replace("/", "-").replace("\0", "-")
    return Path("runs") / agent_name.replace(":", ".") / name / f"seed-{settings.seed}"


@prepared_processor()
def _start_together(
    experiments: Sequence[Experiment], run_dirs: Sequence[Path], overwrite: bool, watchers: Watchers
) -> list[Run]:
    """Train one agent, with a learner for each experiment."""
    with ExitStack() as stack:
        if len(experiments) == 1:
            sessions = [stack.enter_context(closing(Session(experiments[0], run_dirs[0], loggers=watchers.loggers)))]
            agent: Any = sessions[0].agent
        else:
            units = experiments[0].measure_units()
            agent = experiments[0].build_agent(units, tuple(one.settings.seed for one in experiments))
            sessions = []
            for learner, (one, run_dir) in enumerate(zip(experiments, run_dirs, strict=True)):
                member = cast(Agent, Member(agent, learner))
                session = Session(one, run_dir, member, units.copy(), watchers.loggers)
                sessions.append(stack.enter_context(closing(session)))
        folders: list[OwnedFolder] = []
        try:
            for session in sessions:
                folder = stack.enter_context(OwnedFolder.for_new_run(session.run_dir, overwrite))
                folders.append(folder)
                session.create_files(folder, shlex.join(sys.argv))
            drive(sessions, agent, watchers.progress, watchers.on_step)
        except BaseException:
            for session, folder in zip(sessions, folders, strict=False):
                session.close()
                folder.withdraw()
            raise
    return [load(run_dir, experiment=experiment) for run_dir, experiment in zip(run_dirs, experiments, strict=True)]


def find_experiment(agent: str, env: EnvBuilder, sources: Sequence[Source]) -> Experiment:
    """Return the experiment of an agent in an environment, with the settings of all sources.

    Args:
        agent: name of an agent, or "module:Class".
        env: the environment.
        sources: tables of settings, later over earlier ones, above presets and tuned files.

    Raises:
        ValueError: something is wrong with the input, in one sentence.
    """
    task = find_task(agent, env, env_options_of(agent, env_name(env), sources))
    return task.experiment(resolve_sources(task.agent_class.config_class, agent, env_name(env), sources))


def experiment_of_table(table: Mapping[str, object]) -> Experiment:
    """Return the experiment that a run's config.toml describes; modules that it names are imported.

    Args:
        table: the file; `find_experiment` finds nothing that it leaves out, neither tuned files nor presets.

    Raises:
        ValueError: something is wrong with the table, in one sentence.
    """
    agent = str(table.get("agent_name"))
    task = find_task(agent, str(table.get("env")), checked_options("env_options", table.get("env_options", {})))
    return task.experiment(resolve_config(task.agent_class.config_class, agent, table))


def _experiment(task: Task, overrides: Mapping[str, object]) -> Experiment:
    config_class = task.agent_class.config_class
    return task.experiment(resolve_sources(config_class, task.agent_name, env_name(task.env), [overrides]))
