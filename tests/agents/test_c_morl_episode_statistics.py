"""Estimates of the returns of policies that are learning, beside plain loops and beside what an evaluation sees."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.agents.c_morl.episode_statistics import EpisodeStatistics
from morl.learning.rollouts import RolloutBuffer, TransitionSizes

GAMMA, LIMIT = 0.99, 100
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


class PlainStatistics:
    """The loops of the docstring of `EpisodeStatistics`, for one policy: episodes are lists, nothing is incremental."""

    def __init__(self, returns: Any, num_envs: int, discount: float) -> None:
        self.discount = discount
        self.returns = returns
        self.weight = 0.0
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
    policies, envs = 2, 3
    objectives = 2
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
            mean = each.steps / max(each.ends, envs)
            length = mean if discount == 1.0 else (1.0 - discount**mean) / (1.0 - discount)
            assert statistics.discounted_lengths[policy] == pytest.approx(length)


def _step(rollout: RolloutBuffer, rewards: Any, terminated: Any, truncated: Any) -> tuple[Any, ...]:
    shape = (rollout.num_policies, rollout.envs_per_policy, 1)
    ends = [np.broadcast_to(each, len(rewards)) for each in (terminated, truncated)]
    return (np.zeros(shape), np.zeros(shape), rewards, *ends)
