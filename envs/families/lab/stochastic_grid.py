"""A rover on slippery ground: treasure against damage (`lab/stochastic-grid-v0`).

The rover moves up, down, left or right. With chance 0.1 each it slips to either side of where it wants to go; the wall
stops it. An exit ends the episode and pays its treasure; entering rubble, or staying in it, costs 1 of damage. Returns
are discounted, so that time counts in both.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv, set_rows
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.envs.families.lab.convex_front import Points, TabularProblem, steps_within, tabular_front

MAP = (
    "..#.#9",
    ".5#.#.",
    "..#...",
    "#.#.##",
    "..2.#.",
    "S.#..7",
)
"""S: start; #: rubble; a digit: an exit with so much treasure; a dot: open ground."""
SIDE = len(MAP)
SLIP = 0.1  # to either side
HORIZON = 50
START = np.argwhere(np.array([list(row) for row in MAP]) == "S")[0]


class Ground(NamedTuple):
    """The map as arrays [row, column]."""

    treasure: Array
    """Treasure of an exit, 0 elsewhere."""
    damage: Array
    """1 where there is rubble, 0 elsewhere."""


GROUND = Ground(
    treasure=np.array([[float(cell) if cell.isdigit() else 0.0 for cell in row] for row in MAP]),
    damage=np.array([[1.0 if cell == "#" else 0.0 for cell in row] for row in MAP]),
)


@njit(cache=True, nogil=True)
def direction(action: int, uniform: float) -> int:
    """Return where the rover goes: 0 up, 1 right, 2 down, 3 left, for a draw in [0, 1)."""
    turn = 0
    if uniform < SLIP:
        turn = 1
    elif uniform < 2 * SLIP:
        turn = 3
    return (action + turn) % 4


@njit(cache=True, nogil=True)
def moved(row: int, column: int, heading: int) -> tuple[int, int]:
    """Return the cell next to (row, column) in a direction, or the same one where the wall stops the rover."""
    row += (heading == 2) - (heading == 0)
    column += (heading == 1) - (heading == 3)
    return min(max(row, 0), SIDE - 1), min(max(column, 0), SIDE - 1)


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    cells: Array,
    ground: Ground,
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
    terminated: Array,
) -> None:
    """Move every rover. `cells`: [env, 2] row and column; `draws`: [env, number] uniform, `positions`: [env]."""
    for env in range(actions.size):
        heading = direction(actions[env], draws[env, positions[env]])
        positions[env] += 1
        row, column = moved(cells[env, 0], cells[env, 1], heading)
        cells[env, 0] = row
        cells[env, 1] = column
        observations[env, 0] = row
        observations[env, 1] = column
        rewards[env, 0] = ground.treasure[row, column]
        rewards[env, 1] = -ground.damage[row, column]
        terminated[env] = ground.treasure[row, column] > 0.0


class StochasticGridKernel(KernelVectorEnv):
    """The batch form of lab/stochastic-grid-v0. Observation: row and column. Actions: up, right, down, left."""

    picture_size = (320, 320)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = HORIZON) -> None:
        low = np.array([0, -1], np.float32)
        high = np.array([GROUND.treasure.max(), 0], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(0.0, SIDE - 1.0, (2,), np.float32),
            action_space=Discrete(4),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=1, num_envs=num_envs),
        )
        self.arrays = {"cells": np.zeros((num_envs, 2), dtype=np.int64)}

    def draw(self, sheet: Sheet, action: Action | None) -> None:  # noqa: ARG002 - nothing of it shows
        """Draw the map with rubble, exits and the rover."""
        side = 52.0
        for row, line in enumerate(MAP):
            for column, cell in enumerate(line):
                corner = (4 + side * column, 4 + side * row)
                middle = (corner[0] + side / 2, corner[1] + side / 2)
                color = (170, 150, 135) if cell == "#" else (255, 236, 190) if cell.isdigit() else (246, 246, 246)
                sheet.rectangle(corner, (corner[0] + side, corner[1] + side), color, "light")
                if cell.isdigit():
                    sheet.text(middle, cell, "ink", 22, "middle")
        row, column = self.arrays["cells"][0].tolist()
        sheet.circle((4 + side * (column + 0.5), 4 + side * (row + 0.5)), 0.3 * side, "blue", "ink")

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.arrays["cells"], observations):
            set_rows(mask, rows, START)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        cells = self.arrays["cells"]
        draws = self.streams.draws
        advance(actions, cells, GROUND, draws, self.streams.position, observations, rewards, terminated)


def as_table() -> TabularProblem:
    """Return the decision process; outcomes are straight on and the two slips.

    State row * SIDE + column; the last state is the end of the episode.
    """
    end = SIDE * SIDE
    following = np.full((end + 1, 4, 3), end)
    chances = np.tile([1.0 - 2 * SLIP, SLIP, SLIP], (end + 1, 4, 1))
    rewards = np.zeros((end + 1, 4, 2))
    for state, action, outcome in np.ndindex(end, 4, 3):
        uniform = (0.999, 0.0, SLIP)[outcome]
        row, column = moved(state // SIDE, state % SIDE, direction(action, uniform))
        treasure = GROUND.treasure[row, column]
        rewards[state, action] += chances[state, action, outcome] * np.array([treasure, -GROUND.damage[row, column]])
        if treasure == 0.0:
            following[state, action, outcome] = row * SIDE + column
    start = np.zeros(end + 1)
    start[START[0] * SIDE + START[1]] = 1.0
    return TabularProblem(following, chances, rewards, start)


@cache
def _front(discount: float, horizon: int) -> Points:
    return tabular_front(as_table(), discount, horizon, divisions=200)


def front(discount: float, max_episode_steps: int | None = HORIZON, **_: EnvOption) -> Points:
    """Return the exact returns [treasure, damage] that are best for one of 201 preferences.

    Args:
        discount: of returns.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _front(discount, steps_within(max_episode_steps)).copy()
