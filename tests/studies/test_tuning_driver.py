"""A tuning whose runs are trained elsewhere: the driver asks and tells, and answers what runs report; without Ray."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess

pytest.importorskip("optuna", reason="optuna is not installed")

from coin_tuning import TRIALS, journal, shown, table
from optuna.trial import TrialState

import morl
from morl.studies import ray_tuning
from morl.studies.executors import Answer, Job, JobResult, Report
from morl.studies.tuning import tune
from morl.studies.worker import perform


class Answering(InProcess):
    """Trains in the thread that polls, and answers each evaluation, as Ray's executor does.

    Args:
        answer: whether a run ends.
        workers: jobs at once, as far as the driver can see.
        failing: whether all runs fail.
    """

    def __init__(self, answer: Answer, workers: int, failing: bool = False) -> None:
        super().__init__()
        self.answer = answer
        self.workers = workers
        self.failing = failing
        self.stopped: list[JobResult] = []

    def poll(self, timeout: float) -> Sequence[JobResult]:
        if not self.waiting:
            results = self.stopped
            self.stopped = []
            return results
        job = self.waiting.popleft()
        if self.failing:
            return [JobResult(run_dir=Path(job.run_dir), ending="failed", sentence="the boat sank")]

        def on_step(progress: morl.Progress) -> bool:
            if not progress.new_front or progress.front is None:
                return False
            return self.answer(Path(job.run_dir), Report(progress.front.training_steps, progress.indicators))

        return [perform(job, on_step)]

    def cancel(self) -> None:
        self.stopped = [JobResult(run_dir=Path(job.run_dir), ending="stopped", began=False) for job in self.waiting]
        self.waiting.clear()


def replace_ray(patch: pytest.MonkeyPatch, workers: int, **given: Any) -> None:
    def executor(address: str, count: int | None, shared: bool | None, cores: int, answer: Answer) -> Answering:
        assert (address, count, shared, cores) == ("auto", workers, None, 1)
        return Answering(answer, workers, **given)

    patch.setattr(ray_tuning, "ray_executor", executor)


def test_the_driver_makes_the_trials_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[str] = []
    tune(table(), folder=tmp_path / "one process", workers=1, tell=expected.append)
    replace_ray(monkeypatch, workers=1)
    lines: list[str] = []
    tuned = tune(table(), folder=tmp_path / "driver", workers=1, executor="ray", tell=lines.append)
    assert (tuned.complete, tuned.pruned) == (TRIALS - 1, 1)
    assert shown(tmp_path / "driver") == shown(tmp_path / "one process")
    assert [line.split("), ")[0] for line in lines] == [line.split("), ")[0] for line in expected]
    assert tuned.file.is_file()


def test_trials_are_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_ray(monkeypatch, workers=3)
    lines: list[str] = []
    tune(table(tune={"trials": 3, "episodes": 1}), folder=tmp_path, workers=3, executor="ray", tell=lines.append)
    assert sorted(line.split(":")[0] for line in lines) == ["trial 0", "trial 1", "trial 2"]
    assert [one.state for one in journal(tmp_path)] == [TrialState.COMPLETE] * 3


def test_settings_of_the_file_that_fail_end_the_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial that is begun beside it is left for a later start."""
    replace_ray(monkeypatch, workers=2, failing=True)
    with pytest.raises(ValueError, match="the boat sank"):
        tune(table(), folder=tmp_path, workers=2, executor="ray", tell=lambda line: None)
    states = {one.state for one in journal(tmp_path)}
    assert TrialState.COMPLETE not in states


def test_what_answers_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the journal is full, say: the error is that of the tuning, and no thread is left behind."""

    class Lost(Answering):
        def poll(self, timeout: float) -> Sequence[JobResult]:
            if self.waiting:
                raise OSError(28, "No space left on device")
            return super().poll(timeout)

    monkeypatch.setattr(
        ray_tuning, "ray_executor", lambda address, workers, shared, cores, answer: Lost(answer, workers)
    )
    with pytest.raises(OSError, match="No space left on device"):
        tune(table(), folder=tmp_path, workers=1, executor="ray", tell=lambda line: None)
    assert [one.state for one in journal(tmp_path)] == [TrialState.RUNNING]


@pytest.mark.parametrize("name", ["foo", "process", ""])
def test_executors_have_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f'executor is \'{name}\', but must be "processes", "ray", or the address'):
        tune(table(), folder=tmp_path, executor=name)
    assert not list(tmp_path.iterdir())


def test_jobs_travel_as_json() -> None:
    job = Job(run_dir="x", config="", reports=True, objective="hypervolume", episodes=3, keep_checkpoints=False)
    assert Job.of_json(job.to_json()) == job
