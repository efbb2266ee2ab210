"""`morl.resume`: a run resumed from its newest checkpoint ends as if it had never stopped."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from morl.envs.core.types import EnvBuilder
from morl.experiment import checkpoint
from morl.experiment.checkpointing import saved_units
from morl.experiment.files import refuse_link
from morl.experiment.logger_choice import loggers_to_resume
from morl.experiment.loggers import Chosen
from morl.experiment.loop import OnStep, drive, is_concluded
from morl.experiment.ownership import OwnedFolder, clean_up, recover
from morl.experiment.run import Run, experiment_of, load, refuse_diverged_run
from morl.experiment.session import Session
from morl.learning.processor import prepared_processor
from morl.learning.types import Device
from morl.output_files import checked_path
from morl.run_folder import CHECKPOINTS, EVENTS, POLICIES


@prepared_processor()
def resume(
    run_dir: str | Path,
    total_steps: float | None = None,
    *,
    device: Device | None = None,
    env: EnvBuilder | None = None,
    trust: bool = False,
    progress: bool | None = None,
    on_step: OnStep | None = None,
    loggers: Sequence[Chosen] | None = None,
) -> Run:
    """Resume a run from its newest checkpoint, exactly as if it had never stopped, and return the run.

    If the last evaluation was interrupted, it is repeated. If front.json of a complete run is missing or damaged, it
    is written again.

    Args:
        run_dir: the run folder.
        total_steps: train until this many steps in all (1e6 works too); default: the number at its start.
        device: "cpu" or "cuda", the device from now on; default: the one used before. On another device the run
            continues with other random numbers and roundings, with a warning.
        env: the environment, if the run was started with a callable.
        trust: import the modules that the run folder names for agent, environment and loggers, which run as your own
            code, and log to the servers that it names.
        progress: show a progress bar; default: in a terminal or notebook.
        on_step: as in `morl.train`; runs do not store it.
        loggers: as in `morl.train`; W&B and MLflow continue the same run; default: the loggers used before.

    Raises:
        ValueError: there is no checkpoint, it is damaged or foreign, another process owns the folder, or the run
            already has that many steps.
        KeyboardInterrupt: Ctrl-C; the run is saved. SIGTERM: SystemExit.
    """
    path = checked_path("run_dir", run_dir)
    with ExitStack() as stack:
        stack.enter_context(OwnedFolder.of_run(path))
        recover(path)
        for name in (CHECKPOINTS, POLICIES, EVENTS):
            refuse_link(path / name)
        newest = checkpoint.newest(path)
        refuse_diverged_run(path)
        experiment = experiment_of(path, env, trust)
        if newest is None:
            raise ValueError(f"run {path} has no checkpoint to resume from: overwrite it with a new one")
        if total_steps is not None:
            experiment = experiment.with_total_steps(total_steps)
        if device is not None:
            experiment = experiment.with_device(device)
        choice = loggers_to_resume(path, loggers, trust)
        session = stack.enter_context(closing(Session(experiment, path, units=saved_units(newest), loggers=choice)))
        marks = session.checkpointing.restore(newest)
        if is_concluded(session) and _front_is_lost(path):
            # The last evaluation is repeated where it is no scheduled one: a checkpoint holds the front of those only.
            period = experiment.settings.evaluate_every
            session.reporter.evaluated_steps = session.agent.steps // period * period
            if is_concluded(session):
                clean_up(path)
                session.reporter.publish_again()
                return load(path, experiment=experiment)
        if is_concluded(session):
            clean_up(path)
            checkpoint.rotate(path)
            raise ValueError(
                f"run {path} already has {session.agent.steps:,} steps: total_steps is"
                f" {experiment.settings.total_steps:,}, but must be greater"
            )
        clean_up(path)
        session.continue_records(marks, moved=session.checkpointing.moved)
        drive([session], session.agent, progress, on_step)
    return load(path, experiment=experiment)


def _front_is_lost(run_dir: Path) -> bool:
    """Return whether the front.json of a run is missing or damaged."""
    try:
        load(run_dir)
    except ValueError:
        return True
    return False
