"""Loggers that write files into the run folder: JSON lines, TensorBoard's events, CSV."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from morl.experiment.events import EventFile
from morl.experiment.files import AppendOnlyFile, FileMark, write_text
from morl.experiment.loggers import LoggedFront, LoggedRun, Logger, Picture, Video
from morl.experiment.tags import description_of, indicator_tags, tagged
from morl.run_folder import (
    CSV_FRONTS,
    CSV_METRICS,
    EVALUATIONS,
    EVENTS,
    METRICS,
    json_line,
    parse_evaluation,
)

KNOWN_COLOR, FRONT_COLOR = (154, 154, 154), (0, 114, 178)
"""Red, green, blue in the point cloud: the grey and the blue of the figures."""


@runtime_checkable
class KeepsMarks(Protocol):
    """A logger whose files are cut back to a checkpoint when the run is resumed."""

    @property
    def marks(self) -> dict[str, FileMark]:
        """Return how far each file has been written, by its path inside the run folder."""
        ...


# --- JSON lines -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JSONLines:
    """Writes metrics.jsonl and fronts.jsonl.

    They are always written, because `run.metrics()`, the board and resuming read them.
    """

    def __call__(self, run: LoggedRun) -> "LineWriter":
        """Return the open logger of a run."""
        return LineWriter(run)


class LineWriter(Logger):
    """The JSON lines of one run. A line has reached the operating system when the call that writes it returns.

    Args:
        run: the run.

    Raises:
        OSError: naming the file, here and in every method, if it cannot be written.
    """

    def __init__(self, run: LoggedRun) -> None:
        with ExitStack() as opened:  # closes what is open already if the next file cannot be
            self._metrics = opened.enter_context(closing(AppendOnlyFile(run.directory / METRICS)))
            self._fronts = opened.enter_context(closing(AppendOnlyFile(run.directory / EVALUATIONS)))
            self._files = opened.pop_all()

    @property
    def marks(self) -> dict[str, FileMark]:
        """Return how far each file has been written."""
        return {METRICS: self._metrics.mark, EVALUATIONS: self._fronts.mark}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line of metrics.jsonl."""
        self._metrics.write(json_line({"training_steps": step, **values}))

    def front(self, step: int, front: LoggedFront) -> None:
        """Write one line of fronts.jsonl."""
        del step
        self._fronts.write(front.to_line())

    def close(self, complete: bool) -> None:
        """Close the files."""
        del complete
        self._files.close()


# --- TensorBoard ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorBoard:
    """Writes TensorBoard's event files into the folder tensorboard/ of the run."""

    def __call__(self, run: LoggedRun) -> "EventWriter":
        """Return the open logger of a run."""
        return EventWriter(run)


class EventWriter(Logger):
    """The TensorBoard events of one run: scalars in groups with descriptions, pictures, texts, hyper-parameters.

    Args:
        run: the run.

    Raises:
        OSError: naming the file, here and in every method, if it cannot be written.
    """

    def __init__(self, run: LoggedRun) -> None:
        self._descriptions = dict(run.descriptions)
        self._known_front = run.known_front
        self._file = EventFile(run.directory / EVENTS, run.first_step)
        if not run.resumed and run.settings:
            self._file.begin_session(run.settings)

    @property
    def marks(self) -> dict[str, FileMark]:
        """Return how far the event file of this process has been written."""
        return {f"{EVENTS}/{self._file.path.name}": self._file.mark}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers in one event."""
        found = tagged(step, values)
        self._scalars(found.step, found.values)

    def front(self, step: int, front: LoggedFront) -> None:
        """Record the indicators, and three objectives as a cloud of points."""
        self._scalars(step, indicator_tags(front.indicators))
        if front.points.shape[1:] == (3,):
            places, colors = point_cloud(front.points, self._known_front)
            self._file.point_cloud(step, "front/mesh", places, colors)

    def figure(self, step: int, name: str, picture: Picture) -> None:
        """Record a picture."""
        width, height = picture.size
        self._file.image(step, name, picture.png, width, height)

    def video(self, step: int, name: str, video: Video) -> None:
        """Record an animated picture."""
        _, height, width, _ = video.frames.shape
        self._file.image(step, name, video.gif, width, height)

    def text(self, step: int, name: str, text: str) -> None:
        """Record a text."""
        self._file.text(step, name, text)

    def close(self, complete: bool) -> None:
        """Record whether the run is complete, for the table of hyper-parameters, and close the file."""
        if complete:
            self._file.end_session()
        self._file.close()

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._file.scalars(step, values, lambda tag: description_of(tag, self._descriptions))


def point_cloud(
    points: NDArray[np.float64], known_front: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return the known front and a front [point, 3], scaled to the unit cube, and their colours [point, 3].

    Args:
        points: [point, 3] the front.
        known_front: [point, 3] the true front; None where it is not known.
    """
    known = np.empty((0, 3)) if known_front is None else known_front
    together = np.concatenate([known, points])
    if not len(together):
        return together, np.empty((0, 3), dtype=np.uint8)
    lowest = together.min(axis=0)
    extent = together.max(axis=0) - lowest
    colors = np.repeat(np.array([KNOWN_COLOR, FRONT_COLOR], dtype=np.uint8), [len(known), len(points)], axis=0)
    return (together - lowest) / np.where(extent > 0, extent, 1.0), colors


# --- CSV --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CSV:
    """Writes metrics.csv, a row for each line of metrics.jsonl, and fronts.csv, a row for each point of each front."""

    def __call__(self, run: LoggedRun) -> "TableWriter":
        """Return the open logger of a run."""
        return TableWriter(run)


class TableWriter(Logger):
    """The CSV files of one run: the content of the JSON lines as tables; what has no finite value is an empty cell.

    A column is added when its name is first recorded: then, and when the run is resumed, the whole file is written anew
    from metrics.jsonl.

    Args:
        run: the run; its JSON lines are written first.

    Raises:
        OSError: naming the file, here and in every method, if it cannot be written.
    """

    def __init__(self, run: LoggedRun) -> None:
        self._folder = run.directory
        self._columns: dict[str, None] = {}
        self._metrics = self._rewritten_metrics()
        preferences = [f"preference/{name}" for name in run.objectives]
        rows: list[Sequence[object]] = [["training_steps", "policy_id", *run.objectives, *preferences]]
        for line in self._lines(EVALUATIONS):
            rows += _front_rows(parse_evaluation(line))
        write_text(self._folder / CSV_FRONTS, _csv(rows))
        self._fronts = AppendOnlyFile(self._folder / CSV_FRONTS)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write a row of metrics.csv."""
        if not values.keys() <= self._columns.keys():
            self._metrics.close()
            self._metrics = self._rewritten_metrics()
            return
        self._metrics.write(_csv([self._metrics_row({"training_steps": step, **values})]).encode())

    def front(self, step: int, front: LoggedFront) -> None:
        """Write a row of fronts.csv for each point."""
        del step
        self._fronts.write(_csv(_front_rows(front)).encode())

    def close(self, complete: bool) -> None:
        """Close the files."""
        del complete
        self._metrics.close()
        self._fronts.close()

    def _lines(self, name: str) -> list[bytes]:
        file = self._folder / name
        return file.read_bytes().splitlines() if file.exists() else []

    def _rewritten_metrics(self) -> AppendOnlyFile:
        """Write metrics.csv from metrics.jsonl, and return it open for more rows."""
        records = [json.loads(line) for line in self._lines(METRICS)]
        self._columns = dict.fromkeys(name for record in [{"training_steps": 0}, *records] for name in record)
        rows: list[Sequence[object]] = [list(self._columns), *map(self._metrics_row, records)]
        write_text(self._folder / CSV_METRICS, _csv(rows))
        return AppendOnlyFile(self._folder / CSV_METRICS)

    def _metrics_row(self, record: Mapping[str, float | None]) -> list[object]:
        return [_cell(record.get(name)) for name in self._columns]


def _front_rows(front: LoggedFront) -> list[Sequence[object]]:
    return [
        [front.training_steps, policy_id, *map(_cell, point), *map(_cell, preference)]
        for policy_id, point, preference in zip(
            front.policy_ids.tolist(), front.points.tolist(), front.preferences.tolist(), strict=True
        )
    ]


def _cell(value: float | None) -> object:
    return "" if value is None or not np.isfinite(value) else value


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
