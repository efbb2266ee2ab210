"""`on_step` sees a run wherever its state is consistent, may end it, and changes no bit of it."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from outcomes import assert_same, outcome

import morl
from morl.experiment import checkpoint

pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:pd-morl at step"),  # a random walk may lose half of its return at any time
]

SCHEDULE = toys.SCHEDULE | {"evaluate_every": 12, "log_every": 8, "num_envs": 4, "evaluation_divisions": 2, "seed": 3}
STEPS = 30
SB3 = {"solver": "sb3:A2C", "population": 2, "exchange_every": 16, "rollout_steps": 4, "hidden_sizes": (8,)}
AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "coins": ("toys:Coins", "toy-walk-v0", {}),
    "pd-morl": ("pd-morl", "toy-walk-v0", toys.TINY | {"key_update_steps": 16}),
    "c-morl": ("c-morl", "toy-walk-v0", toys.TINY_CMORL | {"initial_steps": 24}),
    "morl-d, Stable-Baselines3": ("morl-d", "toy-walk-v0", SB3 | {"evaluation_episodes": 1}),
}


def train(run_dir: Path, name: str = "coins", **changes: Any) -> morl.Run:
    agent, env, config = AGENTS[name]
    return morl.train(agent, env, total_steps=STEPS, run_dir=run_dir, config=config, **SCHEDULE | changes)


def assert_same_in_the_end(run: Path, whole: Path) -> None:
    """Check that a resumed run ends like one that never stopped; how often it was saved is its own affair."""
    assert_same(outcome(run) | {"checkpoints": None}, outcome(whole) | {"checkpoints": None}, run)


class Seen(list[morl.Progress]):
    """Keeps what it is shown."""

    def __call__(self, progress: morl.Progress) -> None:
        self.append(progress)


def plain(progress: morl.Progress) -> dict[str, Any]:
    """Return what a call saw, without clocks and folders."""
    front = progress.front
    return {
        "step": progress.step,
        "metrics": {name: value for name, value in progress.metrics.items() if name not in toys.CLOCKS},
        "front": None if front is None else [front.training_steps, front.points.tolist(), front.policy_ids.tolist()],
        "indicators": progress.indicators,
        "new_front": progress.new_front,
    }


def test_it_sees_every_step_and_every_front_once(tmp_path: Path) -> None:
    seen = Seen()
    run = train(tmp_path / "run", on_step=seen)
    assert [progress.step for progress in seen] == [4, 8, 12, 16, 20, 24, 28, 32, 32]  # the last with the last front
    assert [progress.step for progress in seen if progress.new_front] == [12, 24, 32]
    assert [progress.front is None for progress in seen[:3]] == [True, True, False]
    assert seen[1].indicators == {}
    evaluations = toys.lines(tmp_path / "run" / "fronts.jsonl")
    for line, progress in zip(evaluations, [one for one in seen if one.new_front], strict=True):
        assert progress.front is not None
        assert progress.front.points.tolist() == line["points"]
        assert progress.indicators == line["indicators"]
    assert {(one.seed, one.run_dir, one.total_steps) for one in seen} == {(3, run.directory, STEPS)}
    assert "rollout/episodes" not in seen[0].metrics
    assert seen[1].metrics["updates"] == 2.0
    assert seen[-1].metrics["updates"] == 8.0
    assert math.isnan(seen[-1].metrics["luck"])


def test_what_it_sees_cannot_be_changed(tmp_path: Path) -> None:
    seen = Seen()
    train(tmp_path / "run", on_step=seen)
    last = seen[-1]
    assert last.front is not None
    with pytest.raises(ValueError, match="read-only"):
        last.front.points[:] = 0.0
    for mapping in (last.metrics, last.front.indicators):
        with pytest.raises(TypeError):
            mapping["loss"] = 0.0  # type: ignore[index]


@pytest.mark.parametrize("name", AGENTS)
def test_true_ends_the_run_which_resumes_exactly(name: str, tmp_path: Path) -> None:
    train(tmp_path / "whole", name)
    run = train(tmp_path / "run", name, on_step=lambda progress: progress.step >= 16)
    stopped = int(str(run.training_steps))
    newest = checkpoint.newest(tmp_path / "run")
    assert newest is not None
    assert 16 <= int(newest.name[-12:]) < STEPS
    assert stopped <= int(newest.name[-12:])
    morl.resume(tmp_path / "run")
    assert_same(
        outcome(tmp_path / "run") | {"checkpoints": None}, outcome(tmp_path / "whole") | {"checkpoints": None}, 16
    )


def test_a_run_that_is_ended_at_once_has_a_front(tmp_path: Path) -> None:
    run = train(tmp_path / "run", on_step=lambda progress: np.bool_(True))
    assert len(run.front.points) > 0
    assert run.training_steps == 4


class Failure(Exception):
    """What a user's function raises."""


@pytest.mark.parametrize("at", [4, 12, 20, 32])
@pytest.mark.parametrize("kind", [Failure, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_ends_the_run_like_a_stop(kind: type[BaseException], at: int, tmp_path: Path, capsys: Any) -> None:
    def fail(progress: morl.Progress) -> None:
        if progress.step == at and (at < STEPS or progress.new_front):
            raise kind("enough")

    train(tmp_path / "whole")
    capsys.readouterr()
    with pytest.raises(kind, match="enough") as failed:
        train(tmp_path / "run", on_step=fail, progress=True)
    run = tmp_path / "run"
    said = "\n".join([*getattr(failed.value, "__notes__", []), capsys.readouterr().err.replace("\n", " ")])
    if at == 32:
        assert f"the run {run} is complete" in said
        return
    newest = checkpoint.newest(run)
    assert newest is not None
    assert newest.name == f"step-{at:012d}"
    assert f"the run is saved up to step {at}; to resume: morl.resume({str(run)!r})" in said
    morl.resume(run)
    assert_same_in_the_end(run, tmp_path / "whole")


@pytest.mark.parametrize("answer", [1, "stop", [], np.array([True])])
def test_an_answer_that_is_none_is_refused(answer: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"on_step returned .*, but must return True to end the run, or False or None"):
        train(tmp_path / "run", on_step=lambda progress: answer)  # type: ignore[arg-type, return-value]


async def later(progress: morl.Progress) -> None:
    """Do nothing, later."""


class Observer:
    """Observes a run."""

    def __call__(self, progress: morl.Progress) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("on_step", "message"),
    [
        (3, "on_step is 3, but must be a function"),
        (Observer, "but must be a function of morl.Progress"),
        (later, "but must be a plain function: neither async nor a generator"),
        (lambda: None, "must take one argument"),
        (lambda progress, more: None, "must take one argument"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_is_written(
    on_step: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", on_step=on_step)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_record_is_the_mistake_of_its_caller(tmp_path: Path) -> None:
    """A figure that is none must not end TensorBoard's records."""

    def wrong(progress: morl.Progress) -> None:
        records: tuple[Any, ...] = (progress.log_figure, progress.log_text)
        for record in records:
            with pytest.raises(ValueError, match="is None, but must be a"):
                record("none", None)

    train(tmp_path / "run", on_step=wrong)
    assert toys.scalars(tmp_path / "run")["front/hypervolume"]


def disturb(progress: morl.Progress) -> None:
    """Draw from all global generators and change the settings of torch and NumPy."""
    random.seed(progress.step)
    random.random()
    np.seterr(all="raise")
    np.random.seed(progress.step)  # noqa: NPY002
    np.random.random(7)  # noqa: NPY002
    torch.manual_seed(progress.step)
    torch.rand(3)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)


@pytest.mark.parametrize("name", AGENTS)
def test_it_changes_no_bit(name: str, tmp_path: Path) -> None:
    train(tmp_path / "without", name)
    train(tmp_path / "with", name, on_step=disturb)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert np.geterr()["under"] == "ignore"
    assert_same(outcome(tmp_path / "with"), outcome(tmp_path / "without"), name)


def test_its_own_global_generators_go_on(tmp_path: Path) -> None:
    numbers: list[tuple[float, float]] = []
    train(
        tmp_path / "run",
        on_step=lambda progress: numbers.append((float(np.random.random()), float(torch.rand(1)))),  # noqa: NPY002
    )
    assert len({one for one, _ in numbers}) == len({other for _, other in numbers}) == len(numbers)


@pytest.mark.parametrize("at", [12, 16, 24])
@pytest.mark.parametrize("name", ["coins", "pd-morl"])
def test_a_resumed_run_shows_the_same(name: str, at: int, tmp_path: Path) -> None:
    whole = Seen()
    train(tmp_path / "whole", name, on_step=whole)
    train(tmp_path / "run", name, on_step=lambda progress: progress.step == at)
    resumed = Seen()
    morl.resume(tmp_path / "run", on_step=resumed)
    expected = [plain(progress) for progress in whole if progress.step > at]
    assert toys.difference([plain(progress) for progress in resumed], expected) == ""


def test_a_front_that_an_earlier_process_did_not_find_is_shown_at_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from morl.evaluation import Evaluator

    def fails(*_: Any) -> Any:
        raise Failure("the simulator is gone")

    whole = Seen()
    train(tmp_path / "whole", on_step=whole)
    first = Seen()
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", fails)
        with pytest.raises(Failure):
            train(tmp_path / "run", on_step=first)
    second = Seen()
    morl.resume(tmp_path / "run", on_step=second)
    assert toys.difference([plain(one) for one in [*first, *second]], [plain(one) for one in whole]) == ""


def test_what_it_logs_is_recorded_and_resumed_exactly(tmp_path: Path) -> None:
    def log(progress: morl.Progress) -> None:
        if progress.new_front:
            progress.log({"twice": 2.0 * progress.indicators["hypervolume"]})
            progress.log_text("note", f"step {progress.step}")
            progress.log_video("clip", np.full((2, 4, 6, 3), progress.step, dtype=np.uint8), fps=5)

    train(tmp_path / "whole", on_step=log)
    with pytest.raises(Failure):
        train(tmp_path / "run", on_step=lambda progress: log(progress) or _fail_at(progress, 20))
    morl.resume(tmp_path / "run", on_step=log)
    found = outcome(tmp_path / "run")
    assert_same_in_the_end(tmp_path / "run", tmp_path / "whole")
    logged = [line for line in found["metrics"] if "custom/twice" in line]
    assert [line["training_steps"] for line in logged] == [12, 24, 32]
    assert [len(found["scalars"]["custom/twice"])] == [3]
    run = morl.load(tmp_path / "run")
    hypervolumes = [line["indicators"]["hypervolume"] for line in found["evaluations"]]
    twice = run.metrics()["custom/twice"]
    assert twice[np.isfinite(twice)].tolist() == [2.0 * value for value in hypervolumes]
    with pytest.raises(ValueError, match="metric 'custom/name' must be a number"):
        train(tmp_path / "wrong", on_step=lambda progress: progress.log({"name": "a word"}))  # type: ignore[dict-item]


def _fail_at(progress: morl.Progress, step: int) -> None:
    if progress.step == step:
        raise Failure


def test_the_policies_of_the_front_can_be_evaluated_meanwhile(tmp_path: Path) -> None:
    returns = []

    def evaluate(progress: morl.Progress) -> None:
        if progress.new_front:
            run = morl.load(progress.run_dir)
            returns.append(run.evaluate([0.5, 0.5], episodes=2, seed=1).discounted)

    train(tmp_path / "without")
    train(tmp_path / "with", on_step=evaluate)
    assert [one.shape for one in returns] == [(1, 2)] * 3
    assert_same(outcome(tmp_path / "with"), outcome(tmp_path / "without"), "evaluated")


def test_seeds_of_one_batch_end_together_when_all_are_ended(tmp_path: Path) -> None:
    agent, env, config = AGENTS["pd-morl"]
    settings = {name: value for name, value in SCHEDULE.items() if name != "seed"}
    seen: list[tuple[int, int]] = []

    def stop(progress: morl.Progress) -> bool:
        seen.append((progress.seed, progress.step))
        assert progress.run_dir.name == f"seed-{progress.seed}"
        return progress.step >= 4 * progress.seed

    runs = morl.train_seeds(
        agent, env, [2, 5], total_steps=40, run_dir=tmp_path, config=config, on_step=stop, **settings
    )
    assert [step for seed, step in seen if seed == 2] == [4, 8]
    assert [step for seed, step in seen if seed == 5] == [4, 8, 12, 16, 20]
    for run in runs:
        newest = checkpoint.newest(run.directory)
        assert newest is not None
        assert newest.name == "step-000000000020"


def test_seeds_one_after_another_end_one_by_one(tmp_path: Path) -> None:
    settings = {name: value for name, value in SCHEDULE.items() if name != "seed"}
    runs = morl.train_seeds(
        "toys:Coins",
        "toy-walk-v0",
        [2, 5],
        total_steps=40,
        run_dir=tmp_path,
        on_step=lambda progress: progress.step >= 4 * progress.seed,
        **settings,
    )
    steps = [int(str(checkpoint.newest(run.directory))[-12:]) for run in runs]
    assert steps == [8, 20]
