"""On-policy rollouts of a whole population: every policy owns an equal share of the sub-environments.

Sub-environment e belongs to policy e // envs_per_policy. Observations and rewards are normalized per policy.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.learning.normalization import RunningMeanStd
from morl.protocols import BoolArray, FloatArray, StateDict


@dataclass(frozen=True)
class TransitionSizes:
    """The widths of the parts of one transition.

    Attributes:
        observation: elements of an encoded observation.
        action: elements of an action; 1 for a discrete choice.
        objectives: elements of the reward.
        choices: discrete choices that a mask may forbid; 0: actions are not masked.
        pixels: first elements of an encoded observation that are pixels of images: they are kept as bytes and not
            normalized.
    """

    observation: int
    action: int
    objectives: int
    choices: int = 0
    pixels: int = 0

    @property
    def numbers(self) -> int:
        """Return the elements of an encoded observation that are no pixels."""
        return self.observation - self.pixels


class RolloutBuffer:
    """The latest transitions of a population, and the statistics that normalize its observations and rewards.

    Attributes:
        observations: [step, policy, env, width] float32, normalized: the policies' inputs, without pixels.
        pixels: [step, policy, env, pixel] uint8; None: observations have no images.
        actions: [step, policy, env, width] float32.
        rewards: [step, policy, env, objective] float64, in the environment's units.
        dones: [step, policy, env] whether the episode ended, by termination or truncation.
        terminated: [step, policy, env].
        bootstrap_values: [step, policy, env, objective] float32: the critic's value of the last observation of an
            episode that was truncated, else 0.
        discounted_sums: [step, policy, env, objective] R_t = gamma R_{t-1} + r_t, restarted with every episode.
        masks: [step, policy, env, choice] allowed choices; None: actions are not masked.
        filled: number of steps stored.

    Args:
        num_policies: number of policies.
        envs_per_policy: sub-environments of each policy.
        num_steps: steps of every sub-environment between two updates.
        sizes: widths of a transition.
        discount: gamma of training; rewards are divided by the standard deviation of R.
    """

    def __init__(
        self, num_policies: int, envs_per_policy: int, num_steps: int, sizes: TransitionSizes, discount: float
    ) -> None:
        self.num_policies = num_policies
        self.envs_per_policy = envs_per_policy
        self.num_steps = num_steps
        self.sizes = sizes
        self.discount = discount
        shape = (num_steps, num_policies, envs_per_policy)
        self.observations = np.zeros((*shape, sizes.numbers), dtype=np.float32)
        self.pixels = np.zeros((*shape, sizes.pixels), dtype=np.uint8) if sizes.pixels else None
        self.actions = np.zeros((*shape, sizes.action), dtype=np.float32)
        self.rewards = np.zeros((*shape, sizes.objectives))
        self.dones = np.zeros(shape, dtype=np.bool_)
        self.terminated = np.zeros(shape, dtype=np.bool_)
        self.bootstrap_values = np.zeros((*shape, sizes.objectives), dtype=np.float32)
        self.discounted_sums = np.zeros((*shape, sizes.objectives))
        self.masks = np.zeros((*shape, sizes.choices), dtype=np.bool_) if sizes.choices else None
        self.filled = 0
        self.observation_statistics = RunningMeanStd((num_policies, sizes.numbers))
        self.reward_statistics = RunningMeanStd((num_policies, sizes.objectives))
        self.running_sums = np.zeros((num_policies, envs_per_policy, sizes.objectives))  # R of the episodes under way

    @property
    def full(self) -> bool:
        """Return whether the rollout is complete."""
        return self.filled == self.num_steps

    def normalize(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return encoded observations [policy * env, width] as the policies' inputs [policy, env, width]."""
        by_env = self._by_env(observations)
        normalized = self.observation_statistics.normalize(by_env[..., self.sizes.pixels :])
        if self.sizes.pixels:
            normalized = np.concatenate([by_env[..., : self.sizes.pixels], normalized], axis=2)
        return normalized.swapaxes(0, 1).astype(np.float32)

    def normalize_and_update(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Include encoded observations [policy * env, width] in the statistics, then normalize them."""
        self.observation_statistics.update(self._by_env(observations)[..., self.sizes.pixels :])
        return self.normalize(observations)

    def _by_env(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return observations [policy * env, width] as [env, policy, width]."""
        return observations.reshape(self.num_policies, self.envs_per_policy, -1).swapaxes(0, 1)

    def add(
        self,
        observations: NDArray[np.float32],
        actions: NDArray[np.float32],
        rewards: FloatArray,
        terminated: BoolArray,
        truncated: BoolArray,
        masks: BoolArray | None = None,
    ) -> None:
        """Store one step of every sub-environment.

        Args:
            observations: [policy, env, width], normalized: the inputs that the actions were chosen for.
            actions: [policy, env, width].
            rewards: [policy * env, objective].
            terminated: [policy * env].
            truncated: [policy * env].
            masks: [policy, env, choice], true where a choice was allowed; None: all were.
        """
        step = self.filled
        shape = (self.num_policies, self.envs_per_policy)
        grouped = rewards.reshape((*shape, -1))
        dones = (terminated | truncated).reshape(shape)
        self.running_sums = self.discount * self.running_sums + grouped
        self.observations[step] = observations[..., self.sizes.pixels :]
        if self.pixels is not None:
            self.pixels[step] = observations[..., : self.sizes.pixels]
        self.actions[step] = actions
        self.rewards[step] = grouped
        self.dones[step] = dones
        self.terminated[step] = terminated.reshape(shape)
        self.bootstrap_values[step] = 0.0
        self.discounted_sums[step] = self.running_sums
        if self.masks is not None:
            self.masks[step] = True if masks is None else masks
        self.running_sums[dones] = 0.0
        self.filled += 1

    def bootstrap_truncated(self, values: NDArray[np.float32]) -> None:
        """Store the critic's values [policy, env, objective] of last observations where the latest step truncated."""
        last = self.filled - 1
        truncated = self.dones[last] & ~self.terminated[last]
        self.bootstrap_values[last] = np.where(truncated[..., None], values, 0.0)

    def update_reward_std(self) -> FloatArray:
        """Include a full rollout in the reward statistics and return sigma [policy, objective], the deviation of R."""
        grouped = self.discounted_sums.swapaxes(1, 2)
        self.reward_statistics.update(grouped.reshape((-1, *grouped.shape[2:])))
        deviations: FloatArray = np.sqrt(self.reward_statistics.variance + 1e-8)
        return deviations

    def clear(self) -> None:
        """Make room for the next rollout; the episodes under way continue."""
        self.filled = 0

    def reset_episodes(self) -> None:
        """Discard the rollout: all environments were reset."""
        self.clear()
        self.running_sums[:] = 0.0

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {
            "observations": self.observations,
            "actions": self.actions,
            "rewards": self.rewards,
            "dones": self.dones,
            "terminated": self.terminated,
            "bootstrap_values": self.bootstrap_values,
            "discounted_sums": self.discounted_sums,
        }
        optional = {"masks": self.masks, "pixels": self.pixels}
        return columns | {name: column for name, column in optional.items() if column is not None}

    def state_dict(self) -> dict[str, object]:
        """Return the stored steps, the statistics and the sums of the episodes under way."""
        return {
            "columns": {name: column[: self.filled] for name, column in self._columns().items()},
            "observation_statistics": self.observation_statistics.state_dict(),
            "reward_statistics": self.reward_statistics.state_dict(),
            "running_sums": self.running_sums,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same sizes."""
        self.filled = len(state["columns"]["rewards"])
        for name, column in self._columns().items():
            column[: self.filled] = state["columns"][name]
        self.observation_statistics.load_state_dict(state["observation_statistics"])
        self.reward_statistics.load_state_dict(state["reward_statistics"])
        self.running_sums = np.array(state["running_sums"])
