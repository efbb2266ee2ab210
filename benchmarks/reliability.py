"""Reliability campaigns: nothing is lost, nothing lies, nothing hangs, nothing runs that should not.

    .venv/bin/python benchmarks/reliability.py --quick
    .venv/bin/python benchmarks/reliability.py [--only NAME] [--seed N] [--minutes M] [--json FILE] [--table FILE]

Prints every case that did not survive, and for each campaign how many were tried and how many survived; the exit code
is 1 where anything did not survive. Without --quick every campaign runs until its cases are used up, or until its share
of --minutes is: hours. docs/results/reliability.md says what each campaign promises.
"""

import os

# Children are forked: this process must have no threads. These must be set before NumPy and PyTorch load.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"

import argparse
import importlib
import json
import pkgutil
import platform
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "toys"))
from _reliability.cases import Campaign, Case, Scratch

ROOT = Path(__file__).parents[1]
TOYS = str(ROOT / "tests" / "toys")

QUICK = {
    "kills": 8,
    "damage": 12,
    "hostile": 12,
    "configurations": 15,
    "pareto": 3_000,
    "disks": 4,
    "toml": 1_500,
}
"""Cases of each campaign with --quick; its name is that of a module of `_reliability`."""
QUICK_MINUTES = 5.0
"""What --quick may take in all where --minutes says nothing else."""
WHOLE = {"pareto": 200_000, "configurations": 1_000, "toml": 50_000}
"""Cases of the campaigns that draw without end, without --quick."""
MEMORY_DISK = "/dev/shm"
"""Where run folders are made where there is one: waiting for a disk would take most of the time."""
SHOWN = 20
"""Failures of a campaign that are printed; --json has all."""
BEGIN = "<!-- reliability: begin -->"
END = "<!-- reliability: end -->"
"""The lines of a page between which --table writes."""


@dataclass
class Tally:
    """What became of the cases of one campaign."""

    campaign: str
    tried: int = 0
    survived: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: list[dict[str, str]] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def add(self, case: Case) -> None:
        """Count a case; a failure is printed at once."""
        if case.survived is None:
            self.skipped += 1
            self.skips.append(f"{case.name}: {case.note}")
            print(f"skipped  {self.campaign}: {case.name}: {case.note}", flush=True)
            return
        self.tried += 1
        self.survived += case.survived
        if not case.survived:
            self.failures.append({"case": case.name, "note": case.note})
            if len(self.failures) <= SHOWN:
                print(f"FAILED   {self.campaign}: {case.name}: {case.note}", flush=True)


def cases_of(campaign: Campaign, name: str, seed: int, most: int | None) -> Iterator[Case]:
    """Yield the cases of a campaign; whatever the campaign itself raises is a case that did not survive."""
    where = MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=f"morl-{name}-", dir=where, ignore_cleanup_errors=True) as folder:
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        try:
            yield from islice(campaign(Scratch(Path(folder).resolve(), random)), most)
        except Exception as error:
            yield Case("the campaign itself", False, f"{type(error).__name__}: {error}")


def run(name: str, chosen: argparse.Namespace) -> Tally:
    """Run one campaign."""
    campaign: Campaign = importlib.import_module(f"_reliability.{name}").campaign
    most = chosen.cases if chosen.cases is not None else QUICK[name] if chosen.quick else WHOLE.get(name)
    tally = Tally(name)
    start = time.monotonic()
    minutes = QUICK_MINUTES if chosen.quick and chosen.minutes is None else chosen.minutes
    share = float("inf") if minutes is None else 60.0 * minutes / len(chosen.only)
    for case in cases_of(campaign, name, chosen.seed, most):
        tally.add(case)
        if time.monotonic() - start > share:
            break
    tally.seconds = time.monotonic() - start
    print(f"{name}: {tally.tried:,} tried, {tally.survived:,} survived, {tally.seconds:.0f} s", flush=True)
    return tally


def table_of(tallies: Sequence[Tally]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| campaign | tried | survived | skipped |", "|---|---:|---:|---:|"]
    return lines + [f"| {t.campaign} | {t.tried:,} | {t.survived:,} | {t.skipped:,} |" for t in tallies]


def origin(chosen: argparse.Namespace) -> str:
    """Return a sentence that says where the numbers of a table come from."""
    size = "--quick" if chosen.quick else "" if chosen.minutes is None else f"--minutes {chosen.minutes:g}"
    words = ["benchmarks/reliability.py", *filter(None, [size]), f"--seed {chosen.seed}"]
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"`{' '.join(words)}`, commit {commit}, {machine}."


def write_table(file: Path, tallies: Sequence[Tally], chosen: argparse.Namespace) -> None:
    """Replace what stands between the two markers of a page.

    Raises:
        ValueError: the page has not both markers, in order.
    """
    text = file.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} has no lines {BEGIN} and {END}, between which the table would go")
    table = "\n".join(["", *table_of(tallies), "", origin(chosen), ""])
    file.write_text(f"{before}{BEGIN}{table}{END}{after}")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few cases of each campaign: minutes")
    parser.add_argument("--only", nargs="+", choices=list(QUICK), default=None, metavar="NAME", help=", ".join(QUICK))
    parser.add_argument("--cases", type=int, help="at most this many cases of each campaign")
    parser.add_argument("--minutes", type=float, help="share these minutes among the campaigns")
    parser.add_argument("--seed", type=int, default=0, help="draws the cases and their order")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was tried, after every campaign")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table into a page, between its markers")
    chosen = parser.parse_args(arguments)
    if chosen.table is not None and (chosen.only or chosen.cases is not None):
        parser.error("--table is for all campaigns as they are: not with --only or --cases")
    chosen.only = chosen.only or list(QUICK)
    return chosen


def prepare() -> None:
    """Import what the children need, once, before the first one is forked; their own workers find it on PYTHONPATH."""
    os.environ["PYTHONPATH"] = os.pathsep.join([TOYS, *filter(None, [os.environ.get("PYTHONPATH")])])
    for package in map(importlib.import_module, ("morl.experiment", "morl.board")):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in ("toys", "matplotlib.pyplot", "tensorboard.summary.writer.record_writer"):
        importlib.import_module(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaigns; return 1 where something did not survive."""
    chosen = parsed(arguments)
    prepare()
    tallies: list[Tally] = []
    for name in chosen.only:
        tallies.append(run(name, chosen))
        if chosen.json is not None:
            chosen.json.write_text(json.dumps([asdict(tally) for tally in tallies], indent=1) + "\n")
    print("\n".join(table_of(tallies)))
    if chosen.table is not None:
        write_table(chosen.table, tallies, chosen)
    return 0 if all(tally.tried == tally.survived for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main())
