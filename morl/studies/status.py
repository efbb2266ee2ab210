"""Where the runs of a study are: done, running, failed or waiting, read from their folders."""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from morl.experiment.ownership import is_owned
from morl.run_folder import METRICS
from morl.studies.existing import usable_steps, why_ended
from morl.tables import Column, ShownTable, number

if TYPE_CHECKING:
    from morl.studies.plan import PlannedRun, Study

State = Literal["done", "running", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "waiting")
TAIL = 16_384
"""Bytes at the end of metrics.jsonl in which the newest steps and the speed are looked for."""
MOST_ROWS = 50
"""Runs of a study that are listed one by one; of larger ones, only those that run or have failed."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Where one run is.

    Attributes:
        run: the run.
        state: "done", "running", "failed" or "waiting"; one that was stopped waits.
        step: environment steps of training so far, as far as they are logged.
        steps_per_second: over the newest log lines; NaN where that is not known.
        sentence: why it failed; empty where it did not.
    """

    run: "PlannedRun"
    state: State
    step: int = 0
    steps_per_second: float = math.nan
    sentence: str = ""

    @property
    def seconds_left(self) -> float:
        """Return the seconds of training that are left at this speed; NaN where it is not known."""
        return max(0, self.run.total_steps - self.step) / self.steps_per_second


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """Where all runs of a study are; rich and notebooks show it as a table.

    Attributes:
        name: of the study.
        runs: one for each run, in the order of the study.
        notes: what a user should know of the runs that exist.
    """

    name: str
    runs: tuple[RunStatus, ...]
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[State, int]:
        """Return how many runs are in each state."""
        found = Counter(one.state for one in self.runs)
        return {state: found[state] for state in STATES}

    @property
    def failures(self) -> dict[str, str]:
        """Return why runs failed: name of the run -> one sentence."""
        return {one.run.name: one.sentence for one in self.runs if one.state == "failed"}

    def table(self) -> ShownTable:
        """Return the table of the runs; of a large study, of those that run or failed, or else how many are where."""
        title = f"study {self.name}: {counted(self.counts)}"
        notes = [*self.notes, *(f"{name}: {sentence}" for name, sentence in self.failures.items())]
        if len(self.runs) <= MOST_ROWS:
            return status_table(title, self.runs, notes)
        shown = [one for one in self.runs if one.state in ("running", "failed")]
        if not shown:
            return self._counts_table(title)
        notes.append(f"runs that are done or wait are not listed: the study has more than {MOST_ROWS}")
        return status_table(title, shown, notes)

    def _counts_table(self, title: str) -> ShownTable:
        """Return how many runs of each variant and environment are done, and how many wait."""
        cells: dict[tuple[str, str], Counter[State]] = {}
        for one in self.runs:
            cells.setdefault((one.run.variant, one.run.env), Counter())[one.state] += 1
        names = (
            Column(title="variant", cells=tuple(variant for variant, _ in cells), key=True, left=True),
            Column(title="environment", cells=tuple(env for _, env in cells), key=True, left=True),
        )
        states: tuple[State, ...] = ("done", "waiting")
        counts = [Column(title=one, cells=tuple(str(found[one]) for found in cells.values())) for one in states]
        return ShownTable(title=title, columns=(*names, *counts), notes=self.notes)

    def __rich__(self) -> ShownTable:
        """Return the table for `rich.print`."""
        return self.table()

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return self.table().to_html()


def study_status(study: "Study", running: Collection[Path] = ()) -> StudyStatus:
    """Return where the runs of a study are.

    Args:
        study: the study.
        running: folders of runs that are known to be trained now, whatever their locks say.
    """
    runs = tuple(run_status(run, running) for run in study.runs)
    return StudyStatus(name=study.name, runs=runs, notes=study.warnings)


def run_status(run: "PlannedRun", running: Collection[Path] = ()) -> RunStatus:
    """Return where a run is; arguments as for `study_status`."""
    try:
        published = usable_steps(run)
    except (OSError, ValueError) as error:
        return RunStatus(run=run, state="failed", sentence=str(error))
    if published >= run.total_steps:
        return RunStatus(run=run, state="done", step=published)
    step, speed = newest_steps(run.run_dir)
    sentence = why_ended(run.run_dir)
    state: State = "failed" if sentence else "waiting"
    if run.run_dir.absolute() in running or is_owned(run.run_dir):
        return RunStatus(run=run, state="running", step=step, steps_per_second=speed)
    return RunStatus(run=run, state=state, step=max(step, published), sentence=sentence)


def newest_steps(run_dir: Path) -> tuple[int, float]:
    """Return the environment steps of training of a run, and its steps per second; 0 and NaN where none are logged.

    Args:
        run_dir: the run folder.
    """
    found = [(0, math.nan)]
    for line in _last_lines(run_dir / METRICS):
        with suppress(ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            entries = json.loads(line)
            seconds = float(entries["wall_seconds"])
            if math.isfinite(seconds):
                found.append((int(entries["training_steps"]), seconds))
    step, now = found[-1]
    first, before = found[1] if len(found) > 1 else found[0]
    if now > before and step > first:
        return step, (step - first) / (now - before)
    return step, step / now if step > 0 and now > 0.0 else math.nan


def status_table(title: str, runs: Sequence[RunStatus], notes: Iterable[str] = ()) -> ShownTable:
    """Return a table of runs.

    Args:
        title: stands above it.
        runs: the rows.
        notes: lines below it.
    """
    columns = (
        Column(title="run", cells=tuple(one.run.name for one in runs), key=True, left=True),
        Column(title="state", cells=tuple(one.state for one in runs), left=True),
        Column(title="steps", cells=tuple(f"{one.step:,}" for one in runs)),
        Column(title="of steps", cells=tuple(f"{one.run.total_steps:,}" for one in runs), dropped=2),
        Column(title="steps/s", cells=tuple(_speed(one) for one in runs), dropped=1),
        Column(title="left", cells=tuple(_left(one) for one in runs)),
    )
    return ShownTable(title=title, columns=columns, notes=tuple(notes))


def counted(counts: dict[State, int]) -> str:
    """Return how many runs are in which state, in words, such as "3 done, 2 running"."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no runs"


def duration(seconds: float) -> str:
    """Return seconds as text with two units, such as "1 h 05 min"; a dash for NaN."""
    if math.isnan(seconds):
        return "-"
    whole = math.ceil(seconds)
    for size, unit, smaller, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller:02d} {part}"
    return f"{whole} s"


def _speed(one: RunStatus) -> str:
    return number(one.steps_per_second) if one.state == "running" else ""


def _left(one: RunStatus) -> str:
    return duration(one.seconds_left) if one.state == "running" else ""


def _last_lines(file: Path) -> list[bytes]:
    """Return the last whole lines of a file; none where it cannot be read."""
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            stream.seek(max(0, size - TAIL))
            lines = stream.read().split(b"\n")[:-1]
    except OSError:
        return []
    return lines[1:] if size > TAIL else lines
