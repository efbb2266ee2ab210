"""The loop around an agent's own: evaluate, log, save and stop where its state is consistent."""

import time
from collections.abc import Sequence
from typing import Any

from morl.envs.backends.concat import concat_envs
from morl.experiment.interrupt import stop_on_signals
from morl.experiment.progress import ProgressBar, is_watched
from morl.experiment.session import Session


def drive(sessions: Sequence[Session], agent: Any, progress: bool | None) -> None:
    """Run the agent's loop until its steps are done, its time is over or somebody asks it to stop.

    Args:
        sessions: one for each learner of the agent; their settings differ in the seed alone.
        agent: all learners.
        progress: show a progress bar; None: where somebody watches.
    """
    settings = sessions[0].experiment.settings
    next_log = _next_multiple(agent.steps + agent.pretraining_steps, settings.log_every)
    next_save = time.monotonic() + 60 * settings.checkpoint_minutes
    deadline = time.monotonic() + 60 * (settings.time_limit_minutes or float("inf"))
    envs = concat_envs([session.envs for session in sessions])
    evaluates = [session.units.evaluate(session.reporter.evaluate_for_learning) for session in sessions]
    visible = is_watched() if progress is None else progress
    with ProgressBar(settings.total_steps, agent.steps, visible) as bar, stop_on_signals() as stop:
        if agent.steps < settings.total_steps and evaluation_is_due(sessions[0]):
            _evaluate(sessions, bar, scheduled=True)  # the process ended before it was made
        for _ in agent.learn(envs, settings.total_steps, *evaluates):
            if agent.steps + agent.pretraining_steps >= next_log:
                _log(sessions, bar)
                next_log = _next_multiple(agent.steps + agent.pretraining_steps, settings.log_every)
            if agent.steps < settings.total_steps and evaluation_is_due(sessions[0]):
                _evaluate(sessions, bar, scheduled=True)
            if time.monotonic() >= next_save:
                _save(sessions)
                next_save = time.monotonic() + 60 * settings.checkpoint_minutes
            if stop.requested or time.monotonic() >= deadline:
                break
        _conclude(sessions, bar, finished=agent.steps >= settings.total_steps)


def evaluation_is_due(session: Session) -> bool:
    """Return whether the schedule asks for an evaluation at this step or an earlier one that was not made."""
    period = session.experiment.settings.evaluate_every
    last_due = session.agent.steps // period * period
    return last_due > 0 and session.reporter.evaluated_steps < last_due


def is_concluded(session: Session) -> bool:
    """Return whether a run has all its steps and its last evaluation."""
    steps = session.agent.steps
    return steps >= session.experiment.settings.total_steps and session.reporter.evaluated_steps >= steps


def _conclude(sessions: Sequence[Session], bar: ProgressBar, finished: bool) -> None:
    """Save what there is; evaluate where the run is at its end, or was stopped before its first evaluation."""
    _save(sessions)  # before the evaluation, which may take long: from here on nothing is lost
    if finished or sessions[0].reporter.best is None:
        _evaluate(sessions, bar, evaluation_is_due(sessions[0]))
        if finished:
            for session in sessions:
                session.reporter.finish()
        _save(sessions)  # again, with what the evaluation found: this concludes the run
    if not finished:
        for session in sessions:
            bar.say(f"stopped at step {session.agent.steps:,}; to resume: morl resume {session.run_dir}")


def _log(sessions: Sequence[Session], bar: ProgressBar) -> None:
    agent = sessions[0].agent
    if agent.steps == 0:  # records go by training steps: of what comes before them there is none
        bar.update(0, f"pre-training, {agent.pretraining_steps:,} steps")
        return
    for session in sessions:
        session.reporter.log()
    bar.update(agent.steps, "training")


def _evaluate(sessions: Sequence[Session], bar: ProgressBar, scheduled: bool) -> None:
    for session in sessions:
        label = f"seed {session.experiment.settings.seed}  " if len(sessions) > 1 else ""
        bar.show_front(session.agent.steps, session.reporter.evaluate(scheduled), label)
        session.commit()


def _save(sessions: Sequence[Session]) -> None:
    for session in sessions:
        session.checkpointing.save()


def _next_multiple(steps: int, period: int) -> int:
    return (steps // period + 1) * period
