"""The recorder of a run: what the run reports goes to its JSON lines first, then to all of its loggers.

A line has reached the operating system when the call that writes it returns. JSON lines that cannot be written are an
`OSError` that names the file, and end the run. Any other logger that raises is left out from then on, with one warning.
matplotlib and tensorboard are imported on first use.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from morl.experiment.figures import DrawnPicture, front_figure
from morl.experiment.file_loggers import KeepsMarks, LineWriter
from morl.experiment.logger_choice import choose_loggers, open_loggers, warn_of_logger, write_loggers
from morl.experiment.loggers import LoggedFront, LoggedRun, Logger, LoggerChoice, Picture, Repeated, Video
from morl.experiment.records import FileMarks, RecordMarks, cut_back, remove_records, steps_beyond
from morl.run_folder import EVALUATIONS, EVENTS, METRICS, parse_evaluation

FIGURE_SHARE = 0.05
"""Figures take at most this share of a run's time: six objectives cost a second each, and TensorBoard shows ten."""

HISTORY_SHOWN = 4
"""Earlier fronts behind the current one in a figure."""


class Recorder:
    """Records one run in its folder and with its loggers.

    Args:
        run: the run; its folder is created when it is missing.
        choice: the loggers; default: TensorBoard. Every run has its JSON lines, first.
        resume: None starts new records. Marks continue the records of a run from a checkpoint: what was recorded
            later, or only half written, is removed first.

    Attributes:
        notes: how the records were altered behind the run's back, one sentence each.
        last_front: the front of the newest evaluation; None before the first.

    Raises:
        OSError: naming the file, here and in every method, if the JSON lines cannot be written.
        ValueError: if a record to be continued is damaged, or a logger cannot be opened.
    """

    def __init__(self, run: LoggedRun, choice: LoggerChoice | None = None, resume: RecordMarks | None = None) -> None:
        self._folder = run.directory
        self._objectives = tuple(run.objectives)
        self._known_front = run.known_front
        self._steps = 0 if resume is None else resume.step
        self._history: list[NDArray[np.float64]] = []  # the fronts so far, thinned out
        self._latest: dict[str, float] | None = None
        self._drawn_at = -1  # training step of the last figure
        self._next_figure = 0.0  # on the clock of time.monotonic
        self.notes: list[str] = []
        self.last_front: LoggedFront | None = None
        self._older: FileMarks = {}  # event files of earlier parts of the run
        run.directory.mkdir(parents=True, exist_ok=True)
        if resume is None:
            remove_records(run.directory)
        else:
            run = self._cut_back(run, resume)
        self._lines = LineWriter(run)
        self._loggers: dict[str, Logger] = {}
        try:
            self._open(run, choice or choose_loggers(None))
        except BaseException:
            self._lines.close(complete=False)
            raise

    def _cut_back(self, run: LoggedRun, resume: RecordMarks) -> LoggedRun:
        """Cut the records back to a checkpoint, and return the run with what loggers must know of it."""
        scalars = steps_beyond(run.directory / METRICS, resume.files.get(METRICS))
        fronts = steps_beyond(run.directory / EVALUATIONS, resume.files.get(EVALUATIONS))
        repeated = Repeated(len(scalars), len(fronts), max(scalars + fronts, default=-1))
        self.notes = cut_back(run.directory, resume)
        self._older = {name: mark for name, mark in resume.files.items() if name.startswith(f"{EVENTS}/")}
        self._read_history(run.directory / EVALUATIONS)
        return replace(run, resumed=True, first_step=resume.event_step + 1, repeated=repeated)

    def _open(self, run: LoggedRun, choice: LoggerChoice) -> None:
        self._loggers = open_loggers(choice, run)
        write_loggers(run.directory, choice, self._loggers)

    @property
    def marks(self) -> FileMarks:
        """Return how far each file has been written, by its path inside the run folder."""
        marks = self._lines.marks | self._older
        for logger in self._loggers.values():
            if isinstance(logger, KeepsMarks):
                marks |= logger.marks
        return marks

    @property
    def latest(self) -> Mapping[str, float]:
        """Return the newest value of each metric so far; NaN where it is not finite."""
        if self._latest is None:
            records = map(json.loads, (self._folder / METRICS).read_bytes().splitlines())
            values = {name: value for record in records for name, value in record.items() if name != "training_steps"}
            self._latest = _finite(values)
        return MappingProxyType(self._latest)

    def metrics(self, steps: int, values: Mapping[str, Any]) -> None:
        """Record numbers (or one-element tensors) at a training step: one line of metrics.jsonl.

        Args:
            steps: training steps so far.
            values: name -> number.

        Raises:
            ValueError: if a value is not a number.
        """
        self._scalars(steps, {name: _number(name, value) for name, value in values.items()})

    def pretraining_metrics(self, values: Mapping[str, float], counts: Mapping[str, float]) -> None:
        """Record numbers before training begins: a line of metrics.jsonl at training step 0.

        Args:
            values: name -> number.
            counts: name -> count, the steps of pre-training among them.
        """
        self._scalars(0, {**values, **counts})

    def _scalars(self, steps: int, numbers: Mapping[str, float]) -> None:
        self._steps = steps
        self._lines.scalars(steps, numbers)
        if self._latest is not None:
            self._latest = {**self._latest, **_finite(numbers)}
        shown = MappingProxyType(dict(numbers))
        self._each(lambda logger: logger.scalars(steps, shown))

    def front(self, front: LoggedFront) -> None:
        """Record the front of an evaluation: a line of fronts.jsonl, and a figure of it."""
        self._steps = front.training_steps
        self._lines.front(front.training_steps, front)
        self.last_front = shown = _read_only(front)
        self._each(lambda logger: logger.front(front.training_steps, shown))
        if time.monotonic() >= self._next_figure:
            self._draw(front.training_steps, front.points)
        self._remember(shown.points)

    def figure(self, name: str, picture: Picture) -> None:
        """Record a figure at the newest step."""
        self._each(lambda logger: logger.figure(self._steps, name, picture))

    def video(self, name: str, video: Video) -> None:
        """Record a video at the newest step."""
        self._each(lambda logger: logger.video(self._steps, name, video))

    def text(self, name: str, text: str) -> None:
        """Record a text (Markdown) at the newest step, such as the configuration or the command."""
        self._each(lambda logger: logger.text(self._steps, name, text))

    def finish(self, points: NDArray[np.float64]) -> None:
        """Record the figure of the final front [point, objective], and that the run is complete."""
        if self._drawn_at != self._steps:
            self._draw(self._steps, points)
        self._close(complete=True)

    def close(self) -> None:
        """Close all loggers that are open."""
        self._close(complete=False)

    def _close(self, complete: bool) -> None:
        self._each(lambda logger: logger.close(complete))
        self._keep_marks(self._loggers)
        self._loggers = {}
        self._lines.close(complete)

    def _each(self, call: Callable[[Logger], None]) -> None:
        """Call a method of all loggers; one that raises is left out from then on."""
        for name, logger in list(self._loggers.items()):
            try:
                call(logger)
            except Exception as error:
                what = f"failed at step {self._steps:,} and records nothing more of this run"
                warn_of_logger(self._folder, name, what, error)
                self._keep_marks([name])
                del self._loggers[name]

    def _keep_marks(self, names: Iterable[str]) -> None:
        """Remember how far loggers that are no longer called have written their files."""
        for name in names:
            logger = self._loggers[name]
            if isinstance(logger, KeepsMarks):
                self._older |= logger.marks

    def _read_history(self, file: Path) -> None:
        """Remember the fronts of the evaluations so far."""
        for line in file.read_bytes().splitlines() if file.exists() else []:
            record = parse_evaluation(line)
            if not record.points.size:
                empty = np.empty((0, len(self._objectives)))
                record = replace(record, points=empty, preferences=empty)
            self.last_front = _read_only(record)
            self._remember(record.points)

    def _remember(self, points: NDArray[np.float64]) -> None:
        """Keep a front for later figures; when there are many, every second one goes."""
        self._history.append(points)
        if len(self._history) > 16 * HISTORY_SHOWN:
            del self._history[1::2]

    def _draw(self, steps: int, points: NDArray[np.float64]) -> None:
        """Record the front as a picture before the known front and its own past."""
        if len(self._objectives) < 2:
            return
        start = time.monotonic()
        chosen = np.unique(np.linspace(0, len(self._history) - 1, HISTORY_SHOWN).round().astype(int))
        history = [self._history[index] for index in chosen] if self._history else []
        title = f"step {steps:,}"
        picture = DrawnPicture(lambda: front_figure(points, self._objectives, self._known_front, history, title))
        self._each(lambda logger: logger.figure(steps, "front/figure", picture))
        now = time.monotonic()
        self._drawn_at = steps
        self._next_figure = now + (now - start) / FIGURE_SHARE


def _read_only(front: LoggedFront) -> LoggedFront:
    """Return a copy of a front that nobody can change."""
    copies = {name: getattr(front, name).copy() for name in ("points", "preferences", "policy_ids")}
    for copy in copies.values():
        copy.setflags(write=False)
    return replace(front, **copies, indicators=MappingProxyType(dict(front.indicators)))


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return numbers as a resumed run reads them: JSON knows neither infinities nor NaN."""
    return {name: value if value is not None and math.isfinite(value) else math.nan for name, value in values.items()}


def _number(name: str, value: SupportsFloat) -> float:
    """Return a metric as a float."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"metric {name!r} must be a number or a one-element tensor, not {value!r}") from None
