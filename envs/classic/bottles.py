"""Breakable Bottles in batch (Vamplew et al. 2021): carry two bottles home along a corridor without dropping one.

The observation is a dictionary; the kernel writes a row of integers for each environment and `_to_space` splits it.
"""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.vector.utils import batch_space
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv, set_rows
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Array

LOCATION, CARRYING, DELIVERED, DROPPED = range(4)  # columns of a row; one DROPPED column per place in between
LEFT, RIGHT, PICK_UP = range(3)


@njit(cache=True, nogil=True)
def littered(row: Array) -> int:
    """Return -1 when any bottle lies on the ground, else 0: the potential of a state."""
    return -1 if row[DROPPED:].sum() > 0 else 0


@njit(cache=True, nogil=True)
def move(row: Array, action: int, last: int, draw: float, chance: float) -> int:
    """Walk one place, perhaps dropping a bottle; return how many draws were used (one while two are carried)."""
    here = row[LOCATION]
    used = 0
    if 0 < here < last and row[CARRYING] > 1:
        used = 1
        if draw < chance:
            row[CARRYING] -= 1
            row[DROPPED + here - 1] += 1
    row[LOCATION] += 1 if action == RIGHT else -1
    return used


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    rows: Array,
    constants: tuple[float, float, float, bool],
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
    terminated: Array,
) -> None:
    """Step every environment.

    `constants`: chance of a drop, time penalty, reward per bottle, whether bottles survive a fall.
    """
    chance, penalty, reward, unbreakable = constants
    last = rows.shape[1] - DROPPED + 1
    for env in range(actions.size):
        row = rows[env]
        action = actions[env]
        before = littered(row)
        delivered = 0
        here = row[LOCATION]
        if (action == LEFT and here > 0) or (action == RIGHT and here < last):
            positions[env] += move(row, action, last, draws[env, positions[env]], chance)
            if action == RIGHT and row[LOCATION] == last:
                delivered = min(row[CARRYING], 2 - row[DELIVERED])
                row[DELIVERED] += delivered
                row[CARRYING] = 0
        elif action == PICK_UP and row[CARRYING] < 2:
            if here == 0:
                row[CARRYING] += 1
            elif here < last and unbreakable and row[DROPPED + here - 1] > 0:
                row[DROPPED + here - 1] -= 1
                row[CARRYING] += 1
        rewards[env, 0] = penalty
        rewards[env, 1] = reward * delivered
        rewards[env, 2] = littered(row) - before
        terminated[env] = delivered > 0 and row[DELIVERED] == 2
        for column in range(rows.shape[1]):
            observations[env, column] = row[column]


class BreakableBottlesKernel(KernelVectorEnv):
    """The batch form of breakable-bottles-v0, its dropped bottles as flags, as `BottlesAsDeclared` repairs them."""

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 100,
        size: int = 5,
        prob_drop: float = 0.1,
        time_penalty: float = -1,
        bottle_reward: float = 25,
        unbreakable_bottles: bool = False,
    ) -> None:
        columns = DROPPED + size - 2
        low = np.array([-np.inf, 0, -1], np.float32)
        high = np.array([0, bottle_reward * 2, 0], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(0, 2**31, (columns,), np.int64),  # the rows inside; what callers see follows
            action_space=Discrete(3),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=1, num_envs=num_envs),
        )
        self.single_observation_space = Dict(
            {
                "location": Discrete(size),
                "bottles_carrying": Discrete(3),
                "bottles_delivered": Discrete(3),
                "bottles_dropped": MultiBinary(size - 2),
            }
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.constants = (float(prob_drop), float(time_penalty), float(bottle_reward), bool(unbreakable_bottles))
        self.arrays = {"rows": np.zeros((num_envs, columns), dtype=np.int64)}
        self.first = np.zeros(columns, dtype=np.int64)
        self.first[LOCATION] = size - 1

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.arrays["rows"], observations):
            set_rows(mask, rows, self.first)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        draws = self.streams.draws
        positions = self.streams.position
        advance(actions, self.arrays["rows"], self.constants, draws, positions, observations, rewards, terminated)

    def _to_space(self, observations: Array) -> dict[str, Array]:
        """Return the dictionary observation: fresh arrays, dropped bottles as flags."""
        return {
            "bottles_carrying": observations[:, CARRYING].copy(),
            "bottles_delivered": observations[:, DELIVERED].copy(),
            "bottles_dropped": (observations[:, DROPPED:] > 0).astype(np.int8),
            "location": observations[:, LOCATION].copy(),
        }
