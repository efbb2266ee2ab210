"""What users of MORL/D trip over: warm-up, ranges of nothing, functions of their own, refusals."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import toys
from decomposed import CONTINUOUS, WALK, answer, build, learn

import morl
from morl.agents.morl_d.config import Config
from morl.agents.morl_d.exploration import ExplorationSchedule
from morl.agents.morl_d.return_bounds import ReturnBounds
from morl.agents.morl_d.solvers.on_policy import OnPolicy

pytestmark = pytest.mark.usefixtures("without_figures")


def cubic(returns: Any, preferences: Any, ideal: Any) -> Any:
    return (preferences * (returns - ideal)).sum(-1) ** 3


@pytest.fixture
def my_utilities(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("my_utilities")
    module.cubic = cubic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_utilities", module)
    return module


# --- Utilities --------------------------------------------------------------------------------------------------------

UTILITIES = ["tchebycheff", "augmented-tchebycheff", "smooth-tchebycheff", "pbi", "my_utilities:cubic"]


@pytest.mark.parametrize("utility", UTILITIES)
@pytest.mark.parametrize(("solver", "env"), [("sac", CONTINUOUS), ("ppo", CONTINUOUS), ("discrete-sac", WALK)])
def test_every_utility_teaches_something_else(utility: str, solver: str, env: str, my_utilities: ModuleType) -> None:
    numbers: dict[str, Any] = {"solver": solver, "scale": "range"}
    numbers |= {"rollout_steps": 8} if solver == "ppo" else {}
    actors = [
        learn(build(env, utility=chosen, **numbers), env).solver.members["actor"] for chosen in ("linear", utility)
    ]
    assert actors[1].isfinite().all()
    assert not torch.equal(*actors)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda returns, preferences, ideal: returns.sum(), "must reduce the last axis"),
        (lambda returns, preferences, ideal: np.exp(np.asarray(returns)).sum(-1), "raises|keep arrays arrays"),
        (lambda returns: returns.sum(-1), "raises TypeError"),
        (lambda returns, preferences, ideal: returns.sum(-1) > 0, "no finite gradient"),
        (lambda returns, preferences, ideal: (returns - returns).sum(-1) ** 0.5, "no finite gradient"),
    ],
)
def test_a_function_that_is_no_utility_is_refused_at_start(function: Any, reason: str, my_utilities: Any) -> None:
    my_utilities.broken = function
    with pytest.raises(ValueError, match=f"utility is 'my_utilities:broken', but .*({reason})"):
        build(utility="my_utilities:broken")


def test_a_range_of_nothing_does_not_blow_differences_up() -> None:
    bounds = ReturnBounds(2, None, 0.0, None)
    bounds.update(np.array([[3.0, 5.0]]), np.array([[3.0, 5.0]]))
    np.testing.assert_allclose(bounds.as_array(), [[2.0, 4.0], [3.0, 5.0]])
    bounds.update(np.array([[4.0, 1.0], [4.0, 5.0]]), np.array([[4.0, 5.0]]))  # one policy dominates all
    np.testing.assert_allclose(bounds.as_array(), [[3.0, 1.0], [4.0, 5.0]])
    again = ReturnBounds(2, None, 0.0, None)
    again.load_state_dict(bounds.state_dict())
    again.update(np.array([[4.0, 5.0]]), np.array([[4.0, 5.0]]))
    np.testing.assert_allclose(again.as_array(), [[3.0, 1.0], [4.0, 5.0]])


def test_a_policy_that_has_reached_the_ideal_still_has_a_direction() -> None:
    agent = build(CONTINUOUS, solver="ppo", utility="pbi", rollout_steps=8)
    for _ in agent.learn(morl.make_vec(CONTINUOUS, 6), 130, lambda *_: np.full((6, 2), 3.0)):
        pass
    assert isinstance(agent.solver, OnPolicy)
    assert agent.solver.members["actor"].isfinite().all()


@pytest.mark.parametrize(("transfer", "kept"), [("none", True), ("best", False), ("soft", True)])
def test_on_policy_a_replaced_policy_forgets_what_another_one_did(transfer: Any, kept: bool) -> None:
    def one_is_best(preferences: Any, episodes: int, policies: Any = None) -> Any:
        return np.array([[1.0, 1.0], [9.0, 9.0], [2.0, 2.0]])[policies]

    cooperation = {} if transfer == "none" else {"transfer": transfer, "neighbourhood": "all"}
    agent = build(CONTINUOUS, solver="ppo", rollout_steps=8, selected=3, **cooperation)
    for _ in agent.learn(morl.make_vec(CONTINUOUS, 6), 78, one_is_best):
        pass
    filled = agent.solver.population.rollout.filled
    assert filled > 0
    agent._exchange(one_is_best)
    assert agent.solver.population.rollout.filled == (filled if kept else 0)


# --- Warm-up and exploration ------------------------------------------------------------------------------------------


def test_every_policy_warms_up_on_its_own_unless_experience_is_shared() -> None:
    for replay, warm in (("own", [True, True, True]), ("shared", [True, False, False])):
        agent = build(
            CONTINUOUS, selected=1, replay=replay, offline_updates=0, random_exploration_steps=24, learning_starts=24
        )
        first: dict[int, list[bool]] = {0: [], 1: [], 2: []}
        loop = agent.learn(morl.make_vec(CONTINUOUS, 6), 180, answer)
        updates = 0
        for _ in loop:
            first[int(agent.active[0])].append(agent.updates == updates)  # no update: it only collects
            updates = agent.updates
        assert [all(steps[:3]) for steps in first.values()] == warm, replay
        assert not any(all(steps) for steps in first.values())


def test_random_actions_at_the_start_of_every_policy() -> None:
    agent = build(CONTINUOUS, selected=1, random_exploration_steps=24)
    agent.active = np.array([1])
    agent.policy_steps[:] = [600, 18, 0]
    chosen = np.zeros((6, 1))
    schedule = agent.components.exploration
    assert schedule is not None
    assert (agent._with_random_actions(chosen, schedule) != 0.0).all()
    agent.policy_steps[1] = 24
    assert (agent._with_random_actions(chosen, schedule) == 0.0).all()


def test_only_who_explores_nothing_by_itself_gets_random_actions_by_default() -> None:
    config = Config(exploration_steps=100)
    np.testing.assert_allclose(ExplorationSchedule(config, greedy=True).decayed([0, 50, 200]), [1.0, 0.525, 0.05])
    np.testing.assert_allclose(ExplorationSchedule(config, greedy=False).decayed([0, 50, 200]), 0.0)
    given = Config(exploration_steps=100, exploration_start=0.4, exploration_end=0.2)
    np.testing.assert_allclose(ExplorationSchedule(given, greedy=True).decayed(50), 0.3)
    starts = {env: build(env).components.exploration.decayed(0) for env in (WALK, CONTINUOUS)}
    assert starts == {WALK: 1.0, CONTINUOUS: 0.0}
    assert build(CONTINUOUS, solver="ppo").components.exploration is None


def test_compiled_updates_share_out_the_processors_themselves() -> None:
    wide = {"hidden_sizes": (128,), "workers": None}
    for options, backend, groups in (
        ({}, "numba", 1),
        ({"utility": "pbi"}, "eager", 2),
        ({"backend": "eager"}, "eager", 2),
        ({"workers": 2}, "numba", 2),
    ):
        solver: Any = build(CONTINUOUS, **wide | options).solver
        assert (solver.backend, len(solver.groups)) == (backend, groups)


# --- Neighbours -------------------------------------------------------------------------------------------------------


def test_static_neighbours_in_objective_space_are_those_of_the_first_returns() -> None:
    def returns(preferences: Any, episodes: int, policies: Any = None) -> Any:
        return np.array([[0.0, 9.0], [9.0, 0.0], [1.0, 8.0]])[policies]

    agent = build(replay="neighbours", neighbourhood="nearest", neighbourhood_space="objectives", weights="lattice")
    assert agent.neighbours.tolist() == [[0, 1], [1, 0], [2, 1]]  # nothing is known yet: by weights
    for _ in agent.learn(morl.make_vec(WALK, 6), 130, returns):
        assert agent.neighbours.tolist() == [[0, 2], [1, 2], [2, 0]]


def test_dynamic_neighbours_follow_weights_that_adapt() -> None:
    found = {}
    for update in ("static", "dynamic"):
        agent = build(
            replay="neighbours",
            neighbourhood="nearest",
            neighbourhood_update=update,
            adaptation="psa",
            psa_factor=5.0,
        )
        before = agent.neighbours.copy()
        learn(agent, steps=400)
        found[update] = np.array_equal(before, agent.neighbours)
    assert found == {"static": True, "dynamic": False}


# --- What is refused, and when ----------------------------------------------------------------------------------------

REFUSED = [
    ("toy-pairs-walk-v0", {}, "needs a Discrete choice or a bounded Box"),
    (CONTINUOUS, {"solver": "ppo", "selected": 1, "rollout_steps": 11}, "exchange_every is 60.* needs 66 steps"),
    (WALK, {"preset": "eupg", "selected": 3, "rollout_steps": 20, "population": 6}, "exchange_every is 60"),
    (WALK, {"reference": "static", "ideal": (9.0, 9.0), "ideal_margin": 0.1}, "ideal_margin is 0.1"),
    ("toy-fork-v0", {"reference": "static", "ideal": (9.0, -9.0), "scale": "range"}, "must exceed the reference point"),
    (CONTINUOUS, {"solver": "ppo", "transfer": "best", "neighbourhood": "all", "rollout_steps": 11}, "needs 66 steps"),
    (WALK, {"num_envs": 1, "selected": 2}, "num_envs is 1"),
    (WALK, {"num_envs": 1, "networks": "shared-layers"}, "need all"),
]


@pytest.mark.parametrize(("env", "settings", "reason"), REFUSED, ids=[reason for _, _, reason in REFUSED])
def test_it_is_refused_before_a_run_is_overwritten(env: str, settings: Any, reason: str, tmp_path: Path) -> None:
    settings = dict(settings)
    num_envs = settings.pop("num_envs", 6)
    (tmp_path / "config.toml").write_text("of an earlier run")
    config = toys.TINY_MORLD | settings
    with pytest.raises(ValueError, match=reason) as refused:
        morl.train("morl-d", env, run_dir=tmp_path, overwrite=True, config=config, num_envs=num_envs)
    assert (tmp_path / "config.toml").read_text() == "of an earlier run"
    assert "\n" not in str(refused.value)
