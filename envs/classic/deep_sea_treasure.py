"""Deep Sea Treasure in batch (Vamplew et al. 2011; maps of Yang et al. 2019 and Felten et al. 2022).

A submarine moves through a grid of water (0), treasures (positive; they end the episode) and rocks (-10; they block).
The reward is [treasure, -1]. This file is the pattern for a new kernel: one compiled loop over environments, one
class that names spaces and state.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Array

ROCK = -10.0


@njit(cache=True, nogil=True)
def advance(
    actions: Array, position: Array, sea: Array, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Step every environment. `position`, `observations`: [env, 2] row and column; actions: up, down, left, right."""
    for env in range(actions.size):
        action = actions[env]
        row = position[env, 0] + (action == 1) - (action == 0)
        column = position[env, 1] + (action == 3) - (action == 2)
        if not (0 <= row < sea.shape[0] and 0 <= column < sea.shape[1]) or sea[row, column] == ROCK:
            row = position[env, 0]
            column = position[env, 1]
        position[env, 0] = observations[env, 0] = row
        position[env, 1] = observations[env, 1] = column
        rewards[env, 0] = sea[row, column]
        rewards[env, 1] = -1.0
        terminated[env] = sea[row, column] != 0.0


@njit(cache=True, nogil=True)
def start(mask: Array, position: Array, first: Array, observations: Array) -> None:
    """Put the submarines of `mask` [env] at `first` (row, column)."""
    for env in range(mask.size):
        if mask[env]:
            position[env, 0] = observations[env, 0] = first[0]
            position[env, 1] = observations[env, 1] = first[1]


class DeepSeaTreasureKernel(KernelVectorEnv):
    """The batch form of all three deep-sea-treasure ids; `dst_map` is one of mo-gymnasium's maps."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 100, dst_map: Array | None = None) -> None:
        if dst_map is None:
            from mo_gymnasium.envs.deep_sea_treasure.deep_sea_treasure import DEFAULT_MAP

            dst_map = DEFAULT_MAP
        rows, columns = dst_map.shape
        super().__init__(
            num_envs,
            observation_space=Box(0, columns, (2,), np.int32),
            action_space=Discrete(4),
            reward_space=Box(np.array([0, -1], np.float32), np.array([dst_map.max(), -1], np.float32)),
            max_episode_steps=max_episode_steps,
        )
        self.sea = dst_map.astype(np.float32).astype(np.float64)  # the single environment pays float32 rewards
        self.first = np.array([0, 10 if columns > rows else 0], dtype=np.int32)
        self.arrays = {"position": np.tile(self.first, (num_envs, 1))}

    def _start(self, mask: Array, observations: Array) -> None:
        start(mask, self.arrays["position"], self.first, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, self.arrays["position"], self.sea, observations, rewards, terminated)
