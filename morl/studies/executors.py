"""Where the runs of a study are trained: a protocol of submit, poll and cancel, and the plain data that passes it.

An executor starts processes, on this machine or on others, which train one `Job` each (`morl.studies.worker.perform`).
A job names its run folder: whatever an executor does, when it returns a job as done, that folder holds the run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

Ending = Literal["done", "failed", "stopped"]
"""How the process of a run ended: it has all its steps, an error ended it, or somebody stopped it and it is saved."""
ObjectiveName = Literal["hypervolume", "expected-utility"]
"""What a tuning maximizes."""


class Measured(NamedTuple):
    """What one run of a tuning reached on fresh episodes."""

    value: float
    """The objective."""
    violation: float
    """By how much its front breaks a bound, as a share of the bound's size; 0 where it keeps all or there are none."""


class Report(NamedTuple):
    """An evaluation of a run that is being trained."""

    training_steps: int
    """Environment steps of training."""
    indicators: Mapping[str, float]
    """Those that are finite."""


Answer = Callable[[Path, Report], bool]
"""Run folder and report -> whether the run ends now."""


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
        keep_checkpoints: whether the checkpoints of the run stay when it is done.
        reports: whether the process reports each evaluation, and waits for the answer whether the run ends.
        objective: what is measured of the run when it is done; None: nothing.
        episodes: fresh episodes of each policy for that.
    """

    run_dir: str
    config: str
    cores: int = 1
    loggers: tuple[str, ...] = ("tensorboard",)
    command: tuple[str, ...] = ("morl", "study")
    paths: tuple[str, ...] = ()
    keep_checkpoints: bool = True
    reports: bool = False
    objective: ObjectiveName | None = None
    episodes: int = 0

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
        measured: what it reached, where the job has an objective and is done.
    """

    run_dir: Path
    ending: Ending
    sentence: str = ""
    began: bool = True
    measured: Measured | None = None

    def to_json(self) -> dict[str, object]:
        """Return all but the run folder, as the process of a run says it to who started it."""
        return {"ending": self.ending, "sentence": self.sentence, "measured": self.measured}

    @staticmethod
    def of_json(run_dir: Path, entries: Mapping[str, object]) -> "JobResult":
        """Return the result that `to_json` wrote down.

        Args:
            run_dir: the run folder.
            entries: of the result.

        Raises:
            KeyError, TypeError: it is damaged.
        """
        return JobResult(
            run_dir=run_dir,
            ending=entries["ending"],  # type: ignore[arg-type]
            sentence=str(entries["sentence"]),
            measured=None if entries["measured"] is None else Measured._make(entries["measured"]),  # type: ignore[arg-type]
        )


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
