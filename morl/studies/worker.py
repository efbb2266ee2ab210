"""The process that trains one run of a study, or resumes it; `python -m morl.studies.worker` reads a job and obeys it.

The job is one line of JSON on standard input, the result one line on standard output. Standard input stays open as long
as the study lives: its end stops the run as SIGTERM does, saved.
"""

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType

from morl.experiment import checkpoint
from morl.experiment.messages import file_style, sentence_of
from morl.experiment.on_step import OnStep
from morl.experiment.ownership import FolderInUse
from morl.experiment.resuming import resume
from morl.experiment.training import Watchers, experiment_of_table, start
from morl.run_folder import CONFIG, FRONT, parse_config, parse_front
from morl.studies.executors import Job, JobResult

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

PATIENCE = 60.0
"""Seconds to wait for a run folder that another process owns: one of a study that was killed may still be saving."""
LOOK_SECONDS = 0.2


def perform(job: Job, on_step: OnStep | None = None) -> JobResult:
    """Train the run of a job, or resume it from its newest checkpoint, and return how it ended.

    Args:
        job: the job.
        on_step: as in `morl.train`; a run that it ends is "stopped".
    """
    run_dir = Path(job.run_dir)
    try:
        _when_free(job, on_step)
    except KeyboardInterrupt:
        return JobResult(run_dir=run_dir, ending="stopped")
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGTERM:
            return JobResult(run_dir=run_dir, ending="stopped")
        sentence = f"the agent or the environment left Python: SystemExit({stop.code!r:.100})"
        return JobResult(run_dir=run_dir, ending="failed", sentence=sentence)
    except Exception as error:
        return JobResult(run_dir=run_dir, ending="failed", sentence=sentence_of(error))
    return JobResult(run_dir=run_dir, ending="done" if is_done(job) else "stopped")


def is_done(job: Job) -> bool:
    """Return whether the run of a job has all its steps, and a front from the end of them."""
    total_steps = parse_config(job.config.encode())["total_steps"]
    assert isinstance(total_steps, int)
    return published_steps(Path(job.run_dir)) >= total_steps


def published_steps(run_dir: Path) -> int:
    """Return the training steps of a run when it last published its front; 0 where it has none.

    Raises:
        ValueError: front.json is damaged.
    """
    try:
        record = parse_front((run_dir / FRONT).read_bytes())
    except FileNotFoundError:
        return 0
    return int(record.counts.get("training_steps", 0))


def found_config(run_dir: Path) -> dict[str, object]:
    """Return the config.toml of a run folder as a nested table; empty where there is none.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return parse_config((run_dir / CONFIG).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}: remove the folder {run_dir} to train its run again") from error


def _when_free(job: Job, on_step: OnStep | None) -> None:
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


def _train_or_resume(job: Job, on_step: OnStep | None) -> None:
    run_dir = Path(job.run_dir)
    found = found_config(run_dir)
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
        steps = found.get("total_steps")
        if isinstance(steps, int) and published_steps(run_dir) >= steps:
            raise ValueError(f"run {run_dir} is complete and has no checkpoint, so that it cannot be trained further")
        # What a run has left that was killed before its first checkpoint is replaced.
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
    threading.Thread(target=_stop_with_the_study, daemon=True).start()
    sys.path += [path for path in job.paths if path not in sys.path]
    sys.argv[:] = job.command
    result = perform(job)
    os.write(results, json.dumps({"ending": result.ending, "sentence": result.sentence}).encode() + b"\n")


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


def _stop_with_the_study() -> None:
    """Wait for the end of standard input, and stop the run then, as SIGTERM does."""
    while os.read(0, 2**16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
