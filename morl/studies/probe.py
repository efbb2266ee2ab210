"""`morl study --dry-run`: the runs of a study, and an estimate of their time from a short probe."""

import logging
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from morl.experiment.compiling import checked_while_compiling
from morl.experiment.messages import file_style, sentence_of
from morl.experiment.settings import file_sources
from morl.experiment.training import Watchers, find_experiment, start
from morl.studies.status import RunStatus, duration, study_status
from morl.tables import Column, ShownTable, stdout_console

if TYPE_CHECKING:
    from morl.experiment.on_step import Progress
    from morl.studies.plan import PlannedRun, Study

PROBE_SECONDS = 10.0
"""A probe trains at most this long."""
PROBE_STEPS = 4_000
"""At most so many steps are trained in a probe: schedules such as exploration are shortened to fit into them."""


class Cost(NamedTuple):
    """What the runs of a variant on an environment cost."""

    start_seconds: float
    """Until training begins."""
    step_seconds: float
    """Of a training step, once the agent learns."""
    evaluation_seconds: float
    """Of an evaluation."""

    def seconds(self, total_steps: int, evaluate_every: int) -> float:
        """Return the seconds of a run.

        Args:
            total_steps: environment steps of training.
            evaluate_every: environment steps between two evaluations.
        """
        evaluations = max(1, -(-total_steps // evaluate_every))
        return self.start_seconds + total_steps * self.step_seconds + evaluations * self.evaluation_seconds


@dataclass
class _Watch:
    """Measures a probe; it is called as `on_step`, and ends the probe after `PROBE_SECONDS`.

    Attributes:
        moments: training steps and the time, at each call.
    """

    moments: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, progress: "Progress") -> bool:
        """Note the time; return whether the probe is over."""
        if not progress.new_front:
            self.moments.append((progress.step, time.monotonic()))
        return self.moments[-1][1] - self.moments[0][1] > PROBE_SECONDS

    def step_seconds(self) -> float:
        """Return the seconds of a step in the second half of the probe, where the agent learns."""
        half = self.moments[-1][0] // 2
        first, begin = next(one for one in self.moments if one[0] >= half)
        last, end = self.moments[-1]
        if last == first:
            first, begin = self.moments[0]
        return (end - begin) / max(1, last - first)


def probe(run: "PlannedRun") -> Cost:
    """Train a little of a run in a temporary folder, and return what such runs cost once their kernels are compiled.

    Raises:
        ValueError: the run cannot be trained, in one sentence.
    """
    compiled = threading.Event()
    with checked_while_compiling(compiled.set, compiled.set):
        cost = _measured(run)
    return _measured(run) if compiled.is_set() else cost


def _measured(run: "PlannedRun") -> Cost:
    """Return what runs cost, the compilation of kernels included where this run is the first to need them.

    Raises:
        ValueError: the run cannot be trained, in one sentence.
    """
    watch = _Watch()
    place = Path()
    begin = time.monotonic()
    steps = {"total_steps": min(run.total_steps, PROBE_STEPS), "evaluate_every": PROBE_STEPS}
    try:
        with tempfile.TemporaryDirectory(prefix="morl-probe-") as folder, file_style(), quiet(), limited_to(run.cores):
            place = Path(folder) / "run"
            experiment = find_experiment(run.agent_name, run.env_id, [*file_sources(run.file), run.overrides, steps])
            watchers = Watchers.of(False, watch, ["jsonlines"])
            start([experiment], [place], overwrite=False, watchers=watchers)
    except Exception as error:
        sentence = sentence_of(error).replace(f"run {place}", "its run")  # which is gone by now
        raise ValueError(f"{run.variant} on {run.env}: in a short probe, {sentence}") from error
    end = time.monotonic()
    return Cost(watch.moments[0][1] - begin, watch.step_seconds(), end - watch.moments[-1][1])


@contextmanager
def limited_to(cores: int) -> Iterator[None]:
    """Let threads that start in the block run on as many cores as a run has: its worker limits it in the same way.

    On a busy machine two threads that wait for each other at every step are far slower than one.

    Args:
        cores: of a run.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what runs log and warn of in the block from the terminal."""
    logger = logging.getLogger("morl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def show_plan(planned: "Study", workers: int) -> None:
    """Print the runs of a study, where they are, and an estimate of the time of those that are not done.

    Args:
        planned: the study.
        workers: runs that are trained at once.
    """
    states = {one.run.run_dir: one for one in study_status(planned).runs}
    cells: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in planned.runs:
        cells.setdefault((run.variant, run.env), []).append(run)
    rows: list[tuple[str, ...]] = []
    times: list[float] = []
    for (variant, env), runs in cells.items():
        missing = [run for run in runs if states[run.run_dir].state != "done"]
        seconds = _seconds(missing, states)
        times += seconds
        lengths = sorted({run.total_steps for run in runs})
        steps = f"{lengths[0]:,}" if len(lengths) == 1 else f"{lengths[0]:,} to {lengths[-1]:,}"
        each = duration(max(seconds)) if seconds else "-"
        rows.append((variant, env, seeds_text([run.seed for run in runs]), steps, str(len(runs) - len(missing)), each))
    titles = ("variant", "env", "seeds", "steps", "done", "time of a run")
    columns = tuple(
        Column(title=title, cells=tuple(row[place] for row in rows), key=place < 2, left=place < 3)
        for place, title in enumerate(titles)
    )
    total = f"{len(planned.runs)} runs in {planned.folder}, {len(planned.runs) - len(times)} of them done"
    estimate = (
        f"about {duration(spread(times, workers))} with {workers} at once (from a short probe of each; the machine is"
        " taken as it is now)"
    )
    notes = [*planned.notes, *planned.warnings, total, *([estimate] if times else [])]
    stdout_console().print(ShownTable(title=f"study {planned.name}", columns=columns, notes=tuple(notes)))


def _seconds(missing: Sequence["PlannedRun"], states: Mapping[Path, RunStatus]) -> list[float]:
    """Return the seconds that runs of one variant and environment still take; the first of them is probed.

    Args:
        missing: runs that are not done.
        states: run folder -> where the run is.
    """
    if not missing:
        return []
    cost = probe(missing[0])
    every = missing[0].table["evaluate_every"]
    assert isinstance(every, int)
    return [cost.seconds(max(0, run.total_steps - states[run.run_dir].step), every) for run in missing]


def spread(seconds: Sequence[float], workers: int) -> float:
    """Return when the last of several runs ends, where each worker takes the longest one that is left.

    Args:
        seconds: of each run.
        workers: runs at once.
    """
    busy_until = [0.0] * workers
    for one in sorted(seconds, reverse=True):
        busy_until[busy_until.index(min(busy_until))] += one
    return max(busy_until)


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds in words: "0 to 4" where they follow each other."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
