"""What a study adds to the runs that it trains, and what a second worker gains.

    python benchmarks/studies.py              runs of about a minute on a core of a recent machine
    python benchmarks/studies.py --quick      does it work?

The same runs are trained three times: each by a `morl train` of its own, by `morl study --workers 1` and by `morl study
--workers 2`. A study that finds all runs done shows what it costs once: start, checks, looking at folders. The overhead
of a run is what is left: (study - once - sum of the trainings) / runs, in seconds of wall clock and of processor time;
the latter is what counts on a machine that does other things too. Goal: under 2 seconds, and 1 % of a run of a minute.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tyro

MORL = [sys.executable, "-m", "morl"]


@dataclass(frozen=True)
class Arguments:
    """What is trained."""

    agent: str = "pd-morl"
    env: str = "deep-sea-treasure-v0"
    steps: int = 120_000
    """Environment steps of a run."""
    runs: int = 4
    quick: bool = False
    """Two runs of 1,000 steps."""


class Seconds(NamedTuple):
    """What a command took."""

    wall: float
    processor: float
    """Of the command and all processes that it started."""


def timed(command: list[str], folder: Path) -> Seconds:
    """Run a command in a folder, and return what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main(arguments: Arguments) -> None:
    """Train, and print what it took."""
    runs = 2 if arguments.quick else arguments.runs
    steps = 1_000 if arguments.quick else arguments.steps
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="morl-studies-") as name:
        folder = Path(name)
        text = f'total_steps = {steps}\nseeds = {runs}\nenvs = ["{arguments.env}"]\nagents = ["{arguments.agent}"]\n'
        (folder / "study.toml").write_text(text)
        train = [*MORL, "train", arguments.agent, arguments.env, "--total-steps", str(steps), "--seed"]
        timed([*train, "99", "--run-dir", "first"], folder)  # compiles what is not compiled yet
        trained = [timed([*train, str(seed), "--run-dir", f"run-{seed}"], folder) for seed in range(runs)]
        study = [*MORL, "study", "study.toml", "--workers"]
        studies = {workers: timed([*study, str(workers), "--folder", f"by-{workers}"], folder) for workers in (1, 2)}
        once = timed([*study, "1", "--folder", "by-1"], folder)
    alone = Seconds(sum(one.wall for one in trained), sum(one.processor for one in trained))
    print(f"{runs} runs of {arguments.agent} on {arguments.env}, {steps:,} steps; {os.cpu_count()} cores")
    print(f"{'':34}{'wall clock':>12}{'processor':>12}")
    rows = {
        "morl train, one after another": alone,
        "morl study, 1 worker": studies[1],
        "morl study, 2 workers": studies[2],
        "a study with nothing to do": once,
        "overhead of a run": Seconds(
            (studies[1].wall - once.wall - alone.wall) / runs,
            (studies[1].processor - once.processor - alone.processor) / runs,
        ),
    }
    for title, found in rows.items():
        print(f"{title:34}{found.wall:10.2f} s{found.processor:10.2f} s")
    share = 100.0 * rows["overhead of a run"].processor * runs / alone.processor
    print(f"overhead as a share of the processor time of a run: {share:.1f} %")
    print(f"2 workers end a study {studies[1].wall / studies[2].wall:.2f} times sooner than 1")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
