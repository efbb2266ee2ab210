"""Loggers: types of what receives the numbers, fronts, figures, videos and texts that a run records.

A logger is opened for each run by calling what the user lists in `loggers=`: a class such as your own, or an object
with settings such as `WandB(project="boats")`. The recorder (`morl.experiment.recording`) calls its methods.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from morl.run_folder import EvaluationRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LoggedFront: TypeAlias = EvaluationRecord
"""The front of an evaluation: training_steps, points, preferences, policy_ids and indicators."""


class Picture(Protocol):
    """A figure that is drawn when it is first looked at (`morl.experiment.figures.DrawnPicture`)."""

    @property
    def figure(self) -> "Figure":
        """Return the matplotlib figure."""
        ...

    @property
    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the PNG in pixels."""
        ...


class Video(Protocol):
    """A video (`morl.experiment.figures.Frames`)."""

    @property
    def frames(self) -> NDArray[np.uint8]:
        """Return the frames [frame, height, width, 3]: red, green and blue."""
        ...

    @property
    def fps(self) -> float:
        """Return the frames per second."""
        ...

    @property
    def gif(self) -> bytes:
        """Return the video as an animated GIF file."""
        ...


class Logger(Protocol):
    """Base class of loggers. A subclass overrides the methods that it needs; the others do nothing.

    It is constructed with the run that it logs. If a method raises an exception, one warning reports it, the logger
    is switched off, and the run continues.
    """

    def __init__(self, run: "LoggedRun") -> None:
        return

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers.

        Args:
            step: environment steps of training so far; 0 in pre-training, whose own steps are among the values.
            values: name as in metrics.jsonl -> number; `morl.experiment.tags.tagged` makes TensorBoard's tags of them.
        """
        return

    def front(self, step: int, front: LoggedFront) -> None:
        """Record the front of an evaluation: points, preferences, policies and indicators."""
        return

    def figure(self, step: int, name: str, picture: Picture) -> None:
        """Record a figure; it is drawn when the first logger reads `picture.png`."""
        return

    def video(self, step: int, name: str, video: Video) -> None:
        """Record a video."""
        return

    def text(self, step: int, name: str, text: str) -> None:
        """Record a text (Markdown)."""
        return

    def close(self, complete: bool) -> None:
        """Write buffered records, and record whether the run has all its steps."""
        return


@runtime_checkable
class Reopened(Protocol):
    """A logger that is reopened with other settings than it was opened with, such as the id that a server gave it."""

    @property
    def settings_to_reopen(self) -> dict[str, Any]:
        """Return the settings as plain data for JSON."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """The run that a logger is opened for.

    Attributes:
        directory: the run folder.
        objectives: the name of each objective.
        known_front: [point, objective] the true front; None where it is not known.
        descriptions: name of a metric of the agent -> its meaning; a star at the end of a name matches anything.
        settings: all settings of the run, those of the agent as `agent.<name>`; values that are not numbers, strings
            or booleans are converted to text, None too.
        resumed: whether the run is resumed from a checkpoint.
        first_step: records of earlier processes from this step on are recorded again.
        repeated: number of calls of `scalars` and `front` that an earlier process made after the checkpoint. The same
            calls are made again, and a logger that cannot delete records skips them.
    """

    directory: Path
    objectives: tuple[str, ...]
    known_front: NDArray[np.float64] | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    resumed: bool = False
    first_step: int = 0
    repeated: "Repeated | None" = None

    @property
    def name(self) -> str:
        """Return agent, environment and seed in one word."""
        return f"{self.group}-seed-{self.settings.get('seed', 0)}"

    @property
    def group(self) -> str:
        """Return agent and environment in one word."""
        return f"{self.settings.get('agent_name', 'agent')}-{self.settings.get('env', 'env')}"


class Repeated(NamedTuple):
    """How many calls come again after a run is resumed."""

    scalars: int
    fronts: int
    last_step: int
    """Training step of the last of them."""


LoggerFactory: TypeAlias = Callable[[LoggedRun], Logger]
"""What `loggers=` lists, beside names: called with the run, it returns an open logger."""
Chosen: TypeAlias = str | LoggerFactory
"""An entry of `loggers=`: a name, "module:Class", or what opens a logger."""


@dataclass(frozen=True)
class NamedLogger:
    """A logger that is not open yet.

    Attributes:
        name: as in `morl.experiment.logger_choice.BY_NAME`, "module:Class", or what the user's object calls itself.
        open: opens it.
        settings: what loggers.json says, so that resuming opens it again; None where only the user can.
    """

    name: str
    open: LoggerFactory
    settings: Mapping[str, Any] | None


@dataclass(frozen=True)
class LoggerChoice:
    """The loggers of a run before they are opened.

    Attributes:
        loggers: what the user lists, or loggers.json names.
        by_user: whether the user has listed them.
    """

    loggers: Sequence[NamedLogger]
    by_user: bool
