"""Breakable Bottles in batch (Vamplew et al. 2021): carry two bottles home along a corridor without dropping one.

The observation is a dictionary; the kernel writes one row of integers per lane and `_outside` splits it.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.vector.utils import batch_space
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, LaneStreams, begin

Array = NDArray[Any]

LOCATION, CARRYING, DELIVERED, DROPPED = range(4)  # columns of a lane; one DROPPED column per place in between
LEFT, RIGHT, PICK_UP = range(3)


@njit(cache=True, nogil=True)
def littered(lane: Array) -> int:
    """Return -1 when any bottle lies on the ground, else 0: the potential of a state."""
    return -1 if lane[DROPPED:].sum() > 0 else 0


@njit(cache=True, nogil=True)
def move(lane: Array, action: int, last: int, draw: float, chance: float) -> int:
    """Walk one place, perhaps dropping a bottle; return how many draws were used (one while two are carried)."""
    here, used = lane[LOCATION], 0
    if 0 < here < last and lane[CARRYING] > 1:
        used = 1
        if draw < chance:
            lane[CARRYING] -= 1
            lane[DROPPED + here - 1] += 1
    lane[LOCATION] += 1 if action == RIGHT else -1
    return used


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    lanes: Array,
    constants: tuple[float, float, float, bool],
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
    terminated: Array,
) -> None:
    """Step every lane. `constants`: chance of a drop, time penalty, reward per bottle, whether a fall is survived."""
    chance, penalty, reward, unbreakable = constants
    last = lanes.shape[1] - DROPPED + 1
    for index in range(actions.size):
        lane, action = lanes[index], actions[index]
        before, delivered = littered(lane), 0
        here = lane[LOCATION]
        if (action == LEFT and here > 0) or (action == RIGHT and here < last):
            positions[index] += move(lane, action, last, draws[index, positions[index]], chance)
            if action == RIGHT and lane[LOCATION] == last:
                delivered = min(lane[CARRYING], 2 - lane[DELIVERED])
                lane[DELIVERED] += delivered
                lane[CARRYING] = 0
        elif action == PICK_UP and lane[CARRYING] < 2:
            if here == 0:
                lane[CARRYING] += 1
            elif here < last and unbreakable and lane[DROPPED + here - 1] > 0:
                lane[DROPPED + here - 1] -= 1
                lane[CARRYING] += 1
        rewards[index, 0] = penalty
        rewards[index, 1] = reward * delivered
        rewards[index, 2] = littered(lane) - before
        terminated[index] = delivered > 0 and lane[DELIVERED] == 2
        for column in range(lanes.shape[1]):
            observations[index, column] = lane[column]


class BreakableBottlesKernel(KernelVectorEnv):
    """The batch form of breakable-bottles-v0, its dropped bottles reported as flags (`upstream.BottlesAsDeclared`)."""

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
        low, high = np.array([-np.inf, 0, -1], np.float32), np.array([0, bottle_reward * 2, 0], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(0, 2**31, (columns,), np.int64),  # the rows inside; what callers see follows
            action_space=Discrete(3),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=LaneStreams("random", reserve=1, num_envs=num_envs),
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
        self.lanes_state = {"lanes": np.zeros((num_envs, columns), dtype=np.int64)}
        self.first = np.zeros(columns, dtype=np.int64)
        self.first[LOCATION] = size - 1

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.lanes_state["lanes"], observations):
            begin(mask, rows, self.first)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        draws, positions, lanes = self.streams.draws, self.streams.position, self.lanes_state["lanes"]
        advance(actions, lanes, self.constants, draws, positions, observations, rewards, terminated)

    def _outside(self, observations: Array) -> dict[str, Array]:
        """Return the dictionary observation: fresh arrays, dropped bottles as flags."""
        return {
            "bottles_carrying": observations[:, CARRYING].copy(),
            "bottles_delivered": observations[:, DELIVERED].copy(),
            "bottles_dropped": (observations[:, DROPPED:] > 0).astype(np.int8),
            "location": observations[:, LOCATION].copy(),
        }
