"""The trials of a tuning on a Ray cluster: this process asks Optuna and tells it, and nodes train the runs.

Each trial has a thread here, which claims it in the journal as any process of a tuning does. Its runs are Ray tasks, as
those of a study are: what a lost worker, node or driver costs is the time since the newest checkpoint. A run reports
each evaluation to this process and waits for the answer, so that a trial is pruned at the same evaluation as on one
machine. The journal needs no folder that nodes share.
"""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from morl.experiment.interrupt import raise_for, stop_on_signals
from morl.studies.executors import Executor, Job, JobResult, Report
from morl.studies.ray_executor import ray_executor
from morl.studies.trials import Trials, Watcher

if TYPE_CHECKING:
    from morl.studies.tuning_plan import Tuning

POLL_SECONDS = 0.1
"""Between two looks at the cluster; a report waits about as long for its answer."""


class Dispatcher:
    """Trains the runs of several threads by one executor, which the main thread alone calls.

    Attributes:
        is_stopping: whether no further run begins.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: list[Job] = []
        self._ends: dict[Path, Future[JobResult]] = {}
        self._watchers: dict[Path, Watcher] = {}
        self.is_stopping = False

    def train(self, job: Job, watcher: Watcher) -> JobResult:
        """Return how a job ended, once it has; called in the thread of its trial.

        Args:
            job: the job.
            watcher: answers its reports.
        """
        run_dir = Path(job.run_dir)
        end: Future[JobResult] = Future()
        with self._lock:
            if self.is_stopping:
                return JobResult(run_dir=run_dir, ending="stopped", began=False)
            self._watchers[run_dir] = watcher
            self._ends[run_dir] = end
            self._new.append(job)
        return end.result()

    def answer(self, run_dir: Path, report: Report) -> bool:
        """Return whether a run ends that has reported an evaluation."""
        return self._watchers[run_dir].answer(report)

    def serve(self, executor: Executor) -> None:
        """Submit new jobs, answer reports, and hand on how jobs ended."""
        with self._lock:
            for job in self._new:
                executor.submit(job)
            self._new.clear()
        if not self._ends:
            time.sleep(POLL_SECONDS)
        for result in executor.poll(POLL_SECONDS):
            self._ends.pop(result.run_dir).set_result(result)

    def stop(self, executor: Executor) -> None:
        """Stop all runs, saved, and let no other begin; the second call does not wait for those that still save."""
        with self._lock:
            self.is_stopping = True
        executor.cancel()

    def abandon(self) -> None:
        """Say of all runs that are left that they were stopped: nobody looks for them any more."""
        with self._lock:
            self.is_stopping = True
            for run_dir, end in self._ends.items():
                end.set_result(JobResult(run_dir=run_dir, ending="stopped"))
            self._ends.clear()


class _Threads:
    """The threads that make trials, each one after another.

    Args:
        tuning: the tuning.
        tell: is called with a line about each trial.
        dispatcher: trains their runs.

    Attributes:
        errors: why threads ended that did not end well.
    """

    def __init__(self, tuning: "Tuning", tell: Callable[[str], None], dispatcher: Dispatcher) -> None:
        self.errors: list[Exception] = []
        self._tuning = tuning
        self._tell = tell
        self._dispatcher = dispatcher
        minutes = tuning.search.minutes
        self._deadline = math.inf if minutes is None else time.monotonic() + 60.0 * minutes
        self._threads: list[threading.Thread] = []

    @property
    def are_over(self) -> bool:
        """Return whether all that were started have ended."""
        return bool(self._threads) and not any(thread.is_alive() for thread in self._threads)

    def grow(self, count: int) -> None:
        """Start threads until there are `count`, or as many as trials."""
        while len(self._threads) < min(count, self._tuning.search.trials):
            thread = threading.Thread(target=self._work, name=f"trials {len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            seconds = self._deadline - time.monotonic()
            Trials(self._tuning, self._tell, seconds, self._dispatcher.train).work()
        except KeyboardInterrupt:  # its run was stopped, and is saved
            pass
        except Exception as error:
            self.errors.append(error)


def make_trials(
    tuning: "Tuning", address: str, workers: int | None, tell: Callable[[str], None], shared: bool | None = None
) -> None:
    """Make the trials of a tuning that are missing on a Ray cluster.

    Args:
        tuning: the tuning.
        address: of the cluster, as `ray_executor` takes it.
        workers: trials at once, also more than there is room for; default: as many as there is room for, also when the
            cluster grows.
        tell: is called with a line about each trial.
        shared: as in `ray_executor`.

    Raises:
        ValueError: there is no such cluster, the settings of the file itself do not work, or trials fail in a row.
        KeyboardInterrupt: Ctrl-C; the trials are saved. SIGTERM: SystemExit.
    """
    dispatcher = Dispatcher()
    executor = ray_executor(address, workers, shared, tuning.study.cores, dispatcher.answer)
    threads = _Threads(tuning, tell, dispatcher)
    try:
        with stop_on_signals() as stop:
            while not threads.are_over:
                if not dispatcher.is_stopping:
                    threads.grow(executor.workers if workers is None else workers)
                dispatcher.serve(executor)
                if (stop.requested or threads.errors) and not dispatcher.is_stopping:
                    dispatcher.stop(executor)
    except BaseException:  # a second signal, or the journal cannot be written
        with suppress(Exception):
            dispatcher.stop(executor)
            dispatcher.stop(executor)
        raise
    finally:
        dispatcher.abandon()
        threads.join()
        executor.close()
    if threads.errors:
        raise threads.errors[0]
    if stop.number is not None:
        raise_for(stop.number, f"tuning {tuning.name} is saved; to resume it, start it again")
