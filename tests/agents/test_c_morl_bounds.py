"""The user's bounds in C-MORL: judged by the policies that are reported, not by those that explore."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import toys
from gymnasium import spaces

import morl
from morl.agents import CMORL
from morl.agents.c_morl.archive import NEAR, prune_archive
from morl.agents.c_morl.bounds import (
    FIRST_MULTIPLIER,
    LARGEST_MULTIPLIER,
    SMALLEST_MULTIPLIER,
    Bounds,
    ascent_step,
    bounds_of,
)
from morl.agents.c_morl.config import Config
from morl.agents.c_morl.constraints import Constraint, parse_constraints, return_sizes, smallest_slacks
from morl.bounds import broken_bounds, largest_violations
from morl.protocols import Problem

pytestmark = pytest.mark.usefixtures("without_figures")

OBJECTIVES = ("speed", "energy", "noise")


def three_objectives() -> Problem:
    stated = morl.envs.problem("toy-walk-v0")
    return replace(
        stated, objectives=OBJECTIVES, reference_point=(0.0, -5.0, -2.0), units=(1.0, 10.0, 0.5), known_front=None
    )


def bounds(**texts: str) -> Bounds:
    return bounds_of(parse_constraints(texts, OBJECTIVES), len(OBJECTIVES))


def test_slacks_are_shares_of_the_bound_or_of_what_returns_vary() -> None:
    two = bounds(energy=">= -4", noise="<= 100")
    scales = np.array([[1.0, 50.0, 10.0]])
    returns = np.array([[9.0, -3.0, 95.0]])
    np.testing.assert_allclose(two.slacks(returns, scales), [[0.0, 0.25, 0.5]])
    np.testing.assert_allclose(two.slacks(np.array([[9.0, -5.0, 200.0]]), scales), [[0.0, -0.25, -1.0]])  # clipped
    np.testing.assert_allclose(two.slacks(np.full((1, 3), np.nan), scales), [[0.0, 0.0, 0.0]])  # not measured
    zero = bounds_of(parse_constraints({"energy": ">= 0"}, OBJECTIVES, [1.0, 12.0, 1.0]), len(OBJECTIVES))
    np.testing.assert_allclose(zero.slacks(returns, np.full((1, 3), 6.0)), [[0.0, -0.5, 0.0]])
    np.testing.assert_allclose(zero.slacks(returns, np.full((1, 3), 60.0)), [[0.0, -0.25, 0.0]])


def test_violations_of_several_bounds_are_compared_as_shares_of_their_size() -> None:
    config = Config(constraints={"energy": ">= -100", "noise": "<= 1"})
    problem = three_objectives()
    agent = CMORL(problem, config, 0, 4, torch.device("cpu"))
    points = np.array([[9.0, -102.0, 0.5], [9.0, -50.0, 1.9], [9.0, -100.0, 1.0], [9.0, -150.0, 1.25]])
    np.testing.assert_allclose(agent.violations(points), [0.02, 0.9, 0.0, 0.5])
    units = np.array([1.0, 10.0, 0.5])
    own = smallest_slacks(agent.own_constraints, points / units)  # the archive's scaling, in the agent's units
    np.testing.assert_allclose(np.maximum(-own, 0.0), agent.violations(points))
    report: Any = agent.front_metadata(points)
    np.testing.assert_array_equal(largest_violations(report["constraints"], 4), agent.violations(points))
    assert broken_bounds(report["constraints"], 4) == (
        "3 of 4 points break a bound: energy >= -100 by at most 50, noise <= 1 by at most 0.9"
    )
    assert broken_bounds(agent.front_metadata(points[2:3])["constraints"], 1) == ""  # type: ignore[arg-type]


def test_a_bound_of_zero_has_the_size_of_its_objective() -> None:
    zero = {"noise": "<= 0"}
    problem = three_objectives()
    assert parse_constraints(zero, OBJECTIVES, return_sizes(problem)) == [Constraint(2, -1.0, 0.0, 1.0)]
    stated = replace(problem, scales=(1.0, 1.0, 7.0))
    assert parse_constraints(zero, OBJECTIVES, return_sizes(stated)) == [Constraint(2, -1.0, 0.0, 7.0)]
    unknown = replace(problem, reference_point=None)
    assert parse_constraints(zero, OBJECTIVES, return_sizes(unknown)) == [Constraint(2, -1.0, 0.0, 0.5)]


def test_multipliers_of_bounds_move_by_factors() -> None:
    slacks = np.array([[0.0, 1.0, -1.0]])
    raised = ascent_step(np.full((1, 3), FIRST_MULTIPLIER), slacks)
    assert raised[0, 0] == FIRST_MULTIPLIER
    assert raised[0, 1] * raised[0, 2] == pytest.approx(FIRST_MULTIPLIER**2)
    assert raised[0, 2] > FIRST_MULTIPLIER
    extreme = np.array([[0.0, SMALLEST_MULTIPLIER, LARGEST_MULTIPLIER]])
    np.testing.assert_array_equal(ascent_step(extreme, slacks)[0, 1:], extreme[0, 1:])


def test_weights_answer_to_the_slack_at_once() -> None:
    one = bounds(noise="<= 100")
    target = np.array([[1.0, 0.0, 0.0]])
    deviations = np.array([[2.0, 3.0, 10.0]])
    multipliers = np.full((1, 3), 0.5)
    level = one.weights(target, multipliers, np.zeros((1, 3)), deviations)
    np.testing.assert_allclose(level, [[0.5, 0.0, -0.05]])
    broken = one.weights(target, multipliers, np.array([[0.0, 0.0, -1.0]]), deviations)
    np.testing.assert_allclose(broken, [[0.5, 0.0, -0.05 * np.e]])
    still = one.weights(target, multipliers, np.zeros((1, 3)), np.array([[2.0, 3.0, 1e-4]]))
    np.testing.assert_allclose(still, [[0.5, 0.0, 0.0]])  # what never moves is no constraint
    assert bounds().weights(target, multipliers, np.zeros((1, 3)), deviations) is target


def test_the_archive_trades_slack_for_quality_near_a_bound_and_nowhere_else() -> None:
    constraints = parse_constraints({"energy": ">= -10"}, ("speed", "energy"))
    energy = np.array([-5.0, -7.0, -9.0, -11.0, -13.0])
    points = np.column_stack([-energy, energy])
    np.testing.assert_allclose(smallest_slacks(constraints, points) / NEAR, [2.5, 1.5, 0.5, -0.5, -1.5])
    assert prune_archive(points, constraints, None, 10, 0.0) == [1, 2, 3]  # of those far inside the fastest


class Effort(gymnasium.Env[Any, Any]):
    """Ten steps: an action a gains a and costs a^2, so that exploring costs without any gain."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.reward_space = spaces.Box(-1.0, 1.0, (2,), np.float64)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        force = float(action[0])
        return np.zeros(1, dtype=np.float32), np.array([force, -(force**2)]), False, False, {}


def test_a_bound_that_exploring_policies_break_is_reached(tmp_path: Path) -> None:
    """Force 0.4 keeps the bound exactly; noise with a standard deviation of 1 costs four times as much on its own."""
    name = "toy-effort-v0"
    if name not in gymnasium.registry:
        morl.envs.register(
            name, Effort, objectives=("gain", "effort"), max_episode_steps=10, discount=1.0, reference_point=(0.0, -9.0)
        )
    config = {"initial_steps": 6_000, "samples_per_update": 100, "minibatches": 2, "hidden_sizes": (16,)}
    config |= {"learning_rate": 1e-2, "extension_learning_rate": 1e-2, "extension_updates": 10}
    run = morl.train(
        "c-morl",
        name,
        total_steps=10_000,
        run_dir=tmp_path / "run",
        config=config | {"constraints": {"effort": ">= -1.6"}},
        **toys.SCHEDULE | {"num_envs": 10, "evaluate_every": 10_000, "log_every": 1_000},
    )
    assert (run.front.violations == 0.0).all()
    assert run.front.points[:, 0].max() == pytest.approx(4.0, rel=0.02)
    last = toys.lines(tmp_path / "run" / "metrics.jsonl")[-2]
    assert {"bound_slack", "bound_multiplier"} <= last.keys()


def test_bounds_on_all_objectives_are_refused_by_name(tmp_path: Path) -> None:
    constraints = {"treasure": ">= 1", "time": ">= -10"}
    with pytest.raises(ValueError, match=r"constraints is .* but must leave at least one objective to optimize"):
        morl.train(
            "c-morl",
            "deep-sea-treasure-v0",
            total_steps=5_000,
            run_dir=tmp_path / "run",
            config={"constraints": constraints},
        )
    assert not (tmp_path / "run").exists()
