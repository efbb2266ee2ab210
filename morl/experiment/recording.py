"""What a run leaves behind while it trains: `metrics.jsonl`, `fronts.jsonl` and TensorBoard events.

The two JSON files are strict JSON, one object per line, each with the step it was recorded at ("training_steps");
a number that is not finite is `null`. A line has reached the operating system when the call that writes it returns.
Whatever cannot be written is an `OSError` that names the file. matplotlib and tensorboard are imported on first use.
"""

import io
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.experiment.events import EventFile, cut_events
from morl.experiment.figures import front_figure
from morl.experiment.files import AppendOnlyFile, replace_content

FIGURE_SHARE = 0.05
"""Figures take at most this share of a run's time: six objectives cost a second each, and TensorBoard shows ten."""

HISTORY_SHOWN = 4
"""Earlier fronts behind the current one in a figure."""

POLICIES_SHOWN = 100
"""Rows in TensorBoard's hparams table."""

KNOWN_COLOR, FRONT_COLOR = (154, 154, 154), (0, 114, 178)
"""Red, green, blue in the point cloud: the grey and the blue of the figures."""


class Recorder:
    """Writes the record of one run into its folder.

    Args:
        run_dir: the run folder; created when it is missing.
        objectives: the name of each objective.
        known_front: the true front [point, objective], drawn behind the found one; None where it is not known.
        resume_step: None starts new records. A number continues the records of a run that was saved at this training
            step: what was recorded later, or only half written, is removed first.

    Raises:
        OSError: naming the file, here and in every method, if a record cannot be written.
        ValueError: if a record to be continued is damaged.
    """

    def __init__(
        self,
        run_dir: Path,
        objectives: Sequence[str],
        known_front: NDArray[np.float64] | None = None,
        resume_step: int | None = None,
    ) -> None:
        self._folder = run_dir / "tensorboard"
        self._objectives = tuple(objectives)
        self._known_front = known_front
        self._steps = resume_step or 0
        self._history: list[NDArray[np.float64]] = []  # the fronts so far, thinned out
        self._drawn_at = -1  # training step of the last figure
        self._next_figure = 0.0  # on the clock of time.monotonic

        run_dir.mkdir(parents=True, exist_ok=True)
        cut_records(run_dir / "metrics.jsonl", resume_step)
        for front in cut_records(run_dir / "fronts.jsonl", resume_step):
            self._remember(np.array(front["points"], dtype=np.float64).reshape(-1, len(self._objectives)))
        if resume_step is not None:
            cut_events(self._folder, resume_step)
        elif self._folder.exists():
            shutil.rmtree(self._folder)
        first_step = 0 if resume_step is None else resume_step + 1
        with ExitStack() as opened:  # closes what is open already if the next file cannot be
            self._metrics = opened.enter_context(closing(AppendOnlyFile(run_dir / "metrics.jsonl")))
            self._fronts = opened.enter_context(closing(AppendOnlyFile(run_dir / "fronts.jsonl")))
            self._events = opened.enter_context(closing(EventFile(self._folder, first_step)))
            self._files = opened.pop_all()

    def metrics(self, steps: int, values: Mapping[str, Any]) -> None:
        """Record numbers (or one-element tensors) at a training step: one line and one TensorBoard event.

        Raises:
            ValueError: if a value is not a number.
        """
        numbers = {name: _number(name, value) for name, value in values.items()}
        self._steps = steps
        self._metrics.write(_line({"training_steps": steps, **numbers}))
        self._events.scalars(steps, numbers)

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
        record = {
            "training_steps": steps,
            "points": points,
            "preferences": preferences,
            "policy_ids": policy_ids,
            "indicators": dict(indicators),
        }
        self._steps = steps
        self._fronts.write(_line(record))
        scalars = {f"front/{name}": float(value) for name, value in indicators.items() if value is not None}
        self._events.scalars(steps, scalars)
        if len(self._objectives) == 3:
            self._events.point_cloud(steps, "front/mesh", *self._cloud(points))
        if time.monotonic() >= self._next_figure:
            self._draw(steps, points)
        self._remember(points)

    def text(self, tag: str, markdown: str) -> None:
        """Record a text for TensorBoard, such as the configuration or the command."""
        self._events.text(0, tag, markdown)

    def finish(
        self,
        points: NDArray[np.float64],
        preferences: NDArray[np.float64],
        policy_ids: Sequence[int] | NDArray[np.int64],
        hyper_parameters: Mapping[str, Any],
    ) -> None:
        """Record the final front: its figure, and one row per policy in TensorBoard's hparams table.

        A row maps the preference and the hyper-parameters of a policy to what it reaches in each objective. TensorBoard
        wants a folder for each: `tensorboard/policies/<row>`. Of more than 100 policies, 100 are chosen evenly.
        """
        if self._drawn_at != self._steps:
            self._draw(self._steps, points)
        folder = self._folder / "policies"
        if folder.exists():  # rows of the same run before it was resumed
            shutil.rmtree(folder)
        common = {name: _plain(value) for name, value in hyper_parameters.items() if value is not None}
        shown = np.unique(np.linspace(0, len(points) - 1, min(len(points), POLICIES_SHOWN)).round().astype(int))
        for row in shown:
            named = zip(self._objectives, preferences[row].tolist(), strict=True)
            preference = {f"preference/{name}": weight for name, weight in named if math.isfinite(weight)}
            events = EventFile(folder / f"{row:04d}")
            events.hyper_parameters({**common, "policy": int(policy_ids[row]), **preference})
            reached = zip(self._objectives, points[row].tolist(), strict=True)
            events.scalars(self._steps, {f"objective/{name}": value for name, value in reached})
            events.close()

    def close(self) -> None:
        """Close all files."""
        self._files.close()

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


def cut_records(path: Path, last_step: int | None) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file up to `last_step`, and remove the later ones from the file.

    A last line that was only half written is removed too. The file is replaced as a whole or not at all. Without a
    `last_step` the file is removed.

    Raises:
        ValueError: if a line that is not the last one is no record.
    """
    if last_step is None:
        path.unlink(missing_ok=True)
    if not path.exists():
        return []
    content = path.read_bytes()
    kept: list[bytes] = []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):  # what follows the last line end is half a line
        try:
            record = json.loads(line)
            keep = record["training_steps"] <= last_step
        except (ValueError, KeyError, TypeError):
            raise ValueError(f'{path}, line {number} must be a JSON object with "training_steps"') from None
        if keep:
            kept.append(line + b"\n")
            records.append(record)
    if b"".join(kept) != content:
        replace_content(path, b"".join(kept))
    return records


def _line(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of strict JSON."""
    return json.dumps(_strict(record), allow_nan=False).encode() + b"\n"


def _strict(value: Any) -> Any:
    """Return `value` with arrays as lists and numbers that JSON does not know (NaN, infinities) as None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


def _number(name: str, value: Any) -> float:
    """Return a metric as a float."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"metric {name!r} must be a number or a one-element tensor, not {value!r}") from None


def _plain(value: Any) -> bool | float | str:
    """Return a hyper-parameter as TensorBoard can show it."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)
