"""Loggers: what receives the numbers, fronts, figures, videos and texts that a run records.

A logger is opened for each run by calling what the user lists in `loggers=`: a class such as your own, or an object
with settings such as `WandB(project="boats")`. The recorder (`morl.experiment.recording`) calls its methods.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from morl.experiment.tags import tag_of
from morl.run_folder import EvaluationRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRETRAINING = "rollout/pretraining/"
"""How the names of numbers begin that belong to pre-training."""


class Logger(Protocol):
    """Receives what one run records. A subclass overrides the methods that it has a use for; the others do nothing.

    What a method raises is said in one warning, and the logger receives nothing more; the run goes on.
    """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers.

        Args:
            step: environment steps of training so far; 0 in pre-training, whose own steps are among the values.
            values: name as in metrics.jsonl -> number; `tagged` makes the tags of TensorBoard of them.
        """
        return

    def front(self, step: int, front: EvaluationRecord) -> None:
        """Record the front of an evaluation: points, preferences, policies and indicators."""
        return

    def figure(self, step: int, name: str, picture: "Picture") -> None:
        """Record a figure; it is drawn when the first logger reads `picture.png`."""
        return

    def video(self, step: int, name: str, video: "Video") -> None:
        """Record a video."""
        return

    def text(self, step: int, name: str, text: str) -> None:
        """Record a text (Markdown)."""
        return

    def close(self, complete: bool) -> None:
        """Write what is held back, and record whether the run has all its steps."""
        return


@runtime_checkable
class Reopened(Protocol):
    """A logger that is reopened with other settings than it was opened with, such as the id that a server gave it."""

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings as plain data for JSON."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """The run that a logger is opened for.

    Attributes:
        directory: the run folder.
        objectives: the name of each objective.
        known_front: [point, objective] the true front; None where it is not known.
        descriptions: name of a metric of the agent -> what it means; a star at the end stands for anything.
        settings: all settings of the run, those of the agent as `agent.<name>`.
        resumed: whether the run is resumed from a checkpoint.
        first_step: what earlier processes recorded at this step or later is recorded again.
        repeated: how many calls of `scalars` and `front` an earlier process made after the checkpoint: the same calls
            with the same numbers come again, and a logger that cannot take back what it has recorded leaves them out.
    """

    directory: Path
    objectives: tuple[str, ...]
    known_front: NDArray[np.float64] | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
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

    def plain_settings(self) -> dict[str, bool | int | float | str]:
        """Return the settings as numbers, words and truth values; anything else is spelled as text, None too."""
        return {name: _plain(value) for name, value in self.settings.items()}


class Repeated(NamedTuple):
    """How many calls come again after a run is resumed."""

    scalars: int
    fronts: int
    last_step: int
    """Training step of the last of them."""


LoggerFactory: TypeAlias = Callable[[LoggedRun], Logger]
"""What `loggers=` lists, beside names: called with the run, it returns an open logger."""


class Picture:
    """A figure that is drawn when it is first looked at.

    Args:
        draw: returns the figure.
    """

    def __init__(self, draw: Callable[[], "Figure"]) -> None:
        self._draw = draw

    @cached_property
    def figure(self) -> "Figure":
        """Return the matplotlib figure."""
        return self._draw()

    @cached_property
    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        picture = io.BytesIO()
        self.figure.savefig(picture, format="png", dpi=self.figure.dpi)
        return picture.getvalue()

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the PNG in pixels."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])  # where every PNG file has them


class Video:
    """A video.

    Args:
        frames: uint8 [frame, height, width, 3] red, green and blue.
        fps: frames per second.

    Raises:
        ValueError: the frames have another type or shape, or there is none.
    """

    def __init__(self, frames: NDArray[np.uint8], fps: float = 30.0) -> None:
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise ValueError(f"frames must be uint8 [frame, height, width, 3], got {frames.dtype} {list(frames.shape)}")
        if not fps > 0.0:
            raise ValueError(f"fps is {fps}, but must be greater than 0")
        self.frames = frames
        self.fps = fps

    @cached_property
    def gif(self) -> bytes:
        """Return the video as an animated GIF file, which needs no other program to be written or shown."""
        from PIL import Image

        images = [Image.fromarray(frame) for frame in self.frames]
        file = io.BytesIO()
        images[0].save(
            file, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 / self.fps), loop=0
        )
        return file.getvalue()


class Tagged(NamedTuple):
    """Numbers under the tags that TensorBoard, W&B and MLflow show them with."""

    step: int
    """Of the horizontal axis: environment steps of training, or of pre-training."""
    values: dict[str, float]


def tagged(step: int, values: Mapping[str, float]) -> Tagged:
    """Return numbers under their tags (`morl.experiment.tags`), with their place on the horizontal axis.

    Those of pre-training have tags and an axis of their own: at training step 0 all of them would lie above each other.

    Args:
        step: environment steps of training.
        values: name as in metrics.jsonl -> number.
    """
    pretraining = {name: value for name, value in values.items() if name.startswith(PRETRAINING)}
    if pretraining:
        return Tagged(int(values.get("pretraining_steps", 0)), pretraining)
    return Tagged(step, {tag_of(name): value for name, value in values.items()})


def indicators_of(front: EvaluationRecord) -> dict[str, float]:
    """Return the indicators of a front that have a value, as `front/<name>`."""
    return {f"front/{name}": float(value) for name, value in front.indicators.items() if value is not None}


def _plain(value: object) -> bool | int | float | str:
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)
