"""A run may be stopped, or its environment may fail, at any step: what was reported is kept, and resuming is exact.

`StopRequest.check` is called before every step of every environment: training, pre-training and all evaluations.
"""

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from outcomes import assert_same, outcome

import morl
from morl.experiment import checkpoint, interrupt
from morl.experiment.interrupt import StopRequest

pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:pd-morl at step"),  # a random walk may lose half of its return at any time
]

SCHEDULE = toys.SCHEDULE | {"evaluate_every": 12, "log_every": 8, "num_envs": 4, "evaluation_divisions": 2, "seed": 3}
STEPS = 30  # the last scheduled evaluation is not the last one
PRETRAINED = toys.TINY_CONTINUOUS | {"preset": "paper", "key_pretraining_steps": 24, "key_update_steps": 16}
SB3 = {"solver": "sb3:A2C", "population": 2, "exchange_every": 16, "rollout_steps": 4, "hidden_sizes": (8,)}
AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "coins": ("toys:Coins", "toy-walk-v0", {}),
    "pd-morl": ("pd-morl", "toy-walk-v0", toys.TINY | {"key_update_steps": 16}),
    "pd-morl, pre-trained": ("pd-morl", "toy-continuous-walk-v0", PRETRAINED),
    "c-morl": ("c-morl", "toy-walk-v0", toys.TINY_CMORL | {"initial_steps": 24}),
    "morl-d": ("morl-d", "toy-walk-v0", toys.TINY_MORLD_OFF_POLICY | {"population": 2, "exchange_every": 16}),
    "morl-d, Stable-Baselines3": ("morl-d", "toy-walk-v0", SB3 | {"evaluation_episodes": 1}),
}


def train(name: str, run_dir: Path, **changes: Any) -> Any:
    agent, env, config = AGENTS[name]
    return morl.train(agent, env, total_steps=STEPS, run_dir=run_dir, config=config, **SCHEDULE | changes)


def finish(run: Path) -> None:
    """Resume a run to its end."""
    with contextlib.suppress(ValueError):  # it has all its steps: nothing is left to be done
        morl.resume(run)
    assert toys.front(run)["training_steps"] >= STEPS


@contextlib.contextmanager
def signal_at(moment: int | None, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Send a signal to this process at one step of the environments; yield the list of steps that were about to be."""
    steps: list[int] = []
    check = StopRequest.check

    def check_and_send(self: StopRequest) -> None:
        steps.append(len(steps))
        if len(steps) - 1 == moment:
            signal.raise_signal(number)
        check(self)

    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "check", check_and_send)
        yield steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> dict[str, dict[str, Any]]:
    """Return what runs of all agents leave that never stopped."""
    found = {}
    for name in AGENTS:
        run = tmp_path_factory.mktemp("whole") / "run"
        train(name, run)
        found[name] = outcome(run) | {"checkpoints": None}
    return found


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("patience", [0.0, 1000.0])
@pytest.mark.parametrize("name", AGENTS)
def test_a_signal_at_any_step(
    name: str,
    patience: float,
    stride: int,
    whole: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interrupt, "PATIENCE", patience)
    with signal_at(None, signal.SIGINT, monkeypatch) as steps:
        train(name, tmp_path / "counted")
    assert len(steps) > 40
    for moment in range(0, len(steps), stride):
        run = tmp_path / "run"
        number, ends = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)][moment % 2]
        with signal_at(moment, number, monkeypatch) as steps, pytest.raises(ends) as stopped:
            train(name, run)
        if number == signal.SIGTERM:
            assert stopped.value.code == 143
        if patience == 0.0:
            assert len(steps) <= moment + 2  # no environment made another step, but for one that the end tried to make
        # Of an evaluation that was cut short there is nothing.
        evaluations = toys.lines(run / "fronts.jsonl")
        assert evaluations == whole[name]["evaluations"][: len(evaluations)]
        assert checkpoint.newest(run) is not None
        finish(run)
        assert_same(outcome(run) | {"checkpoints": None}, whole[name], moment)
        shutil.rmtree(run)


class Failure(Exception):
    """What a simulator raises."""


@contextlib.contextmanager
def failure_at(moment: int | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let the environment fail at one call of reset or step; yield the list of calls."""
    calls: list[int] = []

    def fragile(method: Any) -> Any:
        def call(self: toys.Walk, *args: Any, **keywords: Any) -> Any:
            calls.append(len(calls))
            if len(calls) - 1 == moment:
                raise Failure("the simulator is gone")
            return method(self, *args, **keywords)

        return call

    with monkeypatch.context() as patch:
        for name in ("reset", "step"):
            patch.setattr(toys.Walk, name, fragile(getattr(toys.Walk, name)))
        yield calls


@pytest.mark.parametrize("stride", [101, pytest.param(23, marks=pytest.mark.slow)])
@pytest.mark.parametrize("minutes", [5.0, 1e-9])
@pytest.mark.parametrize("name", AGENTS)
def test_a_failure_of_the_environment_at_any_step(
    name: str,
    minutes: float,
    stride: int,
    whole: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with failure_at(None, monkeypatch) as calls:
        train(name, tmp_path / "counted", checkpoint_minutes=minutes)
    kept = 0
    for moment in range(1, len(calls), stride):  # the first call only shows whether there are action masks
        run = tmp_path / "run"
        with failure_at(moment, monkeypatch), pytest.raises(Exception, match="the simulator is gone") as failed:
            train(name, run, checkpoint_minutes=minutes)
        if not run.exists():  # it failed before there was anything worth keeping
            continue
        kept += 1
        newest = checkpoint.newest(run)
        assert newest is not None
        step = int(newest.name[-12:])
        until = f"up to step {step:,}" if step > 0 else "before its first step of training"
        expected = f"the run is saved {until}; to resume: morl.resume({str(run)!r})"
        assert failed.value.__notes__ == [expected]
        evaluations = toys.lines(run / "fronts.jsonl")
        assert evaluations == whole[name]["evaluations"][: len(evaluations)]
        assert (run / "front.json").exists() == bool(evaluations)
        finish(run)
        assert_same(outcome(run) | {"checkpoints": None}, whole[name], moment)
        shutil.rmtree(run)
    assert kept > 1


def test_a_failure_in_an_evaluation_saves_the_step_that_was_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from morl.evaluation import Evaluator

    def fails(*_: Any) -> Any:
        raise Failure("the simulator is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", fails)
        with pytest.raises(Failure):
            train("coins", tmp_path / "run")
    newest = checkpoint.newest(tmp_path / "run")
    assert newest is not None
    assert newest.name == "step-000000000012"


def test_seeds_that_train_one_after_another_stop_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, env, config = AGENTS["coins"]
    settings = {name: value for name, value in SCHEDULE.items() if name != "seed"}
    with signal_at(5, signal.SIGINT, monkeypatch), pytest.raises(KeyboardInterrupt):
        morl.train_seeds(agent, env, [1, 2], run_dir=tmp_path, total_steps=STEPS, config=config, **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-1"]


def test_seeds_together_stop_and_resume_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, env, config = AGENTS["pd-morl"]
    settings: dict[str, Any] = {name: value for name, value in SCHEDULE.items() if name != "seed"}
    settings |= {"total_steps": STEPS, "config": config}
    monkeypatch.setattr(interrupt, "PATIENCE", 0.0)
    with signal_at(None, signal.SIGINT, monkeypatch) as steps:
        morl.train_seeds(agent, env, [4, 9], run_dir=tmp_path / "whole", **settings)
    for moment in range(3, len(steps), len(steps) // 4):
        folder = tmp_path / f"run-{moment}"
        with signal_at(moment, signal.SIGTERM, monkeypatch), pytest.raises(SystemExit):
            morl.train_seeds(agent, env, [4, 9], run_dir=folder, **settings)
        for seed in (4, 9):
            finish(folder / f"seed-{seed}")
            runs = [outcome(each / f"seed-{seed}") | {"checkpoints": None} for each in (folder, tmp_path / "whole")]
            assert_same(runs[0], runs[1], (moment, seed))


def test_a_run_without_an_evaluation_says_that_it_has_no_front(tmp_path: Path, morl_cli: Any) -> None:
    def interrupt(progress: Any) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        toys.train(run, total_steps=100, on_step=interrupt)
    for command in (("front",), ("evaluate",), ("choose",), ("export", "--row", "0"), ("watch", "--record")):
        code, _, complaint = morl_cli(command[0], run, *command[1:])
        assert code == 2
        assert complaint == (
            f"morl: run {run} has no front yet, because its first evaluation has not been made: morl resume {run}"
            " continues it\n"
        )
    with pytest.raises(ValueError, match=r"has no front yet.*: morl.resume\('.*run'\) continues it"):
        morl.load(run)
    assert len(morl.resume(run).front.points)
