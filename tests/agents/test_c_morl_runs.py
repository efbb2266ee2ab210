"""Runs of C-MORL: known fronts, and the user's constraints, those included that cannot be satisfied."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import toys
from gymnasium import spaces

import morl
from morl.agents.c_morl.agent import CMORL
from morl.agents.c_morl.bounds import FIRST_MULTIPLIER
from morl.agents.c_morl.config import Config
from morl.envs.core.registry import problem
from morl.evaluation import Returns
from morl.experiment.components import Experiment, find_task
from morl.experiment.ownership import OwnedFolder
from morl.experiment.selection import Selection
from morl.experiment.session import Session
from morl.experiment.settings import resolve_sources
from morl.experiment.units import RewardUnits

pytestmark = pytest.mark.usefixtures("without_figures")

FORK = {
    "initial_steps": 4_800,
    "samples_per_update": 96,
    "minibatches": 2,
    "epochs": 4,
    "learning_rate": 1e-2,
    "extension_learning_rate": 1e-2,
    "snapshot_updates": 1,
    "snapshot_episodes": 1,
}


def train_fork(run_dir: Path, steps: int = 6_000, **changes: Any) -> Any:
    schedule = toys.SCHEDULE | {"num_envs": 12, "evaluate_every": 10_000, "log_every": 1_000}
    return morl.train("c-morl", "toy-fork-v0", total_steps=steps, run_dir=run_dir, config=FORK | changes, **schedule)


def test_a_known_front_is_found(tmp_path: Path) -> None:
    run = train_fork(tmp_path / "run")
    np.testing.assert_allclose(run.front.points, toys.fork_front(0.99))
    assert run.front.indicators["igd_plus"] == pytest.approx(0.0, abs=1e-9)
    record = toys.front(tmp_path / "run")
    assert record["training_steps"] == 6_000
    assert record["evaluation_steps"] > 0
    assert "constraints" not in record
    last = toys.lines(tmp_path / "run" / "metrics.jsonl")[-2]
    assert {"round", "archive_size", "archive/best_left"} <= last.keys()
    assert run.front.points[run.best_row([1.0, 0.0])][0] == pytest.approx(9.9)
    worst = run.best_row([0.5, 0.5], utility=lambda points, weights: points.min(axis=1))
    np.testing.assert_allclose(run.front.points[worst], 0.99 * np.array([6.0, 6.0]))


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["ipo", "cpo", "lagrangian", "reference-code"])
def test_most_leaves_of_the_fruit_tree_are_found(tmp_path: Path, solver: str) -> None:
    options = {"env_options": {"depth": 5}, "total_steps": 300_000, "config": {"solver": solver}, "device": "cpu"}
    run = morl.train("c-morl", "fruit-tree-v0", run_dir=tmp_path / "run", **options)
    assert run.front.indicators["cardinality"] >= 24


@pytest.mark.parametrize(("text", "left", "violation"), [(">= 5", 5.94, 0.0), (">= 50", 0.0, 40.1), ("<= 7", 9.9, 0.0)])
def test_constraints_beside_the_objectives(tmp_path: Path, text: str, left: float, violation: float) -> None:
    """Maximize left such that right keeps its bound; one of the bounds nobody can keep."""
    run = train_fork(tmp_path / "run", 6_000, constraints={"right": text})
    record = toys.front(tmp_path / "run")["constraints"]["right"]
    assert record["bound"] == text
    assert record["best_violation"] == pytest.approx(violation, abs=1e-6)
    assert len(record["violations"]) == len(run.front.points)
    if violation == 0.0:
        assert run.front.points[:, 0].max() == pytest.approx(left)
        assert record["violations"] == [0.0] * len(run.front.points)
    resumed = morl.resume(tmp_path / "run", total_steps=6_100)  # the table survives config.toml
    assert resumed.settings.agent.constraints == {"right": text}


def experiment(constraints: dict[str, str]) -> Experiment:
    agent = toys.TINY_CMORL | {"constraints": constraints}
    resolved = resolve_sources(Config, "c-morl", "toy-walk-v0", [toys.SCHEDULE | {"agent": agent}])
    return find_task("c-morl", "toy-walk-v0", {}).experiment(resolved)


def test_a_front_that_keeps_the_constraints_is_better_than_one_worth_more(tmp_path: Path) -> None:
    found = [[90.0, -9.0], [90.0, -9.0], [1.0, -2.0], [1.0, -2.5], [1.0, -3.5], [99.0, -3.1], [99.0, -3.1]]
    points = iter([[point] for point in found])
    known = (np.array([0]), np.full((1, 2), np.nan))

    def returns(*_: Any) -> Returns:
        found = np.array(next(points))
        return Returns.of_episodes(found[:, None], found[:, None], np.ones((1, 1)))

    fronts = []
    run_dir = tmp_path / "run"
    with (
        OwnedFolder.for_new_run(run_dir, overwrite=False) as folder,
        closing(Session(experiment({"rest": ">= -3"}), run_dir)) as session,
    ):
        session.create_files(folder, "")
        session.agent.policies = lambda preferences: known  # type: ignore[method-assign]
        session.reporter._returns = returns  # type: ignore[method-assign]
        for step in range(3):
            session.agent.steps = step
            session.reporter.evaluate(scheduled=True)
            fronts.append(json.loads((run_dir / "front.json").read_text()))
    assert [front["selected_at_step"] for front in fronts] == [0, 1, 1]
    # It was chosen for what it did first, and is reported for what it did again.
    assert fronts[2]["constraints"]["rest"] == {
        "bound": ">= -3",
        "unit": 3.0,
        "violations": [0.5],
        "best_violation": 0.5,
    }


def test_constraints_from_files_and_flags(tmp_path: Path, morl_cli: Any) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('num_envs = 4\n[agent]\nconstraints = {rest = ">= -8"}\n')
    tiny = [
        f"--agent.{key.replace('_', '-')}={value}" for key, value in toys.TINY_CMORL.items() if key != "hidden_sizes"
    ]
    common = ["train", "c-morl", "toy-walk-v0", "--total-steps", 60, "--config", file, *tiny, "--device", "cpu"]
    code, _, errors = morl_cli(*common, "--run-dir", tmp_path / "file")
    assert code == 0, errors
    assert json.loads((tmp_path / "file" / "front.json").read_text())["constraints"]["rest"]["bound"] == ">= -8"
    code, _, errors = morl_cli(*common, "--run-dir", tmp_path / "flag", "--agent.constraints", "rest", ">= -2")
    assert code == 0, errors
    assert json.loads((tmp_path / "flag" / "front.json").read_text())["constraints"]["rest"]["bound"] == ">= -2"


class Choice(gymnasium.Env[Any, Any]):
    """20 steps: the more an action gains, 0, 1 or 3, the more it heats, by 1, 2 or 9."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.reward_space = spaces.Box(-1.0, 10.0, (2,), np.float64)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        rewards = np.array([(0.0, 1.0), (1.0, 2.0), (3.0, 9.0)])[int(action)]
        return np.zeros(1, dtype=np.float32), rewards, False, False, {}


SMALL = {"initial_steps": 4_000, "samples_per_update": 100, "minibatches": 2, "hidden_sizes": (16,)}
SMALL |= {"learning_rate": 1e-2, "extension_learning_rate": 1e-2, "snapshot_updates": 1, "snapshot_episodes": 1}


def train_choice(run_dir: Path, bound: str) -> Any:
    name = "toy-choice-v0"
    if name not in gymnasium.registry:
        morl.envs.register(
            name, Choice, objectives=("gain", "heat"), max_episode_steps=20, discount=0.95, reference_point=(-1.0, -1.0)
        )
    config = SMALL | {"constraints": {"heat": bound}}
    schedule = toys.SCHEDULE | {"num_envs": 10, "evaluate_every": 10_000, "log_every": 1_000}
    return morl.train("c-morl", name, total_steps=8_000, run_dir=run_dir, config=config, **schedule)


def test_an_upper_bound_that_nobody_can_keep_is_broken_as_little_as_can_be(tmp_path: Path) -> None:
    """The front of the others would be led by the policy that breaks it most: it gains most, and heats most."""
    run = train_choice(tmp_path / "run", "<= 3")
    least = (1.0 - 0.95**20) / 0.05 - 3.0  # 1 a step, whatever it does
    record = toys.front(tmp_path / "run")["constraints"]["heat"]
    assert record["best_violation"] == pytest.approx(least, abs=0.05)
    row = run.best_row([1.0, 0.0])  # of those that break it least, not the one that gains most
    assert record["violations"][row] == record["best_violation"]


def test_an_upper_bound_is_kept_where_it_can_be(tmp_path: Path) -> None:
    run = train_choice(tmp_path / "run", "<= 26")  # 12.8 a step of heat 1, 25.7 of heat 2
    assert (run.front.violations == 0.0).all()
    assert run.front.points[:, 0].max() == pytest.approx((1.0 - 0.95**20) / 0.05, rel=0.02)


def test_the_best_front_is_that_which_gains_most_within_the_bounds() -> None:
    one = experiment({"rest": ">= 10"})
    units = RewardUnits.none(2)
    selection = Selection(2, one.evaluation_preferences, None, one.build_agent(units), units)
    low = (-100.0, -100.0)
    modest, better = np.array([[50.0, 12.0]]), np.array([[60.0, 10.0]])
    assert selection.worth(better, low) > selection.worth(modest, low)  # whatever `rest` is worth above its bound
    mixed = np.array([[5.0, 12.0], [90.0, 9.0]])
    assert selection.worth(modest, low) > selection.worth(mixed, low)  # whatever a point gains that breaks the bound
    assert selection.worth(mixed, low) > selection.worth(mixed[1:], low)
    np.testing.assert_array_equal(selection.selected_rows(mixed), [0])
    infeasible = np.array([[90.0, 9.0], [95.0, 6.0], [4.0, 8.0]])
    np.testing.assert_array_equal(selection.selected_rows(infeasible), [0, 1])


def test_extension_continues_with_the_multipliers_that_were_found() -> None:
    config = Config(**toys.TINY_CMORL | {"constraints": {"rest": ">= 1000"}, "solver": "lagrangian"})
    agent = CMORL(problem("toy-walk-v0"), config, 0, 4, torch.device("cpu"))

    def evaluate(_: Any, __: int, policies: Any) -> Any:
        """Every policy is better than the one before, and breaks the bound."""
        return np.column_stack([policies, np.zeros(len(policies))]).astype(np.float64)

    learning = agent.learn(morl.make_vec("toy-walk-v0", 4), 10_000, evaluate)
    while agent.round == 0:
        multipliers = {policy_id: snapshot.multipliers for policy_id, snapshot in agent.snapshots.items()}
        next(learning)
    begun = [multipliers[policy_id] for policy_id in agent.stage.tasks.origins.tolist()]
    assert all(found[1] > FIRST_MULTIPLIER for found in begun)  # the bound is broken, whatever they do
    np.testing.assert_array_equal(agent.stage.tasks.bounds.multipliers, np.stack(begun))
