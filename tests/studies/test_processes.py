"""Processes on this machine as an executor: every job is returned once, cores are shared, last words are readable."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys

from morl.studies import worker
from morl.studies.executors import Executor, Job, JobResult, Report
from morl.studies.objective import measure
from morl.studies.plan import read_study
from morl.studies.processes import Processes, _last_words, usable_cores


def job(folder: Path, number: int) -> Job:
    return Job(run_dir=str(folder / str(number)), config="")


def test_jobs_that_wait_are_returned_when_they_are_cancelled(tmp_path: Path) -> None:
    executor: Executor = Processes(workers=1)
    for number in range(3):
        executor.submit(job(tmp_path, number))
    executor.cancel()
    results = executor.poll(5.0)
    assert [(result.run_dir.name, result.ending) for result in results] == [(name, "stopped") for name in "012"]
    assert not any(result.began for result in results)
    assert executor.poll(0.0) == []
    assert executor.running == frozenset()


def test_a_process_that_cannot_begin_has_failed(tmp_path: Path) -> None:
    """The second job's folder cannot be made."""
    (tmp_path / "file").write_text("")
    executor = Processes(workers=2)
    executor.submit(Job(run_dir=str(tmp_path / "file" / "run"), config=""))
    (result,) = executor.poll(5.0)
    assert (result.ending, "file" in result.sentence) == ("failed", True)


def test_a_damaged_job_is_a_failure_with_a_sentence(tmp_path: Path) -> None:
    executor = Processes(workers=1)
    executor.submit(Job(run_dir=str(tmp_path / "run"), config="", loggers=("nonsense",)))
    results = executor.poll(60.0)
    assert [result.ending for result in results] == ["failed"]
    assert "total_steps" in results[0].sentence


def ended(executor: Executor) -> Sequence[JobResult]:
    """Wait until a job has ended."""
    while not (found := executor.poll(60.0)):
        pass
    return found


def test_reports_are_answered_and_end_a_run(tmp_path: Path) -> None:
    """The process waits for each answer, so that the run ends at the very evaluation; at its end it is measured."""
    table = {
        "name": "reports",
        "total_steps": 120,
        "seeds": 1,
        "envs": ["toys:toy-walk-v0"],
        "agents": {"coins": {"agent": "toys:Coins"}},
        "run": {**toys.SCHEDULE, "evaluate_every": 40, "reference_point": [-50.0, -50.0]},
    }
    (run,) = read_study(table, tmp_path).runs
    job = replace(run.job(paths=sys.path), reports=True, objective="hypervolume", episodes=1)
    told: list[Report] = []

    def ends(run_dir: Path, report: Report) -> bool:
        assert run_dir == run.run_dir
        told.append(report)
        return len(told) == 2

    results = {}
    for ending in ("stopped", "done"):
        executor = Processes(workers=1, answer=ends)
        executor.submit(job)
        (results[ending],) = ended(executor)
    assert {ending: one.ending for ending, one in results.items()} == {"stopped": "stopped", "done": "done"}
    assert [report.training_steps for report in told] == [40, 80, 120]
    assert all(report.indicators["hypervolume"] > 0.0 for report in told)
    assert results["stopped"].measured is None
    assert results["done"].measured == measure(run.load(), "hypervolume", 1)


def test_a_report_that_cannot_be_answered_is_raised(tmp_path: Path) -> None:
    """The process of the run stops, saved; `poll` raises once, and returns the job then."""
    executor = Processes(workers=1, answer=lambda run_dir, report: 1 / 0 > 0)
    code = (
        "import json, sys; sys.stdin.readline(); print(json.dumps({'report': [40, {}]}), flush=True);"
        "assert sys.stdin.readline() == 'false\\n'; print(json.dumps("
        "{'ending': 'stopped', 'sentence': '', 'measured': None}), flush=True)"
    )
    started = subprocess.Popen

    def start(command: list[str], **given: Any) -> "subprocess.Popen[bytes]":
        return started([sys.executable, "-c", f"import signal; signal.signal(15, signal.SIG_IGN); {code}"], **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", start)
        executor.submit(job(tmp_path, 0))
        with pytest.raises(ZeroDivisionError):
            ended(executor)
    assert [result.ending for result in ended(executor)] == ["stopped"]


@pytest.mark.parametrize(("cores", "workers"), [(0, None), (1, 0), (-1, 3)])
def test_numbers_less_than_one_are_refused(cores: int, workers: int | None) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Processes(cores, workers)


def test_there_are_as_many_workers_as_the_cores_allow() -> None:
    count = len(usable_cores())
    assert Processes().workers == count
    assert Processes(cores=count).workers == 1
    assert Processes(cores=10 * count).workers == 1


@pytest.mark.parametrize(
    ("code", "printed", "sentence"),
    [
        (
            1,
            "Traceback\nImportError: no module\n\n",
            "the process of the run ended with exit code 1: ImportError: no module",
        ),
        (3, "", "the process of the run ended with exit code 3: it printed nothing"),
        (-9, "x", "the process of the run was killed by SIGKILL, as the system does when memory runs out; the study"),
        (-11, "a\nb", "the process of the run was killed by SIGSEGV: b; the study goes on"),
        (-250, "", "the process of the run was killed by signal 250; the study goes on"),
    ],
)
def test_last_words(code: int, printed: str, sentence: str) -> None:
    assert _last_words(code, printed).startswith(sentence)


@pytest.fixture
def cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Keep locks in a folder of the test, and give this process its cores back."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system pins no processes")
    before = os.sched_getaffinity(0)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    yield before
    os.sched_setaffinity(0, before)


def test_runs_take_different_cores_as_long_as_there_are_any(cores: set[int]) -> None:
    if len(cores) < 2:
        pytest.skip("there is one core")
    taken = []
    for _ in range(2):
        worker.keep_to_cores(1)
        taken.append(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores)
    assert [len(one) for one in taken] == [1, 1]
    assert taken[0] != taken[1]


def test_more_runs_than_cores_share_them(cores: set[int]) -> None:
    for _ in range(2):
        worker.keep_to_cores(len(cores))
        assert os.sched_getaffinity(0) == cores
    worker.keep_to_cores(1)
    assert len(os.sched_getaffinity(0)) == 1


def test_a_folder_that_cannot_be_written_leaves_cores_shared(cores: set[int], tmp_path: Path) -> None:
    (tmp_path / f"morl-cores-{os.getuid()}").write_text("")
    worker.keep_to_cores(1)
    assert len(os.sched_getaffinity(0)) == 1
