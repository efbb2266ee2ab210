"""A run may be killed at any of its file operations: what is published fits together, and resuming loses nothing.

`kill_at` stops at one operation of `morl.experiment.files`, the one door to the disk, and refuses all later ones.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from kills import kill_at
from outcomes import assert_same, outcome

import morl
from morl.experiment import checkpoint
from morl.experiment.front import read_front
from morl.experiment.publication import read_policy_bytes
from morl.experiment.run import experiment_of

pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:pd-morl at step"),  # a random walk may lose half of its return at any time
]


@pytest.fixture(autouse=True, scope="module")
def _quick_disk() -> Iterator[None]:
    """Leave out the waiting for the disk: a process that dies takes nothing with it that the system has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


SCHEDULE = toys.SCHEDULE | {"evaluate_every": 12, "log_every": 8, "num_envs": 4, "evaluation_divisions": 2}
STEPS = 24
AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "coins": ("toys:Coins", "toy-walk-v0", {}),
    "pd-morl": ("pd-morl", "toy-walk-v0", toys.TINY),
    "pd-morl, continuous": ("pd-morl", "toy-continuous-walk-v0", toys.TINY_CONTINUOUS),
    "c-morl": ("c-morl", "toy-walk-v0", toys.TINY_CMORL),
    "morl-d": ("morl-d", "toy-walk-v0", toys.TINY_MORLD | {"population": 2, "exchange_every": 24}),
}


def train(name: str, run_dir: Path, total_steps: int = STEPS, **changes: Any) -> Any:
    agent, env, config = AGENTS[name]
    settings: dict[str, Any] = {"checkpoint_minutes": 1e-9, "seed": 3, **SCHEDULE, **changes}
    return morl.train(agent, env, total_steps=total_steps, run_dir=run_dir, config=config, **settings)


def assert_whole(run: Path, evaluations: list[dict[str, Any]], moment: Any) -> None:
    """Check that what a killed run has published, if anything, is one evaluation with its own policies."""
    if not (run / "front.json").exists():
        return
    front, record = read_front(run)
    assert front.points.tolist() in [line["points"] for line in evaluations], moment
    for file in record.policies:
        read_policy_bytes(run, file)
    assert set(front.policy_ids.tolist()) <= {file.policy_id for file in record.policies}


def finish(name: str, run: Path, total_steps: int = STEPS) -> None:
    """Resume a killed run to its end, as a user would."""
    if not run.exists() or checkpoint.newest(run) is None:
        train(name, run, total_steps, overwrite=True)
        return
    with contextlib.suppress(ValueError):  # it has all its steps: nothing is left to be done
        morl.resume(run, total_steps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> dict[str, Any]:
    """What a run of coins leaves that never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train("coins", run)
    return outcome(run)


def operations_of(name: str, run: Path) -> list[tuple[str, Path]]:
    with kill_at(None) as operations:
        train(name, run)
    return operations


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_training_is_killed_at_any_operation(stride: int, whole: dict[str, Any], tmp_path: Path) -> None:
    count = len(operations_of("coins", tmp_path / "counted"))
    assert count > 100
    for moment in range(0, count, stride):
        run = tmp_path / f"run-{moment}"
        with kill_at(moment, torn=moment % 2 == 0):
            train("coins", run)
        assert_whole(run, whole["evaluations"], moment)
        finish("coins", run)
        assert_same(outcome(run), whole, moment)
        shutil.rmtree(run)


def before_the_last_evaluation(name: str, run: Path) -> Path:
    """Return a run that was killed when its last evaluation was about to be recorded."""
    operations = operations_of(name, run)
    checkpoints = [
        number
        for number, (operation, path) in enumerate(operations)
        if operation == "rename" and path.name == f"step-{STEPS:012d}"
    ]
    killed = run.with_name("killed")
    with kill_at(next(number for number in range(checkpoints[0], len(operations)) if _records(operations[number]))):
        train(name, killed)
    return killed


def _records(operation: tuple[str, Path]) -> bool:
    return operation[0] == "append" and operation[1].name == "fronts.jsonl"


@pytest.mark.parametrize("stride", [19, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", AGENTS)
def test_resuming_is_killed_too(name: str, stride: int, tmp_path: Path) -> None:
    """In its last evaluation."""
    killed = before_the_last_evaluation(name, tmp_path / "whole")
    expected = outcome(tmp_path / "whole")
    shutil.copytree(killed, tmp_path / "counted")
    with kill_at(None) as operations:
        morl.resume(tmp_path / "counted")
    assert_same(outcome(tmp_path / "counted"), expected, "not killed again")
    for moment in range(0, len(operations), 2 if name == "coins" and stride > 1 else stride):
        run = tmp_path / "run"
        shutil.copytree(killed, run)
        with kill_at(moment, torn=moment % 2 == 0):
            morl.resume(run)
        assert_whole(run, expected["evaluations"], moment)
        finish(name, run)
        assert_same(outcome(run), expected, (moment, operations[moment]))
        shutil.rmtree(run)


def test_a_kill_in_the_last_evaluation_and_a_longer_resume(tmp_path: Path) -> None:
    """The schedule asks for the evaluation that was not made, also where the run now goes on beyond it."""
    killed = before_the_last_evaluation("coins", tmp_path / "short")
    train("coins", tmp_path / "long", 2 * STEPS)
    morl.resume(killed, 2 * STEPS)
    assert_same(outcome(killed), outcome(tmp_path / "long"), "resumed beyond its end")


def test_seeds_together_are_killed(tmp_path: Path) -> None:
    agent, env, config = AGENTS["pd-morl"]
    settings: dict[str, Any] = {"total_steps": STEPS, "config": config, "checkpoint_minutes": 1e-9, **SCHEDULE}
    with kill_at(None) as operations:
        morl.train_seeds(agent, env, [4, 9], run_dir=tmp_path / "whole", **settings)
    expected = [outcome(tmp_path / "whole" / f"seed-{seed}") for seed in (4, 9)]
    for moment in range(len(operations) - 5, len(operations) // 2, -31):
        folder = tmp_path / f"run-{moment}"
        with kill_at(moment):
            morl.train_seeds(agent, env, [4, 9], run_dir=folder, **settings)
        for seed, one in zip((4, 9), expected, strict=True):
            run = folder / f"seed-{seed}"
            assert_whole(run, one["evaluations"], moment)
            finish("pd-morl", run)
            assert_same(outcome(run), one, (moment, seed))


def test_leftovers_are_ignored_and_cleaned_up(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train("coins", run)
    expected = outcome(run)
    leftovers = [
        run / ".partial-front.json",
        run / "policies" / ".partial-0.pt",
        run / "policies" / f".7-{'0' * 64}.pt",
        run / "tensorboard" / "events.out.tfevents.00000000000000000001.tmp",
        run / "checkpoints" / ".partial-step-000000000024",
    ]
    for file in leftovers:
        file.write_bytes(b"half")
    loaded = morl.load(run)
    assert loaded.policy(row=0).predict([0.0, 0.0])
    assert loaded.evaluate(episodes=1).discounted.shape == loaded.front.points.shape
    morl.resume(run, 2 * STEPS)
    assert not [file for file in leftovers if file.exists()]
    train("coins", tmp_path / "long", 2 * STEPS)
    assert_same(outcome(run), outcome(tmp_path / "long"), "leftovers")
    assert expected["front"]["training_steps"] == STEPS


ALTERATIONS: dict[str, Any] = {
    "shortened": lambda file: file.write_bytes(file.read_bytes()[:-40]),
    "altered": lambda file: file.write_bytes(file.read_bytes().replace(b"0", b"1", 1)),
    "deleted": lambda file: file.unlink(),
}


@pytest.mark.parametrize("how", ALTERATIONS)
@pytest.mark.parametrize("name", ["metrics.jsonl", "fronts.jsonl", "tensorboard"])
def test_records_that_were_altered_are_noticed(
    how: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    train("coins", run)
    file = next((run / name).glob("events*")) if name == "tensorboard" else run / name
    ALTERATIONS[how](file)
    morl.resume(run, 2 * STEPS)
    note = (run / "resume-note.txt").read_text()
    assert f"was {how}" in note
    assert file.name in note
    assert note.strip(".\n") in caplog.text
    assert toys.lines(run / "fronts.jsonl")[-1]["training_steps"] == 2 * STEPS


def test_nothing_is_said_where_nothing_was_altered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train("coins", tmp_path / "run")
    morl.resume(tmp_path / "run", 2 * STEPS)
    assert not (tmp_path / "run" / "resume-note.txt").exists()
    assert caplog.text == ""


def test_an_altered_policy_file_is_refused(tmp_path: Path) -> None:
    run = train("coins", tmp_path / "run")
    policy = int(run.front.policy_ids[0])
    (run.directory / "policies" / f"{policy}.pt").write_bytes(
        (run.directory / "policies" / f"{(policy + 1) % 3}.pt").read_bytes()
    )
    with pytest.raises(ValueError, match=r"does not match the SHA-256 in front\.json"):
        morl.load(run.directory).policy(row=0)


def test_a_run_that_was_published_is_kept_when_it_fails(tmp_path: Path) -> None:
    """Before its first checkpoint, which comes after five minutes."""
    options = {"env_options": {"at": 31}, "evaluate_every": 25, "reward_units": "environment"}
    with pytest.raises(ValueError, match="nan"):
        toys.train(tmp_path / "run", "toy-broken-walk-v0", 200, **options)
    assert morl.load(tmp_path / "run").front.points.shape[1] == 2
    assert morl.load(tmp_path / "run").policy([0.5, 0.5]).predict([0.0, 0.0])[0] in (-1, 0, 1)


def test_the_published_front_outlives_a_resume_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = before_the_last_evaluation("coins", tmp_path / "whole")
    before = toys.front(killed)

    def fails(*_: Any) -> Any:
        raise RuntimeError("the simulator is gone")

    monkeypatch.setattr(toys.Walk, "step", fails)
    with pytest.raises(RuntimeError):
        morl.resume(killed, 2 * STEPS)
    assert toys.front(killed) == before
    assert experiment_of(killed, None, trust=False).settings.total_steps == 2 * STEPS
