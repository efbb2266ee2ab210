"""A run folder has one owner; what it replaces is kept until it has something to show; links are not followed."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import toys
from kills import kill_at

import morl
from morl.experiment import ownership
from morl.experiment.ownership import FolderInUse, OwnedFolder

pytestmark = pytest.mark.usefixtures("without_figures")

COINS: dict[str, Any] = {"agent": "toys:Coins", "checkpoint_minutes": 60.0}

OWNER = """
import sys, time
from pathlib import Path
from morl.experiment.ownership import OwnedFolder
folder = OwnedFolder.of_run(Path(sys.argv[1]))
print("owned", flush=True)
time.sleep(600)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    toys.train(tmp_path / "run", "toy-walk-v0", 100, **COINS)
    return tmp_path / "run"


def look_at_everything(run: Path) -> None:
    loaded = morl.load(run)
    loaded.metrics()
    for row in range(len(loaded.front.points)):
        loaded.policy(row=row)
    if set(loaded.front.policy_ids.tolist()) != {0, 1}:
        raise ValueError("the front does not need all of these policies")


# --- One owner --------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_until_the_first_dies(run: Path, morl_cli: Any) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(run)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "owned\n"
    before = contents(run)
    for use in (
        lambda: morl.resume(run, 200),
        lambda: toys.train(run, "toy-walk-v0", 100, overwrite=True, **COINS),
        lambda: toys.train(run, "toy-walk-v0", 100, **COINS),
    ):
        with pytest.raises(FolderInUse, match="in use by another process"):
            use()
    code, _, complaint = morl_cli("resume", run, "--total-steps", 200)
    assert (code, complaint.count("\n")) == (2, 1)
    assert str(run) in complaint
    assert contents(run) == before
    assert morl.load(run).evaluate(episodes=1).discounted.shape[1] == 2  # looking at it is free
    owner.kill()
    owner.communicate()
    assert toys.front(morl.resume(run, 200).directory)["training_steps"] == 200


def test_a_thread_of_the_same_process_is_a_second_writer_too(run: Path) -> None:
    refused: list[BaseException] = []

    def again() -> None:
        try:
            morl.resume(run, 300)
        except ValueError as error:
            refused.append(error)

    def on_step(*_: Any) -> None:
        if not refused:
            thread = threading.Thread(target=again)
            thread.start()
            thread.join()

    with pytest.MonkeyPatch.context() as patch:
        step = toys.Walk.step
        patch.setattr(toys.Walk, "step", lambda self, action: (on_step(), step(self, action))[1])
        morl.resume(run, 200)
    assert [type(error) for error in refused] == [FolderInUse]
    assert toys.front(run)["training_steps"] == 200


def test_a_folder_is_given_up_at_the_end_and_on_failure(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    morl.resume(run, 150)
    with pytest.raises(ValueError, match="already has"):
        morl.resume(run, 150)
    morl.resume(run, 200)


def test_a_folder_that_cannot_be_locked_is_said(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> Any:
        raise OSError(95, "Operation not supported")

    assert ownership.fcntl is not None
    monkeypatch.setattr(ownership.fcntl, "flock", fails)
    morl.resume(run, 200)
    assert "cannot be locked (" in caplog.text
    monkeypatch.setattr(ownership, "fcntl", None)  # Windows
    morl.resume(run, 300)


# --- Overwriting ------------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the walk fail after a number of steps."""
    steps = []
    original = toys.Walk.step

    def step(self: Any, action: Any) -> Any:
        steps.append(action)
        if len(steps) > after:
            raise RuntimeError("the simulator is gone")
        return original(self, action)

    monkeypatch.setattr(toys.Walk, "step", step)


@pytest.mark.parametrize("after", [0, 40])
def test_a_run_that_fails_before_its_first_front_leaves_the_old_one(
    after: int, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run)
    failing(monkeypatch, after)
    with pytest.raises(RuntimeError, match="gone"):
        toys.train(run, "toy-walk-v0", 100, overwrite=True, seed=9, **COINS)
    assert contents(run) == before


def test_a_run_that_fails_later_has_replaced_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, 1_700)
    with pytest.raises(RuntimeError, match="gone"):
        toys.train(run, "toy-walk-v0", 10_000, overwrite=True, seed=9, **COINS)
    assert toys.front(run)["seed"] == 9
    assert not (run / ownership.OVERWRITTEN).exists()


def test_a_kill_while_a_run_is_replaced_loses_neither(tmp_path: Path) -> None:
    """At every operation there is the old run or the new one, and either can be resumed or replaced."""
    old, new = tmp_path / "old", tmp_path / "new"
    toys.train(old, "toy-walk-v0", 20, seed=1, **COINS)
    before = contents(old)
    with kill_at(None) as operations:
        toys.train(new, "toy-walk-v0", 20, seed=2, **COINS)
    for moment in range(0, len(operations) + 30, 5):
        with kill_at(moment):
            toys.train(old, "toy-walk-v0", 20, overwrite=True, seed=2, **COINS)
        with OwnedFolder.of_run(old):
            ownership.recover(old)
        if not (old / "front.json").exists():  # a new run that has a checkpoint, and the old one still aside
            assert toys.front(old / ownership.OVERWRITTEN)["seed"] == 1
            if moment % 2:
                morl.resume(old)
        seed = toys.front(old)["seed"] if (old / "front.json").exists() else 2
        if seed == 1:
            assert {name: content for name, content in contents(old).items() if name in before} == before
        else:
            assert not (old / "front.json").exists() or toys.front(old)["points"] == toys.front(new)["points"]
            toys.train(old, "toy-walk-v0", 20, overwrite=True, seed=1, **COINS)
            before = contents(old)
    toys.train(old, "toy-walk-v0", 20, overwrite=True, seed=3, **COINS)
    assert toys.front(old)["seed"] == 3
    assert set(os.listdir(old)) <= ownership.NAMES


def test_a_second_control_c_while_cleaning_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    failing(monkeypatch, 3)
    with kill_at(None) as operations, pytest.raises(RuntimeError):
        toys.train(run, "toy-walk-v0", 100, **COINS)
    removals = [number for number, (operation, _) in enumerate(operations) if operation == "remove"]
    assert not run.exists()
    for moment in removals:
        monkeypatch.undo()
        failing(monkeypatch, 3)
        with kill_at(moment):
            toys.train(run, "toy-walk-v0", 100, overwrite=True, **COINS)
        monkeypatch.undo()
        toys.train(run, "toy-walk-v0", 20, overwrite=True, **COINS)  # it can be replaced, whatever is left
        assert toys.front(run)["training_steps"] == 20


# --- Odd places -------------------------------------------------------------------------------------------------------


def test_a_link_to_a_folder_and_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    for overwrite in (False, True):
        toys.train(tmp_path / "run", "toy-walk-v0", 20, overwrite=overwrite, **COINS)
        assert (tmp_path / "run").is_symlink()
        assert (tmp_path / "scratch" / "front.json").is_file()
    monkeypatch.chdir(tmp_path / "scratch")
    toys.train(Path(), "toy-walk-v0", 20, overwrite=True, **COINS)
    assert morl.load(".").front.points.shape[1] == 2


def test_a_broken_link_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"run_dir is .* is a link to nothing: name another path"):
        toys.train(tmp_path / "run", "toy-walk-v0", 20, **COINS)


@pytest.mark.parametrize(
    "name", ["tensorboard", "metrics.jsonl", "policies", "fronts.jsonl", "front.json", "checkpoints"]
)
def test_links_inside_a_run_folder_are_not_followed(name: str, run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (run / name).rename(outside)
    (run / name).symlink_to(outside)
    before = contents(outside) if outside.is_dir() else outside.read_bytes()
    use: Any = morl.load if name == "front.json" else lambda folder: morl.resume(folder, 200)
    with pytest.raises((OSError, ValueError), match=r"link|damaged|symbolic|no checkpoint"):
        use(run)  # a front is replaced by `resume`, and so is a link in its place
    assert (contents(outside) if outside.is_dir() else outside.read_bytes()) == before


@pytest.mark.parametrize("name", ["front.json", "config.toml", "metrics.jsonl", "policies/0.pt", "policies/1.pt"])
def test_a_pipe_is_not_waited_for(name: str, run: Path) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises((OSError, ValueError)):
        look_at_everything(run)
    if not name.startswith("policies") and name != "front.json":
        with pytest.raises((OSError, ValueError)):
            morl.resume(run, 200)
