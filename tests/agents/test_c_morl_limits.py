"""What constraints are judged by: return estimates that see what an evaluation sees, and fronts that keep bounds."""

from dataclasses import replace
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
from morl.agents.c_morl.archive import prune_archive
from morl.agents.c_morl.config import Config
from morl.agents.c_morl.constraints import parse_constraints
from morl.agents.c_morl.episode_statistics import EpisodeStatistics
from morl.agents.c_morl.solvers.trust_region import dual_step
from morl.envs.core.registry import problem
from morl.experiment.session import Session
from morl.experiment.settings import resolve
from morl.learning.ppo import actor_critic
from morl.learning.rollouts import RolloutBuffer, TransitionSizes

pytestmark = pytest.mark.usefixtures("without_figures")

GAMMA, LIMIT = 0.99, 100
PAID = -(1.0 - GAMMA**LIMIT) / (1.0 - GAMMA)  # -63.4: what an evaluation sees of a reward of -1 a step
ENDLESS = -1.0 / (1.0 - GAMMA)  # -100: what a critic that bootstraps through the limit knows


SIZES = TransitionSizes(observation=1, action=1, objectives=1)
NO = np.zeros(1, dtype=bool)


@pytest.mark.parametrize("steps", [10, 30, 100, 170])
def test_estimates_beside_a_time_limit_do_not_depend_on_where_rollouts_end(steps: int) -> None:
    rollout = RolloutBuffer(1, 3, steps, SIZES, GAMMA)
    statistics = EpisodeStatistics(np.zeros((1, 1)), 3, GAMMA)
    deviations = np.array([[4.0]])
    values = np.full((1, 3, 1), ENDLESS / 4.0)  # a perfect critic's, in its units
    clock = 0
    for update in range(600 // steps):
        for _ in range(steps):
            clock += 1
            limit = np.full(3, clock % LIMIT == 0)
            rollout.add(np.zeros((1, 3, 1)), np.zeros((1, 3, 1)), -np.ones((3, 1)), np.zeros(3, bool), limit)
            rollout.bootstrap_truncated(values)
        statistics.update(rollout, values, deviations)
        rollout.clear()
        np.testing.assert_allclose(statistics.returns, ENDLESS, rtol=1e-6, err_msg=str(update))
        if clock >= LIMIT:  # before, nobody can know the tail
            np.testing.assert_allclose(statistics.returns - statistics.tails, PAID, rtol=1e-6)
    expected = (1.0 - GAMMA**LIMIT) / (1.0 - GAMMA)
    np.testing.assert_allclose(statistics.discounted_lengths, expected, rtol=0.08)  # the last episode is under way


def test_predicted_gains_count_while_no_episode_starts() -> None:
    rollout = RolloutBuffer(1, 2, 1, SIZES, 1.0)
    statistics = EpisodeStatistics(np.full((1, 1), 9.0), 2, 1.0)
    seen = []
    for gain in (0.0, -1.0, -2.0):
        statistics.add_gains(np.array([[gain]]))
        rollout.add(np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), np.zeros((2, 1)), np.zeros(2, bool), np.zeros(2, bool))
        statistics.update(rollout, np.full((1, 2, 1), 5.0), np.ones((1, 1)))
        rollout.clear()
        seen.append(statistics.returns.item())
    assert seen == [5.0, 4.0, 2.0]  # the first rollout says 5; no episode starts in the others


def test_tails_are_remembered_until_the_next_episode_ends() -> None:
    rollout = RolloutBuffer(1, 1, 1, SIZES, GAMMA)
    statistics = EpisodeStatistics(np.zeros((1, 1)), 1, GAMMA)
    for clock in range(200):
        rollout.add(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)), -np.ones((1, 1)), NO, np.array([clock == 0]))
        rollout.bootstrap_truncated(np.full((1, 1, 1), ENDLESS))
        statistics.update(rollout, np.full((1, 1, 1), ENDLESS), np.ones((1, 1)))
        rollout.clear()
        np.testing.assert_allclose(statistics.tails, GAMMA * ENDLESS)


class PlainStatistics:
    """The loops of the docstring of `EpisodeStatistics`, for one policy: episodes are lists, nothing is incremental."""

    def __init__(self, returns: Any, num_envs: int, discount: float) -> None:
        self.discount = discount
        self.returns = returns
        self.tails = np.zeros_like(returns)
        self.weight = self.tail_weight = 0.0
        self.steps = self.ends = 0
        self.running = [self.episode(True) for _ in range(num_envs)]

    def episode(self, fresh: bool) -> dict[str, Any]:
        return {"rewards": [], "fresh": fresh, "last": np.zeros_like(self.returns)}

    def update(self, rewards: Any, terminated: Any, truncated: Any, last_values: Any, final_values: Any) -> None:
        ended = []
        for step in range(len(rewards)):
            for env in range(len(self.running)):
                episode = self.running[env]
                episode["rewards"].append(rewards[step, env])
                self.steps += 1
                if terminated[step, env] or truncated[step, env]:
                    if not terminated[step, env]:
                        episode["last"] = last_values[step, env]
                    ended.append(episode)
                    self.running[env] = self.episode(True)
        started = [episode for episode in ended if episode["fresh"]]
        for env, episode in enumerate(self.running):
            if episode["fresh"]:
                started.append({**episode, "last": final_values[env]})
            episode["fresh"] = False
        total = sum((self.paid(each) + self.tail(each) for each in started), np.zeros_like(self.returns))
        if self.weight / 2 + len(started):
            self.returns = (self.weight / 2 * self.returns + total) / (self.weight / 2 + len(started))
        self.weight = self.weight / 2 + len(started)
        if ended:
            tail = sum((self.tail(each) for each in ended), np.zeros_like(self.returns))
            self.tails = (self.tail_weight / 2 * self.tails + tail) / (self.tail_weight / 2 + len(ended))
            self.tail_weight = self.tail_weight / 2 + len(ended)
        self.ends += len(ended)

    def paid(self, episode: dict[str, Any]) -> Any:
        return sum(self.discount**t * reward for t, reward in enumerate(episode["rewards"])) + np.zeros_like(
            self.returns
        )

    def tail(self, episode: dict[str, Any]) -> Any:
        return self.discount ** len(episode["rewards"]) * episode["last"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    steps=st.integers(1, 9),
    discount=st.sampled_from([0.5, 0.9, 1.0]),
    chance=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_statistics_equal_plain_loops_over_episodes(seed: int, steps: int, discount: float, chance: float) -> None:
    random = np.random.default_rng(seed)
    policies, envs, objectives = 2, 3, 2
    sizes = TransitionSizes(observation=1, action=1, objectives=objectives)
    rollout = RolloutBuffer(policies, envs, steps, sizes, discount)
    first = random.normal(size=(policies, objectives))
    statistics = EpisodeStatistics(first, envs, discount)
    plain = [PlainStatistics(first[policy], envs, discount) for policy in range(policies)]
    for update in range(6):
        if update == 4:  # the environments are reset: a partial rollout and the episodes under way are discarded
            rollout.add(*_step(rollout, random.normal(size=(policies * envs, objectives)), NO, NO))
            rollout.reset_episodes()
            statistics.reset_episodes()
            for each in plain:
                each.running = [each.episode(True) for _ in range(envs)]
        rewards = random.normal(size=(steps, policies, envs, objectives))
        terminated = random.random((steps, policies, envs)) < chance
        truncated = random.random((steps, policies, envs)) < chance
        last_values = random.normal(size=(steps, policies, envs, objectives)).astype(np.float32)
        for step in range(steps):
            flat = (terminated[step].ravel(), truncated[step].ravel())
            rollout.add(*_step(rollout, rewards[step].reshape(-1, objectives), *flat))
            rollout.bootstrap_truncated(last_values[step])
        final_values = random.normal(size=(policies, envs, objectives)).astype(np.float32)
        sigma = random.random((policies, objectives)) + 0.5
        statistics.update(rollout, final_values, sigma)
        rollout.clear()
        for policy, each in enumerate(plain):
            each.update(
                rewards[:, policy],
                terminated[:, policy],
                truncated[:, policy],
                last_values[:, policy] * sigma[policy],
                final_values[policy] * sigma[policy],
            )
            np.testing.assert_allclose(statistics.returns[policy], each.returns, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(statistics.tails[policy], each.tails, rtol=1e-6, atol=1e-9)
            mean = each.steps / max(each.ends, envs)
            length = mean if discount == 1.0 else (1.0 - discount**mean) / (1.0 - discount)
            assert statistics.discounted_lengths[policy] == pytest.approx(length)


def _step(rollout: RolloutBuffer, rewards: Any, terminated: Any, truncated: Any) -> tuple[Any, ...]:
    shape = (rollout.num_policies, rollout.envs_per_policy, 1)
    ends = [np.broadcast_to(each, len(rewards)) for each in (terminated, truncated)]
    return (np.zeros(shape), np.zeros(shape), rewards, *ends)


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


def test_the_best_front_is_that_which_gains_most_within_the_bounds(tmp_path: Path) -> None:
    config = toys.TINY_CMORL | {"constraints": {"rest": ">= 10"}}
    stated = resolve(CMORL, "c-morl", "toy-walk-v0", toys.SCHEDULE | {"agent": config})
    session = Session("c-morl", "toy-walk-v0", stated, tmp_path)
    low = (-100.0, -100.0)
    modest, better = np.array([[50.0, 12.0]]), np.array([[60.0, 10.0]])
    assert session._worth(better, low) > session._worth(modest, low)  # whatever `rest` is worth above its bound
    mixed = np.array([[5.0, 12.0], [90.0, 9.0]])
    assert session._worth(modest, low) > session._worth(mixed, low)  # whatever a point gains that breaks the bound
    assert session._worth(mixed, low) > session._worth(mixed[1:], low)
    np.testing.assert_array_equal(session._selected(mixed), [0])
    np.testing.assert_array_equal(session._selected(np.array([[90.0, 9.0], [95.0, 6.0], [4.0, 8.0]])), [0, 1])  # none
    session.close()


def test_extension_continues_with_the_multipliers_that_were_found() -> None:
    config = Config(**toys.TINY_CMORL | {"constraints": {"rest": ">= 1000"}, "solver": "lagrangian"})
    agent = CMORL(problem("toy-walk-v0"), config, 0, 4, torch.device("cpu"))
    learning = agent.learn(morl.make_vec("toy-walk-v0", 4), 10_000, lambda preferences, *_: preferences)
    while agent.round == 0:
        multipliers = {policy_id: snapshot.multipliers for policy_id, snapshot in agent.snapshots.items()}
        next(learning)
    begun = [multipliers[policy_id] for policy_id in agent.stage.tasks.origins.tolist()]
    assert all(found[0] == 0.0 and found[1] > 0.0 for found in begun)
    np.testing.assert_array_equal(agent.stage.tasks.multipliers, np.stack(begun))


def test_an_outlier_that_is_dominated_does_not_make_all_others_alike() -> None:
    points = np.array([[0.0, 10.0], [5.0, 5.0], [10.0, 0.0], [-1e5, -1e5]])
    assert prune_archive(points, [], None, 10, 1e-3) == [0, 1, 2]


def test_a_reference_point_does_not_bar_what_keeps_the_constraints() -> None:
    constraints = parse_constraints({"protein": "<= 0"}, ("protein", "fat"))
    points = np.array([[0.0, 9.0], [3.0, 1.0]])
    assert prune_archive(points, constraints, (0.0, 0.0), 10, 1e-3) == [0]


def test_bounds_and_another_discount_are_refused() -> None:
    config = Config(**toys.TINY_CMORL | {"discount": 0.5, "constraints": {"rest": ">= 1"}})
    with pytest.raises(ValueError, match=r"discount is 0.5, but must be 0.9\d* where there are constraints"):
        CMORL(problem("toy-walk-v0"), config, 0, 4, torch.device("cpu"))


def test_a_run_too_short_to_learn_says_so(tmp_path: Path) -> None:
    config = toys.TINY_CMORL | {"samples_per_update": 100, "initial_steps": 1_000}
    with pytest.warns(RuntimeWarning, match=r"total_steps is 60, but must be at least 100 for a first update"):
        morl.train("c-morl", "toy-walk-v0", total_steps=60, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)


@pytest.mark.parametrize("space", [spaces.MultiBinary(3), spaces.MultiDiscrete([2, 2])])
def test_other_actions_are_refused(space: Any) -> None:
    with pytest.raises(ValueError, match=r"action_space is .*must be Discrete or a Box"):
        CMORL(replace(problem("toy-walk-v0"), action_space=space), Config(), 0, 10, torch.device("cpu"))


def test_fresh_actions_deviate_as_much_as_they_should() -> None:
    network = actor_critic(3, spaces.Box(-1.0, 1.0, (2,)), 2, (8,), 0.25)
    actor, _ = network.split(network.initialize(1, torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(actor[0, -2:].exp(), 0.25)


def test_parallel_constraints_have_a_step() -> None:
    alike = torch.full((1, 2, 2), 1e7, dtype=torch.float64)
    step = dual_step(torch.ones(1), torch.full((1, 2), 1e3), alike, torch.tensor([[-1.0, -1.0]]).double(), 0.01)
    assert all(torch.isfinite(part).all() for part in vars(step).values() if isinstance(part, torch.Tensor))
