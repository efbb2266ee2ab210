"""C-MORL: its schedule, archive and constraints part by part, and that it finds known fronts."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import toys
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import morl
from morl.agents.c_morl.agent import CMORL
from morl.agents.c_morl.archive import Snapshot, interpolate_weights, prune_archive, select_policies
from morl.agents.c_morl.config import EFFECTIVE, Config
from morl.agents.c_morl.constraints import (
    constraint_state,
    dual_ascent_step,
    lagrangian_weights,
    parse_constraints,
    reference_thresholds,
    target_scale,
    violations,
)
from morl.agents.c_morl.solvers import extension_solver
from morl.agents.c_morl.solvers.interior_point import SMALLEST_SLACK, interior_point_loss, log_barrier
from morl.agents.c_morl.solvers.reference_code import reference_code_loss
from morl.agents.c_morl.stages import ExtensionStage
from morl.envs.core.registry import problem
from morl.evaluation import Returns
from morl.experiment.session import Session, build_evaluator
from morl.experiment.settings import resolve
from morl.learning.advantages import compute_advantages
from morl.learning.population import initial_states
from morl.learning.ppo import actor_critic
from morl.learning.rollouts import TransitionSizes
from morl.pareto import non_dominated

pytestmark = pytest.mark.usefixtures("without_figures")
CPU = torch.device("cpu")


def build(num_envs: int, env: Any = "toy-walk-v0", **changes: Any) -> CMORL:
    return CMORL(problem(env), Config(**toys.TINY_CMORL | changes), 3, num_envs, CPU)


def learn(agent: CMORL, total_steps: int, env: Any = "toy-walk-v0") -> list[dict[str, Any]]:
    """Run an agent; return ids, weights of the tasks, steps, round and whether they are the stage's, per evaluation."""
    evaluator = build_evaluator(env, {}, agent.discount)
    asked: list[dict[str, Any]] = []

    def evaluate(preferences: Any, episodes: int, policies: Any = None) -> Any:
        asked.append(
            {
                "policies": policies,
                "weights": agent.stage.tasks.weights.copy(),
                "steps": agent.steps,
                "round": agent.round,
            }
        )
        return evaluator(agent.act, policies, preferences, episodes, 7).discounted

    for _ in agent.learn(morl.make_vec(env, agent.num_envs), total_steps, evaluate):
        pass
    evaluator.close()
    return asked


# --- The schedule -----------------------------------------------------------------------------------------------------


def test_environments_are_shared_by_as_many_tasks_as_divide_them() -> None:
    agent = build(4)  # three initial policies: two with two environments each, then one with all four
    assert agent.initial_updates == 2
    early, first, early_second, second, third, *later = learn(agent, 200)
    assert (early["steps"], early_second["steps"]) == (2 * 2 * 4, 32 + 2 * 4)  # initialization: after the first, too
    assert (len(first["policies"]), first["steps"], first["round"]) == (2, 2 * 4 * 4, 0)
    assert (len(second["policies"]), second["steps"]) == (1, 32 + 2 * 2 * 4)
    np.testing.assert_array_equal(first["weights"], [[0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_array_equal(second["weights"], [[1.0, 0.0]])
    # Two policies times two objectives, all four tasks at once, one environment each; snapshots after every update.
    assert (third["round"], third["steps"]) == (1, 48 + 8 * 4)
    np.testing.assert_array_equal(third["weights"], [[1.0, 0.0], [0.0, 1.0]] * 2)
    assert [entry["steps"] for entry in later] == [112, 144, 176]
    assert agent.updates == 2 * 2 * (2 + 2 + 4)


def test_the_reference_code_extends_objectives_in_turn() -> None:
    asked = [entry for entry in learn(build(4, solver="reference-code"), 200) if entry["round"] > 0]
    weights = [entry["weights"].tolist() for entry in asked]
    one, other = [[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2
    # Two updates each; after the second, the weights are already those of what comes next.
    assert weights[:4] == [one, other, other, other]


def first_extension(agent: CMORL, learning: Any) -> dict[int, Snapshot]:
    """Run until the first extension has begun; return the archived policies that it could select from."""
    while agent.round == 0:
        snapshots = dict(agent.snapshots)
        next(learning)
    return snapshots


def test_extension_begins_from_the_selected_policies() -> None:
    agent = build(4)
    envs = morl.make_vec("toy-walk-v0", 4)
    returns = iter(np.random.default_rng(0).normal(size=(1000, 2)))
    learning = agent.learn(envs, 10_000, lambda preferences, *_: np.stack([next(returns) for _ in preferences]))
    snapshots = first_extension(agent, learning)
    tasks = agent.stage.tasks
    for policy, origin in enumerate(tasks.origins.tolist()):
        assert torch.equal(tasks.population.parameters[policy], snapshots[origin].state["parameters"])
    assert set(tasks.origins.tolist()) <= set(agent.selected)


def test_policies_that_are_not_needed_are_dropped() -> None:
    agent = build(4, archive_capacity=2)
    learn(agent, 400)
    assert 1 <= len(agent.archive) <= 2
    assert set(agent.snapshots) == {*agent.archive, *(task.policy_id for task in agent.pending)}
    assert set(agent.bank.ids) == set(agent.snapshots)
    points = np.stack([agent.snapshots[policy_id].returns for policy_id in agent.archive])
    assert non_dominated(points).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"initial_steps": 10}, "initial_steps is 10, but must be at least 24"),
        ({"minibatches": 9}, "minibatches is 9, but must be at most samples_per_update, 8"),
        ({"beta": 1.5}, "beta is 1.5, but must lie between 0 and 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be finite and greater than 0"),
        ({"selected": 0}, "selected is 0"),
        ({"initial_divisions": -1}, "initial_divisions is -1, but must be at least 0"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes is"),
        (
            {"constraints": {"height": ">= 1"}},
            "constraints has 'height', but must name one of the objectives place, rest",
        ),
        ({"constraints": {"rest": "> 1"}}, "constraints has rest = '> 1', but must have a bound such as"),
        ({"constraints": {"rest": ">= nan"}}, "constraints has rest"),
        ({"constraints": {"rest": ">= 1", "place": "<= 1"}}, "leave at least one objective"),
        ({"backend": "cuda-graph"}, "backend is 'cuda-graph', but must be one of auto, eager, numba"),
        ({"solver": "compat"}, "solver is 'compat', but must be one of ipo, cpo, lagrangian, reference-code"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        build(4, **changes)


WITHOUT_EFFECT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "barrier_t": ({"barrier_t": 5.0, "solver": "cpo"}, {"barrier_t": 5.0, "solver": "reference-code"}),
    "trust_radius": ({"trust_radius": 0.1}, {"trust_radius": 0.1, "solver": "cpo"}),
    "multiplier_rate": ({"multiplier_rate": 0.2}, {"multiplier_rate": 0.2, "constraints": {"rest": ">= 1"}}),
    "extension_learning_rate": (
        {"extension_learning_rate": 1e-3, "solver": "reference-code"},
        {"extension_learning_rate": 1e-3, "solver": "reference-code", "interpolate": True},
    ),
    "constraints": (
        {"constraints": {"rest": ">= 1"}, "solver": "reference-code"},
        {"constraints": {"rest": ">= 1"}, "solver": "cpo"},
    ),
}
"""Field -> settings under which it has no effect, and settings under which it has."""


@pytest.mark.parametrize("name", EFFECTIVE)
def test_a_setting_without_effect_is_refused(name: str) -> None:
    refused, accepted = WITHOUT_EFFECT[name]
    with pytest.raises(ValueError, match=rf"{name} is .*which has no effect: .*(solver|constraints|interpolate)"):
        Config(**refused)
    Config(**accepted)
    del refused[name]
    Config(**refused)  # at its default


@pytest.mark.parametrize("solver", ["ipo", "cpo", "lagrangian", "reference-code"])
def test_a_setting_has_an_effect_where_the_solver_holds_it(solver: Any) -> None:
    effective = {name for name, condition in EFFECTIVE.items() if condition.holds(Config(solver=solver))}
    held = set(vars(extension_solver(Config(solver=solver))))
    assert ("barrier_t" in effective) == ("barrier_t" in held)
    assert ("trust_radius" in effective) == ("radius" in held)
    assert ("multiplier_rate" in effective) == ("multiplier_rate" in held)
    assert ("extension_learning_rate" in effective) == ("learning_rate" in held)


def test_presets_are_values() -> None:
    assert Config.paper().samples_per_update == 4096
    assert Config.reference_code().solver == "reference-code"
    for name, changes in Config.PRESETS.items():
        found = Config.preset(name, epochs=3)
        assert found == Config(**changes | {"epochs": 3})
    with pytest.raises(ValueError, match="preset is 'improved', but must be one of paper, reference-code"):
        Config.preset("improved")


@pytest.mark.parametrize("backend", ["eager", "numba"])
def test_the_backend_is_a_setting(backend: str) -> None:
    agent = build(4, backend=backend)
    assert agent.backend == backend
    learn(agent, 100)
    assert agent.stage.tasks.gradient_step.backend == backend


@pytest.mark.parametrize(("discount", "bootstrapped"), [(0.9, True), (1.0, False)])
def test_time_limits_are_ends_where_nothing_is_discounted(
    monkeypatch: pytest.MonkeyPatch, discount: float, bootstrapped: bool
) -> None:
    """An endless undiscounted return is infinite: a critic that is bootstrapped from itself would run after it."""
    noted: list[Any] = []
    monkeypatch.setattr(
        "morl.learning.rollouts.RolloutBuffer.bootstrap_truncated", lambda self, values: noted.append(values)
    )

    def limited() -> Any:
        return gymnasium.wrappers.TimeLimit(MaskedBandit(), 3)

    learn(build(4, limited, discount=discount), 60, limited)
    assert bool(noted) == bootstrapped


def test_the_entropy_bonus_does_not_move_the_actor_beside_the_trust_region() -> None:
    tight = {"solver": "cpo", "entropy_weight": 1.0, "trust_radius": 1e-12, "extension_learning_rate": 0.1}
    agent = build(4, "toy-continuous-walk-v0", **tight)
    learn(agent, 48 + 40, "toy-continuous-walk-v0")
    assert isinstance(agent.stage, ExtensionStage)
    assert agent.stage.updates == 1
    tasks = agent.stage.tasks
    width = agent.network.actor_parameters
    starts = torch.stack([agent.snapshots[policy_id].state["parameters"] for policy_id in tasks.origins.tolist()])
    change = (tasks.population.parameters.detach() - starts).abs()
    assert change[:, :width].max() < 1e-3
    assert change[:, width:].max() > 1e-2  # the critic learns


# --- Archive and selection --------------------------------------------------------------------------------------------

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20)


@settings(max_examples=80, deadline=None)
@given(POINTS, st.integers(1, 8))
def test_survivors_are_the_front_within_capacity(rows: list[tuple[int, int]], capacity: int) -> None:
    points = np.array(rows, dtype=np.float64)
    kept = prune_archive(points, [], None, capacity, 0.0)
    front = np.flatnonzero(non_dominated(points))
    assert len(kept) == min(capacity, len(front))
    assert set(map(tuple, points[kept])) <= set(map(tuple, points[front]))
    if capacity > 1:
        assert (points[kept].max(axis=0) == points.max(axis=0)).all()  # extremes stay


def test_survivors_near_the_reference_and_near_duplicates() -> None:
    points = np.array([[-5.0, 9.0], [1.0, 4.0], [1.0001, 4.0], [4.0, 1.0]])
    assert prune_archive(points, [], (0.0, 0.0), 10, 1e-3) == [1, 3]
    assert prune_archive(points, [], (0.0, 0.0), 10, 0.0) == [2, 3]
    assert prune_archive(points, [], (100.0, 100.0), 10, 1e-3) == [0, 1, 3]  # nothing is above: all are considered
    same = np.array([[2.0, 7.0], [2.0, 7.0], [2.0, 5.0]])  # no range in either objective of the front
    assert prune_archive(same, [], None, 10, 1e-3) == [0]


def test_survivors_keep_constraints_first() -> None:
    constraints = parse_constraints({"energy": ">= -2"}, ("speed", "height", "energy"))
    points = np.array([[9.0, 9.0, -5.0], [3.0, 1.0, -1.0], [1.0, 3.0, -2.0], [1.0, 1.0, 0.0]])
    assert prune_archive(points, constraints, None, 10, 0.0) == [1, 2]
    infeasible = points - [0.0, 0.0, 10.0]
    # Nothing is feasible: the violation is an objective like the others.
    assert prune_archive(infeasible, constraints, None, 10, 0.0) == [0, 1, 2, 3]
    np.testing.assert_allclose(violations(constraints, infeasible)[:, 0], [13.0, 9.0, 10.0, 8.0])


def test_selection_takes_extremes_then_gaps_then_old_ones() -> None:
    points = np.array([[0.0, 10.0], [1.0, 9.0], [2.0, 8.5], [6.0, 4.0], [10.0, 0.0]])
    assert sorted(select_policies(points, 2, ())) == [0, 4]
    assert select_policies(points, 3, ())[2] == 3
    assert set(select_policies(points, 2, {0, 4})) == {3, 2}
    assert select_policies(points[:1], 3, ()) == [0, 0, 0]  # fewer members than asked for
    assert sorted(select_policies(points, 5, {0, 1, 2, 3, 4})) == [0, 1, 2, 3, 4]


def test_interpolations_lie_between_neighbours() -> None:
    network = actor_critic(1, spaces.Discrete(2), 2, (3,))
    states = initial_states(network, 3, TransitionSizes(observation=1, action=1, objectives=2), seed=0)
    for value, state in zip((0.0, 1.0, 10.0), states, strict=True):
        state["parameters"][:] = value
        state["steps"] += 2 * value
        state["observation_statistics"]["mean"][:] = value
        state["reward_statistics"]["variance"][:] = value
    returns = np.array([[0.0, 9.0], [1.0, 8.0], [9.0, 0.0]])
    none = np.zeros(2)
    pairs = enumerate(zip(states, returns, strict=True))
    snapshots = [Snapshot(policy_id, state, row, none, 1.0, none) for policy_id, (state, row) in pairs]
    mixed = interpolate_weights(snapshots)
    for state, value in zip(mixed, (0.5, 5.5), strict=True):
        assert (state["parameters"] == value).all()
        assert state["steps"] == 2 * value
        assert state["observation_statistics"]["mean"] == value
        assert (state["reward_statistics"]["variance"] == value).all()


def test_interpolations_are_evaluated_after_each_round() -> None:
    agent = build(4, interpolate=True)
    asked = learn(agent, 400)
    evaluated = [policy_id for entry in asked for policy_id in entry["policies"].tolist()]
    assert evaluated == list(range(3, agent.next_id))  # ids are permanent, and consecutive
    steps = [entry["steps"] for entry in asked]
    assert len(set(steps)) < len(steps)  # after the last snapshots of a round, the interpolations
    plain = [entry["steps"] for entry in learn(build(4), 400)]
    assert len(set(plain)) == len(plain)


# --- Constraints ------------------------------------------------------------------------------------------------------


def test_thresholds_are_below_returns_of_either_sign() -> None:
    thresholds = reference_thresholds(np.array([[100.0, -100.0, 0.0]]), 0.9)
    np.testing.assert_allclose(thresholds, [[90.0, -110.0, 0.0]])


def test_the_barrier_is_smooth_and_steep_outside() -> None:
    slacks = torch.linspace(-1.0, 1.0, 2001, dtype=torch.float64).requires_grad_()
    values = log_barrier(slacks)
    (slopes,) = torch.autograd.grad(values.sum(), slacks)
    inside = slacks.detach() > SMALLEST_SLACK + 1e-3
    torch.testing.assert_close(values.detach()[inside], slacks.detach()[inside].log())
    assert (slopes[slacks.detach() < SMALLEST_SLACK] == 1.0 / SMALLEST_SLACK).all()
    assert values.detach().diff().abs().max() < 1.05e-3 / SMALLEST_SLACK  # no jump
    assert log_barrier(torch.tensor([float("inf")])).tolist() == [0.0]


def constraints_with(slack: float, sign: float = 1.0) -> Any:
    """Return the constraints of one policy with two objectives, the second one constrained."""
    returns, thresholds = np.array([[5.0, 2.0 * slack * sign]]), np.array([[-np.inf, 0.0]])
    like = torch.zeros(1, dtype=torch.float64)
    return constraint_state(returns, thresholds, np.array([1.0, sign]), np.full((1, 2), 2.0), np.array([50.0]), like)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slacks_are_predicted_from_the_samples(sign: float) -> None:
    state = constraints_with(0.3, sign)
    assert state.constrained.tolist() == [[False, True]]
    advantages = torch.tensor([[[1.0, 0.2], [-1.0, -0.2]]], dtype=torch.float64)
    same = state.predicted_slacks(torch.ones(1, 2, dtype=torch.float64), advantages, 0.2)
    assert same[0, 1].item() == pytest.approx(0.3)
    moved = state.predicted_slacks(torch.tensor([[1.1, 0.9]], dtype=torch.float64), advantages, 0.2)
    assert moved[0, 1].item() == pytest.approx(0.3 + sign * 50.0 * (0.1 * 0.2 + 0.1 * 0.2) / 2)


def test_an_objective_that_never_moves_is_not_constrained() -> None:
    like, thresholds = torch.zeros(1, dtype=torch.float64), np.zeros((1, 2))
    state = constraint_state(np.zeros((1, 2)), thresholds, np.ones(2), np.array([[1e-4, 3.0]]), np.ones(1), like)
    assert state.slacks.tolist() == [[float("inf"), 0.0]]


def test_a_standardized_advantage_is_worth_its_deviation_over_an_episode() -> None:
    state, weights = constraints_with(0.3, -1.0), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    advantages = torch.tensor([[[0.4, 9.0], [-0.4, -9.0]]], dtype=torch.float64)
    assert target_scale(state, advantages, weights).item() == pytest.approx(50.0 * 0.4)
    assert target_scale(state, 0.0 * advantages, weights).item() == pytest.approx(50.0 * 1e-3)  # nothing moves


@pytest.mark.parametrize("slack", [0.5, 0.005, -3.0])
def test_the_interior_point_loss_pulls_harder_the_less_slack_is_left(slack: float) -> None:
    advantage = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    batch = {"advantage": advantage, "vector_advantage": torch.cat([advantage, -0.1 * advantage], dim=2)}
    ratios = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([25.0], dtype=torch.float64)
    loss = interior_point_loss(constraints_with(slack), scale, 20.0, 0.2)(ratios, batch)
    (slopes,) = torch.autograd.grad(loss.sum(), ratios)
    pull = 1.0 / max(slack, SMALLEST_SLACK) / 20.0 * 50.0 / 25.0 * 0.1 / 2
    torch.testing.assert_close(slopes, torch.tensor([[-0.5 + pull, 0.5 - pull]], dtype=torch.float64))


def test_the_reference_code_is_blind_to_the_size_of_returns() -> None:
    batch = {"advantage": torch.zeros(1, 4, 1, dtype=torch.float64)}
    slopes = []
    for size in (1.0, 7.0):
        ratios = torch.full((1, 4), 1.05, dtype=torch.float64, requires_grad=True)
        loss = reference_code_loss(0.9, 20.0, 0.2)(ratios, batch | {"target": torch.full((1, 4, 2), size).double()})
        slopes.append(torch.autograd.grad(loss.sum(), ratios)[0])
    torch.testing.assert_close(slopes[0], slopes[1])
    torch.testing.assert_close(slopes[0], torch.full((1, 4), -1.0 / (20.0 * 0.15 * 4)).double())


def test_multipliers_rise_where_constraints_are_broken() -> None:
    multipliers = np.array([[0.0, 0.5, 0.5, 99.99]])
    raised = dual_ascent_step(multipliers, np.array([[np.inf, 1.0, -2.0, -9.0]]), 0.1)
    np.testing.assert_allclose(raised, [[0.0, 0.4, 0.7, 100.0]])
    weights = lagrangian_weights(
        np.array([[0.5, 0.5, 0.0]]), np.array([[0.0, 0.0, 2.0]]), np.ones(3), np.array([[1.0, 3.0, 4.0]])
    )
    np.testing.assert_allclose(weights, [[0.25, 0.25, 0.5]])


class MaskedBandit(gymnasium.Env[Any, Any]):
    """Three arms, of which one is forbidden at each step; taking it is an error."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.reward_space = spaces.Box(0.0, 1.0, (2,), np.float64)
        self.forbidden, self.clock, self.length = 0, 0, 0

    def _told(self) -> tuple[Any, dict[str, Any]]:
        self.forbidden = int(self.np_random.integers(3))
        shown = np.zeros(3, dtype=np.float32)  # the observation does not say which
        return shown, {"action_mask": np.arange(3) != self.forbidden}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.clock, self.length = 0, int(self.np_random.integers(3, 8))  # environments end at different times
        return self._told()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert action != self.forbidden
        self.clock += 1
        reward = np.array([action == 0, action == 1], dtype=np.float64)
        observation, info = self._told()
        return observation, reward, self.clock >= self.length, False, info


@pytest.mark.parametrize("solver", ["ipo", "cpo"])
def test_forbidden_actions_are_never_taken(solver: str, tmp_path: Path) -> None:
    config = toys.TINY_CMORL | {"solver": solver}
    run = morl.train("c-morl", MaskedBandit, total_steps=300, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)
    policy = run.policy([0.5, 0.5])
    for allowed in range(3):
        mask = np.arange(3) == allowed
        assert policy.predict(np.zeros(3, dtype=np.float32), action_masks=mask)[0] == allowed


def test_forbidden_actions_do_not_count_in_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two allowed of three arms is taken with probability 1/2 by an untrained policy, not with 1/3."""
    seen: list[Any] = []

    def spied(*arguments: Any) -> Any:
        seen.append(compute_advantages(*arguments)[0])
        return compute_advantages(*arguments)

    monkeypatch.setattr("morl.agents.c_morl.stages.compute_advantages", spied)
    learn(build(4, MaskedBandit), 32, MaskedBandit)
    assert (seen[0]["mask"].sum(dim=2) == 2).all()
    torch.testing.assert_close(seen[0]["log_probability"].exp().mean().item(), 0.5, atol=0.01, rtol=0.0)


# --- Runs -------------------------------------------------------------------------------------------------------------

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


def test_a_front_that_keeps_the_constraints_is_better_than_one_worth_more(tmp_path: Path) -> None:
    changes = toys.TINY_CMORL | {"constraints": {"rest": ">= -3"}}
    stated = resolve(CMORL, "c-morl", "toy-walk-v0", toys.SCHEDULE | {"agent": changes})
    session = Session("c-morl", "toy-walk-v0", stated, tmp_path)
    session.create_files("toy-walk-v0", "")
    points = iter([[[90.0, -9.0]], [[90.0, -9.0]], [[1.0, -2.0]], [[1.0, -3.5]], [[99.0, -3.1]], [[99.0, -3.1]]])
    known = (np.array([0]), np.full((1, 2), np.nan))
    session.agent.policies = lambda preferences: known  # type: ignore[method-assign]

    def returns(*_: Any) -> Returns:
        found = np.array(next(points))
        return Returns(found, found, np.ones(1))

    session._returns = returns  # type: ignore[method-assign]
    fronts = []
    for step in range(3):
        session.agent.steps = step
        session.evaluate(scheduled=True)
        fronts.append(json.loads((tmp_path / "front.json").read_text()))
    session.close()
    assert [front["selected_at_step"] for front in fronts] == [0, 1, 1]
    # It was chosen for what it did first, and is reported for what it did again.
    assert fronts[2]["constraints"]["rest"] == {"bound": ">= -3", "violations": [0.5], "best_violation": 0.5}


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


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["ipo", "cpo", "lagrangian", "reference-code"])
def test_most_leaves_of_the_fruit_tree_are_found(tmp_path: Path, solver: str) -> None:
    options = {"env_options": {"depth": 5}, "total_steps": 300_000, "config": {"solver": solver}, "device": "cpu"}
    run = morl.train("c-morl", "fruit-tree-v0", run_dir=tmp_path / "run", **options)
    assert run.front.indicators["cardinality"] >= 24
