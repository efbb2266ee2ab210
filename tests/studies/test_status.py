"""Where the runs of a study are, from what their folders hold, and how it is shown."""

import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from board_runs import write_run
from hypothesis import given
from hypothesis import strategies as st
from in_process import InProcess
from rich.console import Console

from morl.experiment.ownership import OwnedFolder, is_owned
from morl.studies.executors import JobResult
from morl.studies.plan import PlannedRun, Study
from morl.studies.probe import seeds_text, spread
from morl.studies.progress import StudyProgress
from morl.studies.status import duration, newest_steps, run_status, study_status


def planned(folder: Path, count: int = 1) -> Study:
    runs = tuple(
        PlannedRun(
            variant="pd-morl",
            env="board-test-v0",
            seed=seed,
            agent_name="pd-morl",
            env_id="board-test-v0",
            total_steps=2000,
            run_dir=folder / "a" / "pd-morl" / "board-test-v0" / f"seed-{seed}",
            overrides={},
            config=f"agent_name = 'pd-morl'\nenv = 'board-test-v0'\ntotal_steps = 2000\nseed = {seed}\n",
        )
        for seed in range(count)
    )
    return Study(name="a", folder=folder / "a", file=None, runs=runs)


def log(run_dir: Path, *lines: dict[str, Any]) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def text(shown: object, width: int = 100) -> str:
    written = io.StringIO()
    Console(width=width, file=written).print(shown)
    return written.getvalue()


def test_states_are_read_from_folders(tmp_path: Path) -> None:
    study = planned(tmp_path, 5)
    done, running, failed, stopped, _ = (run.run_dir for run in study.runs)
    write_run(done, training_steps=2000)
    log(running, *({"training_steps": 100 * n, "wall_seconds": 2.0 * n} for n in range(1, 6)))
    log(failed, {"training_steps": 300, "wall_seconds": 1.0})
    (failed / "failure.txt").write_bytes(b"the simulator\xff is gone\n")
    log(stopped, {"training_steps": 700, "wall_seconds": 7.0})
    with OwnedFolder.of_run(running):
        assert is_owned(running)
        status = study_status(study)
    assert not is_owned(running)
    assert [one.state for one in status.runs] == ["done", "running", "failed", "waiting", "waiting"]
    assert [one.step for one in status.runs] == [2000, 500, 300, 700, 0]
    assert status.runs[1].steps_per_second == 50.0
    assert status.runs[1].seconds_left == 30.0
    assert status.failures == {"pd-morl/board-test-v0/seed-2": "the simulator\ufffd is gone"}
    assert status.counts == {"done": 1, "running": 1, "failed": 1, "waiting": 2}
    shown = text(status)
    assert "study a: 1 done, 1 running, 1 failed, 2 waiting" in shown
    assert re.search(r"seed-1\s*│ running\s*│\s*500\s*│\s*2,000\s*│\s*50\s*│\s*30 s", shown)
    assert "seed-2: the simulator\ufffd is gone" in shown


def test_an_executor_knows_of_runs_that_no_lock_shows(tmp_path: Path) -> None:
    (run,) = planned(tmp_path).runs
    assert run_status(run).state == "waiting"
    assert run_status(run, [run.run_dir]).state == "running"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", (0, math.nan)),
        ("{", (0, math.nan)),
        ('{"training_steps": 40, "wall_seconds": 2}\n', (40, 20.0)),
        ('{"training_steps": 40, "wall_seconds": 2}\n{"training_st', (40, 20.0)),
        ('{"training_steps": 40, "wall_seconds": 2}\n{"training_steps": 90, "wall_seconds": 3}\n', (90, 50.0)),
        ('{"loss": 3}\n[]\n{"training_steps": null, "wall_seconds": 2}\n', (0, math.nan)),
        ('{"training_steps": 0, "wall_seconds": 2}\n', (0, math.nan)),
        ('{"training_steps": 40, "wall_seconds": 0}\n', (40, math.nan)),
        ('{"training_steps": 1e999, "wall_seconds": 2}\n', (0, math.nan)),
        ('{"training_steps": 40, "wall_seconds": 1e999}\n', (0, math.nan)),
        ('{"training_steps": 40, "wall_seconds": 1' + 400 * "0" + "}\n", (0, math.nan)),
        (100_000 * "[" + "\n", (0, math.nan)),
        (500 * '{"training_steps": 40, "wall_seconds": 2, "more": "0123456789"}\n', (40, 20.0)),
    ],
)
def test_the_newest_steps_of_any_file(content: str, expected: tuple[int, float], tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(content)
    assert repr(newest_steps(tmp_path)) == repr(expected)


@pytest.mark.parametrize("width", [40, 60, 200])
def test_a_large_study_shows_what_runs_and_what_failed(width: int, tmp_path: Path) -> None:
    study = planned(tmp_path, 60)
    log(study.runs[7].run_dir)
    (study.runs[7].run_dir / "failure.txt").write_text("no")
    shown = text(study_status(study), width)
    assert "seed-7" in shown
    assert "seed-8" not in shown
    assert all(len(line) <= width for line in shown.splitlines())


def test_a_study_without_a_terminal_prints_a_line_for_each_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = planned(tmp_path, 4)
    write_run(study.runs[0].run_dir, training_steps=2000)
    executor = InProcess()
    results: Sequence[JobResult] = [
        JobResult(run_dir=study.runs[1].run_dir, ending="failed", sentence="the [bold]disk[/bold] is full"),
        JobResult(run_dir=study.runs[2].run_dir, ending="stopped"),
    ]
    with StudyProgress(study, executor, True) as progress:
        progress.update(results[:1])
        progress.update(results)
        write_run(study.runs[3].run_dir, training_steps=2000, seed=3)
        progress.update([*results, JobResult(run_dir=study.runs[3].run_dir, ending="done")])
    assert capsys.readouterr().err.splitlines() == [
        "1 of 4 runs are done already",
        "failed   pd-morl/board-test-v0/seed-1: the [bold]disk[/bold] is full",
        "stopped  pd-morl/board-test-v0/seed-2 at step 0 of 2,000",
        "done     pd-morl/board-test-v0/seed-3, 2,000 steps",
    ]
    with StudyProgress(study, executor, False) as progress:
        progress.update(results)
    assert capsys.readouterr().err == ""


def test_runs_that_never_began_are_counted_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = planned(tmp_path, 5)
    ended = [JobResult(run_dir=run.run_dir, ending="stopped", began=run.seed < 2) for run in study.runs]
    with StudyProgress(study, InProcess(), True) as progress:
        progress.update(ended[2:4])
        progress.update([*ended[2:4], *ended[:2], ended[4]])
    assert capsys.readouterr().err.splitlines() == [
        "stopped  pd-morl/board-test-v0/seed-0 at step 0 of 2,000",
        "stopped  pd-morl/board-test-v0/seed-1 at step 0 of 2,000",
        "stopped  3 of 5 runs before they began",
    ]


def test_durations() -> None:
    shown = {0.0: "0 s", 59.2: "1 min 00 s", 61.0: "1 min 01 s", 3600.0: "1 h 00 min", 90_000.0: "1 d 01 h"}
    assert {seconds: duration(seconds) for seconds in shown} == shown
    assert duration(math.nan) == "-"


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30), st.integers(1, 8))
def test_the_time_of_a_study_lies_between_its_bounds(seconds: list[float], workers: int) -> None:
    """Graham 1969: the longest first is never worse than 4/3 of the best, which is at least the mean of the workers."""
    found = spread(seconds, workers)
    least = max(max(seconds), sum(seconds) / workers)
    assert least - 1e-6 <= found * (1 + 1e-9)
    assert found <= sum(seconds) / workers + max(seconds) + 1e-6


def test_seeds_in_words() -> None:
    assert [seeds_text(seeds) for seeds in ([0, 1, 2, 3], [4], [0, 1], [1, 3, 4])] == ["0 to 3", "4", "0, 1", "1, 3, 4"]
