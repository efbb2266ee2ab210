"""What a run is made of is found once: one look at the environment, one agent, one evaluator."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toys

import morl
from morl.experiment.settings import Settings

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All walks that are built."""
    walks: list[Any] = []
    original = toys.Walk.__init__

    def init(self: Any, *args: Any, **keywords: Any) -> None:
        walks.append(self)
        original(self, *args, **keywords)

    monkeypatch.setattr(toys.Walk, "__init__", init)
    return walks


def test_an_environment_is_built_once_to_be_looked_at(built: list[Any], tmp_path: Path, morl_cli: Any) -> None:
    flags = ["--total-steps", 100, "--num-envs", 4, "--evaluation-episodes", 1, "--evaluate-every", 100]
    code, _, complaint = morl_cli("train", "toys:Coins", "toy-walk-v0", "--run-dir", tmp_path / "run", *flags)
    assert code == 0, complaint
    # One each for the problem and the units of rewards, four to train in, and the evaluations: three policies to select
    # from, one to three to report.
    assert 2 + 4 + 3 <= len(built) <= 2 + 4 + 3 + 3
    built.clear()
    run = morl.load(tmp_path / "run")
    assert morl_cli("front", tmp_path / "run")[0] == 0
    run.policy([0.5, 0.5]).predict([0.0, 0.0])
    run.metrics()
    assert built == []  # nor does a front, a policy or a curve need one
    assert run.settings.num_envs == 4
    assert run.problem.objectives == ("place", "rest")
    assert len(built) == 1
    built.clear()
    run.evaluate([0.5, 0.5], episodes=2)
    assert len(built) == 1 + 2
    assert morl_cli("resume", tmp_path / "run", "--total-steps", 200)[0] == 0
    assert len(built) <= 1 + 2 + 1 + 4 + 3 + 3


def test_the_device_is_resolved_in_what_is_recorded(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-walk-v0", 50, device="auto")
    assert 'device = "cpu"' in (tmp_path / "run" / "config.toml").read_text()
    system = toys.strict_json((tmp_path / "run" / "system.json").read_text())
    assert system["device"] == "cpu"
    assert system["env_backend"] == "synchronous"
    assert run.settings.device == "cpu"
    assert Settings(agent=None).device == "auto"


def test_metrics_are_arrays_by_name(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-walk-v0", 200)
    metrics = run.metrics()
    lines = toys.lines(tmp_path / "run" / "metrics.jsonl")
    assert metrics["training_steps"].tolist() == [line["training_steps"] for line in lines]
    assert {"loss", "updates", "selection/hypervolume", "wall_seconds"} <= metrics.keys()
    for name, values in metrics.items():
        assert values.shape == (len(lines),), name
        assert values.dtype == float
    evaluated = ["selection/hypervolume" in line for line in lines]
    assert (metrics["selection/hypervolume"] == metrics["selection/hypervolume"]).tolist() == evaluated


def test_public_names_load_on_first_use() -> None:
    names = "train, train_seeds, resume, load, load_policy, evaluate, make_vec, Run, Policy, Front"
    code = f"import morl, sys; assert 'torch' not in sys.modules; from morl import {names}"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert set(names.split(", ")) <= set(morl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = morl.trian
