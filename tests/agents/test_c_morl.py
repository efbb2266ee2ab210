"""C-MORL's schedule: stages, tasks, rollouts and snapshots."""

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
from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.config import Config
from morl.agents.c_morl.stages import ExtensionStage
from morl.envs.core.registry import problem
from morl.evaluation import ActInputs
from morl.experiment.components import build_evaluator
from morl.learning.advantages import compute_advantages
from morl.learning.ppo import actor_critic
from morl.pareto import non_dominated

pytestmark = pytest.mark.usefixtures("without_figures")
CPU = torch.device("cpu")


def build(num_envs: int, env: Any = "toy-walk-v0", **changes: Any) -> CMORL:
    return CMORL(problem(env), Config(**toys.TINY_CMORL | changes), 3, num_envs, CPU)


def learn(agent: CMORL, total_steps: int, env: Any = "toy-walk-v0") -> list[dict[str, Any]]:
    """Run an agent; return for each evaluation policy ids, weights of the stage's tasks, steps and round."""
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
        return evaluator(agent.act, policies, preferences, episodes, 7, ActInputs.of(agent)).discounted

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


def test_interpolations_are_evaluated_after_each_round() -> None:
    agent = build(4, interpolate=True)
    asked = learn(agent, 400)
    evaluated = [policy_id for entry in asked for policy_id in entry["policies"].tolist()]
    assert evaluated == list(range(3, agent.next_id))  # ids are permanent, and consecutive
    steps = [entry["steps"] for entry in asked]
    assert len(set(steps)) < len(steps)  # after the last snapshots of a round, the interpolations
    plain = [entry["steps"] for entry in learn(build(4), 400)]
    assert len(set(plain)) == len(plain)


class MaskedBandit(gymnasium.Env[Any, Any]):
    """Three arms, of which one is forbidden at each step; taking it is an error."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.reward_space = spaces.Box(0.0, 1.0, (2,), np.float64)
        self.forbidden = self.clock = self.length = 0

    def _observe(self) -> tuple[Any, dict[str, Any]]:
        self.forbidden = int(self.np_random.integers(3))
        shown = np.zeros(3, dtype=np.float32)  # the observation does not say which
        return shown, {"action_mask": np.arange(3) != self.forbidden}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.clock, self.length = 0, int(self.np_random.integers(3, 8))  # environments end at different times
        return self._observe()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert action != self.forbidden
        self.clock += 1
        reward = np.array([action == 0, action == 1], dtype=np.float64)
        observation, info = self._observe()
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


def test_a_run_too_short_to_learn_says_so(tmp_path: Path) -> None:
    config = toys.TINY_CMORL | {"samples_per_update": 100, "initial_steps": 1_000}
    with pytest.warns(RuntimeWarning, match=r"total_steps is 60, but must be at least 100 for a first update"):
        morl.train("c-morl", "toy-walk-v0", total_steps=60, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)


def test_fresh_actions_deviate_as_much_as_they_should() -> None:
    network = actor_critic(3, spaces.Box(-1.0, 1.0, (2,)), 2, (8,), 0.25)
    actor, _ = network.split(network.initialize(1, torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(actor[0, -2:].exp(), 0.25)
