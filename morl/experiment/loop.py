"""The loop around an agent's own: evaluate, log, save and stop where its state is consistent."""

import time
from collections.abc import Sequence
from typing import Any

from morl.envs.backends.concat import concat_envs
from morl.experiment.interrupt import stop_on_signals
from morl.experiment.progress import ProgressBar
from morl.experiment.session import Session


def drive(sessions: Sequence[Session], agent: Any, progress: bool) -> None:
    """Pull the agent's loop until its steps are done, its time is over or somebody asks it to stop.

    Args:
        sessions: one for each learner of the agent; their settings differ in the seed alone.
        agent: all learners.
        progress: show a progress bar.
    """
    settings = sessions[0].settings
    # Of a run that has all its steps, and was killed in its last evaluation, the last step is looked at again.
    seen = agent.steps - settings.num_envs if agent.steps >= settings.total_steps else agent.steps
    next_evaluation = _next_multiple(seen, settings.evaluate_every)
    next_log = _next_multiple(agent.steps + agent.pretraining_steps, settings.log_every)
    next_save = time.monotonic() + 60 * settings.checkpoint_minutes
    deadline = time.monotonic() + 60 * (settings.time_limit_minutes or float("inf"))
    envs = concat_envs([session.envs for session in sessions])
    evaluates = [session.evaluate_keys for session in sessions]
    with ProgressBar(settings.total_steps, agent.steps, progress) as bar, stop_on_signals() as stop:
        for _ in agent.learn(envs, settings.total_steps, *evaluates):
            if agent.steps + agent.pretraining_steps >= next_log:
                _log(sessions, bar)
                next_log = _next_multiple(agent.steps + agent.pretraining_steps, settings.log_every)
            if next_evaluation <= agent.steps < settings.total_steps:
                _evaluate(sessions, bar, scheduled=True)
                next_evaluation = _next_multiple(agent.steps, settings.evaluate_every)
            if time.monotonic() >= next_save:
                _save(sessions)
                next_save = time.monotonic() + 60 * settings.checkpoint_minutes
            if stop.requested or time.monotonic() >= deadline:
                break
        _conclude(sessions, bar, agent.steps >= settings.total_steps, agent.steps >= next_evaluation)


def _conclude(sessions: Sequence[Session], bar: ProgressBar, finished: bool, scheduled: bool) -> None:
    """Save what there is; evaluate where the run is at its end, or was stopped before its first evaluation."""
    _save(sessions)  # before the evaluation, which may take long: from here on nothing is lost
    if finished or sessions[0].best is None:
        _evaluate(sessions, bar, scheduled)
        _save(sessions)  # again, with what the evaluation found
    for session in sessions:
        if finished:
            session.finish()
        else:
            bar.say(f"stopped at step {session.agent.steps:,}; to go on: morl resume {session.run_dir}")


def _log(sessions: Sequence[Session], bar: ProgressBar) -> None:
    agent = sessions[0].agent
    if agent.steps == 0:  # records go by training steps: of what comes before them there is none
        bar.update(0, f"pre-training, {agent.pretraining_steps:,} steps")
        return
    for session in sessions:
        session.log()
    bar.update(agent.steps, "training")


def _evaluate(sessions: Sequence[Session], bar: ProgressBar, scheduled: bool) -> None:
    for session in sessions:
        label = f"seed {session.settings.seed}  " if len(sessions) > 1 else ""
        bar.show_front(session.agent.steps, session.evaluate(scheduled), label)


def _save(sessions: Sequence[Session]) -> None:
    for session in sessions:
        session.save()


def _next_multiple(steps: int, period: int) -> int:
    return (steps // period + 1) * period
