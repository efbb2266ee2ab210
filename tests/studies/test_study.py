"""`morl.study`: runs are trained, resumed, extended and reused, failures stay where they are, and no bit depends on it.

Most tests train in this process, with the worker's own function; test_study_kills.py has real processes and kills.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich
import toys
from in_process import InProcess
from kills import kill_at
from outcomes import assert_same, outcome

import morl
from morl.experiment.ownership import OwnedFolder
from morl.studies import worker
from morl.studies.executors import JobResult
from morl.studies.plan import read_study
from morl.studies.status import study_status
from morl.studies.study import RunningStudy

pytestmark = pytest.mark.usefixtures("without_figures")

SETTINGS = {**toys.SCHEDULE, "checkpoint_minutes": 1e-9}
STEPS = 200


def table(**changes: Any) -> dict[str, Any]:
    coins = {"agent": "toys:Coins"}
    return {
        "name": "a",
        "total_steps": STEPS,
        "seeds": 2,
        "envs": ["toys:toy-walk-v0"],
        "agents": {"coins": coins},
        "run": SETTINGS,
        "loggers": ["tensorboard"],
        "keep_checkpoints": True,
        **changes,
    }


def train(folder: Path, **changes: Any) -> RunningStudy:
    return morl.study(table(**changes), executor=InProcess(), folder=folder).wait(progress=False)


def undisturbed(run_dir: Path, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """What `morl.train` makes of a run of `table`."""
    morl.train("toys:Coins", "toys:toy-walk-v0", total_steps=steps, seed=seed, run_dir=run_dir, **SETTINGS)
    return outcome(run_dir)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("whole")
    return [undisturbed(folder / str(seed), seed) for seed in range(2)]


def test_runs_are_those_of_train(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    study = train(tmp_path)
    assert study.is_complete
    assert [result.ending for result in study.results] == ["done", "done"]
    for run, expected in zip(study.runs, whole, strict=True):
        assert_same(outcome(run.run_dir), expected, run.name)
        assert run.load().front.points.shape[1] == 2
    record = json.loads((tmp_path / "a" / "study.json").read_text())
    assert record["runs"][1]["folder"] == "coins/toys.toy-walk-v0/seed-1"
    assert {entry["settings_sha256"] for entry in record["runs"]} == {study.runs[0].settings_sha256}
    assert study._executor.closed  # type: ignore[attr-defined]


def test_what_is_done_is_reused_and_what_is_missing_is_trained(tmp_path: Path) -> None:
    first = train(tmp_path, seeds=1)
    before = {file: file.stat().st_mtime_ns for file in first.runs[0].run_dir.rglob("*")}
    study = train(tmp_path, seeds=2, agents={"coins": {"agent": "toys:Coins"}, "more": {"agent": "toys:Coins"}})
    assert len(study.results) == 3
    assert study.is_complete
    assert {file: file.stat().st_mtime_ns for file in first.runs[0].run_dir.rglob("*")} == before
    again = train(tmp_path, seeds=2)
    assert again.results == []
    assert again.is_complete


def test_more_steps_resume_and_end_in_the_same_bits(tmp_path: Path) -> None:
    train(tmp_path, seeds=1)
    study = train(tmp_path, seeds=1, total_steps=2 * STEPS)
    expected = undisturbed(tmp_path / "whole", 0, 2 * STEPS)
    assert_same(outcome(study.runs[0].run_dir), expected, "extended")
    assert (study.runs[0].run_dir / "config.toml").read_text() == study.runs[0].config


@pytest.mark.parametrize("moment", [3, 11, 30, 61])
def test_a_run_that_was_killed_anywhere_ends_in_the_same_bits(
    moment: int, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    (run,) = read_study(table(seeds=1), tmp_path).runs
    with kill_at(moment, torn=moment % 2 == 0):
        worker.perform(run.job())
    study = train(tmp_path, seeds=1)
    assert_same(outcome(run.run_dir), whole[0], moment)
    assert study.is_complete


def test_failures_do_not_stop_others_and_are_said(tmp_path: Path) -> None:
    agents = {"coins": {"agent": "toys:Coins"}, "broken": {"agent": "toys:Coins", "envs": ["bad"]}}
    bad = {"id": "toys:toy-broken-walk-v0", "name": "bad", "options": {"at": 31}, "run": {"evaluate_every": 90}}
    changes = {"agents": agents, "envs": ["toys:toy-walk-v0", bad], "run": SETTINGS | {"reward_units": "environment"}}
    study = train(tmp_path, **changes)
    status = study.status()
    assert status.counts == {"done": 2, "running": 0, "failed": 4, "waiting": 0}
    assert not study.is_complete
    assert all("nan" in sentence for sentence in status.failures.values())
    failed = [run for run in study.runs if run.env == "bad"]
    assert all("nan" in (run.run_dir / "failure.txt").read_text() for run in failed)
    again = train(tmp_path, **changes)
    assert len(again.results) == 4  # they are tried again


def test_a_failure_is_forgotten_when_the_run_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("the simulator is gone")

    with monkeypatch.context() as patch:
        patch.setattr(toys.Walk, "step", fails)
        study = train(tmp_path, seeds=1)
    assert study.status().failures == {
        "coins/toys:toy-walk-v0/seed-0": "RuntimeError: the simulator is gone",
    }
    assert (study.runs[0].run_dir / "failure.txt").exists()
    study = train(tmp_path, seeds=1)
    assert study.is_complete
    assert not (study.runs[0].run_dir / "failure.txt").exists()


def test_an_environment_that_leaves_python_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves(*_: Any) -> Any:
        raise SystemExit("no license")

    monkeypatch.setattr(toys.Walk, "step", leaves)
    study = train(tmp_path, seeds=1)
    (sentence,) = study.status().failures.values()
    assert "SystemExit('no license')" in sentence


def test_a_full_disk_fails_its_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from morl.experiment import files

    def write(path: Path, content: bytes) -> None:
        if "seed-0" in str(path):
            raise OSError(28, "No space left on device", str(path))
        original(path, content)

    original = files.write_synced
    monkeypatch.setattr(files, "write_synced", write)
    study = train(tmp_path)
    (sentence,) = study.status().failures.values() or [study.results[0].sentence]
    assert "No space left on device" in sentence
    assert study.status().counts["done"] == 1


def test_the_longest_runs_begin_first(tmp_path: Path) -> None:
    extra = [{"variant": "coins", "env": "toys:toy-walk-v0", "seeds": [5], "total_steps": 3 * STEPS}]
    executor = InProcess()
    morl.study(table(extra=extra), executor=executor, folder=tmp_path).wait(progress=False)
    assert [Path(run_dir).name for run_dir in executor.order] == ["seed-5", "seed-0", "seed-1"]


def test_a_study_is_trained_by_one_process(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with OwnedFolder.of_run(folder), pytest.raises(ValueError, match="trained by another process already"):
        train(tmp_path)
    assert train(tmp_path).is_complete


def test_a_run_folder_in_use_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the process of a study that was killed, for example, which still saves."""
    monkeypatch.setattr(worker, "PATIENCE", 0.3)
    (run,) = read_study(table(seeds=1), tmp_path).runs
    run.run_dir.mkdir(parents=True)
    with OwnedFolder.of_run(run.run_dir):
        begin = time.monotonic()
        result = worker.perform(run.job())
    assert time.monotonic() - begin > 0.3
    assert (result.ending, "is in use by another process" in result.sentence) == ("failed", True)
    assert worker.perform(run.job()).ending == "done"


def test_checkpoints_go_when_a_run_is_done_and_more_steps_begin_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that is stopped keeps them, and so does a longer study that says so; no bit of a front depends on it."""
    study = train(tmp_path, seeds=1, keep_checkpoints=False)
    (run,) = study.runs
    assert not (run.run_dir / "checkpoints").exists()
    assert run.load().evaluate(episodes=1).discounted.shape[1] == 2
    assert train(tmp_path, seeds=1, keep_checkpoints=False).results == []
    assert not caplog.records
    longer = train(tmp_path, seeds=1, total_steps=2 * STEPS)
    assert [(result.ending, result.sentence) for result in longer.results] == [("done", "")]
    (record,) = caplog.records
    assert "trained again from the first step" in record.getMessage()
    assert run.name in record.getMessage()
    expected = undisturbed(tmp_path / "whole", 0, 2 * STEPS)
    assert_same(outcome(run.run_dir), expected, "trained again")
    assert worker.perform(replace(longer.runs[0].job(), keep_checkpoints=False)).ending == "done"
    assert not (run.run_dir / "checkpoints").exists()


def test_a_run_that_was_stopped_keeps_its_checkpoints(tmp_path: Path) -> None:
    (run,) = read_study(table(seeds=1, keep_checkpoints=False), tmp_path).runs
    assert worker.perform(run.job(), on_step=lambda progress: progress.step > 120).ending == "stopped"
    assert list((run.run_dir / "checkpoints").iterdir())
    assert worker.perform(run.job()).ending == "done"
    assert not (run.run_dir / "checkpoints").exists()


def outcome_of_front(run_dir: Path) -> bytes:
    return (run_dir / "front.json").read_bytes()


@pytest.mark.parametrize("evaluate_every", [SETTINGS["evaluate_every"], 70])
@pytest.mark.parametrize("content", ["{", "[]", "\0"])
def test_a_damaged_front_is_made_again_from_the_newest_checkpoint(
    content: str, evaluate_every: int, tmp_path: Path
) -> None:
    """The last evaluation is a scheduled one, whose front the checkpoint holds, or is made again."""
    changes = {"run": SETTINGS | {"evaluate_every": evaluate_every}, "seeds": 1}
    study = train(tmp_path, **changes)
    run = study.runs[0]
    before = run.load()
    (run.run_dir / "front.json").write_text(content)
    assert study.status().counts == {"done": 0, "running": 0, "failed": 1, "waiting": 0}
    assert "front.json is damaged" in study.status().failures[run.name]
    again = train(tmp_path, **changes)
    assert again.is_complete
    assert [result.ending for result in again.results] == ["done"]
    np.testing.assert_array_equal(run.load().front.points, before.front.points)
    assert train(tmp_path, **changes).results == []


def test_a_damaged_front_without_a_checkpoint_says_what_to_remove(tmp_path: Path) -> None:
    study = train(tmp_path)
    run_dir = study.runs[0].run_dir
    (run_dir / "front.json").write_text("{")
    shutil.rmtree(run_dir / "checkpoints")
    (result,) = train(tmp_path).results
    assert "front.json is damaged" in result.sentence
    assert result.sentence.endswith("remove that folder")
    assert str(run_dir) in result.sentence
    assert outcome_of_front(run_dir) == b"{"


def test_a_damaged_config_fails_its_run_alone(tmp_path: Path) -> None:
    study = train(tmp_path)
    run_dir = study.runs[0].run_dir
    (run_dir / "config.toml").write_text("x = [")
    shutil.rmtree(study.runs[1].run_dir)
    planned = read_study(table(), tmp_path)
    status = study_status(planned)
    assert status.counts == {"done": 0, "running": 0, "failed": 1, "waiting": 1}
    (sentence,) = status.failures.values()
    assert sentence.startswith("config.toml is damaged: ")
    assert f"remove the folder {run_dir}" in sentence
    again = train(tmp_path)
    assert sorted(result.ending for result in again.results) == ["done", "failed"]
    assert again.status().counts == {"done": 1, "running": 0, "failed": 1, "waiting": 0}
    assert (run_dir / "config.toml").read_text() == "x = ["
    assert again.table().tables
    shutil.rmtree(run_dir)
    assert train(tmp_path).is_complete


def test_an_executor_that_fails_is_an_error_of_the_study(tmp_path: Path) -> None:
    class Lost(InProcess):
        def poll(self, timeout: float) -> Sequence[JobResult]:
            raise ConnectionError("the cluster is gone")

    study = morl.study(table(), executor=Lost(), folder=tmp_path)
    with pytest.raises(ConnectionError, match="the cluster is gone"):
        study.wait(progress=False)
    assert train(tmp_path).is_complete  # the folder was given up


def test_stop_and_resume(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    class Stops(InProcess):
        def poll(self, timeout: float) -> Sequence[JobResult]:
            if not self.waiting:
                return []
            job = self.waiting.popleft()
            return [worker.perform(job, on_step=lambda progress: progress.step > 120)]

    study = morl.study(table(), executor=Stops(), folder=tmp_path).wait(progress=False)
    assert [result.ending for result in study.results] == ["stopped", "stopped"]
    assert study.status().counts["waiting"] == 2
    assert study.status().runs[0].step > 0
    study = train(tmp_path)
    for run, expected in zip(study.runs, whole, strict=True):
        assert_same(outcome(run.run_dir), expected, run.name)


def test_a_study_shows_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = train(tmp_path)
    rich.print(study)
    assert "study a: 2 done" in capsys.readouterr().out
    assert "2 done" in repr(study)
    assert "<table>" in study._repr_html_()


def test_workers_belong_to_the_executor_that_is_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers is 2"):
        morl.study(table(), executor=InProcess(), workers=2, folder=tmp_path)
    with pytest.raises(ValueError, match="workers is 0"):
        morl.study(table(), workers=0, folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source": 3}, "study is 3, but must be the path"),
        ({"source": None}, "study is None, but must be the path"),
        ({"folder": 3}, "folder is 3, but must be a path"),
        ({"folder": "a file"}, "folder is 'a file', but a file exists and is no folder"),
        ({"folder": "a file/x"}, "folder is 'a file/x', but a file exists and is no folder"),
        ({"folder": "/proc/x"}, "folder is '/proc/x', but nothing can be written in /proc"),
        ({"workers": "a"}, "workers is 'a', but must be a whole number of at least 1"),
        ({"workers": 0}, "workers is 0, but must be a whole number of at least 1"),
        ({"workers": True}, "workers is True, but must be a whole number"),
        ({"executor": "foo"}, 'executor is \'foo\', but must be "processes", "ray"'),
        ({"executor": 3}, 'executor is 3, but must be "processes", "ray"'),
    ],
)
def test_wrong_arguments_are_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("")
    given: dict[str, Any] = {"source": table(), "folder": "studies", **changes}
    with pytest.raises((ValueError, TypeError, FileExistsError)) as caught:
        morl.study(given.pop("source"), **given)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
