"""Returns of the policies that are learning, estimated from their rollouts: extension compares them with thresholds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.learning.rollouts import RolloutBuffer
from morl.protocols import FloatArray

DECAY = 0.5
"""Factor of the weight of earlier episodes with each update: few episodes start in one, and policies move little."""


class EpisodeStatistics:
    """Running means of discounted returns and of episode lengths.

    A return G is that of the task without its time limit, which the critic predicts and the policy maximizes. An
    episode counts in the update in which it starts, whether it has ended or not: counting only those that have ended
    would favor the short ones. As plain loops, for each policy, with `value` the critic's in the rewards' units:

        total, starts = 0, 0
        for episode in episodes that started since the last update:
            G = sum(discount**t * reward[t] for t in range(length))
            if not terminated:                          # truncated by the time limit, or under way
                G += discount**length * value(last observation)
            total, starts = total + G, starts + 1
        returns = (weight / 2 * returns + total) / (weight / 2 + starts)         # unchanged before the first start
        weight = weight / 2 + starts

    Without discount time limits are ends of the task: the rollout then holds no values of truncated episodes.

    Attributes:
        returns: [policy, objective] mean discounted returns G.

    Args:
        returns: [policy, objective] estimates to start with; they count for nothing once an episode has started.
        envs_per_policy: sub-environments of each policy.
        discount: of training.
    """

    def __init__(self, returns: FloatArray, envs_per_policy: int, discount: float) -> None:
        num_policies = len(returns)
        self.envs_per_policy = envs_per_policy
        self.discount = discount
        self.returns = returns
        self.weights = np.zeros((num_policies, 1))
        self.num_steps = np.zeros(num_policies)  # of all rollouts
        self.num_ended = np.zeros(num_policies)  # episodes, of all rollouts
        # Of the episodes under way, at the last update [policy, env, ...].
        self.running_returns = np.zeros((num_policies, envs_per_policy, returns.shape[1]))
        self.running_discounts = np.ones((num_policies, envs_per_policy))
        self.started = np.ones((num_policies, envs_per_policy), dtype=np.bool_)  # since the last update

    @property
    def discounted_lengths(self) -> FloatArray:
        """Return the mean discounted length [policy] of an episode, (1 - gamma^T) / (1 - gamma).

        Until every sub-environment has ended an episode, the length so far of those under way counts.
        """
        if self.discount == 1.0:
            return self.mean_lengths
        lengths: FloatArray = (1.0 - self.discount**self.mean_lengths) / (1.0 - self.discount)
        return lengths

    @property
    def mean_lengths(self) -> FloatArray:
        """Return the mean length [policy] of an episode in steps, of those under way too while fewer have ended."""
        lengths: FloatArray = self.num_steps / np.maximum(self.num_ended, self.envs_per_policy)
        return lengths

    def update(self, rollout: RolloutBuffer, final_values: NDArray[np.float32], reward_std: FloatArray) -> None:
        """Include the episodes of a full rollout.

        Args:
            rollout: a full buffer.
            final_values: [policy, env, objective] the critic's values after the last step, in units of `reward_std`.
            reward_std: [policy, objective] in the rewards' units.
        """
        ended = self._follow_episodes(rollout)
        running = self.running_returns + self.running_discounts[..., None] * final_values * reward_std[:, None]
        totals = ended.returns + ended.return_tails * reward_std + (running * self.started[..., None]).sum(axis=1)
        starts = (ended.num_started + self.started.sum(axis=1))[:, None]
        self.started[:] = False

        old = DECAY * self.weights
        self.weights = old + starts
        known = self.weights > 0.0
        means = (old * self.returns + totals) / np.where(known, self.weights, 1.0)
        self.returns = np.where(known, means, self.returns)

        self.num_steps = self.num_steps + rollout.num_steps * rollout.envs_per_policy
        self.num_ended = self.num_ended + ended.num_ended

    def _follow_episodes(self, rollout: RolloutBuffer) -> "_EndedEpisodes":
        """Advance the episodes under way through a rollout and return sums over those that ended."""
        returns = np.zeros(self.returns.shape)
        return_tails = np.zeros(self.returns.shape)
        num_started = np.zeros(len(returns))
        num_ended = np.zeros(len(returns))
        for step in range(rollout.num_steps):
            self.running_returns += self.running_discounts[..., None] * rollout.rewards[step]
            self.running_discounts *= self.discount
            dones = rollout.dones[step]
            if not dones.any():
                continue
            counted = dones & self.started
            tail = self.running_discounts[..., None] * rollout.bootstrap_values[step]
            returns += (self.running_returns * counted[..., None]).sum(axis=1)
            return_tails += (tail * counted[..., None]).sum(axis=1)
            num_started += counted.sum(axis=1)
            num_ended += dones.sum(axis=1)
            self.running_returns[dones] = 0.0
            self.running_discounts[dones] = 1.0
            self.started[dones] = True
        return _EndedEpisodes(returns=returns, return_tails=return_tails, num_started=num_started, num_ended=num_ended)

    def add_gains(self, gains: FloatArray) -> None:
        """Add the predicted change of the returns by an update [policy, objective]."""
        self.returns = self.returns + gains

    def reset_episodes(self) -> None:
        """Discard the episodes under way: all environments were reset."""
        self.running_returns[:] = 0.0
        self.running_discounts[:] = 1.0
        self.started[:] = True

    _STATE = (
        "returns",
        "weights",
        "num_steps",
        "num_ended",
        "running_returns",
        "running_discounts",
        "started",
    )

    def state_dict(self) -> dict[str, object]:
        """Return all estimates and the episodes under way."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore a state that `state_dict` returned."""
        for name in self._STATE:
            setattr(self, name, np.array(state[name]))


class _EndedEpisodes(NamedTuple):
    """Sums over the episodes that ended in a rollout; tails are in the critic's units."""

    returns: FloatArray
    """[policy, objective] rewards, of those that also started in it."""
    return_tails: FloatArray
    """[policy, objective] tails, of those that also started in it."""
    num_started: FloatArray
    """[policy] number of those that also started in it."""
    num_ended: FloatArray
    """[policy] number of all."""
