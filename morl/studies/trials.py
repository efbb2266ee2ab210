"""The trials of a tuning as one process makes them: claim one, train its runs, prune it or tell what it reached."""

import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from optuna.trial import Trial, TrialState

from morl.experiment.ownership import FolderInUse, locked
from morl.run_folder import CHECKPOINTS, EVALUATIONS, parse_evaluation
from morl.studies.executors import Job, JobResult, Report
from morl.studies.objective import INDICATOR, combined
from morl.studies.optuna_study import FAILURE, VIOLATION, open_study, suggest
from morl.studies.pruning import Schedule
from morl.studies.tuned import Tuned
from morl.studies.tuning_plan import Tuning, evaluate_every
from morl.studies.worker import perform

if TYPE_CHECKING:
    from morl.experiment.on_step import Progress
    from morl.studies.plan import PlannedRun

JOURNAL = "journal.log"
"""In the tuning's folder: Optuna's journal, which is all that a tuning remembers."""
SETTINGS = "settings_sha256"
"""Attribute of Optuna's study: what its trials have in common."""
TURN_SECONDS = 0.05
"""Between two tries to lock the tuning's folder, which others hold for milliseconds."""
MOST_FAILURES = 3
"""Trials in a row whose failure ends the process: it is no fault of their settings then."""


_PLANNING = threading.Lock()
"""Held while a trial is planned: that exchanges handlers of the logger, which threads share."""


class Claim(NamedTuple):
    """A trial that belongs to this process as long as the lock is held."""

    trial: Trial
    lock: ExitStack


class Trials:
    """One process that makes trials; others may do so at the same time.

    Args:
        tuning: the tuning.
        tell: is called with a line about each trial that ends.
        seconds: no trial begins later than this.
        train: trains the run of a job, whose reports the watcher answers; default: this process does.

    Raises:
        ValueError: the tuning's folder holds trials with other settings.
        OSError: the journal cannot be written.
    """

    def __init__(
        self, tuning: Tuning, tell: Callable[[str], None], seconds: float = math.inf, train: "Train | None" = None
    ) -> None:
        self._tuning = tuning
        self._tell = tell
        self._perform = perform if train is None else train
        self._deadline = time.monotonic() + seconds
        self._schedule = tuning.schedule
        self._failures = 0
        tuning.folder.mkdir(parents=True, exist_ok=True)
        with _turn(tuning.folder):
            self._journal = open_study(
                tuning.folder / JOURNAL, tuning.name, tuning.search.seed, tuning.space, self._schedule
            )
            found = self._journal.user_attrs.get(SETTINGS)
            if found is None:
                self._journal.set_user_attr(SETTINGS, tuning.sha256)
        if found not in (None, tuning.sha256):
            raise ValueError(
                f"{tuning.folder} holds trials with other settings, ranges or objective: give the tuning another name,"
                " or remove the folder"
            )

    @property
    def tuned(self) -> Tuned:
        """Return what the tuning has found so far."""
        return Tuned.of(self._tuning, self._journal)

    def work(self) -> None:
        """Make trials until there are as many as asked for, or the time is over.

        Raises:
            ValueError: the settings of the file itself do not work.
            KeyboardInterrupt: Ctrl-C; the trial is saved, and whoever works on the tuning next resumes it.
        """
        while (claim := self._claim()) is not None:
            with claim.lock:
                self._make(claim.trial)

    def _claim(self) -> Claim | None:
        """Return a trial that another process has left, else a new one; None where there is nothing to do."""
        with _turn(self._tuning.folder):
            for left in self._journal.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                lock = self._lock(left.number)
                if lock is not None:
                    return Claim(Trial(self._journal, left._trial_id), lock)
            begun = len(self._journal.get_trials(deepcopy=False))
            if begun >= self._tuning.search.trials or time.monotonic() >= self._deadline:
                return None
            trial = self._journal.ask()
            lock = self._lock(trial.number)
            assert lock is not None, "nobody else knows of the trial"
            return Claim(trial, lock)

    def _lock(self, number: int) -> ExitStack | None:
        """Return the lock of a trial; None where another process has it."""
        folder = self._tuning.folder / f"trial-{number}"
        folder.mkdir(exist_ok=True)
        stack = ExitStack()
        try:
            stack.enter_context(locked(folder, f"trial {number} belongs to another process"))
        except FolderInUse:
            return None
        return stack

    def _make(self, trial: Trial) -> None:
        """Train the runs of a trial, and tell the journal how it ended."""
        values = suggest(trial, self._tuning.space) if trial.number else {}
        words = ", ".join(f"{name.removeprefix('agent.')} {_short(value)}" for name, value in values.items())
        start = time.monotonic()
        try:
            ending = self._train(trial, values)
            self._failures = 0
        except ValueError as error:
            self._failures += 1
            if trial.number == 0 or self._failures == MOST_FAILURES:
                raise
            trial.set_user_attr(FAILURE, str(error))
            self._journal.tell(trial, state=TrialState.FAIL)
            ending = f"failed: {error}"
        seconds = time.monotonic() - start
        for folder in sorted((self._tuning.folder / f"trial-{trial.number}").glob(f"**/{CHECKPOINTS}")):
            shutil.rmtree(folder)  # nobody resumes it
        with _turn(self._tuning.folder):
            tuned = self.tuned
            tuned.write()
        best = "" if tuned.best is None else f" (best {tuned.value:.6g}, trial {tuned.best.number})"
        self._tell(f"trial {trial.number}: {ending}{best}, {seconds:.0f} s; {words or 'the settings of the file'}")

    def _train(self, trial: Trial, values: Mapping[str, object]) -> str:
        """Train the runs of a trial, one after another; return how it ended, in words.

        Raises:
            ValueError: a run failed.
            KeyboardInterrupt: somebody stopped it.
        """
        with _PLANNING:
            study = self._tuning.trial(trial.number, values)
        search = self._tuning.search
        measured = []
        for number, planned in enumerate(study.runs):
            watcher = Watcher(trial, self._schedule, number, planned, INDICATOR[search.objective])
            watcher.catch_up()
            job = replace(
                planned.job(("morl", "tune"), [path or str(Path.cwd()) for path in sys.path]),
                reports=self._schedule is not None,
                objective=search.objective,
                episodes=search.episodes,
            )
            result = None if watcher.pruned else self._perform(job, watcher)
            if result is not None and result.ending == "failed":
                raise ValueError(result.sentence)
            watcher.catch_up()
            if watcher.pruned:
                self._journal.tell(trial, state=TrialState.PRUNED)
                return "pruned"
            if result is None or result.ending == "stopped":
                raise KeyboardInterrupt(f"tuning {self._tuning.name} is saved; to resume it, start it again")
            assert result.measured is not None, "the job has an objective"
            measured.append((planned.env, result.measured))
        violation = max(one.violation for _, one in measured)
        value = combined((env, one.value) for env, one in measured)
        trial.set_user_attr("runs", [one.value for _, one in measured])
        if self._tuning.constrained:
            trial.set_constraint(VIOLATION, violation)
        self._journal.tell(trial, value)
        broken = f", breaks a bound by {violation:.2%} of its size" if violation else ""
        return f"{search.objective} {value:.6g}{broken}"


class Watcher:
    """`on_step` of a trial's run: reports each evaluation to the journal, and prunes the trial.

    Args:
        trial: the trial.
        schedule: evaluations of each run of a trial; None: nothing is reported.
        number: of the run in the trial.
        planned: the run.
        indicator: the name of the indicator that is reported: its best value so far in the run.

    Attributes:
        pruned: whether the trial is worse than others, so that it ends.
    """

    def __init__(
        self, trial: Trial, schedule: tuple[int, ...] | None, number: int, planned: "PlannedRun", indicator: str
    ) -> None:
        self._trial = trial
        self._schedule = None if schedule is None else Schedule(schedule)
        self._number = number
        self._planned = planned
        self._indicator = indicator
        self._period = evaluate_every(planned)
        self._best = -math.inf
        self.pruned = False
        self._reported: set[int] = set(trial.storage.get_trial(trial._trial_id).intermediate_values)

    def __call__(self, progress: "Progress") -> bool:
        """Report a new evaluation; return whether the trial is pruned."""
        if progress.new_front and progress.front is not None:
            return self.answer(Report(progress.front.training_steps, progress.indicators))
        return self.pruned

    def answer(self, report: Report) -> bool:
        """Take a new evaluation of the run; return whether the trial is pruned."""
        self._report(report.training_steps, report.indicators.get(self._indicator))
        return self.pruned

    def catch_up(self) -> None:
        """Report the evaluations of the run folder that a process which died has not reported."""
        try:
            lines = (self._planned.run_dir / EVALUATIONS).read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return
        for line in lines:
            evaluation = parse_evaluation(line)
            self._report(evaluation.training_steps, evaluation.indicators.get(self._indicator))

    def _report(self, steps: int, value: float | None) -> None:
        if self._schedule is None or value is None:
            return
        self._best = max(self._best, value)
        last = steps >= self._planned.total_steps
        evaluation = self._schedule.evaluations[self._number] if last else steps // self._period
        place = self._schedule.place(self._number, evaluation)
        if place not in self._reported:
            self._reported.add(place)
            self._trial.report(self._best, place)
        self.pruned = self.pruned or self._trial.should_prune()


Train: TypeAlias = Callable[[Job, Watcher], JobResult]
"""Trains the run of a job and returns how it ended; the watcher sees its evaluations, and may end it."""


def _turn(folder: Path) -> ExitStack:
    """Return the lock of the tuning's folder, once nobody else has it."""
    while True:
        stack = ExitStack()
        try:
            stack.enter_context(locked(folder, "another process claims a trial"))
        except FolderInUse:
            time.sleep(TURN_SECONDS)
        else:
            return stack


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
