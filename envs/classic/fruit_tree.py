"""Fruit Tree Navigation in batch (Yang et al. 2019): a binary tree of depth 5, 6 or 7 whose leaves pay 6 nutrients."""

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv, set_rows
from morl.envs.core.types import Array


@njit(cache=True, nogil=True)
def advance(
    actions: Array, node: Array, leaves: Array, depth: int, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Go left (0) or right (1). `node`, `observations`: [env, 2] level and index; `leaves`: [2**depth, 6]."""
    for env in range(actions.size):
        level = node[env, 0] + 1
        index = 2 * node[env, 1] + actions[env]
        node[env, 0] = observations[env, 0] = level
        node[env, 1] = observations[env, 1] = index
        terminated[env] = level == depth
        if level == depth:
            for nutrient in range(leaves.shape[1]):
                rewards[env, nutrient] = leaves[index, nutrient]


class FruitTreeKernel(KernelVectorEnv):
    """The batch form of fruit-tree-v0. `depth`: 5, 6 or 7."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, depth: int = 6) -> None:
        from mo_gymnasium.envs.fruit_tree.fruit_tree import FRUITS

        if str(depth) not in FRUITS:
            raise ValueError(f"fruit-tree-v0: depth must be 5, 6 or 7, got {depth!r}")
        super().__init__(
            num_envs,
            observation_space=Box(0, 2**depth - 1, (2,), np.int32),
            action_space=Discrete(2),
            reward_space=Box(0.0, 10.0, (6,), np.float32),
            max_episode_steps=max_episode_steps,
        )
        self.depth = depth
        self.leaves = np.array(FRUITS[str(depth)], dtype=np.float32).astype(np.float64)  # float32, as the single form
        self.root = np.zeros(2, dtype=np.int32)
        self.arrays = {"node": np.zeros((num_envs, 2), dtype=np.int32)}

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.arrays["node"], observations):
            set_rows(mask, rows, self.root)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, self.arrays["node"], self.leaves, self.depth, observations, rewards, terminated)
