"""Three small grid worlds in batch: resource gathering, four rooms, fishwood.

Sources: Barrett and Narayanan 2008; Barreto et al. 2017; Roijers et al. 2018. Rules and maps are mo-gymnasium's.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, LaneStreams, begin
from morl.envs.classic.fronts import DEATH, ENEMIES, GEM, GOLD, HOME

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def gather(
    actions: Array, place: Array, draws: Array, positions: Array, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Move up, down, left or right. `place`, `observations`: [env, 4] row, column, has gold, has gem."""
    for lane in range(actions.size):
        action = actions[lane]
        row = min(max(place[lane, 0] + (action == 1) - (action == 0), 0), 4)
        column = min(max(place[lane, 1] + (action == 3) - (action == 2), 0), 4)
        place[lane, 0], place[lane, 1] = row, column
        terminated[lane] = False
        if (row, column) == GOLD:
            place[lane, 2] = 1
        elif (row, column) == GEM:
            place[lane, 3] = 1
        elif (row, column) == ENEMIES[0] or (row, column) == ENEMIES[1]:
            terminated[lane] = draws[lane, positions[lane]] < DEATH
            positions[lane] += 1
            rewards[lane, 0] = -1.0 if terminated[lane] else 0.0
        elif (row, column) == HOME:
            terminated[lane] = True
            rewards[lane, 1], rewards[lane, 2] = place[lane, 2], place[lane, 3]
        for index in range(4):
            observations[lane, index] = place[lane, index]


class ResourceGatheringKernel(KernelVectorEnv):
    """The batch form of resource-gathering-v0."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 100) -> None:
        low, high = np.array([-1, 0, 0], np.float32), np.array([0, 1, 1], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(0.0, 5.0, (4,), np.int32),
            action_space=Discrete(4),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=LaneStreams("random", reserve=1, num_envs=num_envs),
        )
        self.first = np.array([*HOME, 0, 0], dtype=np.int32)
        self.lanes_state = {"place": np.zeros((num_envs, 4), dtype=np.int32)}

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.lanes_state["place"], observations):
            begin(mask, rows, self.first)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        draws, positions = self.streams.draws, self.streams.position
        gather(actions, self.lanes_state["place"], draws, positions, observations, rewards, terminated)


WALL, GOAL, EMPTY = -2, -1, 0


@njit(cache=True, nogil=True)
def walk(
    actions: Array, place: Array, cells: Array, items: Array, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Move left, up, right or down. `place`, `observations`: [env, 2 + items] row, column, collected.

    `cells`: WALL, GOAL, EMPTY or the shape 1, 2, 3 that lies there; `items`: the column of `place` of each shape.
    """
    for lane in range(actions.size):
        action = actions[lane]
        row = place[lane, 0] + (action == 3) - (action == 1)
        column = place[lane, 1] + (action == 2) - (action == 0)
        terminated[lane] = False
        inside = 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1]
        if inside and cells[row, column] != WALL:
            place[lane, 0], place[lane, 1] = row, column
            shape = cells[row, column]
            if shape == GOAL:
                terminated[lane] = True
                rewards[lane, 0] = rewards[lane, 1] = rewards[lane, 2] = 1.0
            elif shape != EMPTY and place[lane, items[row, column]] == 0:
                place[lane, items[row, column]] = 1
                rewards[lane, shape - 1] = 1.0
        for index in range(place.shape[1]):
            observations[lane, index] = place[lane, index]


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
        self.lanes_state = {"place": np.zeros((num_envs, width), dtype=np.int32)}

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.lanes_state["place"], observations):
            begin(mask, rows, self.first)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        walk(actions, self.lanes_state["place"], self.cells, self.items, observations, rewards, terminated)


@njit(cache=True, nogil=True)
def work(
    actions: Array, place: Array, chances: Array, draws: Array, positions: Array, observations: Array, rewards: Array
) -> None:
    """Fish (0) or cut wood (1) where the worker stands, then go where `actions` says. `place`: [env]."""
    for lane in range(actions.size):
        here = place[lane]
        rewards[lane, here] = 1.0 if draws[lane, positions[lane]] < chances[here] else 0.0
        positions[lane] += 1
        place[lane] = observations[lane, 0] = actions[lane]


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
            streams=LaneStreams("random", reserve=1, num_envs=num_envs),
        )
        self.chances = np.array([fishproba, woodproba])
        self.lanes_state = {"place": np.ones(num_envs, dtype=np.int64)}

    def _start(self, mask: Array, observations: Array) -> None:
        self.lanes_state["place"][mask] = 1
        observations[mask] = 1

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        draws, positions = self.streams.draws, self.streams.position
        work(actions, self.lanes_state["place"], self.chances, draws, positions, observations, rewards)
