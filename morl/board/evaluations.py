"""The evaluations of one run, read from `fronts.jsonl` and `metrics.jsonl` as they grow, in bounded memory."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.board.files import GrowingLines, NewLines
from morl.board.records import thinned_rows
from morl.board.text import printable, whole_number
from morl.run_folder import as_table, finite_numbers

FRONTS_KEPT = 64
"""Fronts of a run that are kept for replay; of more, every second one goes."""
NUMBERS_KEPT = 100_000
"""Numbers in the fronts of a run that are kept for replay (0.8 MB); of more, every second front goes."""
LINES_KEPT = 1_000
"""Evaluations of a run whose indicators are kept."""
POINTS_KEPT = 2_000
"""Points of one front that are kept; of more, an even choice."""


DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What parsing raises for lines that are no records."""


@dataclass(frozen=True)
class Evaluation:
    """One line of `fronts.jsonl`: training step and indicators; the points are kept apart, and not of all."""

    training_steps: int
    indicators: dict[str, float]


class Clock(NamedTuple):
    """A line of `metrics.jsonl` that goes with an evaluation: its steps, all steps of the run, and seconds so far."""

    training_steps: int
    environment_steps: int
    wall_seconds: float
    conditioned_utility: float | None = None
    """Mean utility that preferences achieve themselves, in the agent's units; None where there is none."""


@dataclass
class Evaluations:
    """The results of a run's evaluations, in the order of training steps."""

    directory: Path
    objectives: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    fronts: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Training step -> points [n, objective], thinned out evenly."""
    clocks: dict[int, Clock] = field(default_factory=dict)
    """Training step of an evaluation -> steps and seconds when it was done."""
    published_steps: float | None = None
    """Training steps that front.json counts: later evaluations are recorded but not yet published. None: no limit."""
    damaged_lines: int = 0
    long_lines: int = 0
    unread_bytes: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    """Name of a file that is there and cannot be read -> why, such as a link."""

    def __post_init__(self) -> None:
        """Begin at the start of both files."""
        self._front_lines = GrowingLines(self.directory / "fronts.jsonl")
        self._metric_lines = GrowingLines(self.directory / "metrics.jsonl")
        self._stride = 1  # every `_stride`-th front of the evaluations that were read is kept
        self._seen = 0

    @property
    def published(self) -> list[Evaluation]:
        """Return the evaluations whose outcome front.json tells, in the order of training steps."""
        return [evaluation for evaluation in self.evaluations if self._is_published(evaluation.training_steps)]

    @property
    def published_fronts(self) -> dict[int, NDArray[np.float64]]:
        """Return the fronts of these evaluations that are kept: training step -> points [n, objective]."""
        return {step: front for step, front in self.fronts.items() if self._is_published(step)}

    def _is_published(self, step: int) -> bool:
        return self.published_steps is None or step <= self.published_steps

    def refresh(self) -> None:
        """Read what is new. Missing files are no error: a run has none before its first evaluation."""
        self._refresh_fronts()
        self._refresh_clocks()

    def _refresh_fronts(self) -> None:
        new = self._read(self._front_lines)
        if new is None:
            return
        if new.restarted:
            self.evaluations = []
            self.fronts = {}
            self._stride = 1
            self._seen = 0
            self.damaged_lines = 0
            self.long_lines = 0
        self.long_lines += new.left_out
        self.unread_bytes = new.unread
        for line in new.lines:
            try:
                step, points, indicators = parse_front(line)
                self._add(step, points, indicators)
            except DAMAGE:
                self.damaged_lines += 1

    def _read(self, lines: GrowingLines) -> NewLines | None:
        """Return the new lines of a file; None where it is missing or cannot be read."""
        self.unreadable.pop(lines.path.name, None)
        try:
            return lines.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.unreadable[lines.path.name] = printable(error.strerror or error)
            return None

    def _add(self, step: int, points: NDArray[np.float64], indicators: dict[str, float]) -> None:
        if self.objectives and len(points) and points.shape[1] != self.objectives:
            raise ValueError(f"points must have {self.objectives} objectives, got {points.shape[1]}")
        if self.evaluations and step <= self.evaluations[-1].training_steps:
            raise ValueError(f"training_steps must grow, got {step} after {self.evaluations[-1].training_steps}")
        self.evaluations.append(Evaluation(step, indicators))
        if self._seen % self._stride == 0:
            self.fronts[step] = points[thinned_rows(len(points), POINTS_KEPT)]
        self._seen += 1
        while len(self.fronts) > FRONTS_KEPT or (
            len(self.fronts) > 4 and sum(front.size for front in self.fronts.values()) > NUMBERS_KEPT
        ):
            self._stride *= 2
            self.fronts = {step: self.fronts[step] for step in list(self.fronts)[::2]}
        if len(self.evaluations) > LINES_KEPT:
            del self.evaluations[1:-1:2]

    def _refresh_clocks(self) -> None:
        new = self._read(self._metric_lines)
        if new is None:
            return
        if new.restarted:
            self.clocks = {}
        for line in new.lines:
            if b'"selection/' not in line:  # only the line that goes with an evaluation; the others need no parsing
                continue
            try:
                clock = parse_clock(line)
            except DAMAGE:
                continue
            self.clocks[clock.training_steps] = clock
        if len(self.clocks) > 2 * LINES_KEPT:
            kept = {evaluation.training_steps for evaluation in self.evaluations}
            self.clocks = {step: clock for step, clock in self.clocks.items() if step in kept}

    @property
    def complete(self) -> bool:
        """Return whether next to nothing of `fronts.jsonl` is left for the next call, such as half a line."""
        return self.unread_bytes <= 2**20

    def notes(self) -> list[str]:
        """Return the faults of the files, one sentence each."""
        notes = [f"{name} cannot be read: {reason}" for name, reason in self.unreadable.items()]
        if self.damaged_lines:
            notes.append(f"fronts.jsonl has {self.damaged_lines} damaged lines, which are left out")
        if self.long_lines:
            notes.append(f"fronts.jsonl has {self.long_lines} lines that are too long to be read")
        if not self.complete:
            notes.append(f"fronts.jsonl is long: {self.unread_bytes / 2**20:.0f} MB of it are still to be read")
        return notes


def parse_front(line: bytes) -> tuple[int, NDArray[np.float64], dict[str, float]]:
    """Return training step, points [n, objective] and indicators of a line of `fronts.jsonl`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError: it is not such a line.
    """
    record = json.loads(_without_preferences(line))
    indicators = finite_numbers(record.get("indicators"))
    return _steps(record, "training_steps"), as_table(record["points"], "points"), _printable_names(indicators)


def parse_clock(line: bytes) -> Clock:
    """Return the steps and seconds in a line of `metrics.jsonl`.

    Raises:
        ValueError, KeyError, TypeError, OverflowError, RecursionError: it is not such a line.
    """
    record = json.loads(line)
    steps = _steps(record, "training_steps")
    others = _steps(record, "pretraining_steps") + _steps(record, "evaluation_steps")
    seconds = float(record["wall_seconds"])
    if not 0.0 <= seconds < math.inf:
        raise ValueError(f"wall_seconds must be a finite number of at least 0, got {seconds}")
    utility = finite_numbers(record).get("conditioned_utility")
    return Clock(steps, steps + others, seconds, utility)


def _steps(record: Mapping[str, object], name: str) -> int:
    steps = whole_number(record[name])
    if steps is None or steps < 0:
        raise ValueError(f"{name} must be a whole number of steps")
    return steps


def _printable_names(values: Mapping[str, float]) -> dict[str, float]:
    return {printable(name): value for name, value in values.items()}


def _without_preferences(line: bytes) -> bytes:
    """Return a line of `fronts.jsonl` with no preferences in it: they are half of the text to parse."""
    start = line.find(b'"preferences": [[')
    end = line.find(b']], "', start)
    return line[: start + 15] + b"null" + line[end + 2 :] if 0 <= start < end else line
