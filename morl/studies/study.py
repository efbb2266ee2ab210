"""`morl.study`: all runs of a study trained by an executor, those that exist reused, those that began resumed."""

import json
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from morl.experiment.files import write_text
from morl.experiment.interrupt import raise_for, stop_on_signals
from morl.experiment.ownership import locked
from morl.run_folder import FAILURE
from morl.studies.executors import Executor, JobResult
from morl.studies.plan import STUDIES, STUDY, PlannedRun, Study, read_study
from morl.studies.processes import Processes
from morl.studies.progress import StudyProgress, step_seconds
from morl.studies.status import StudyStatus, counted, run_status, study_status

if TYPE_CHECKING:
    from morl.studies import tables

POLL_SECONDS = 0.5
"""The executor is asked so often what has ended."""
EXECUTORS = '"processes", "ray", the address HOST:PORT of a Ray cluster, or an Executor'


def study(
    source: "str | Path | Mapping[str, object] | Study",
    *,
    executor: str | Executor = "processes",
    workers: int | None = None,
    folder: str | Path = STUDIES,
    command: Sequence[str] | None = None,
) -> "RunningStudy":
    """Train all runs of a study, in processes beside this one, and return it at once; `wait` waits for its end.

    Runs that are complete stay as they are, those that were stopped or killed are resumed, with the same bits.

    Args:
        source: the path of a study.toml, or what such a file holds as a dict.
        executor: "processes" on this machine, "ray" or the address of a Ray cluster, or an `Executor` of your own.
        workers: runs at once; default: the cores of this machine // the cores of a run.
        folder: where studies lie; run folders are <folder>/<name>/<variant>/<env>/seed-<seed>.
        command: the words that the command.txt of the runs records; default: those of this process.

    Raises:
        ValueError: something is wrong with the study, in one sentence, or another process trains it; nothing began.
    """
    planned = read_study(source, folder)
    chosen = find_executor(executor, planned, workers)
    return RunningStudy(planned, chosen, tuple(sys.argv if command is None else command))


def find_executor(executor: str | Executor, planned: Study, workers: int | None) -> Executor:
    """Return the executor that a user names; arguments as for `study`.

    Raises:
        ValueError: `workers` is given with an executor that has its own, or is no number of at least 1, or the executor
            is none.
    """
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ValueError(f"workers is {workers!r:.100}, but must be a whole number of at least 1")
    if not isinstance(executor, str):
        if not all(callable(getattr(executor, name, None)) for name in ("submit", "poll", "cancel", "close")):
            raise ValueError(f"executor is {executor!r:.100}, but must be {EXECUTORS}")
        if workers is not None:
            raise ValueError(f"workers is {workers}, but the executor that is given has its own: leave it out")
        return executor
    if executor == "processes":
        return Processes(planned.cores, workers)
    if executor not in ("ray", "auto", "local") and ":" not in executor:
        raise ValueError(f"executor is {executor!r:.100}, but must be {EXECUTORS}")
    from morl.studies.ray_executor import ray_executor

    return ray_executor("auto" if executor == "ray" else executor, workers, cores=planned.cores)


def executor_of(ray: str | None) -> str:
    """Return the executor that the option `--ray` names; "processes" where it is not given.

    Raises:
        ValueError: it is no address.
    """
    if ray is None:
        return "processes"
    from morl.studies.ray_executor import check_address

    check_address(ray)
    return ray


class RunningStudy:
    """A study whose runs are trained while Python goes on.

    Args:
        planned: the study.
        executor: trains its runs.
        command: the words that the command.txt of the runs records.

    Attributes:
        planned: the study.
        results: how the runs ended that have been trained here, in that order.
    """

    def __init__(self, planned: Study, executor: Executor, command: Sequence[str] = ("morl", "study")) -> None:
        self.planned = planned
        self.results: list[JobResult] = []
        self._executor = executor
        self._command = command
        self._stops = 0
        self._error: Exception | None = None
        try:
            planned.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            place = str(planned.folder.parent)
            raise ValueError(f"folder is {place!r}, but must be one that can be written to: {error}") from error
        occupied = f"study {planned.name} is trained by another process already: its folder {planned.folder} is in use"
        with ExitStack() as held:
            held.enter_context(locked(planned.folder, occupied))
            write_text(planned.folder / STUDY, json.dumps(planned.to_json(), indent=1) + "\n")
            self._waiting = [run for run in planned.runs if run_status(run).state != "done"]
            self._held = held.pop_all()
        for sentence in planned.warnings:
            logging.getLogger("morl").warning("%s", sentence)
        self._thread = threading.Thread(target=self._train, name=f"study {planned.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Return where it is, in one line."""
        return f"RunningStudy({self.planned.name!r}, {counted(self.status().counts)!r})"

    def __rich__(self) -> object:
        """Return where it is for `rich.print`."""
        return self.status().table()

    def _repr_html_(self) -> str:
        """Return where it is for a notebook."""
        return self.status().table().to_html()

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Return the runs; `load` of each returns its `morl.Run`, once it has a front."""
        return self.planned.runs

    @property
    def is_over(self) -> bool:
        """Return whether no run is trained any more."""
        return not self._thread.is_alive()

    def status(self) -> StudyStatus:
        """Return where each run is: done, running, failed (why) or waiting."""
        return study_status(self.planned, self._executor.running)

    def table(self) -> "tables.StudyTables":
        """Return the statistics of the runs that are done; rich and notebooks show it as tables.

        Raises:
            ValueError: no run is done.
        """
        from morl.studies import tables

        return tables.table(self.planned.folder / STUDY, self.planned)

    def stop(self) -> None:
        """Stop all runs, saved, and return at once; called again, do not wait for them to be saved."""
        self._stops += 1

    def wait(self, progress: bool | None = None) -> "RunningStudy":
        """Wait until no run is trained any more, show the progress, and return the study.

        Args:
            progress: show it; default: in a terminal or notebook.

        Raises:
            KeyboardInterrupt: Ctrl-C; all runs are saved. SIGTERM: SystemExit.
        """
        with StudyProgress(self.planned, self._executor, progress) as shown, stop_on_signals() as stop:
            try:
                while not self.is_over:
                    self._thread.join(POLL_SECONDS / 5)
                    shown.update(self.results)
                    if stop.requested and self._stops == 0:
                        shown.say("stopping: runs save a checkpoint")
                        self.stop()
            except BaseException:  # a second signal
                self._stops = 2
                self._thread.join()
                shown.update(self.results)
                raise
            shown.update(self.results)
        if self._error is not None:
            raise self._error
        if stop.number is not None and not self.is_complete:
            words = counted(self.status().counts)
            raise_for(stop.number, f"study {self.planned.name} is saved ({words}); started again, it is resumed")
        return self

    @property
    def is_complete(self) -> bool:
        """Return whether all runs are done."""
        return all(one.state == "done" for one in self.status().runs)

    def _train(self) -> None:
        """Submit what is not done, the longest first, and collect how it ends."""
        try:
            self._collect(self._submit())
        except Exception as error:  # `wait` raises it
            self._error = error
        finally:
            with suppress(Exception):  # the first error counts
                self._executor.close()
            self._held.close()

    def _submit(self) -> set[Path]:
        """Submit the runs that are not done, and return their folders."""
        seconds = step_seconds(self.planned)
        unknown = sum(seconds.values()) / len(seconds) if seconds else 1.0
        self._waiting.sort(key=lambda run: -run.total_steps * seconds.get((run.variant, run.env), unknown))
        jobs = [run.job(self._command, [path or str(Path.cwd()) for path in sys.path]) for run in self._waiting]
        for run, job in zip(self._waiting, jobs, strict=True):
            with suppress(OSError):
                (run.run_dir / FAILURE).unlink(missing_ok=True)
            self._executor.submit(job)
        return {Path(job.run_dir) for job in jobs}

    def _collect(self, waiting: set[Path]) -> None:
        """Wait for the runs, and write down why those failed that did."""
        cancelled = 0
        while waiting:
            if cancelled < self._stops:
                cancelled += 1
                self._executor.cancel()
            for result in self._executor.poll(POLL_SECONDS):
                waiting.discard(result.run_dir)
                if result.ending == "failed":
                    with suppress(OSError):  # the disk may be full
                        result.run_dir.mkdir(parents=True, exist_ok=True)
                        write_text(result.run_dir / FAILURE, result.sentence + "\n")
                self.results.append(result)
