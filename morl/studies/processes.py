"""The runs of a study as processes on this machine, one for each run, each on cores of its own.

A process learns its job from its standard input, which stays open: when the study dies, however it dies, the system
closes the pipe, and the process saves its run and ends. It is the leader of a session of its own, so that Ctrl-C in a
terminal reaches the study alone, which then stops its processes one by one. A thread for each process reads what it
says: reports of evaluations, where the job asks for them, which are answered, and the result.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from morl.studies.executors import Answer, Job, JobResult, Report

POLL_SECONDS = 0.02
"""Between two looks at the processes."""
LOG_ENDING = ".log"
"""Of the file beside a run folder that holds what its process printed."""
LAST_BYTES = 4096
"""Of what a process printed are searched for its last words."""


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@dataclass
class _Child:
    """A process that trains a job.

    Attributes:
        job: the job.
        process: the process.
        log: the file that it prints to.
        reader: reads what it says.
        said: its result; None as long as there is none.
    """

    job: Job
    process: "subprocess.Popen[bytes]"
    log: Path
    reader: threading.Thread | None = None
    said: dict[str, object] | None = None


class Processes:
    """An `Executor` of processes on this machine.

    Args:
        cores: of each run.
        workers: runs at once; default: the cores of this machine // the cores of each run, at least one.
        answer: answers reports of jobs that make them; called in a thread.

    Raises:
        ValueError: a number is less than 1.
    """

    def __init__(self, cores: int = 1, workers: int | None = None, answer: Answer | None = None) -> None:
        if cores < 1:
            raise ValueError(f"cores is {cores}, but must be at least 1")
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}, but must be at least 1")
        self._workers = workers or max(1, len(usable_cores()) // cores)
        self._waiting: deque[Job] = deque()
        self._children: list[_Child] = []
        self._ended: list[JobResult] = []
        self._cancelled = 0
        self._answer = answer
        self._error: Exception | None = None

    @property
    def workers(self) -> int:
        """Return how many runs are trained at once."""
        return self._workers

    @property
    def running(self) -> frozenset[Path]:
        """Return the folders of the runs that are being trained."""
        return frozenset(Path(child.job.run_dir) for child in list(self._children))

    def submit(self, job: Job) -> None:
        """Take a job; it begins in `poll`, when there is room."""
        self._waiting.append(job)

    def poll(self, timeout: float) -> Sequence[JobResult]:
        """Start what there is room for, and return the jobs that have ended; arguments as for `Executor.poll`.

        Raises:
            Exception: a report could not be answered; raised once, and the process of the run stops.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._error is not None:
                error = self._error
                self._error = None
                raise error
            self._start_waiting()
            for child in [child for child in self._children if child.process.poll() is not None]:
                self._children.remove(child)
                self._ended.append(self._result(child))
            if self._ended or time.monotonic() >= deadline or not self._children:
                results = self._ended
                self._ended = []
                return results
            time.sleep(POLL_SECONDS)

    def cancel(self) -> None:
        """Stop all jobs with SIGTERM, which saves their runs; the second call stops what still runs with SIGKILL."""
        self._cancelled += 1
        for job in self._waiting:
            self._ended.append(JobResult(run_dir=Path(job.run_dir), ending="stopped", began=False))
        self._waiting.clear()
        number = signal.SIGTERM if self._cancelled == 1 else getattr(signal, "SIGKILL", signal.SIGTERM)
        for child in self._children:
            child.process.send_signal(number)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend all processes while the block runs: run folders are then what a kill at this moment would leave."""
        children = list(self._children)
        for child in children:
            child.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                child.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Do nothing: a process is given up when it ends."""

    def _start_waiting(self) -> None:
        while self._waiting and len(self._children) < self._workers:
            job = self._waiting.popleft()
            try:
                self._children.append(self._start(job))
            except OSError as error:  # the disk is full, or there are too many processes
                self._ended.append(JobResult(run_dir=Path(job.run_dir), ending="failed", sentence=str(error)))

    def _start(self, job: Job) -> _Child:
        run_dir = Path(job.run_dir)
        log = run_dir.with_name(run_dir.name + LOG_ENDING)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "morl.studies.worker", str(job.cores)]
        environment = os.environ | {"OMP_NUM_THREADS": str(job.cores)}
        environment.setdefault("OMP_WAIT_POLICY", "passive")  # as on the command line: morl.experiment.cli
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")
        with log.open("wb") as printed:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                env=environment,
                start_new_session=True,
            )
        with suppress(OSError):  # it may have died already, which `poll` sees
            _say(process, job.to_json())
        child = _Child(job, process, log)
        child.reader = threading.Thread(target=self._listen, args=(child,), daemon=True)
        child.reader.start()
        return child

    def _listen(self, child: _Child) -> None:
        """Read what a process says, to the end, and answer its reports."""
        for line in _opened(child.process.stdout):
            with suppress(ValueError, KeyError, TypeError):  # it was killed in the middle of a line
                entries = json.loads(line)
                if "report" not in entries:
                    child.said = entries
                    continue
                self._reply(child, Report._make(entries["report"]))

    def _reply(self, child: _Child, report: Report) -> None:
        """Answer a report; where that fails, stop the process, and have `poll` raise why."""
        try:
            ends = self._answer is not None and self._answer(Path(child.job.run_dir), report)
        except Exception as error:
            self._error = error
            child.process.send_signal(signal.SIGTERM)
            ends = False
        with suppress(OSError):  # it has died meanwhile
            _say(child.process, ends)

    def _result(self, child: _Child) -> JobResult:
        """Return how a process that has ended left its run."""
        run_dir = Path(child.job.run_dir)
        process = child.process
        if child.reader is not None:
            child.reader.join()
        _opened(process.stdout).close()
        with suppress(OSError):
            _opened(process.stdin).close()
        printed = _tail(child.log)
        if not printed:
            child.log.unlink(missing_ok=True)
        if child.said is not None:
            with suppress(KeyError, TypeError):  # else it died without a word
                return JobResult.of_json(run_dir, child.said)
        if self._cancelled:
            return JobResult(run_dir=run_dir, ending="stopped")
        return JobResult(run_dir=run_dir, ending="failed", sentence=_last_words(process.returncode, printed))


def _last_words(code: int, printed: str) -> str:
    """Return why a process died that did not say so itself.

    Args:
        code: its exit code; that of a signal is negative.
        printed: the end of what it printed.
    """
    lines = printed.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    if code >= 0:
        return f"the process of the run ended with exit code {code}: {last}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = ", as the system does when memory runs out" if name == "SIGKILL" else f": {last}" if printed else ""
    return f"the process of the run was killed by {name}{memory}; the study goes on from its newest checkpoint"


def _tail(file: Path) -> str:
    """Return the end of a text file; empty where it cannot be read."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - LAST_BYTES))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def _say(process: "subprocess.Popen[bytes]", what: object) -> None:
    """Write a line of JSON to the standard input of a process.

    Raises:
        OSError: it has died.
    """
    _opened(process.stdin).write(json.dumps(what).encode() + b"\n")
    _opened(process.stdin).flush()


def _opened(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "the process was started with pipes"
    return stream
