"""What a study shows while it trains: a live table in a terminal, a line per run that ended elsewhere."""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from morl.experiment.progress import is_watched
from morl.run_folder import FRONT
from morl.studies.executors import Executor, JobResult
from morl.studies.status import STATES, RunStatus, counted, duration, run_status, status_table

if TYPE_CHECKING:
    from morl.studies.plan import PlannedRun, Study

REFRESH_SECONDS = 1.0
"""Between two looks at the folders of the runs that are being trained."""
MOST_SHOWN = 20
"""Running runs that are shown."""


class StudyProgress:
    """Shows the runs of a study while they are trained; a context manager that leaves the last picture standing.

    Args:
        planned: the study.
        executor: trains it.
        shown: show something; default: where somebody watches.
    """

    def __init__(self, planned: "Study", executor: Executor, shown: bool | None = None) -> None:
        self._planned = planned
        self._executor = executor
        self._console = Console(stderr=True, quiet=not (is_watched() if shown is None else shown))
        live = not self._console.quiet and self._console.is_terminal
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if live else None
        self._runs = {run.run_dir.absolute(): run for run in planned.runs}
        self._ended = {path: one for path, run in self._runs.items() if (one := run_status(run)).state == "done"}
        self._reused = len(self._ended)
        self._told = 0
        self._never_began = 0
        self._next = 0.0
        self._step_seconds = step_seconds(planned)

    def update(self, results: Sequence[JobResult]) -> None:
        """Show the runs that have ended since the last call, and from time to time where the others are.

        Args:
            results: how runs ended, all so far.
        """
        for result in results[self._told :]:
            run = self._runs[result.run_dir]
            self._ended[result.run_dir] = replace(run_status(run), sentence=result.sentence)
            if result.began:
                self.say(_ended_line(run, result))
            else:
                self._never_began += 1
        if len(results) > self._told:
            self._step_seconds = step_seconds(self._planned)
        self._told = len(results)
        if self._live is not None and time.monotonic() >= self._next:
            self._live.update(self._picture(), refresh=True)
            self._next = time.monotonic() + REFRESH_SECONDS

    def say(self, line: str) -> None:
        """Print a line, above the picture where there is one."""
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _picture(self) -> Group:
        """Return the runs that are being trained, and the numbers of all others."""
        running = [path for path in self._runs if path in self._executor.running]
        found = [run_status(self._runs[path], [path]) for path in running[:MOST_SHOWN]]
        shown = [replace(one, state="running") for one in found]  # one that is done already still ends its process
        counts = Counter(one.state for one in self._ended.values())
        counts["running"] = len(running)
        counts["waiting"] += len(self._runs) - len(running) - len(self._ended)
        words = counted({state: counts[state] for state in STATES})
        left = duration(self._seconds_left(shown))
        line = f"study {self._planned.name}: {words}" + ("" if left == "-" else f", about {left} left")
        return Group(status_table("", shown), Text(line)) if shown else Group(Text(line))

    def _seconds_left(self, running: Sequence[RunStatus]) -> float:
        """Return the seconds until all runs are done, as far as the speed of runs is known; NaN where it is not.

        Args:
            running: the runs that are being trained.
        """
        speeds = {(one.run.variant, one.run.env): one.steps_per_second for one in running}
        known = {key: 1.0 / speed for key, speed in speeds.items() if not math.isnan(speed)}
        known |= self._step_seconds
        if not known:
            return math.nan
        unknown = sum(known.values()) / len(known)
        steps = {one.run.name: one.step for one in running}
        left = 0.0
        for path, run in self._runs.items():
            if path not in self._ended:
                remaining = max(0, run.total_steps - steps.get(run.name, 0))
                left += remaining * known.get((run.variant, run.env), unknown)
        return left / max(1, min(self._executor.workers, len(self._runs) - len(self._ended)))

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._reused:
            self.say(f"{self._reused} of {len(self._runs)} runs are done already")
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing, and say how many runs were stopped while they waited."""
        if self._live is not None:
            self._live.stop()
        if self._never_began:
            self.say(f"stopped  {self._never_began} of {len(self._runs)} runs before they began")


def step_seconds(planned: "Study") -> dict[tuple[str, str], float]:
    """Return the seconds that a training step took in runs that have a front: (variant, environment) -> seconds.

    Args:
        planned: the study.
    """
    found: dict[tuple[str, str], float] = {}
    for run in planned.runs:
        if (run.variant, run.env) in found:
            continue
        with suppress(OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
            counts = json.loads((run.run_dir / FRONT).read_bytes())
            found[run.variant, run.env] = float(counts["wall_seconds"]) / int(counts["training_steps"])
    return found


def _ended_line(run: "PlannedRun", result: JobResult) -> str:
    """Return what is printed when a run has ended."""
    if result.ending == "failed":
        return f"failed   {run.name}: {result.sentence}"
    one = run_status(run)
    if result.ending == "stopped":
        return f"stopped  {run.name} at step {one.step:,} of {run.total_steps:,}"
    return f"done     {run.name}, {one.step:,} steps"
