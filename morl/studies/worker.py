"""The process that trains one run of a study, or resumes it; `python -m morl.studies.worker` reads a job and obeys it.

The job is one line of JSON on standard input, the result one line on standard output. Between them go reports of
evaluations, where the job asks for them, and answers whether the run ends. Standard input stays open as long as the
study lives: its end stops the run as SIGTERM does, saved.
"""

import contextlib
import json
import os
import queue
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from morl.experiment import checkpoint
from morl.experiment.messages import file_style, sentence_of
from morl.experiment.ownership import FolderInUse
from morl.experiment.resuming import resume
from morl.experiment.run import load
from morl.experiment.training import Watchers, experiment_of_table, start
from morl.run_folder import CHECKPOINTS, parse_config
from morl.studies.executors import Job, JobResult, Measured, Report
from morl.studies.existing import found_config, published_steps
from morl.studies.objective import measure

if TYPE_CHECKING:
    from morl.experiment.on_step import OnStep, Progress

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

PATIENCE = 60.0
"""Seconds to wait for a run folder that another process owns: one of a study that was killed may still be saving."""
LOOK_SECONDS = 0.2


def perform(job: Job, on_step: "OnStep | None" = None) -> JobResult:
    """Train the run of a job, or resume it from its newest checkpoint, and return how it ended and what it reached.

    Args:
        job: the job.
        on_step: as in `morl.train`; a run that it ends is "stopped".
    """
    run_dir = Path(job.run_dir)
    try:
        _when_free(job, on_step)
        done = is_done(job)
        measured = _measured(job) if done else None
        if done and not job.keep_checkpoints:
            shutil.rmtree(run_dir / CHECKPOINTS, ignore_errors=True)
    except KeyboardInterrupt:
        return JobResult(run_dir=run_dir, ending="stopped")
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGTERM:
            return JobResult(run_dir=run_dir, ending="stopped")
        sentence = f"the agent or the environment left Python: SystemExit({stop.code!r:.100})"
        return JobResult(run_dir=run_dir, ending="failed", sentence=sentence)
    except Exception as error:
        return JobResult(run_dir=run_dir, ending="failed", sentence=sentence_of(error))
    return JobResult(run_dir=run_dir, ending="done" if done else "stopped", measured=measured)


def is_done(job: Job) -> bool:
    """Return whether the run of a job has all its steps, and a front from the end of them."""
    total_steps = parse_config(job.config.encode())["total_steps"]
    assert isinstance(total_steps, int)
    return published_steps(Path(job.run_dir), job.config) >= total_steps


def _measured(job: Job) -> Measured | None:
    """Return what the run of a job has reached, where that is asked for."""
    if job.objective is None:
        return None
    run = load(job.run_dir, trust=True)  # the user has named all that it imports
    return measure(run, job.objective, job.episodes)


def _when_free(job: Job, on_step: "OnStep | None") -> None:
    """Train or resume, as soon as no other process owns the run folder.

    Raises:
        FolderInUse: another process still owns it after `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            _train_or_resume(job, on_step)
        except FolderInUse:
            if time.monotonic() >= deadline:
                raise
            time.sleep(LOOK_SECONDS)
        else:
            return


def _train_or_resume(job: Job, on_step: "OnStep | None") -> None:
    run_dir = Path(job.run_dir)
    found = found_config(run_dir, job.config)
    damage = ""
    try:
        if is_done(job):
            return
    except (OSError, ValueError) as error:
        damage = str(error)
    with file_style():
        table = parse_config(job.config.encode())
        longer = table["total_steps"] if found.get("total_steps") != table["total_steps"] else None
        if found and checkpoint.newest(run_dir) is not None:
            assert longer is None or isinstance(longer, int)
            resume(run_dir, longer, trust=True, progress=False, on_step=on_step, loggers=job.loggers)
            return
        if damage:
            raise ValueError(f"run {run_dir} has no checkpoint to resume from, and {damage}: remove that folder")
        # What a run has left that was killed before its first checkpoint is replaced, as is a complete run that is to
        # have more steps, but has no checkpoint.
        experiment = experiment_of_table(table)
        start([experiment], [run_dir], overwrite=True, watchers=Watchers.of(False, on_step, job.loggers))


def main() -> None:
    """Obey the job on standard input."""
    if len(sys.argv) > 1:
        keep_to_cores(int(sys.argv[1]))
    results = os.dup(1)
    os.dup2(2, 1)  # what is printed goes to the log: standard output holds the result alone
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 2**16)
        if not part:
            return  # the study is gone
        line += part
    job = Job.of_json(json.loads(line))
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(answers,), daemon=True).start()
    sys.path += [path for path in job.paths if path not in sys.path]
    sys.argv[:] = job.command
    result = perform(job, _Reporter(results, answers) if job.reports else None)
    os.write(results, json.dumps(result.to_json()).encode() + b"\n")


class _Reporter:
    """`on_step` that reports each evaluation to who started this process, and waits for the answer.

    Args:
        results: descriptor that reports are written to.
        answers: whether the run ends, one for each report.
    """

    def __init__(self, results: int, answers: "queue.SimpleQueue[bool]") -> None:
        self._results = results
        self._answers = answers

    def __call__(self, progress: "Progress") -> bool:
        """Report a new evaluation; return whether the run ends."""
        if not progress.new_front or progress.front is None:
            return False
        report = Report(progress.front.training_steps, progress.indicators)
        os.write(self._results, json.dumps({"report": report}).encode() + b"\n")
        return self._answers.get()


def keep_to_cores(count: int) -> None:
    """Keep this process to some cores, and to others than those of the user's other runs, as far as there are any.

    Compiled updates and physics start a thread on each core that their process may use. Which cores are taken is known
    from locks, one file for each core, which the system releases when a process dies.

    Args:
        count: number of cores.
    """
    if fcntl is None or not hasattr(os, "sched_setaffinity"):
        return
    usable = sorted(os.sched_getaffinity(0))
    free: list[int] = []
    with contextlib.suppress(OSError):  # nothing can be written there: cores are shared
        folder = Path(tempfile.gettempdir()) / f"morl-cores-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for core in usable:
            if len(free) < count and _lock_for_life(folder / str(core)):
                free.append(core)
    taken = [core for core in usable if core not in free]
    others = random.sample(taken, min(len(taken), count - len(free)))
    with contextlib.suppress(OSError):  # a core is gone
        os.sched_setaffinity(0, {*free, *others})


def _lock_for_life(file: Path) -> bool:
    """Lock a file until this process ends; return whether no other process has locked it."""
    assert fcntl is not None
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def _listen(answers: "queue.SimpleQueue[bool]") -> None:
    """Hand on the answers on standard input; at its end, stop the run, as SIGTERM does."""
    with os.fdopen(0, "rb", closefd=False) as stream:
        for line in stream:
            answers.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGTERM)
    answers.put(False)  # who waits for an answer goes on to the point where the signal is obeyed


if __name__ == "__main__":
    main()
