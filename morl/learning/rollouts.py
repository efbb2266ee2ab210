"""Collecting experience with a whole population: every policy owns an equal share of an environment's lanes.

Lane l belongs to policy l // lanes_per_policy. Observations and rewards are normalized per policy.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.actor_critic import ActorCritic
from morl.learning.normalization import RunningMeanStd
from morl.learning.ppo import vector_advantages

Array = NDArray[Any]


class Experience:
    """The latest transitions of a population, and the statistics that normalize them.

    Args:
        policies: number of policies.
        lanes: environment lanes of each policy.
        steps: transitions that each lane collects between two updates.
        widths: "observation", "action", "objective", and "mask" where choices are masked -> width.
        discount: of training: of the accumulators that rewards are scaled by, and of episode returns.
    """

    def __init__(self, policies: int, lanes: int, steps: int, widths: Mapping[str, int], discount: float) -> None:
        self.policies, self.lanes, self.steps, self.discount = policies, lanes, steps, discount
        objectives = widths["objective"]
        shape = (steps, policies, lanes)
        self.columns: dict[str, Array] = {
            "observation": np.zeros((*shape, widths["observation"]), dtype=np.float32),  # normalized
            "action": np.zeros((*shape, widths["action"]), dtype=np.float32),
            "reward": np.zeros((*shape, objectives)),
            "bootstrap": np.zeros((*shape, objectives), dtype=np.float32),  # V of an episode cut by its time limit
            "terminated": np.zeros(shape, dtype=np.bool_),
            "ended": np.zeros(shape, dtype=np.bool_),
            "accumulated": np.zeros((*shape, objectives)),  # R <- gamma R + r
        }
        if "mask" in widths:
            self.columns["mask"] = np.zeros((*shape, widths["mask"]), dtype=np.bool_)
        self.filled = 0
        self.observation_moments = RunningMeanStd((policies, widths["observation"]))
        self.reward_moments = RunningMeanStd((policies, objectives))
        self.accumulators = np.zeros((policies, lanes, objectives))
        self.episode_returns = np.zeros((policies, lanes, objectives))
        self.episode_discounts = np.ones((policies, lanes))
        self.fresh = np.ones((policies, lanes), dtype=np.bool_)  # the episode under way began since `clear`
        self.fresh_returns = np.zeros((policies, objectives))  # sum over episodes that began, and ended, since then
        self.fresh_beyond = np.zeros((policies, objectives))  # sum over them of what lies beyond their time limit
        self.beyond = np.zeros((policies, objectives))  # the same over all that ended since then
        self.fresh_episodes = np.zeros(policies)
        self.completed_episodes = np.zeros(policies)  # that ended since then
        # What `bootstrap_truncated` has to know of the step that `add` stored last, where it ended episodes.
        self.last_discounts, self.last_fresh = self.episode_discounts.copy(), np.zeros_like(self.fresh)

    @property
    def full(self) -> bool:
        """Return whether it is time to learn."""
        return self.filled == self.steps

    def normalize(self, observations: Array) -> NDArray[np.float32]:
        """Return observations [lane, width], as the policies see them: [policy, lane, width]."""
        grouped = observations.reshape(self.policies, self.lanes, -1).swapaxes(0, 1)
        return self.observation_moments.normalize(grouped).swapaxes(0, 1).astype(np.float32)

    def observe(self, observations: Array) -> NDArray[np.float32]:
        """Return what `normalize` does, after taking the observations into the statistics."""
        grouped = observations.reshape(self.policies, self.lanes, -1).swapaxes(0, 1)
        self.observation_moments.update(grouped)
        return self.normalize(observations)

    def add(
        self,
        observations: Array,
        actions: Array,
        rewards: NDArray[np.float64],
        terminated: Array,
        truncated: Array,
        masks: Array | None = None,
    ) -> None:
        """Store one transition of every lane.

        Args:
            observations: [policy, lane, width], normalized: what the policies acted on.
            actions: [policy, lane, width].
            rewards: [policy * lane, objective].
            terminated: [policy * lane].
            truncated: [policy * lane].
            masks: [policy, lane, choice], true where a choice was allowed.
        """
        step, shape = self.filled, (self.policies, self.lanes)
        grouped = rewards.reshape(*shape, -1)
        ended = (terminated | truncated).reshape(shape)
        self.accumulators = self.discount * self.accumulators + grouped
        self.episode_returns += self.episode_discounts[..., None] * grouped
        self.episode_discounts *= self.discount
        values = {"observation": observations, "action": actions, "reward": grouped, "bootstrap": 0.0}
        values |= {"terminated": terminated.reshape(shape), "ended": ended, "accumulated": self.accumulators}
        if "mask" in self.columns:
            values["mask"] = True if masks is None else masks
        for name, value in values.items():
            self.columns[name][step] = value
        if ended.any():
            self.last_discounts, self.last_fresh = self.episode_discounts.copy(), ended & self.fresh
            self.fresh_returns += (self.episode_returns * self.last_fresh[..., None]).sum(axis=1)
            self.fresh_episodes += self.last_fresh.sum(axis=1)
            self.completed_episodes += ended.sum(axis=1)
            self.accumulators[ended] = self.episode_returns[ended] = 0.0
            self.episode_discounts[ended] = 1.0
            self.fresh[ended] = True
        self.filled += 1

    def bootstrap_truncated(self, values: Array) -> None:
        """Remember the values [policy, lane, objective] of last observations, for lanes just cut by a time limit."""
        last = self.filled - 1
        cut = self.columns["ended"][last] & ~self.columns["terminated"][last]
        self.columns["bootstrap"][last] = np.where(cut[..., None], values, 0.0)
        beyond = self.last_discounts[..., None] * self.columns["bootstrap"][last]
        self.beyond += beyond.sum(axis=1)
        self.fresh_beyond += (beyond * self.last_fresh[..., None]).sum(axis=1)

    def begun_returns(self, values: Array, deviations: Array) -> tuple[Array, Array]:
        """Return sums of discounted returns [policy, objective] over the episodes that began since `clear`, and counts.

        They are returns of the task without its time limit, which is what policies learn to maximize: an episode that
        is under way, or was cut, is worth what it has paid and what the critic expects of the rest. To count only those
        that have ended would count the short ones: in little experience no long one ends.

        Args:
            values: [policy, lane, objective] in the critic's units, from where every lane is now.
            deviations: [policy, objective] of rewards: the critic's units.
        """
        expected = self.episode_returns + self.episode_discounts[..., None] * values * deviations[:, None]
        sums = self.fresh_returns + self.fresh_beyond * deviations + (expected * self.fresh[..., None]).sum(axis=1)
        return sums, self.fresh_episodes + self.fresh.sum(axis=1)

    def begin_episodes(self) -> None:
        """Forget the episodes that were under way, and the transitions of them."""
        self.filled = 0
        self.accumulators[:] = self.episode_returns[:] = 0.0
        self.episode_discounts[:] = 1.0
        self.clear()
        self.fresh[:] = True

    def clear(self) -> None:
        """Make room for the next transitions; episodes go on."""
        self.filled = 0
        self.fresh_returns[:] = self.fresh_beyond[:] = self.beyond[:] = 0.0
        self.fresh_episodes[:] = self.completed_episodes[:] = 0.0
        self.fresh[:] = False

    _ARRAYS = (
        "accumulators",
        "episode_returns",
        "episode_discounts",
        "fresh",
        "fresh_returns",
        "fresh_beyond",
        "beyond",
        "fresh_episodes",
        "completed_episodes",
    )

    def state_dict(self) -> dict[str, Any]:
        """Return all that collecting goes on from."""
        return {
            "columns": {name: column[: self.filled] for name, column in self.columns.items()},
            "observation_moments": self.observation_moments.state_dict(),
            "reward_moments": self.reward_moments.state_dict(),
        } | {name: getattr(self, name) for name in self._ARRAYS}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.filled = len(state["columns"]["reward"])
        for name, column in state["columns"].items():
            self.columns[name][: self.filled] = column
        self.observation_moments.load_state_dict(state["observation_moments"])
        self.reward_moments.load_state_dict(state["reward_moments"])
        for name in self._ARRAYS:
            setattr(self, name, np.array(state[name]))


@torch.no_grad()
def compute_advantages(
    experience: Experience, network: ActorCritic, parameters: Tensor, last_observations: Array, trace: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Return a full experience as columns to learn from, and the rewards' deviations [policy, objective].

    The reward statistics take in the experience first; rewards are then divided by the deviation of the discounted
    sums R <- gamma R + r and cut to +-10, as the critics see them.

    Args:
        experience: full.
        network: actor and critic.
        parameters: [policy, n] of the policies that acted.
        last_observations: [policy, lane, width], normalized: where the last transitions led.
        trace: lambda of the generalized advantages.

    Returns:
        name -> [policy, step * lane, width]: "observation", "action", "log_probability", "value", "target", both in
        the critics' units, "mask" where there are masks; and sigma [policy, objective] in the rewards' units.
    """
    columns, device, dtype = experience.columns, parameters.device, parameters.dtype
    grouped = columns["accumulated"].swapaxes(1, 2)
    experience.reward_moments.update(grouped.reshape(-1, *grouped.shape[2:]))
    deviations = np.sqrt(experience.reward_moments.variance + 1e-8)
    scaled = np.clip(columns["reward"] / deviations[:, None], -10.0, 10.0)

    def tensor(array: Array) -> Tensor:
        return torch.as_tensor(array, device=device).to(dtype)

    def by_policy(column: Tensor) -> Tensor:
        return column.transpose(0, 1).reshape(experience.policies, -1, column.shape[-1])

    actor, critic = network.split(parameters)
    observations = by_policy(tensor(columns["observation"]))
    values = network.critic(critic, observations)
    stepwise = values.view(experience.policies, experience.steps, experience.lanes, -1).transpose(0, 1)
    following = torch.cat([stepwise[1:], network.critic(critic, tensor(last_observations)).unsqueeze(0)])
    ended = tensor(columns["ended"])
    following = following * (1.0 - ended).unsqueeze(-1) + tensor(columns["bootstrap"])
    advantages = vector_advantages(tensor(scaled), stepwise, following, ended, experience.discount, trace)
    samples = {"observation": observations, "action": by_policy(tensor(columns["action"]))}
    if "mask" in columns:
        samples["mask"] = by_policy(tensor(columns["mask"]))
    policy = network.distribution(actor, observations, samples.get("mask"))
    samples["log_probability"] = policy.log_probability(samples["action"]).unsqueeze(2)
    samples |= {"value": values, "target": by_policy(advantages) + values}
    return samples, tensor(deviations)
