"""TensorBoard's own tabs in a browser: charts and the table of hyper-parameters show every run once, also a hundred."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from morl.experiment.loggers import LoggedRun
from morl.experiment.recording import Recorder
from morl.run_folder import EvaluationRecord

START = "from morl.experiment.cli import main; main()"
GROUPS = ["evaluation", "front", "losses", "rollout", "time"]


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """Start TensorBoard as users do, and yield its address."""
    command = [sys.executable, "-u", "-c", START, "board", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    line = next(text for text in process.stdout if "http://" in text)
    try:
        yield line[line.index("http://") :].split()[0].split("#")[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def train_six(folder: Path) -> None:
    """Train three seeds of two learning rates."""
    for rate in (1e-3, 1e-4):
        for seed in range(3):
            run = folder / f"rate-{rate}" / f"seed-{seed}"
            toys.train(run, "toy-fork-v0", 200, seed=seed, config={"learning_rate": rate})


def write_hundred(folder: Path) -> None:
    """Write the records of ten seeds of ten learning rates."""
    points = np.random.default_rng(0).random((30, 2))
    for rate in range(10):
        for seed in range(10):
            settings = {"agent_name": "pd-morl", "seed": seed, "discount": "None", "agent.learning_rate": 0.1**rate}
            directory = folder / f"rate-{rate}" / f"seed-{seed}"
            recorder = Recorder(LoggedRun(directory=directory, objectives=("left", "right"), settings=settings))
            recorder._next_figure = np.inf
            for step in range(100, 600, 100):
                episodes = {"rollout/episodes": 3.0, "rollout/return/left": step / 100, "rollout/length": 2.0}
                recorder.metrics(step, {"loss": 1.0 / step, "wall_seconds": float(step), **episodes})
                indicators = {"hypervolume": step + rate, "expected_utility": 1.0, "cardinality": 30.0}
                front = EvaluationRecord(
                    training_steps=step,
                    points=points,
                    preferences=np.full((30, 2), 0.5),
                    policy_ids=np.zeros(30, dtype=np.int64),
                    indicators=indicators,
                )
                recorder.front(front)
                recorder.metrics(step, {"conditioned_utility": 0.5})
            recorder.finish(points)
            recorder.close()


@pytest.mark.parametrize(("make", "count"), [(train_six, 6), (write_hundred, 100)])
@pytest.mark.timeout(300)
def test_charts_and_hyper_parameters_show_every_run_once(
    make: Callable[[Path], None], count: int, browser: Any, tmp_path: Path, without_figures: None
) -> None:
    make(tmp_path)
    with tensorboard(tmp_path) as address, browser.new_context(viewport={"width": 1500, "height": 1000}) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        wait_for_runs(address, count)

        page.goto(f"{address}#timeseries")
        first = page.locator("scalar-card").first
        row = "tb-data-table-content-row"
        first.locator(row).nth(count - 1).wait_for()
        # All runs are listed, ticked (a box more ticks all of them), and drawn in a chart.
        assert page.locator(f"runs-data-table {row}").count() == count
        assert page.locator("runs-data-table input[type=checkbox]:checked").count() == count + 1
        assert first.locator(row).count() == count
        titles = [title.strip() for title in page.locator(".group-title").all_inner_texts()]
        assert [title for title in titles if title in GROUPS] == GROUPS

        page.goto(f"{address}#hparams")
        page.reload()
        grid = page.locator("tf-hparams-table-view vaadin-grid")
        page.wait_for_function(
            "([grid, count]) => grid.size === count", arg=[grid.element_handle(), count], timeout=60_000
        )
        header = " ".join(page.locator("tf-hparams-table-view .table-header").all_inner_texts())
        header = header.replace("\n", "")
        assert "agent.learning_rate" in header
        assert "seed" in header
        assert "front/hypervolume" in header
        assert "front/expected_utility" in header


def wait_for_runs(address: str, count: int) -> None:
    """Wait until TensorBoard has read all runs."""
    for _ in range(120):
        with urllib.request.urlopen(f"{address}data/runs") as answer:
            if answer.read().count(b"seed-") == count:
                return
        time.sleep(0.5)
    raise AssertionError(f"TensorBoard does not show {count} runs")


def test_descriptions_are_shown(browser: Any, tmp_path: Path) -> None:
    descriptions = {"loss": "What is *minimized*."}
    run = LoggedRun(directory=tmp_path / "run", objectives=("left", "right"), descriptions=descriptions)
    write = Recorder(run)
    write.metrics(10, {"loss": 1.0, "rollout/return/left": 2.0})
    write.close()
    with tensorboard(tmp_path) as address, browser.new_context(viewport={"width": 1500, "height": 1000}) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{address}#scalars")
        heading: Any = page.locator("tf-card-heading", has_text="losses/loss")
        heading.locator("paper-icon-button").click()
        page.get_by_text("What is minimized.").wait_for()
        heading = page.locator("tf-card-heading", has_text="rollout/return/left")
        assert heading.locator("paper-icon-button").count() == 1
