"""Collection of transitions: the vector environment's state, and the accrued rewards of its episodes."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morl.action_masks import MaskReader
from morl.learning.observations import Encoder, final_observations
from morl.protocols import Actions, BoolArray, Problem, StateDict, VectorEnvironment

if TYPE_CHECKING:
    from morl.learning.scalarization import AugmentedState


class Collector:
    """Steps a vector environment and returns transitions; each active policy has a block of neighbouring environments.

    Args:
        num_envs: number of sub-environments.
        encode: function from a batch of observations to rows [env, width].
        augmented_state: layout of the rows that networks observe.
        discount: of learning, by which rewards accrue.
        problem: the environment, and whether it gives action masks.
    """

    def __init__(
        self,
        num_envs: int,
        encode: Encoder,
        augmented_state: "AugmentedState",
        discount: float,
        problem: Problem,
    ) -> None:
        self.num_envs = num_envs
        self.encode = encode
        self.augmented_state = augmented_state
        self.discount = discount
        self.observations: NDArray[np.float32] | None = None  # [env, size]; None: to be reset before the next step
        self.accrued = augmented_state.start(num_envs)  # [env, objective + 1]: rewards so far, discount of the next
        self.mask_reader = MaskReader(problem.id, problem.action_space, problem.action_masks)
        self.masks: BoolArray | None = None  # [env, choice] allowed choices; None: the environment gives no masks

    def reset(self, envs: VectorEnvironment, seed: int) -> None:
        """Reset all sub-environments, the first of them with `seed`, the second with `seed + 1`, and so on."""
        observations, infos = envs.reset(seed=seed)
        self.masks = self.mask_reader.reset(infos)
        self.accrued = self.augmented_state.start(self.num_envs)
        self.observations = self.augmented_state.augment(self.encode(observations), self.accrued)

    def step(self, envs: VectorEnvironment, actions: Actions) -> dict[str, NDArray[Any]]:
        """Step all sub-environments and return the transitions.

        Args:
            envs: vector environment that resets in the same step.
            actions: [env, ...] of its action space.

        Returns:
            Columns [env, width] by name: observation, reward, next_observation (the last of its episode where one
            ended), total (the discounted return of the episode so far), terminated, ended (terminated or truncated);
            where the environment gives action masks, also mask and next_mask, of observation and next_observation;
            where policies must differ from others, also novelty: by how much actions are farther than they must be.
        """
        before = self.observations
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        ended = terminated | truncated
        self.accrued[:, :-1] += self.accrued[:, -1:] * rewards
        self.accrued[:, -1] *= self.discount
        encoded = self.encode(observations)
        last = encoded
        if ended.any():
            last = encoded.copy()
            env_indices = np.flatnonzero(ended)
            last[env_indices] = self.encode(final_observations(infos, env_indices))
        next_observations = self.augmented_state.augment(last, self.accrued)
        total = self.accrued[:, :-1].copy()
        self.accrued[ended] = self.augmented_state.start(int(ended.sum()))
        self.observations = self.augmented_state.augment(encoded, self.accrued)
        transitions = {
            "observation": before,
            "reward": rewards,
            "next_observation": next_observations,
            "total": total,
            "terminated": terminated[:, None],
            "ended": ended[:, None],
        }
        if "novelty_excess" in infos:
            transitions["novelty"] = infos["novelty_excess"][:, None]
        masks = self.mask_reader.step(infos, terminated, truncated)
        if masks is not None:
            transitions |= {"mask": self.masks, "next_mask": masks.following}
            self.masks = masks.current
        return transitions

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"observations": self.observations, "accrued": self.accrued, "masks": self.masks}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        self.observations = state["observations"]
        self.accrued = state["accrued"].copy()
        self.masks = state["masks"]
