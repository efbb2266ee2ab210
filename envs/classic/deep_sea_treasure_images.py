"""Deep Sea Treasure seen as a small image: one pixel for each field of the grid, drawn with NumPy.

The game is that of `morl.envs.classic.deep_sea_treasure`; only the observation differs. It is the cheap test of agents
that learn from images: drawing costs next to nothing, and the front is known.
"""

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

from morl.envs.backends.single import single_form
from morl.envs.classic.deep_sea_treasure import ROCK, DeepSeaTreasureKernel
from morl.envs.core.types import Array

SUBMARINE = 0
"""Channel that is 255 where the submarine is, else 0."""
TREASURE = 1
"""Channel of the treasures: 255 for the largest, less for others, 0 for water."""
ROCKS = 2
"""Channel that is 255 where rocks are, else 0."""


class DeepSeaTreasureImageKernel(DeepSeaTreasureKernel):
    """The batch form with observations [row, column, channel] of bytes.

    Args:
        num_envs: number of environments.
        max_episode_steps: time limit in steps, None for none.
        dst_map: [row, column] one of mo-gymnasium's maps; default: that of deep-sea-treasure-v0.
    """

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 100, dst_map: Array | None = None) -> None:
        super().__init__(num_envs, max_episode_steps, dst_map)
        self.positions = np.zeros((num_envs, 2), dtype=np.int32)
        """[env, 2] what the game writes as its observation: row and column."""
        self.picture = np.zeros((*self.sea.shape, 3), dtype=np.uint8)
        """[row, column, channel] the sea without a submarine."""
        treasures = np.maximum(self.sea, 0.0)
        self.picture[..., TREASURE] = np.ceil(255.0 * treasures / treasures.max())
        self.picture[..., ROCKS] = np.where(self.sea == ROCK, 255, 0)
        self.single_observation_space = Box(0, 255, self.picture.shape, np.uint8)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.last_observations = np.zeros((num_envs, *self.picture.shape), dtype=np.uint8)

    def _start(self, mask: Array, observations: Array) -> None:
        super()._start(mask, self.positions)
        self._draw(observations, np.flatnonzero(mask))

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        super()._advance(actions, self.positions, rewards, terminated)
        self._draw(observations, np.arange(self.num_envs))

    def _draw(self, observations: Array, envs: Array) -> None:
        """Draw the pictures of some environments into their rows of observations [env, row, column, channel]."""
        observations[envs] = self.picture
        rows, columns = self.positions[envs].T
        observations[envs, rows, columns, SUBMARINE] = 255


deep_sea_treasure_image = single_form(DeepSeaTreasureImageKernel)
"""Builds the single environment."""
