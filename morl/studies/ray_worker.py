"""The part of a study that runs on the nodes of a Ray cluster: one task trains one run, in a process of its own.

The process is the one that `morl.studies.processes` starts on this machine, so that a run has the same bits wherever it
is trained. Where the node sees the driver's folder, that is all. Where it does not, the run lies in a temporary folder
of the node, and an image of it travels to the driver's node after every checkpoint and at the end. An image is taken
while the process is suspended: it is what a kill at that moment would have left, from which every run can be resumed.
"""

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from morl.experiment import checkpoint
from morl.studies.executors import Job, JobResult
from morl.studies.processes import Processes

POLL_SECONDS = 0.5
"""Between two looks for a new checkpoint."""


def train_on_node(entries: Mapping[str, object], token: str, folders: Any, shared: bool | None) -> dict[str, str]:
    """Train the run of a job on the node that this is called on, and return how it ended: "ending" and "sentence".

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
    if sees_token(run_dir, token) if shared is None else shared:
        result = _Attempt(job).wait()
    else:
        with tempfile.TemporaryDirectory(prefix="morl-") as scratch:
            here = Path(scratch) / run_dir.name
            image = ray.get(folders.read.remote(job.run_dir))
            if image is not None:
                unpack(image, here)
            result = _Attempt(replace(job, run_dir=str(here)), job.run_dir, folders).wait()
    return {"ending": result.ending, "sentence": result.sentence}


class _Attempt:
    """One attempt to train a run, in a process of its own.

    Args:
        job: the job; its run folder is on this node.
        home: the run folder on the driver's node, where that is another one.
        folders: the actor that writes there.
    """

    def __init__(self, job: Job, home: str | None = None, folders: Any = None) -> None:
        self._run_dir = Path(job.run_dir)
        self._home = home
        self._folders = folders
        self._sent = checkpoint.newest(self._run_dir) if self._run_dir.is_dir() else None
        self._processes = Processes(job.cores, workers=1)
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
        if self._home is not None and self._run_dir.is_dir():
            self._send(pack(self._run_dir))
        return results[0]

    def _send_new_checkpoint(self) -> None:
        if self._home is None or not self._run_dir.is_dir():
            return
        newest = checkpoint.newest(self._run_dir)
        if newest is None or newest == self._sent:
            return
        with self._processes.suspended():
            image = pack(self._run_dir)
        self._send(image)
        self._sent = newest

    def _send(self, image: bytes) -> None:
        import ray

        ray.get(self._folders.write.remote(self._home, image))


class Folders:
    """The actor on the driver's node: reads and writes run folders there, and knows which runs have begun."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def begin(self, run_dir: str) -> None:
        """Note that a run has begun."""
        self._begun.add(run_dir)

    def begun(self) -> set[str]:
        """Return the folders of the runs that have begun, those that have ended included."""
        return self._begun

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
