"""MO-TSIVR-PG: its estimators beside enumeration, its batches, utilities, refusals and what it learns."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from torch import Tensor

import morl
from morl import utilities
from morl.agents.mo_tsivr_pg.agent import MOTSIVRPG
from morl.agents.mo_tsivr_pg.config import Config
from morl.agents.mo_tsivr_pg.estimators import (
    importance_weights,
    mean_returns,
    policy_gradient,
    truncate,
)
from morl.agents.mo_tsivr_pg.objective import queues, sea
from morl.envs.core.registry import problem
from morl.learning.episodes import IDLE, EpisodeBatch, Trajectories
from morl.learning.staging import Staging

pytestmark = pytest.mark.usefixtures("without_figures")

CPU = torch.device("cpu")
HORIZON = 4
DISCOUNT = 0.9


# --- A Markov decision process of two states and two actions, all trajectories of which are enumerated ----------------


class TwoStates:
    """Action a leads to state a with chance 0.8; rewards depend on state and action. Policy: a logit for each state."""

    rewards = torch.tensor([[[1.0, 0.0], [0.2, 0.5]], [[0.0, 2.0], [1.0, 0.3]]], dtype=torch.float64)

    def log_probabilities(self, theta: Tensor, states: Tensor, actions: Tensor) -> Tensor:
        """Return log pi(a | s) [policy, episode, step] for logits [policy, state] of action 1."""
        logits = torch.stack([torch.zeros_like(theta), theta], dim=2).log_softmax(dim=2)
        return logits[:, states, actions]

    def everything(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return states and actions [episode, step] of all trajectories, and the chance of their transitions."""
        states = torch.tensor([(0, *rest) for rest in product((0, 1), repeat=HORIZON - 1)])
        actions = torch.tensor(list(product((0, 1), repeat=HORIZON)))
        states = states.repeat_interleave(len(actions), dim=0)
        actions = actions.repeat(len(states) // len(actions), 1)
        follows = states[:, 1:] == actions[:, :-1]
        return states, actions, torch.where(follows, 0.8, 0.2).double().prod(dim=1)

    def exact_returns(self, theta: Tensor) -> Tensor:
        """Return J(theta) [policy, objective] by enumeration."""
        states, actions, chances = self.everything()
        weights = chances * self.log_probabilities(theta, states, actions).sum(dim=2).exp()
        discounts = DISCOUNT ** torch.arange(HORIZON)
        totals = (discounts[:, None] * self.rewards[states, actions]).sum(dim=1)
        return weights @ totals


def expectation(theta: Tensor, estimate: Any) -> Tensor:
    """Return the mean of an estimator [policy, ...] over all trajectories of one policy theta [1, state]."""
    world = TwoStates()
    states, actions, chances = world.everything()
    total: Any = 0.0
    with torch.no_grad():
        weights = chances * world.log_probabilities(theta, states, actions).sum(dim=2)[0].exp()
    for number in range(len(states)):
        total = total + weights[number] * estimate(states[number : number + 1], actions[number : number + 1])
    return total


def rewards_of(states: Tensor, actions: Tensor) -> Tensor:
    return TwoStates.rewards[states, actions].unsqueeze(0)


FACTORS = DISCOUNT ** torch.arange(HORIZON, dtype=torch.float64)
THETA = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
OLD = torch.tensor([[-0.2, 0.1]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.7, 1.3], dtype=torch.float64)
BASELINE = torch.tensor([[[5.0, -3.0, 0.5, 1.0]]], dtype=torch.float64)
"""[policy, episode, step] any numbers that do not depend on the episode."""


def test_the_expected_gradient_is_the_exact_one() -> None:
    leaf = THETA.clone().requires_grad_()
    (exact,) = torch.autograd.grad((TwoStates().exact_returns(leaf) * WEIGHTS).sum(), leaf)

    def estimate(states: Tensor, actions: Tensor) -> Tensor:
        at = THETA.clone().requires_grad_()
        chances = TwoStates().log_probabilities(at, states, actions)
        utilities_of = FACTORS * (rewards_of(states, actions) * WEIGHTS).sum(dim=3)
        return policy_gradient(at, chances, utilities_of, BASELINE)

    torch.testing.assert_close(expectation(THETA, estimate), exact)


def test_importance_weights_turn_new_trajectories_into_old_ones() -> None:
    """The ratio is old over new: returns and gradients of the old policy come out, from what the new one did."""
    leaf = OLD.clone().requires_grad_()
    returns = TwoStates().exact_returns(leaf)
    (exact,) = torch.autograd.grad((returns * WEIGHTS).sum(), leaf)

    def omega(states: Tensor, actions: Tensor) -> Tensor:
        world = TwoStates()
        old, new = (world.log_probabilities(theta, states, actions) for theta in (OLD, THETA))
        return importance_weights(old, new)

    found = expectation(
        THETA, lambda states, actions: mean_returns(rewards_of(states, actions), FACTORS * omega(states, actions))
    )
    torch.testing.assert_close(found, returns.detach())

    def estimate(states: Tensor, actions: Tensor) -> Tensor:
        at = OLD.clone().requires_grad_()
        chances = TwoStates().log_probabilities(at, states, actions)
        utilities_of = FACTORS * omega(states, actions) * (rewards_of(states, actions) * WEIGHTS).sum(dim=3)
        return policy_gradient(at, chances, utilities_of, omega(states, actions) * BASELINE)

    torch.testing.assert_close(expectation(THETA, estimate), exact)


def test_steps_are_truncated_one_by_one() -> None:
    steps = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(truncate(steps, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


# --- The agent --------------------------------------------------------------------------------------------------------


def build(env: Any = "toy-walk-v0", num_envs: int = 4, **changes: Any) -> MOTSIVRPG:
    return MOTSIVRPG(problem(env), Config(**toys.TINY_TSIVR | {"normalize": True} | changes), 3, num_envs, CPU)


def no_evaluation(preferences: Any, episodes: int, policies: Any = None) -> Any:
    raise AssertionError("MO-TSIVR-PG evaluates nothing")


def learn(agent: MOTSIVRPG, total_steps: int, env: Any = "toy-walk-v0", until: Any = None) -> None:
    for _ in agent.learn(morl.make_vec(env, agent.num_envs), total_steps, no_evaluation):
        if until is not None and until():
            return


def trajectories_of(agent: MOTSIVRPG, env: str = "toy-walk-v0") -> Trajectories:
    """Return a complete batch of the agent's policies as they are."""
    agent.batch = EpisodeBatch(agent.config.population, 3, agent.num_envs)
    agent.observations = None
    envs = morl.make_vec(env, agent.num_envs)
    while not agent.batch.complete:
        agent._collect_step(envs)
    return agent.batch.trajectories(Staging(CPU))


@pytest.mark.parametrize("env", ["toy-walk-v0", "toy-continuous-walk-v0", "deep-sea-treasure-v0"])
def test_unchanged_parameters_leave_the_estimates_unchanged(env: str) -> None:
    agent = build(env)
    trajectories = trajectories_of(agent, env)
    agent._begin_epoch(trajectories)
    assert agent.gradient.abs().max() > 0
    returns = agent.returns
    gradient = agent.gradient.clone()
    weights = agent.weights
    agent.parameters.copy_(agent.old_parameters)
    agent._inner_step(trajectories_of(agent, env))
    np.testing.assert_array_equal(agent.returns, returns)
    assert torch.equal(agent.gradient, gradient)
    np.testing.assert_array_equal(agent.weights, weights)
    assert agent.diagnostics["largest_importance_weight"] == 1.0


def test_corrections_use_the_weights_of_their_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = build("toy-fork-v0", utility="nash", inner_steps=4)
    seen: list[tuple[Tensor, Any, bool]] = []
    plain = agent._gradient

    def spied(trajectories: Any, parameters: Tensor, weights: Any, values: Any, omega: Any = None) -> Tensor:
        seen.append((parameters.clone(), weights.copy(), omega is not None))
        return plain(trajectories, parameters, weights, values, omega)

    monkeypatch.setattr(agent, "_gradient", spied)
    learn(agent, 10_000, "toy-fork-v0", until=lambda: agent.updates == 4)
    (first, *_), *pairs = [seen[0]], *[seen[i : i + 2] for i in range(1, len(seen), 2)]
    assert [weighted for *_, weighted in seen] == [False, False, True, False, True, False, True]
    before = [first, *[new for new, _ in pairs]]
    for j, (new, old) in enumerate(pairs, start=1):
        assert torch.equal(old[0], before[j - 1][0])  # theta_{j-1}
        np.testing.assert_array_equal(old[1], before[j - 1][1])  # w_{j-2}, w_0 at first
        if j > 1:
            assert not np.array_equal(new[1], old[1])


def test_an_epoch_has_one_large_batch() -> None:
    agent = build(inner_steps=3, initial_episodes=5, episodes=2)
    counts = []
    batch = None
    for _ in agent.learn(morl.make_vec("toy-walk-v0", 4), 4_000, no_evaluation):
        if agent.batch is not batch:
            batch = agent.batch
            counts.append(batch.count)
        if agent.updates == 7:
            break
    assert counts[:8] == [5, 5, 2, 2, 5, 2, 2, 5]  # the first is for the observations
    baseline = build(method="mo-pg", inner_steps=12, episodes=6)
    learn(baseline, 4_000, until=lambda: baseline.updates == 3)
    assert baseline.batch.count == baseline.config.initial_episodes


def test_mo_pg_takes_an_independent_batch_for_the_weights() -> None:
    agent = build(method="mo-pg", inner_steps=12, episodes=6)
    batches = []
    for _ in agent.learn(morl.make_vec("toy-walk-v0", 4), 4_000, no_evaluation):
        batches.append(agent.batch)
        if agent.updates == 3:
            break
    assert len(set(map(id, batches))) == 8  # one for the observations and six are done, one has begun


def test_every_episode_that_starts_counts_and_policies_play_their_own() -> None:
    batch = EpisodeBatch(policies=2, count=3, num_envs=4)
    lengths = {0: 3, 1: 1, 2: 2, 3: 5, 4: 1, 5: 2}
    age = np.zeros(4, dtype=int)
    while not batch.complete:
        number = batch.episodes.copy()
        np.testing.assert_array_equal(batch.acting, np.where(number == IDLE, 0, number % 2))
        age += 1
        ended = np.array([age[env] >= lengths.get(episode, 1) for env, episode in enumerate(number)])
        value = np.where(number == IDLE, -99.0, 10.0 * number + age)[:, None]
        batch.add(ended, observation=value, action=value, reward=value)
        age[ended] = 0
    found = batch.trajectories(Staging(CPU))
    assert found.masks is None
    for number, length in lengths.items():
        rows = found.rewards[number % 2, number // 2, :, 0]
        assert rows[:length].tolist() == [10.0 * number + age for age in range(1, length + 1)]
        assert (rows[length:] == 0).all()
        assert found.valid[number % 2, number // 2].sum() == length


def test_observations_are_normalized_as_policies_act() -> None:
    agent = build()
    learn(agent, 4_000, until=lambda: agent.updates == 2)
    envs = morl.make_vec("toy-walk-v0", 4)
    observations, _ = envs.reset(seed=0)
    data = agent.export_policies()[0]
    assert data.mean is not None
    assert data.scale is not None
    expected = np.clip((agent.encode(observations) - data.mean) * data.scale, -10.0, 10.0)
    np.testing.assert_allclose(agent._inputs(observations), expected, rtol=1e-6)
    raw = build(normalize=False)
    learn(raw, 4_000, until=lambda: raw.updates == 2)
    assert raw.export_policies()[0].mean is None


@pytest.mark.parametrize("stop", [6, 20, 40])
def test_a_run_with_normalized_observations_is_resumed_exactly(stop: int, tmp_path: Path) -> None:
    config = toys.TINY_TSIVR | {"normalize": True}
    schedule = toys.SCHEDULE | {"num_envs": 2}
    morl.train("mo-tsivr-pg", "toy-fork-v0", total_steps=96, run_dir=tmp_path / "whole", config=config, **schedule)
    morl.train("mo-tsivr-pg", "toy-fork-v0", total_steps=stop, run_dir=tmp_path / "parts", config=config, **schedule)
    morl.resume(tmp_path / "parts", 96)
    states = [toys.states(tmp_path / name, "agent") for name in ("whole", "parts")]
    assert toys.difference(states[0], states[1]) == ""


# --- Utilities and refusals -------------------------------------------------------------------------------------------


def test_the_papers_utilities() -> None:
    returns = torch.tensor([[4.0, 99.0], [-3.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(queues(returns, returns, returns), torch.tensor([-105.0, -1000.0]).double())
    found = sea(torch.tensor([[8.0, -1.0], [50.0, -200.0]]), returns, returns)
    torch.testing.assert_close(found, torch.tensor([13.0, 24.7**0.5 + 1.0]))


@pytest.mark.parametrize("name", ["nash", "maximin", "smooth-tchebycheff", "pbi", "desirability", "linear"])
def test_any_utility_has_its_gradient_as_weights(name: str) -> None:
    ideal = None if name in ("nash", "maximin", "linear") else (20.0, 30.0)
    agent = build("toy-fork-v0", utility=name, ideal=ideal)
    agent.returns = np.array([[3.0, 4.0], [5.0, 1.0], [2.0, 2.5]])
    found = agent._utility_gradient()
    point = torch.tensor(ideal or (-1.0, -1.0), dtype=torch.float64)
    leaf = torch.tensor(agent.returns, requires_grad=True)
    function: Any = {"nash": utilities.nash, "maximin": utilities.maximin}.get(name) or utilities.UTILITIES[name]
    (expected,) = torch.autograd.grad(function(leaf, torch.tensor(agent.preferences), point).sum(), leaf)
    np.testing.assert_allclose(found, expected.numpy())
    assert agent.utility_name == name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "reinforce"}, "method is 'reinforce', but must be one of mo-tsivr-pg, mo-pg"),
        ({"episodes": 0}, "episodes is 0, but must be finite and greater than 0"),
        ({"largest_step": float("inf")}, "largest_step is inf, but must be finite"),
        ({"discount": 1.5}, "discount is 1.5, but must lie between 0 and 1"),
        ({"hidden_sizes": ()}, "hidden_sizes is"),
        (
            {"method": "mo-pg", "inner_steps": 3, "episodes": 6},
            "inner_steps is 3, which has no effect: method must be 'mo-tsivr-pg'",
        ),
        ({"utility": "fair"}, "utility is 'fair', but must be one of linear"),
        ({"utility": "pbi"}, "ideal is None, but utility is 'pbi'"),
        ({"utility": "pbi", "ideal": (1.0,)}, "ideal is .* must have 2 numbers"),
        ({"utility": "nash"}, "ideal is None, but utility is 'nash'"),
        ({"utility": "toys:nothing"}, "utility is 'toys:nothing', but it cannot be imported"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(**changes)


def test_presets_are_values() -> None:
    assert Config.paper().initial_episodes == 144
    assert Config.preset("mo-pg").method == "mo-pg"
    with pytest.raises(ValueError, match="preset is 'original', but must be one of paper, mo-pg"):
        Config.preset("original")


@pytest.mark.parametrize("method", ["mo-tsivr-pg", "mo-pg"])
def test_a_balanced_utility_is_learned(method: str, tmp_path: Path) -> None:
    """Of the fork's leaves (0, 10), (6, 6), (3, 3), (10, 0) Nash welfare with equal weights is largest at (6, 6)."""
    run = morl.train(
        "mo-tsivr-pg",
        "toy-fork-v0",
        total_steps=6_000,
        run_dir=tmp_path / "run",
        config={"method": method, "population": 1, "utility": "nash", "hidden_sizes": (16,), "learning_rate": 0.02},
        **toys.SCHEDULE | {"num_envs": 12, "evaluate_every": 1_000_000, "log_every": 1_000},
    )
    np.testing.assert_allclose(run.front.points, 0.99 * np.array([[6.0, 6.0]]))
    assert {"utility", "gradient_norm", "step_norm"} <= run.metrics().keys()


def test_a_step_whose_squares_overflow_is_shortened_too() -> None:
    step = torch.tensor([[3e25, 4e25], [3e-3, 4e-3]])
    torch.testing.assert_close(truncate(step, 0.5), torch.tensor([[0.3, 0.4], [3e-3, 4e-3]]))
