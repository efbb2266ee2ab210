"""What a study adds to the runs that it trains, in processes and on Ray, and what a second worker gains.

    python benchmarks/studies.py              runs of about a minute on a core of a recent machine
    python benchmarks/studies.py --no-ray     where Ray is not installed
    python benchmarks/studies.py --quick      does it work?

The same runs are trained by a `morl train` of their own each, and by `morl study` with one worker and with two, in
processes of this machine and on a Ray cluster that the study starts here. A study that finds all runs done shows what
it costs once: start, checks, looking at folders, and Ray's own processes. The overhead of a run is what is left: (study
- once - sum of the trainings) / runs, in seconds of wall clock and of processor time; the latter is what counts on a
machine that does other things too, whose load is printed. Goal: under 2 seconds, and 1 % of a run of a minute.

Processor time is that of a command and all processes that it started, sampled from /proc, because nobody waits for
Ray's; what a process takes after its last sample is missing. RAY_worker_niceness=0 in the environment gives Ray's
workers the priority of the other processes.
"""

import os
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tyro

MORL = [sys.executable, "-m", "morl"]
MARK = "MORL_BENCHMARK_COMMAND"
"""Environment variable by which the processes of a command are known, whoever their parent is."""
SAMPLE_SECONDS = 0.25
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Arguments:
    """What is trained."""

    agent: str = "pd-morl"
    env: str = "deep-sea-treasure-v0"
    steps: int = 120_000
    """Environment steps of a run."""
    runs: int = 4
    ray: bool = True
    quick: bool = False
    """Two runs of 1,000 steps."""


class Seconds(NamedTuple):
    """What a command took."""

    wall: float
    processor: float
    """Of the command and all processes that it started."""


def timed(command: list[str], folder: Path) -> Seconds:
    """Run a command in a folder, and return what it took."""
    mark = uuid.uuid4().hex
    used: dict[int, float] = {}
    begin = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | {MARK: mark}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            used.update(processor_seconds(f"{MARK}={mark}".encode()))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Seconds(time.monotonic() - begin, sum(used.values()))


def processor_seconds(mark: bytes) -> dict[int, float]:
    """Return the processor time of the processes that have an entry in their environment: process id -> seconds."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
        except OSError:  # it has ended meanwhile, or belongs to somebody else
            continue
    return found


def main(arguments: Arguments) -> None:
    """Train, and print what it took."""
    runs = 2 if arguments.quick else arguments.runs
    steps = 1_000 if arguments.quick else arguments.steps
    os.environ["OMP_NUM_THREADS"] = "1"
    executors = {"processes": [], "Ray": ["--ray", "local"]} if arguments.ray else {"processes": []}
    rows: dict[str, Seconds] = {}
    print(f"{runs} runs of {arguments.agent} on {arguments.env}, {steps:,} steps; {os.cpu_count()} cores")
    print(f"{'':34}{'wall clock':>12}{'processor':>12}{'load':>8}", flush=True)

    def note(title: str, found: Seconds) -> None:
        rows[title] = found
        load = os.getloadavg()[0]
        print(f"{title:34}{found.wall:10.2f} s{found.processor:10.2f} s{load:8.1f}", flush=True)

    with tempfile.TemporaryDirectory(prefix="morl-studies-") as name:
        folder = Path(name)
        text = f'total_steps = {steps}\nseeds = {runs}\nenvs = ["{arguments.env}"]\nagents = ["{arguments.agent}"]\n'
        (folder / "study.toml").write_text(text)
        train = [*MORL, "train", arguments.agent, arguments.env, "--total-steps", str(steps), "--seed"]
        timed([*train, "99", "--run-dir", "first"], folder)  # compiles what is not compiled yet
        trained = [timed([*train, str(seed), "--run-dir", f"run-{seed}"], folder) for seed in range(runs)]
        alone = Seconds(sum(one.wall for one in trained), sum(one.processor for one in trained))
        note("morl train, one after another", alone)
        for executor, words in executors.items():
            for workers in (1, 2):
                study = [*MORL, "study", "study.toml", *words, "--workers", str(workers)]
                note(f"{executor}, at once: {workers}", timed([*study, "--folder", f"{executor}-{workers}"], folder))
            once = timed([*study, "--folder", f"{executor}-2"], folder)
            note(f"{executor}, nothing to do", once)
            one = rows[f"{executor}, at once: 1"]
            wall = (one.wall - once.wall - alone.wall) / runs
            note(
                f"{executor}, overhead of a run",
                Seconds(wall, (one.processor - once.processor - alone.processor) / runs),
            )
    for executor in executors:
        share = 100.0 * rows[f"{executor}, overhead of a run"].processor * runs / alone.processor
        gain = rows[f"{executor}, at once: 1"].wall / rows[f"{executor}, at once: 2"].wall
        print(f"{executor}: overhead is {share:.1f} % of a run's processor time; 2 workers end {gain:.2f} times sooner")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
