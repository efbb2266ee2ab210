"""Fruit Tree Navigation in batch (Yang et al. 2019): a binary tree of depth 5, 6 or 7 whose leaves pay 6 nutrients."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, begin

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def advance(
    actions: Array, node: Array, leaves: Array, depth: int, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Go left (0) or right (1). `node`, `observations`: [env, 2] level and index; `leaves`: [2**depth, 6]."""
    for lane in range(actions.size):
        level = node[lane, 0] + 1
        index = 2 * node[lane, 1] + actions[lane]
        node[lane, 0] = observations[lane, 0] = level
        node[lane, 1] = observations[lane, 1] = index
        terminated[lane] = level == depth
        if level == depth:
            for nutrient in range(leaves.shape[1]):
                rewards[lane, nutrient] = leaves[index, nutrient]


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
        self.lanes_state = {"node": np.zeros((num_envs, 2), dtype=np.int32)}

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.lanes_state["node"], observations):
            begin(mask, rows, self.root)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, self.lanes_state["node"], self.leaves, self.depth, observations, rewards, terminated)
