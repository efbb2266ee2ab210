"""Three small grid worlds in batch: resource gathering, four rooms, fishwood.

Sources: Barrett and Narayanan 2008; Barreto et al. 2017; Roijers et al. 2018. Rules and maps are mo-gymnasium's.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv, set_rows
from morl.envs.backends.streams import RandomStreams
from morl.envs.classic.fronts import DEATH, ENEMIES, GEM, GOLD, HOME
from morl.envs.core.types import Array


@njit(cache=True, nogil=True)
def gather(
    actions: Array, place: Array, draws: Array, positions: Array, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Move up, down, left or right. `place`, `observations`: [env, 4] row, column, has gold, has gem."""
    for env in range(actions.size):
        action = actions[env]
        row = min(max(place[env, 0] + (action == 1) - (action == 0), 0), 4)
        column = min(max(place[env, 1] + (action == 3) - (action == 2), 0), 4)
        place[env, 0] = row
        place[env, 1] = column
        terminated[env] = False
        if (row, column) == GOLD:
            place[env, 2] = 1
        elif (row, column) == GEM:
            place[env, 3] = 1
        elif (row, column) == ENEMIES[0] or (row, column) == ENEMIES[1]:
            terminated[env] = draws[env, positions[env]] < DEATH
            positions[env] += 1
            rewards[env, 0] = -1.0 if terminated[env] else 0.0
        elif (row, column) == HOME:
            terminated[env] = True
            rewards[env, 1] = place[env, 2]
            rewards[env, 2] = place[env, 3]
        for index in range(4):
            observations[env, index] = place[env, index]


class ResourceGatheringKernel(KernelVectorEnv):
    """The batch form of resource-gathering-v0."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 100) -> None:
        low = np.array([-1, 0, 0], np.float32)
        high = np.array([0, 1, 1], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(0.0, 5.0, (4,), np.int32),
            action_space=Discrete(4),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=1, num_envs=num_envs),
        )
        self.first = np.array([*HOME, 0, 0], dtype=np.int32)
        self.arrays = {"place": np.zeros((num_envs, 4), dtype=np.int32)}

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.arrays["place"], observations):
            set_rows(mask, rows, self.first)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        draws = self.streams.draws
        positions = self.streams.position
        gather(actions, self.arrays["place"], draws, positions, observations, rewards, terminated)


WALL = -2
GOAL = -1
EMPTY = 0


@njit(cache=True, nogil=True)
def walk(
    actions: Array, place: Array, cells: Array, items: Array, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Move left, up, right or down. `place`, `observations`: [env, 2 + items] row, column, collected.

    `cells`: WALL, GOAL, EMPTY or the shape 1, 2, 3 that lies there; `items`: the column of `place` of each shape.
    """
    for env in range(actions.size):
        action = actions[env]
        row = place[env, 0] + (action == 3) - (action == 1)
        column = place[env, 1] + (action == 2) - (action == 0)
        terminated[env] = False
        inside = 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1]
        if inside and cells[row, column] != WALL:
            place[env, 0] = row
            place[env, 1] = column
            shape = cells[row, column]
            if shape == GOAL:
                terminated[env] = True
                rewards[env, 0] = rewards[env, 1] = rewards[env, 2] = 1.0
            elif shape != EMPTY and place[env, items[row, column]] == 0:
                place[env, items[row, column]] = 1
                rewards[env, shape - 1] = 1.0
        for index in range(place.shape[1]):
            observations[env, index] = place[env, index]


class FourRoomKernel(KernelVectorEnv):
    """The batch form of four-room-v0 with its default maze (one start)."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 200) -> None:
        from mo_gymnasium.envs.four_room.four_room import MAZE

        meaning = {"X": WALL, "G": GOAL, "1": 1, "2": 2, "3": 3}
        self.cells = np.array([[meaning.get(cell, EMPTY) for cell in row] for row in MAZE])
        self.items = np.zeros(MAZE.shape, dtype=np.int64)
        shapes = [(row, column) for column in range(MAZE.shape[1]) for row in range(MAZE.shape[0])]
        shapes = [cell for cell in shapes if self.cells[cell] > EMPTY]  # numbered column by column, as the original
        for number, cell in enumerate(shapes):
            self.items[cell] = 2 + number
        width = 2 + len(shapes)
        super().__init__(
            num_envs,
            observation_space=Box(np.zeros(width, np.int32), np.full(width, len(MAZE), np.int32), dtype=np.int32),
            action_space=Discrete(4),
            reward_space=Box(0, 1, (3,)),
            max_episode_steps=max_episode_steps,
        )
        self.first = np.zeros(width, dtype=np.int32)
        self.first[:2] = np.argwhere(MAZE == "_")[0]
        self.arrays = {"place": np.zeros((num_envs, width), dtype=np.int32)}

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.arrays["place"], observations):
            set_rows(mask, rows, self.first)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        walk(actions, self.arrays["place"], self.cells, self.items, observations, rewards, terminated)


@njit(cache=True, nogil=True)
def work(
    actions: Array, place: Array, chances: Array, draws: Array, positions: Array, observations: Array, rewards: Array
) -> None:
    """Fish (0) or cut wood (1) where the worker stands, then go where `actions` says. `place`: [env]."""
    for env in range(actions.size):
        here = place[env]
        rewards[env, here] = 1.0 if draws[env, positions[env]] < chances[here] else 0.0
        positions[env] += 1
        place[env] = observations[env, 0] = actions[env]


class FishWoodKernel(KernelVectorEnv):
    """The batch form of fishwood-v0: 200 steps, then truncation (as our repaired single environment)."""

    def __init__(
        self, num_envs: int = 1, max_episode_steps: int | None = None, fishproba: float = 0.1, woodproba: float = 0.9
    ) -> None:
        super().__init__(
            num_envs,
            observation_space=Box(0, 1, (1,), np.int32),
            action_space=Discrete(2),
            reward_space=Box(np.zeros(2, np.float32), np.ones(2, np.float32)),
            max_episode_steps=min(200, max_episode_steps or 200),
            streams=RandomStreams("random", reserve=1, num_envs=num_envs),
        )
        self.chances = np.array([fishproba, woodproba])
        self.arrays = {"place": np.ones(num_envs, dtype=np.int64)}

    def _start(self, mask: Array, observations: Array) -> None:
        self.arrays["place"][mask] = 1
        observations[mask] = 1

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        draws = self.streams.draws
        positions = self.streams.position
        work(actions, self.arrays["place"], self.chances, draws, positions, observations, rewards)
