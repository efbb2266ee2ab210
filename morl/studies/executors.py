"""Where the runs of a study are trained: a protocol of submit, poll and cancel, and the plain data that passes it.

An executor starts processes, on this machine or on others, which train one `Job` each (`morl.studies.worker.perform`).
A job names its run folder: whatever an executor does, when it returns a job as done, that folder holds the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

Ending = Literal["done", "failed", "stopped"]
"""How the process of a run ended: it has all its steps, an error ended it, or somebody stopped it and it is saved."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to be trained, or to be resumed where its folder has a checkpoint, as plain data.

    Attributes:
        run_dir: the run folder, an absolute path.
        config: its config.toml, which holds all settings, resolved.
        cores: of the machine, for the process of this run.
        loggers: where it is logged.
        command: the words that command.txt records.
        paths: folders in which the process looks for modules of the user's own, after all others.
    """

    run_dir: str
    config: str
    cores: int = 1
    loggers: tuple[str, ...] = ("tensorboard",)
    command: tuple[str, ...] = ("morl", "study")
    paths: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the job as JSON has it."""
        return asdict(self)

    @staticmethod
    def of_json(entries: Mapping[str, object]) -> "Job":
        """Return the job that `to_json` wrote down."""
        return Job(**entries)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job ended.

    Attributes:
        run_dir: its run folder.
        ending: "done", "failed" or "stopped".
        sentence: why it failed or was stopped; empty where it is done.
        began: whether its process was started; False of a job that was stopped while it waited.
    """

    run_dir: Path
    ending: Ending
    sentence: str = ""
    began: bool = True


class Executor(Protocol):
    """Trains jobs. One thread calls all methods but `running`, which any may read."""

    @property
    def workers(self) -> int:
        """Return how many jobs are trained at once, as far as that is known."""
        ...

    @property
    def running(self) -> frozenset[Path]:
        """Return the run folders of the jobs that have begun and not ended."""
        ...

    def submit(self, job: Job) -> None:
        """Take a job. It begins when there is room; jobs begin in the order in which they were submitted."""
        ...

    def poll(self, timeout: float) -> Sequence[JobResult]:
        """Start what there is room for, and return the jobs that have ended since the last call.

        Every job that was submitted is returned once, also after `cancel`.

        Args:
            timeout: seconds to wait for one to end.
        """
        ...

    def cancel(self) -> None:
        """Stop all jobs, and return at once: those that run save a checkpoint, those that wait never begin.

        `poll` returns them as "stopped". Called again, it stops at once those that are still saving.
        """
        ...

    def close(self) -> None:
        """Give up what the executor holds, such as a connection; no job runs any more."""
        ...
