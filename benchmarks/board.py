"""How fast the Pareto tab is with many runs: data answer, first picture, slider steps, memory.

    python benchmarks/board.py [--quick]

Writes 100 runs of 500 points with 20 evaluations each (10 settings of 10 seeds) to a temporary folder, starts
TensorBoard on them, and drives Debian's chromium through Playwright. Goals on 2 cores: answer under 300 ms, first
picture under 2 s, slider step under 100 ms, memory bounded. Prints wall time and CPU time: on a machine that others
use, the two differ.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from morl.board import answers
from morl.board.library import Library

Result = TypeVar("Result")
CHROMIUM = Path("/usr/bin/chromium")
START = "from morl.experiment.cli import main; main()"


def write_runs(root: Path, runs: int, points: int, evaluations: int) -> None:
    """Write run folders whose fronts grow from evaluation to evaluation."""
    for number in range(runs):
        setting, seed = divmod(number, 10)
        generator = np.random.default_rng(number)
        angles = np.sort(generator.uniform(0.0, np.pi / 2, points))
        radius = 8.0 + 0.2 * setting + generator.normal(0.0, 0.05)
        folder = root / f"setting-{setting}" / f"seed-{seed}"
        folder.mkdir(parents=True)
        settings = f'algorithm = "pd-morl"\nenvironment = "bench-v0"\nseed = {seed}\nrate = {setting}\n'
        (folder / "config.toml").write_text(settings)
        lines = [_front(angles, radius * (k + 1) / evaluations, 1_000 * (k + 1)) for k in range(evaluations)]
        (folder / "fronts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        clocks = {"selection/hypervolume": 1.0, "pretraining_steps": 0, "evaluation_steps": 10}
        steps = [line["training_steps"] for line in lines]
        metrics = [{"training_steps": step, "wall_seconds": step / 100, **clocks} for step in steps]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
        about = {
            "agent": "pd-morl",
            "env": "bench-v0",
            "seed": seed,
            "objectives": ["speed", "energy"],
            "discount": 0.99,
        }
        record = {
            **about,
            "discount": 0.99,
            "reference_point": [-1.0, -1.0],
            "undiscounted_points": lines[-1]["points"],
            **lines[-1],
        }
        (folder / "front.json").write_text(json.dumps(record, indent=1))


def _front(angles: NDArray[np.float64], radius: float, step: int) -> dict[str, Any]:
    points = radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    values = {"hypervolume": radius**2, "expected_utility": radius, "sparsity": 0.01, "cardinality": float(len(points))}
    preferences = points / points.sum(axis=1, keepdims=True)
    numbers = list(range(len(points)))
    return {
        "training_steps": step,
        "points": points.tolist(),
        "preferences": preferences.tolist(),
        "policy_ids": numbers,
        "indicators": values,
    }


def measure(what: str, goal: str, call: Callable[[], Result]) -> Result:
    """Time a call once, cold, and print it."""
    wall = time.perf_counter()
    cpu = time.process_time()
    result = call()
    wall = time.perf_counter() - wall
    cpu = time.process_time() - cpu
    print(f"{what:52s} {1000 * wall:8.0f} ms wall {1000 * cpu:8.0f} ms CPU   {goal}")
    return result


def python_part(root: Path) -> None:
    """Measure the answers in this process, cold files first."""
    library = Library(root)
    names = [f"setting-{setting}/seed-{seed}" for setting in range(10) for seed in range(10)]
    measure("read all runs", "", library.refresh)
    measure("answer: list of runs (first: imports too)", "", lambda: json.dumps(answers.listing(library)))
    measure("answer: list of runs", "", lambda: json.dumps(answers.listing(library)))
    measure("answer: all fronts", "goal 300 ms", lambda: json.dumps(answers.fronts(library, names)))
    measure("answer: histories (reads fronts.jsonl)", "", lambda: json.dumps(answers.histories(library, names)))
    measure("answer: histories again (nothing new)", "", lambda: json.dumps(answers.histories(library, names)))
    measure("answer: curves, folded over seeds", "", lambda: json.dumps(answers.curves(library, names)))
    measure("answer: folds, attainment surfaces", "", lambda: json.dumps(answers.folds(library, names)))
    measure("answer: folds at a step", "", lambda: json.dumps(answers.folds(library, names, 10_000)))
    kept = sum(front.nbytes for folder in library.folders.values() for front in folder.evaluations.fronts.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"fronts kept for replay {kept / 2**20:.0f} MB; peak memory of this process {peak:.0f} MB")


@contextmanager
def tensorboard(root: Path) -> Iterator[tuple[str, int]]:
    """Start `morl board` and yield its address and process id."""
    command = [sys.executable, "-u", "-c", START, "board", str(root), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = next(text for text in process.stdout if "http://" in text)
        yield line[line.index("http://") :].split()[0].split("#")[0], process.pid
    finally:
        process.terminate()
        process.wait()


def browser_seconds() -> float:
    """Return the CPU seconds of all processes below this one that are Chromium's."""
    total = 0.0
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        numbers = fields.split()
        children[int(stat.parent.name)] = (name, int(numbers[1]), int(numbers[11]) + int(numbers[12]))
    for name, parent, ticks in children.values():
        ours = False
        while parent in children and not ours:
            ours = parent == os.getpid()
            parent = children[parent][1]
        total += ticks if ours and name.startswith("chrom") else 0
    return total / os.sysconf("SC_CLK_TCK")


SLIDE = """async ([selector, positions]) => {
  const slider = document.querySelector(selector);
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const taken = [];
  for (const position of positions) {
    const start = performance.now();
    slider.value = position;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await frame();
    taken.push(performance.now() - start);
  }
  return taken;
}"""


FIRST_PICTURE = "performance.getEntriesByName('first picture')[0].startTime"  # since the page was asked for


def browser_part(root: Path, pictures: int) -> None:
    """Measure the page in a browser: first picture and slider steps, medians."""
    from playwright.sync_api import sync_playwright

    with tensorboard(root) as (address, process), sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        context = browser.new_context(viewport={"width": 1440, "height": 900})  # one cache, as in a user's browser
        visits = []
        for _ in range(pictures):
            page = context.new_page()
            start = time.perf_counter()
            before = browser_seconds()
            page.goto(f"{address}data/plugin_entry.html?name=pareto")
            page.locator(".plot .main-svg").first.wait_for()
            wall = time.perf_counter() - start
            cpu = browser_seconds() - before
            visits.append((page.evaluate(FIRST_PICTURE) / 1000, wall, cpu))
            page.wait_for_function("!document.querySelector('#time').disabled", timeout=120_000)
            page.wait_for_timeout(2_000)
        for what, (first, wall, cpu) in (
            ("first visit", visits[0]),
            ("later visits, median", np.median(visits[1:] or visits, axis=0)),
        ):
            print(f"first picture, {what:22s} {first:6.2f} s; goal 2 s. With Plotly {wall:6.2f} s, {cpu:.2f} s CPU")
        for what, selector, positions in (
            ("preference slider, step", "#weight-0", [0.02 * k for k in range(1, 31)]),
            ("time slider, step", "#time", list(range(1, 20))),
        ):
            before = browser_seconds()
            taken = page.evaluate(SLIDE, [selector, positions])
            cpu = 1000 * (browser_seconds() - before) / len(positions)
            wall = f"median {np.median(taken):6.0f} ms, slowest {max(taken):6.0f} ms"
            print(f"{what:28s} {wall}, CPU of all its processes {cpu:6.0f} ms a step   goal 100 ms")
        memory = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
        status = Path(f"/proc/{process}/status").read_text()
        resident = int(status.split("VmHWM:")[1].split()[0]) / 1024
        print(f"memory: JavaScript heap {memory:.0f} MB, TensorBoard's peak {resident:.0f} MB")
        browser.close()


def main() -> None:
    """Write runs, measure, print."""
    parser = argparse.ArgumentParser(description="How fast the Pareto tab is with many runs")
    parser.add_argument("--quick", action="store_true", help="20 runs, one picture")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs, points, evaluations = (20, 500, 5) if quick else (100, 500, 20)
        write_runs(root, runs, points, evaluations)
        print(f"{runs} runs x {points} points, {evaluations} evaluations each")
        python_part(root)
        if CHROMIUM.exists():
            browser_part(root, 1 if quick else 5)
        else:
            print(f"no browser at {CHROMIUM}: the page is not measured")


if __name__ == "__main__":
    main()
