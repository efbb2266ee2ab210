"""The loop around an agent's own: evaluate, log, save and stop where its state is consistent."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from morl.envs.backends.concat import concat_envs
from morl.experiment.compiling import checked_while_compiling
from morl.experiment.divergence import Diverged, refuse_diverged_parameters
from morl.experiment.interrupt import Stopped, StopRequest, raise_for, stop_on_signals
from morl.experiment.messages import how_to_resume
from morl.experiment.on_step import OnStep as OnStep  # part of the names of this module
from morl.experiment.on_step import StepObserver
from morl.experiment.progress import ProgressBar, is_watched
from morl.experiment.session import Session

FIRST_SAVE_SECONDS = 1.0
"""A first checkpoint is saved after this many seconds, the next ones after twice as many each, up to the period that
the settings say: a run that fails loses at most half of its time, or this period."""
SAVING_SHARE = 0.02
"""Until then, checkpoints take at most this share of a run's time."""


def drive(sessions: Sequence[Session], agent: Any, progress: bool | None, on_step: OnStep | None = None) -> None:
    """Run the agent's loop until its steps are done, its time is over or somebody asks it to stop.

    Args:
        sessions: one for each learner of the agent; their settings differ in the seed alone.
        agent: all learners.
        progress: show a progress bar; None: where somebody watches.
        on_step: sees the run at each of the agent's yields, and after the last evaluation; True ends it.

    Raises:
        KeyboardInterrupt: Ctrl-C; the run is saved.
        SystemExit: SIGTERM, with code 143; the run is saved.
        Exception: whatever the agent, the environment or `on_step` raises; a note says how to resume.
    """
    settings = sessions[0].experiment.settings
    for session in sessions:
        session.checkpointing.remember_start()
    visible = is_watched() if progress is None else progress
    with (
        ProgressBar(settings.total_steps, agent.steps, visible) as bar,
        stop_on_signals() as stop,
        checked_while_compiling(stop.check, stop.check_wait),
    ):
        for session in sessions:
            session.evaluator.before_step = session.episodes.before_step = stop.check
        loop = Loop(sessions, agent, bar, stop, StepObserver(on_step, sessions))
        try:
            loop.run()
        except Stopped:
            for hint in loop.fall_back():
                bar.say(hint)
        except Diverged as error:
            for note in loop.record_divergence(error):
                error.add_note(note)
            raise
        except Exception as error:
            for hint in loop.fall_back():
                error.add_note(hint)
            raise
        if stop.number is not None:
            raise_for(stop.number, "; ".join(_resume_hints(sessions)))


class Loop:
    """One run of `drive`.

    Args:
        sessions: one for each learner of the agent.
        agent: all learners.
        bar: shows the progress.
        stop: whether somebody asked the run to stop.
        observer: calls the user's `on_step`.
    """

    def __init__(
        self, sessions: Sequence[Session], agent: Any, bar: ProgressBar, stop: StopRequest, observer: StepObserver
    ) -> None:
        self.sessions = sessions
        self.observer = observer
        self.agent = agent
        self.bar = bar
        self.stop = stop
        self.settings = sessions[0].experiment.settings
        self.deadline = time.monotonic() + 60 * (self.settings.time_limit_minutes or float("inf"))
        self._next_log = self._next_multiple()
        self._pretraining = agent.steps == 0
        self._save_period = min(FIRST_SAVE_SECONDS, 60 * self.settings.checkpoint_minutes)
        self._next_save = time.monotonic() + self._save_period

    def run(self) -> None:
        """Run the agent's loop, and conclude the run.

        Raises:
            Stopped: the agent was stopped where its state is not consistent.
        """
        agent = self.agent
        envs = concat_envs([session.envs for session in self.sessions])
        evaluates = [session.units.evaluate(session.reporter.evaluate_for_learning) for session in self.sessions]
        ends = self._evaluate_if_due()  # the process ended before it was made
        if not ends and self.observer.has_new_front():
            ends = self._observe()
        if not ends:
            for _ in self._explained(agent.learn(envs, self.settings.total_steps, *evaluates)):
                self._log_if_due()
                ends = self._evaluate_if_due() or self._observe()
                if ends or self.stop.requested or time.monotonic() >= self.deadline:
                    break
                if time.monotonic() >= self._next_save:
                    self._save()
        self._conclude(finished=agent.steps >= self.settings.total_steps)

    def _explained(self, learning: Iterator[None]) -> Iterator[None]:
        """Yield as the agent does; an error that diverged parameters explain is raised as `Diverged`.

        An action of parameters that are not numbers may be any, one that the environment forbids included.
        """
        try:
            yield from learning
        except Diverged:
            raise
        except Exception as error:
            try:
                for session in self.sessions:
                    session.reporter.exported_policies()
            except Diverged as divergence:
                raise divergence from error
            except Exception:  # an agent that failed may be unable to return its policies
                raise error from None
            raise

    def fall_back(self) -> list[str]:
        """Return how each run is resumed that ended where its state is not consistent: from its newest checkpoint.

        One that has none, but is worth keeping (it has a front, or somebody stopped it), is resumed from its start.
        """
        for session in self.sessions:
            if self.stop.requested or session.reporter.best is not None:
                with contextlib.suppress(Exception):  # the disk may be full; what ended the run is said in any case
                    session.checkpointing.save_start()
        return _resume_hints(self.sessions)

    def record_divergence(self, error: Diverged) -> list[str]:
        """Write into the run folders that the agent has diverged; return what becomes of each folder.

        Of several learners, those whose parameters are finite can be resumed, each as a run of its own.

        Args:
            error: what diverged.
        """
        self.fall_back()
        diverged = [session for session in self.sessions if _has_diverged(session)] or self.sessions
        others = [session for session in self.sessions if session not in diverged]
        return [*(session.record_divergence(error) for session in diverged), *_resume_hints(others)]

    def _conclude(self, finished: bool) -> None:
        """Save what there is; evaluate at the end of the run, or where its time is over before its first evaluation."""
        self._save()  # before the evaluation, which may take long: from here on nothing is lost
        unknown = self.sessions[0].reporter.best is None and not self.stop.requested
        if finished or unknown:
            if self._evaluate(evaluation_is_due(self.sessions[0])):
                finished = False
            else:
                self._observe_last_front()
            if finished:
                for session in self.sessions:
                    session.reporter.finish()
            self._save()  # again, with what the evaluation found: this concludes the run
        if not finished:
            for hint in _resume_hints(self.sessions):
                self.bar.say(hint)

    def _observe(self) -> bool:
        """Call the user's `on_step`; return whether it ends the run.

        The agent's state is consistent: what the function raises ends the run like a stop.
        """
        try:
            return self.observer()
        except Exception:
            self._save_before_raising()
            raise
        except BaseException:  # such as KeyboardInterrupt, the function's own, or a second signal, which stops at once
            if not self.stop.requested:
                self._save_before_raising()
                for hint in _resume_hints(self.sessions):
                    self.bar.say(hint)
            raise

    def _observe_last_front(self) -> None:
        """Show the front of the last evaluation to `on_step`; there is nothing left that it could end."""
        if self.observer.has_new_front():
            self._observe()

    def _save_before_raising(self) -> None:
        with contextlib.suppress(Exception):  # the error that is raised is the first one
            self._save()

    def _log_if_due(self) -> None:
        """Log at every multiple of `log_every`; what belongs to pre-training, apart from training and before it.

        Raises:
            Diverged: a parameter that an agent learns is not finite, or too large to compute with.
        """
        agent = self.agent
        if self._pretraining and agent.steps > 0:
            self._pretraining = False
            if agent.pretraining_steps > 0:
                self._log_pretraining()
        if agent.steps + agent.pretraining_steps < self._next_log:
            return
        self._next_log = self._next_multiple()
        for session in self.sessions:
            refuse_diverged_parameters(session.agent)
        if agent.steps == 0:
            self._log_pretraining()
            self.bar.update(0, f"pre-training, {agent.pretraining_steps:,} steps")
            return
        for session in self.sessions:
            session.reporter.log()
        self.bar.update(agent.steps, "training")

    def _log_pretraining(self) -> None:
        for session in self.sessions:
            session.reporter.log_pretraining()

    def _next_multiple(self) -> int:
        """Return the number of steps, those of pre-training included, at which the next line of the log is due."""
        steps: int = self.agent.steps + self.agent.pretraining_steps
        period = self.settings.log_every
        return (steps // period + 1) * period

    def _evaluate_if_due(self) -> bool:
        """Evaluate where the schedule says so; return whether that was stopped."""
        due = self.agent.steps < self.settings.total_steps and evaluation_is_due(self.sessions[0])
        return due and self._evaluate(scheduled=True)

    def _evaluate(self, scheduled: bool) -> bool:
        """Evaluate all learners; return whether that was stopped, which leaves nothing of the evaluation that was cut.

        The agent's state is consistent: where an environment fails, it is saved.
        """
        for session in self.sessions:
            label = f"seed {session.experiment.settings.seed}  " if len(self.sessions) > 1 else ""
            try:
                with _saved_on_failure(session):
                    front = session.reporter.evaluate(scheduled)
            except Stopped:
                return True
            self.bar.show_front(session.agent.steps, front, label)
            session.commit()
        return False

    def _save(self) -> None:
        """Save all learners, and plan the next checkpoint."""
        start = time.monotonic()
        for session in self.sessions:
            session.checkpointing.save()
        now = time.monotonic()
        longest = 60 * self.settings.checkpoint_minutes
        self._save_period = min(longest, max(2 * self._save_period, (now - start) / SAVING_SHARE))
        self._next_save = now + self._save_period


def evaluation_is_due(session: Session) -> bool:
    """Return whether the schedule asks for an evaluation at this step or an earlier one that was not made."""
    period = session.experiment.settings.evaluate_every
    last_due = session.agent.steps // period * period
    return last_due > 0 and session.reporter.evaluated_steps < last_due


def is_concluded(session: Session) -> bool:
    """Return whether a run has all its steps and its last evaluation."""
    steps = session.agent.steps
    return steps >= session.experiment.settings.total_steps and session.reporter.evaluated_steps >= steps


def _has_diverged(session: Session) -> bool:
    """Return whether parameters of a run's agent are no longer finite."""
    try:
        session.reporter.exported_policies()
    except Diverged:
        return True
    except Exception:  # an agent that failed may be unable to return its policies
        return False
    return False


@contextlib.contextmanager
def _saved_on_failure(session: Session) -> Iterator[None]:
    """Save the run where the block raises an error before it has recorded anything."""
    recorder = session.reporter.recorder
    assert recorder is not None
    before = recorder.marks
    try:
        yield
    except Exception:
        if recorder.marks == before:
            with contextlib.suppress(Exception):  # the error that is raised is the first one
                session.checkpointing.save()
        raise


def _resume_hints(sessions: Sequence[Session]) -> list[str]:
    """Return how to resume each run that has a checkpoint; a run may be complete already."""
    hints = []
    for session in sessions:
        step = session.checkpointing.newest_step()
        if is_concluded(session):
            hints.append(f"the run {session.run_dir} is complete")
        elif step is not None:
            how = how_to_resume(session.run_dir)
            until = f"up to step {step:,}" if step > 0 else "before its first step of training"
            hints.append(f"the run is saved {until}; to resume: {how}")
    return hints
