"""The part of a study that runs on the nodes of a Ray cluster: one task trains one run, in a process of its own.

The process is the one that `morl.studies.processes` starts on this machine, so that a run has the same bits wherever it
is trained. Where the node sees the driver's folder, that is all. Where it does not, the run lies in a temporary folder
of the node, and an image of it travels to the driver's node after every checkpoint and at the end. An image is taken
while the process is suspended: it is what a kill at that moment would have left, from which every run can be resumed.

This module imports no PyTorch, which would take Ray's processes two seconds of a core.
"""

import io
import os
import platform
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from morl.run_folder import CHECKPOINTS
from morl.studies.executors import Job, JobResult, Report
from morl.studies.processes import Processes

POLL_SECONDS = 0.5
"""Between two looks for a new checkpoint."""
ASK_SECONDS = 0.1
"""Between two questions whether a report is answered."""


def train_on_node(entries: Mapping[str, object], token: str, folders: Any, shared: bool | None) -> dict[str, object]:
    """Train the run of a job on the node that this is called on, and return how it ended, as `JobResult.to_json`.

    Args:
        entries: the job, as `Job.to_json` returns it.
        token: text of the file beside the run folder by which a node that sees the driver's folder knows it.
        folders: the actor `Folders` on the driver's node.
        shared: whether the node sees the driver's folder; None: the token decides.
    """
    import ray

    job = Job.of_json(entries)
    run_dir = Path(job.run_dir)
    ray.get(folders.begin.remote(job.run_dir))
    try:
        if sees_token(run_dir, token) if shared is None else shared:
            return _Attempt(job, job.run_dir, folders).wait().to_json()
        with tempfile.TemporaryDirectory(prefix="morl-", ignore_cleanup_errors=True) as scratch:
            here = Path(scratch) / run_dir.name
            image = ray.get(folders.read.remote(job.run_dir))
            if image is not None:
                unpack(image, here)
            return _Attempt(replace(job, run_dir=str(here)), job.run_dir, folders).wait().to_json()
    except OSError as error:  # a disk is full: this node's, or that of the driver, whose actor has raised it
        cause = getattr(error, "cause", None)
        where = f"node {platform.node()}" if cause is None else "the node of the driver"
        sentence = f"on {where}: {error if cause is None else cause}"
        return JobResult(run_dir=run_dir, ending="failed", sentence=sentence).to_json()


class _Attempt:
    """One attempt to train a run, in a process of its own.

    Args:
        job: the job; its run folder is on this node.
        home: the run folder as the driver's node knows it; where it is another one, images travel there.
        folders: the actor on the driver's node.
    """

    def __init__(self, job: Job, home: str, folders: Any) -> None:
        self._run_dir = Path(job.run_dir)
        self._home = home
        self._travels = job.run_dir != home
        self._folders = folders
        self._sent = self._checkpoints()
        self._processes = Processes(job.cores, workers=1, answer=self._ask)
        self._processes.submit(job)

    def wait(self) -> JobResult:
        """Return how the run ended; where the task is cancelled, it is stopped, saved."""
        while True:
            try:
                results = self._processes.poll(POLL_SECONDS)
                if results:
                    break
                self._send_new_checkpoint()
            except KeyboardInterrupt:  # `ray.cancel`
                self._processes.cancel()
            except Exception:  # the driver's disk is full, say
                self._processes.cancel()
                while not self._processes.poll(POLL_SECONDS):
                    pass
                raise
        if self._travels and self._run_dir.is_dir():
            self._send(pack(self._run_dir))
        return results[0]

    def _send_new_checkpoint(self) -> None:
        found = self._checkpoints()
        if not self._travels or not found or found == self._sent:
            return
        with self._processes.suspended():
            image = pack(self._run_dir)
        self._send(image)
        self._sent = found

    def _checkpoints(self) -> set[str]:
        """Return the names of the checkpoints of the run."""
        return {folder.name for folder in (self._run_dir / CHECKPOINTS).glob("step-*")}

    def _send(self, image: bytes) -> None:
        import ray

        ray.get(self._folders.write.remote(self._home, image))

    def _ask(self, run_dir: Path, report: Report) -> bool:  # noqa: ARG002
        """Return the driver's answer to a report."""
        import ray

        while True:
            answer: bool | None = ray.get(self._folders.ask.remote(self._home, report))
            if answer is not None:
                return answer
            time.sleep(ASK_SECONDS)


class Folders:
    """The actor on the driver's node: reads and writes run folders there, and knows which runs have begun.

    It also keeps reports of runs until the driver has answered them, and the answers: a run that lost its node reports
    an evaluation again, and has to hear the same.
    """

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._asked: dict[tuple[str, int], Report] = {}
        self._answers: dict[tuple[str, int], bool] = {}

    def begin(self, run_dir: str) -> None:
        """Note that a run has begun."""
        self._begun.add(run_dir)

    def begun(self) -> set[str]:
        """Return the folders of the runs that have begun, those that have ended included."""
        return self._begun

    def ask(self, run_dir: str, report: Report) -> bool | None:
        """Return the answer to a report of a run; None as long as the driver has not answered it."""
        key = (run_dir, report.training_steps)
        if key not in self._answers:
            self._asked[key] = report
        return self._answers.get(key)

    def asked(self) -> list[tuple[str, Report]]:
        """Return the reports that are not answered, with their run folders."""
        return [(run_dir, report) for (run_dir, _), report in self._asked.items()]

    def answer(self, run_dir: str, report: Report, ends: bool) -> None:
        """Answer a report of a run.

        Args:
            run_dir: the run folder.
            report: of the run.
            ends: whether the run ends.
        """
        key = (run_dir, report.training_steps)
        self._asked.pop(key, None)
        self._answers[key] = ends

    def read(self, run_dir: str) -> bytes | None:
        """Return the image of a run folder; None where there is none."""
        folder = Path(run_dir)
        recover(folder)
        return pack(folder) if folder.is_dir() else None

    def write(self, run_dir: str, image: bytes) -> None:
        """Replace a run folder by an image of it; a kill in between leaves one of the two.

        Args:
            run_dir: the folder.
            image: as `pack` returns it.
        """
        folder = Path(run_dir)
        recover(folder)
        incoming = folder.with_name(f".incoming-{folder.name}")
        shutil.rmtree(incoming, ignore_errors=True)
        unpack(image, incoming)
        if folder.is_dir():
            os.replace(folder, _outgoing(folder))
        os.replace(incoming, folder)
        shutil.rmtree(_outgoing(folder), ignore_errors=True)


def recover(run_dir: Path) -> None:
    """Bring back a run folder that was just being replaced when everything ended; remove what is left of others."""
    outgoing = _outgoing(run_dir)
    if outgoing.is_dir() and not run_dir.is_dir():
        os.replace(outgoing, run_dir)
    shutil.rmtree(outgoing, ignore_errors=True)


def _outgoing(run_dir: Path) -> Path:
    return run_dir.with_name(f".outgoing-{run_dir.name}")


def pack(folder: Path) -> bytes:
    """Return an image of a folder: all its files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False)
    return stream.getvalue()


def unpack(image: bytes, folder: Path) -> None:
    """Write the files of an image into a folder, which is made."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(image)) as archive:
        archive.extractall(folder, filter="data")


def token_file(run_dir: Path) -> Path:
    """Return the path of the file by which a node that sees the driver's folder knows it."""
    return run_dir.with_name(f".{run_dir.name}.shared")


def sees_token(run_dir: Path, token: str) -> bool:
    """Return whether this node sees the file that the driver has written beside a run folder."""
    try:
        return token_file(run_dir).read_text() == token
    except OSError:
        return False
