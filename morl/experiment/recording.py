"""Records of a run while it trains: `metrics.jsonl`, `fronts.jsonl` (`morl.run_folder`) and TensorBoard events.

A line has reached the operating system when the call that writes it returns. Whatever cannot be written is an `OSError`
that names the file. matplotlib and tensorboard are imported on first use.
"""

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from morl.experiment.events import EventFile
from morl.experiment.figures import front_figure
from morl.experiment.files import AppendOnlyFile, FileMark, remove, remove_tree
from morl.experiment.records import RecordMarks, cut_back
from morl.experiment.tags import description_of, tag_of
from morl.run_folder import EVALUATIONS, EVENTS, METRICS, EvaluationRecord, json_line, parse_evaluation

FIGURE_SHARE = 0.05
"""Figures take at most this share of a run's time: six objectives cost a second each, and TensorBoard shows ten."""

HISTORY_SHOWN = 4
"""Earlier fronts behind the current one in a figure."""

KNOWN_COLOR, FRONT_COLOR = (154, 154, 154), (0, 114, 178)
"""Red, green, blue in the point cloud: the grey and the blue of the figures."""


class Recorder:
    """Writes the record of one run into its folder.

    Args:
        run_dir: the run folder; created when it is missing.
        objectives: the name of each objective.
        known_front: the true front [point, objective], drawn behind the found one; None where it is not known.
        descriptions: name of a metric of the agent -> what it means; a star at the end stands for anything.
        resume: None starts new records. Marks continue the records of a run from a checkpoint: what was recorded
            later, or only half written, is removed first.

    Attributes:
        notes: how the records were altered behind the run's back, one sentence each.

    Raises:
        OSError: naming the file, here and in every method, if a record cannot be written.
        ValueError: if a record to be continued is damaged.
    """

    def __init__(
        self,
        run_dir: Path,
        objectives: Sequence[str],
        known_front: NDArray[np.float64] | None = None,
        descriptions: Mapping[str, str] | None = None,
        resume: RecordMarks | None = None,
    ) -> None:
        self._run_dir = run_dir
        self._folder = run_dir / EVENTS
        self._objectives = tuple(objectives)
        self._known_front = known_front
        self._descriptions = dict(descriptions or {})
        self._steps = 0 if resume is None else resume.step
        self._history: list[NDArray[np.float64]] = []  # the fronts so far, thinned out
        self._drawn_at = -1  # training step of the last figure
        self._next_figure = 0.0  # on the clock of time.monotonic
        self.notes: list[str] = []
        self._older: dict[str, FileMark] = {}  # event files of earlier parts of the run

        run_dir.mkdir(parents=True, exist_ok=True)
        if resume is None:
            remove(run_dir / METRICS)
            remove(run_dir / EVALUATIONS)
            if self._folder.is_dir():
                remove_tree(self._folder)
        else:
            self.notes = cut_back(run_dir, resume)
            self._older = {name: mark for name, mark in resume.files.items() if name.startswith(f"{EVENTS}/")}
            self._read_history(run_dir / EVALUATIONS)
        first_step = 0 if resume is None else resume.event_step + 1
        with ExitStack() as opened:  # closes what is open already if the next file cannot be
            self._metrics = opened.enter_context(closing(AppendOnlyFile(run_dir / METRICS)))
            self._fronts = opened.enter_context(closing(AppendOnlyFile(run_dir / EVALUATIONS)))
            self._events = opened.enter_context(closing(EventFile(self._folder, first_step)))
            self._files = opened.pop_all()

    @property
    def marks(self) -> dict[str, FileMark]:
        """Return how far each file has been written, by its path inside the run folder."""
        events = {f"{EVENTS}/{self._events.path.name}": self._events.mark}
        return {METRICS: self._metrics.mark, EVALUATIONS: self._fronts.mark, **self._older, **events}

    def metrics(self, steps: int, values: Mapping[str, Any]) -> None:
        """Record numbers (or one-element tensors) at a training step: one line and one TensorBoard event.

        Args:
            steps: training steps so far.
            values: name -> number; TensorBoard shows them under the tags of `morl.experiment.tags`.

        Raises:
            ValueError: if a value is not a number.
        """
        numbers = {name: _number(name, value) for name, value in values.items()}
        self._steps = steps
        self._metrics.write(json_line({"training_steps": steps, **numbers}))
        self._scalars(steps, {tag_of(name): number for name, number in numbers.items()})

    def pretraining_metrics(self, steps: int, values: Mapping[str, float], counts: Mapping[str, float]) -> None:
        """Record numbers before training begins: a line at training step 0, and a TensorBoard event.

        Args:
            steps: steps of pre-training so far, TensorBoard's horizontal axis.
            values: name -> number.
            counts: name -> count, for the line only.
        """
        self._metrics.write(json_line({"training_steps": 0, **values, **counts}))
        self._scalars(steps, {tag_of(name): number for name, number in values.items()})

    def front(
        self,
        steps: int,
        points: NDArray[np.float64],
        preferences: NDArray[np.float64],
        policy_ids: Sequence[int] | NDArray[np.int64],
        indicators: Mapping[str, float | None],
    ) -> None:
        """Record the front at a training step: a line, its indicators as scalars, and pictures.

        Args:
            steps: training steps so far.
            points: [point, objective] mean returns.
            preferences: [point, objective], a row of NaN where a policy has none.
            policy_ids: [point] the policy behind each point.
            indicators: name -> value, recorded in TensorBoard as `front/<name>`.
        """
        record = EvaluationRecord(
            training_steps=steps,
            points=points,
            preferences=preferences,
            policy_ids=np.asarray(policy_ids, dtype=np.int64),
            indicators=dict(indicators),
        )
        self._steps = steps
        self._fronts.write(record.to_line())
        self._scalars(steps, {f"front/{name}": float(value) for name, value in indicators.items() if value is not None})
        if len(self._objectives) == 3:
            places, colors = self._cloud(points)
            self._events.point_cloud(steps, "front/mesh", places, colors)
        if time.monotonic() >= self._next_figure:
            self._draw(steps, points)
        self._remember(points)

    def text(self, tag: str, markdown: str) -> None:
        """Record a text for TensorBoard, such as the configuration or the command."""
        self._events.text(0, tag, markdown)

    def hyper_parameters(self, values: Mapping[str, object]) -> None:
        """Record what the run is run with, its row of TensorBoard's table of hyper-parameters.

        Args:
            values: name -> number, text or truth value. Anything else is spelled as text, None too: TensorBoard does
                not see that runs differ where one has no value.
        """
        self._events.begin_session({name: _plain(value) for name, value in values.items()})

    def finish(self, points: NDArray[np.float64]) -> None:
        """Record the figure of the final front [point, objective], and that the run is complete."""
        if self._drawn_at != self._steps:
            self._draw(self._steps, points)
        self._events.end_session()

    def close(self) -> None:
        """Close all files."""
        self._files.close()

    def _scalars(self, steps: int, values: Mapping[str, float]) -> None:
        """Record numbers under their tags, with descriptions."""
        self._events.scalars(steps, values, lambda tag: description_of(tag, self._descriptions))

    def _read_history(self, file: Path) -> None:
        """Remember the fronts of the evaluations so far."""
        for line in file.read_bytes().splitlines() if file.exists() else []:
            points = parse_evaluation(line).points
            self._remember(points if points.size else np.empty((0, len(self._objectives))))

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
        figure = front_figure(points, self._objectives, self._known_front, history, title=f"step {steps:,}")
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        width, height = (figure.get_size_inches() * figure.dpi).astype(int).tolist()
        self._events.image(steps, "front/figure", picture.getvalue(), width, height)
        now = time.monotonic()
        self._drawn_at = steps
        self._next_figure = now + (now - start) / FIGURE_SHARE

    def _cloud(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return the known front and the front [point, 3], scaled to the unit cube, and their colours [point, 3]."""
        known = np.empty((0, 3)) if self._known_front is None else self._known_front
        together = np.concatenate([known, points])
        if not len(together):
            return together, np.empty((0, 3), dtype=np.uint8)
        lowest = together.min(axis=0)
        extent = together.max(axis=0) - lowest
        colors = np.repeat(np.array([KNOWN_COLOR, FRONT_COLOR], dtype=np.uint8), [len(known), len(points)], axis=0)
        return (together - lowest) / np.where(extent > 0, extent, 1.0), colors


def _number(name: str, value: SupportsFloat) -> float:
    """Return a metric as a float."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"metric {name!r} must be a number or a one-element tensor, not {value!r}") from None


def _plain(value: object) -> bool | float | str:
    """Return a hyper-parameter as TensorBoard can show it."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)
