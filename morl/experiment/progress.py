"""What a run shows while it trains: a live bar in a terminal, a line per evaluation elsewhere."""

import sys
import time
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from morl.board.text import printable

if TYPE_CHECKING:
    from morl.experiment.front import Front

WIDE = 100
"""Columns of a terminal from which on there is room for a bar and more than one indicator."""


def is_watched() -> bool:
    """Return whether somebody sees what is printed: standard error is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or Console().is_jupyter


class ProgressBar:
    """Shows steps, steps/s, time left, hypervolume and expected utility; silent when `visible` is False."""

    def __init__(self, total_steps: int, first_step: int, visible: bool) -> None:
        self._console = Console(stderr=True, quiet=not visible)
        live = self._console.is_terminal or (self._console.is_jupyter and find_spec("ipywidgets") is not None)
        self._live = visible and live
        self._wide = self._console.width >= WIDE
        self._bar = Progress(console=self._console, disable=not self._live, refresh_per_second=4)
        self._bar.columns = tuple(_columns(self._wide))
        self._task = self._bar.add_task("training", total=total_steps, completed=first_step, speed="-", front="")
        self._total = total_steps
        self._first = first_step
        self._begin = time.monotonic()

    def update(self, steps: int, doing: str) -> None:
        """Show the steps so far and what is going on."""
        self._bar.update(self._task, completed=min(steps, self._total), speed=self._speed(steps), description=doing)

    def show_front(self, steps: int, front: "Front", label: str = "") -> None:
        """Show the indicators of a new front, after a label that tells apart several."""
        indicators = front.indicators
        utility = f"expected utility {indicators['expected_utility']:.4g}"
        summary = f"{label}hypervolume {indicators['hypervolume']:.6g}  {utility}"
        shown = summary if self._wide else f"hypervolume {indicators['hypervolume']:.4g}"
        self._bar.update(self._task, completed=min(steps, self._total), speed=self._speed(steps), front=shown)
        if not self._live:
            line = f"step {steps:>9,} of {self._total:,}  {self._speed(steps)} steps/s  {summary}"
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(printable(line), soft_wrap=True, markup=False, highlight=False)

    def _speed(self, steps: int) -> str:
        seconds = time.monotonic() - self._begin
        return f"{(steps - self._first) / seconds:,.0f}" if seconds > 0 else "-"

    def __enter__(self) -> Self:
        """Begin to show."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""
        self._bar.stop()


def _columns(wide: bool) -> list[ProgressColumn]:
    """Return the columns of the bar; a narrow terminal shows a percentage instead of bar and steps."""
    amount: list[ProgressColumn] = [BarColumn(bar_width=None), MofNCompleteColumn()] if wide else [TaskProgressColumn()]
    speed = TextColumn("{task.fields[speed]} steps/s")
    return [TextColumn("{task.description}"), *amount, speed, TimeRemainingColumn(), TextColumn("{task.fields[front]}")]
