"""Pareto bookkeeping beside moocore and pygmo, in one run on one core: CPU time per call, ratio to the best peer.

    python benchmarks/pareto.py                      every cell, about ten minutes
    python benchmarks/pareto.py --quick              the small cells, about half a minute
    python benchmarks/pareto.py --write              also replaces the tables in docs/results/pareto.md
    python benchmarks/pareto.py --results FILE       takes the cells that stand in FILE from there and adds the others

Each figure is the median over interleaved rounds (ours, peer, peer, ours, ...), so that a busy machine slows all of
them alike. Peers get the data as they need it: pygmo minimizes, so its time includes one negation.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import moocore
import numpy as np
import pygmo

from morl.pareto import (
    ParetoArchive,
    crowding_distance,
    hypervolume,
    hypervolume_contributions,
    non_dominated,
    non_dominated_sort,
)

DOCS = Path(__file__).parents[1] / "docs" / "results" / "pareto.md"
Call = Callable[[], Any]


@dataclass(frozen=True)
class Cell:
    """One line of a table: what every library is asked to do."""

    what: str
    objectives: int
    n: int
    kind: str
    ours: Call
    moocore: Call | None = None
    pygmo: Call | None = None


def front(kind: str, n: int, m: int) -> np.ndarray:
    """Return points [n, m]: 'cloud', 'sphere', 'random' non-dominated, 'ties' (few levels)."""
    generator = np.random.default_rng([n, m])
    if kind == "cloud":
        return generator.random((n, m))
    if kind == "sphere":
        directions = np.abs(generator.standard_normal((n, m)))
        return directions / np.linalg.norm(directions, axis=1, keepdims=True)
    if kind == "random":  # non-dominated points of a cloud, as many as asked for
        kept = np.empty((0, m))
        while kept.shape[0] < n:
            kept = np.vstack([kept, generator.random((4 * n, m)) ** 0.5])
            kept = kept[non_dominated(kept)]
            if m <= 3 and kept.shape[0] < n:  # such fronts stay small: bend a simplex instead
                return generator.dirichlet(np.ones(m), n) ** 0.7
        return generator.permutation(kept)[:n]
    return generator.integers(1, 6, (n, m)) / 5.0


def hypervolume_cells(quick: bool) -> Iterator[Cell]:
    sizes = {
        2: (1000, 10_000, 100_000),
        3: (1000, 10_000),
        4: (100, 1000),
        5: (50, 100, 200),
        6: (50, 100, 200, 500),
        7: (50, 100, 200),
        8: (50, 100),
        9: (30, 50, 75, 100),
    }
    for m, ns in sizes.items():
        for n in ns[: 1 if quick else None]:
            for kind in ("sphere", "random", "ties"):
                points = front(kind, n, m)
                zero = np.zeros(m)
                algorithm = {2: pygmo.hv2d, 3: pygmo.hv3d}.get(m, pygmo.hvwfg)
                slow_moocore = (m == 7 and n > 100) or m >= 8  # 2 to 60 times pygmo's time there
                yield Cell(
                    "hypervolume",
                    m,
                    n,
                    kind,
                    lambda p=points, r=zero: hypervolume(p, r),
                    None if slow_moocore else lambda p=points, r=zero: moocore.hypervolume(p, ref=r, maximise=True),
                    lambda p=points, r=zero, a=algorithm: pygmo.hypervolume(-p).compute(r, hv_algo=a()),
                )


def filter_cells(quick: bool) -> Iterator[Cell]:
    for m in (2, 3, 5, 9):
        for n in (100, 1000) if quick else (100, 1000, 10_000, 100_000):
            for kind in ("cloud", "sphere", "ties"):
                points = front(kind, n, m)
                yield Cell(
                    "filter",
                    m,
                    n,
                    kind,
                    lambda p=points: non_dominated(p),
                    lambda p=points: moocore.is_nondominated(p, maximise=True),
                )


def sorting_cells(quick: bool) -> Iterator[Cell]:
    for m in (2, 3, 5, 9):
        for n in (100, 1000) if quick else (100, 1000, 10_000):
            for kind in ("cloud", "ties"):
                points = front(kind, n, m)
                yield Cell(
                    "ranks",
                    m,
                    n,
                    kind,
                    lambda p=points: non_dominated_sort(p),
                    lambda p=points: moocore.pareto_rank(p, maximise=True),
                    None if n > 1000 else lambda p=points: pygmo.fast_non_dominated_sorting(-p),
                )
    for m in (2, 5):
        for n in (100, 1000) if quick else (100, 1000, 10_000):
            points = front("sphere", n, m)
            yield Cell(
                "crowding",
                m,
                n,
                "sphere",
                lambda p=points: crowding_distance(p),
                None,
                lambda p=points: pygmo.crowding_distance(-p),
            )


def contribution_cells(quick: bool) -> Iterator[Cell]:
    for m, n in ((2, 1000), (3, 1000), (4, 100), (5, 50), (6, 50), (7, 30))[: 4 if quick else None]:
        for kind in ("sphere", "random"):
            points = front(kind, n, m)
            zero = np.zeros(m)
            algorithm = {2: pygmo.hv2d, 3: pygmo.hv3d}.get(m, pygmo.hvwfg)
            yield Cell(
                "contributions",
                m,
                n,
                kind,
                lambda p=points, r=zero: hypervolume_contributions(p, r),
                lambda p=points, r=zero: moocore.hv_contributions(p, ref=r, maximise=True),
                lambda p=points, r=zero, a=algorithm: pygmo.hypervolume(-p).contributions(r, hv_algo=a()),
            )


def archive_cells(quick: bool) -> Iterator[Cell]:
    """A stream of n points, one `add` each; the peer has no archive and filters its points again with each new one."""
    for m in (2, 3, 6, 9):
        for kind in ("cloud", "sphere"):
            points = front(kind, 200 if quick else 1000, m)
            yield Cell(
                "archive",
                m,
                len(points),
                kind,
                lambda p=points: _archive_stream(p),
                lambda p=points: _refilter_stream(p),
            )


def _archive_stream(points: np.ndarray) -> int:
    archive = ParetoArchive()
    for point in points:
        archive.add(point)
    return len(archive)


def _refilter_stream(points: np.ndarray) -> int:
    kept = points[:0]
    for point in points:
        kept = np.vstack([kept, point])
        kept = kept[moocore.is_nondominated(kept, maximise=True)]
    return len(kept)


def measure(cell: Cell) -> tuple[list[float | None], float]:
    """Return the median seconds per call of ours, moocore and pygmo, and the ratio to the best peer."""
    calls = [cell.ours, cell.moocore, cell.pygmo]
    repeats = [0] * 3
    times = [[], [], []]
    for k, call in enumerate(calls):
        if call is not None:
            call()  # compiles, warms up
            start = process_time()
            call()
            repeats[k] = max(1, min(200, int(0.004 / max(process_time() - start, 1e-7))))
    for _ in range(9):
        for k, call in enumerate(calls):
            if call is not None and (len(times[k]) < 3 or sum(times[k]) * repeats[k] < 0.5):
                start = process_time()
                for _ in range(repeats[k]):
                    call()
                times[k].append((process_time() - start) / repeats[k])
    medians = [median(values) if values else None for values in times]
    return medians, medians[0] / min(value for value in medians[1:] if value is not None)


def remembered(cell: Cell, results: Path | None) -> tuple[list[float | None], float]:
    """Return what `measure` does; from the file of results if it is there, else it is added to it."""
    key = [cell.what, cell.objectives, cell.n, cell.kind]
    for line in results.read_text().splitlines() if results and results.exists() else []:
        if json.loads(line)[0] == key:
            return json.loads(line)[1], json.loads(line)[2]
    seconds, ratio = measure(cell)
    if results:
        with results.open("a") as file:
            file.write(json.dumps([key, seconds, ratio]) + "\n")
    return seconds, ratio


def table(cells: Iterator[Cell], results: Path | None) -> tuple[list[str], list[float]]:
    lines = []
    ratios = []
    for cell in cells:
        seconds, ratio = remembered(cell, results)
        ratios.append(ratio)
        figures = " | ".join("" if value is None else f"{value * 1e6:,.1f}" for value in seconds)
        mark = "**" if ratio > 1.0 else ""
        lines.append(f"| {cell.objectives} | {cell.n} | {cell.kind} | {figures} | {mark}{ratio:.2f}{mark} |")
        print(cell.what, lines[-1], flush=True)
    return lines, ratios


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, moocore 0.3.2, pygmo {pygmo.__version__}"
    return f"{names[0] if names else platform.processor()}, {len(names)} cores, shared; {versions}; commit {commit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the small cells")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/results/pareto.md")
    parser.add_argument("--results", type=Path, help="JSON lines, one per cell, to go on after an interruption")
    parser.add_argument("--only", help="only this table, e.g. hypervolume")
    arguments = parser.parse_args()
    report = [f"`python benchmarks/pareto.py {' '.join(sys.argv[1:])}`; {machine()}.", ""]
    ratios = []
    for cells in (hypervolume_cells, filter_cells, sorting_cells, contribution_cells, archive_cells):
        title = cells.__name__.split("_")[0]
        if arguments.only in (None, title):
            lines, found = table(cells(arguments.quick), arguments.results)
            ratios += found
            mean = math.exp(sum(map(math.log, found)) / len(found))
            report += [
                f"### {title.capitalize()} ({len(found)} cells): {mean:.2f} of the best peer's time (geometric mean)",
                "",
                "| objectives | n | set | ours, us | moocore, us | pygmo, us | ratio |",
                "|---|---|---|---|---|---|---|",
                *lines,
                "",
            ]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    slower = sum(ratio > 1.0 for ratio in ratios)
    summary = f"All {len(ratios)} cells: geometric mean {mean:.2f} of the best peer's time; slower than it in {slower}."
    report.insert(1, f"\n{summary}")
    print("\n".join(report))
    if arguments.write:
        text = DOCS.read_text()
        before, rest = text.split("<!-- benchmark -->\n", 1)
        after = rest.split("<!-- end of benchmark -->", 1)[1]
        DOCS.write_text(f"{before}<!-- benchmark -->\n" + "\n".join(report) + f"\n<!-- end of benchmark -->{after}")


if __name__ == "__main__":
    main()
