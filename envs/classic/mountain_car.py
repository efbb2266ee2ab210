"""The mountain cars in batch (Moore 1990; vector rewards as in mo-gymnasium), discrete and continuous.

An underpowered car must swing its way out of a valley. Every number is rounded where the single environments round it.
"""

import math
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.utils import maybe_parse_reset_bounds
from gymnasium.spaces import Box, Discrete
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, LaneStreams, single

Array = NDArray[Any]

LEFT_WALL, RIGHT_WALL = -1.2, 0.6
TIME, REVERSE, FORWARD, MOVE, FAST = range(5)  # what an entry of the reward vector can measure


@njit(cache=True, nogil=True)
def swing(
    actions: Array,
    cars: Array,
    goal_velocity: float,
    entries: Array,
    observations: Array,
    rewards: Array,
    terminated: Array,
) -> None:
    """Push left (0), roll (1) or push right (2). `cars`: [env, 3] position, velocity, unused."""
    for lane in range(actions.size):
        action = actions[lane]
        position, velocity = cars[lane, 0], cars[lane, 1]
        velocity += (action - 1) * 0.001 + math.cos(3 * position) * -0.0025
        velocity = min(max(velocity, -0.07), 0.07)
        position = min(max(position + velocity, LEFT_WALL), RIGHT_WALL)
        if position == LEFT_WALL and velocity < 0:
            velocity = 0.0
        terminated[lane] = position >= 0.5 and velocity >= goal_velocity
        for index in range(entries.size):
            if entries[index] == TIME:
                value = 0.0 if terminated[lane] else -1.0
            elif entries[index] == REVERSE:
                value = -1.0 if action == 0 else 0.0
            elif entries[index] == FORWARD:
                value = -1.0 if action == 2 else 0.0
            elif entries[index] == MOVE:
                value = 0.0 if action == 1 else -1.0
            else:
                value = single(15 * abs(velocity))
            rewards[lane, index] = value
        cars[lane, 0], cars[lane, 1] = position, velocity
        observations[lane, 0], observations[lane, 1] = position, velocity


@njit(cache=True, nogil=True)
def push(
    actions: Array, cars: Array, goal_velocity: float, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Push with force `actions` [env, 1], cut to [-1, 1].

    By NumPy's promotion rules the original computes in float64 on the first step of an episode and where the force is
    one, and in float32 otherwise; a force beyond the limits becomes a Python float, which counts as neither.
    `cars`: [env, 3] position, velocity, first step.
    """
    wide = actions.itemsize == 8
    for lane in range(actions.shape[0]):
        position, velocity, first = cars[lane, 0], cars[lane, 1], cars[lane, 2] == 1.0
        action = float(actions[lane, 0])
        inside = -1.0 <= action <= 1.0
        wave = 0.0025 * math.cos(3 * position if first else single(3 * position))
        if inside and wide:
            change = action * 0.0015 - wave
        elif inside:
            change = single(single(action * single(0.0015)) - single(wave))
        else:
            change = math.copysign(0.0015, action) - wave
        double = first or (wide and inside)
        limit = 0.07 if double else single(0.07)
        velocity = velocity + change if double else single(velocity + single(change))
        double = first or (double and -limit <= velocity <= limit)  # the limit is a Python float
        velocity = min(max(velocity, -limit), limit)
        left, right, goal = LEFT_WALL, RIGHT_WALL, 0.45
        if not double:
            left, right, goal = single(left), single(right), single(goal)
        position = position + velocity if double else single(position + single(velocity))
        position = min(max(position, left), right)
        if position == left and velocity < 0:
            velocity = 0.0
        terminated[lane] = position >= goal and velocity >= goal_velocity
        rewards[lane, 0] = 0.0 if terminated[lane] else -1.0
        rewards[lane, 1] = single(-(action * action))
        cars[lane, 0], cars[lane, 1], cars[lane, 2] = single(position), single(velocity), 0.0
        observations[lane, 0], observations[lane, 1] = position, velocity


class _Cars(KernelVectorEnv):
    """What both share: position, velocity and a mark of the first step, and a start drawn from U(-0.6, -0.4)."""

    bounds = (-0.6, -0.4)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; `options` may hold other bounds of their starts, `low` and `high`."""
        others = {name: value for name, value in (options or {}).items() if name != "reset_mask"}
        self.bounds = maybe_parse_reset_bounds(others or None, *_Cars.bounds)
        try:
            return super().reset(seed=seed, options=options)
        finally:
            self.bounds = _Cars.bounds  # of the resets that follow on the ends of episodes

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        lanes = np.flatnonzero(mask)
        draws = self.streams.draws[lanes, self.streams.position[lanes]]
        self.streams.position[lanes] += 1
        cars = self.lanes_state["cars"]
        low, high = self.bounds
        cars[lanes, 0] = low + (high - low) * draws  # how numpy's `uniform` rounds
        cars[lanes, 1] = 0.0
        cars[lanes, 2] = 1.0
        observations[mask] = cars[mask, :2]


class MountainCarKernel(_Cars):
    """The batch form of mo-mountaincar-v0 and its -3d, -timemove and -timespeed variants."""

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 200,
        add_speed_objective: bool = False,
        remove_move_penalty: bool = False,
        merge_move_penalty: bool = False,
        goal_velocity: float = 0,
    ) -> None:
        moves = [] if remove_move_penalty else [MOVE] if merge_move_penalty else [REVERSE, FORWARD]
        self.entries = np.array([TIME, *moves, *([FAST] if add_speed_objective else [])])
        high = np.where(self.entries == FAST, 1.1, 0.0).astype(np.float32)
        low = np.where(self.entries == FAST, 0.0, -1.0).astype(np.float32)
        edges = np.array([LEFT_WALL, -0.07], np.float32), np.array([RIGHT_WALL, 0.07], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(*edges),
            action_space=Discrete(3),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=LaneStreams("random", reserve=1, num_envs=num_envs),
        )
        self.goal_velocity = float(goal_velocity)
        self.lanes_state = {"cars": np.zeros((num_envs, 3))}

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        cars = self.lanes_state["cars"]
        swing(actions, cars, self.goal_velocity, self.entries, observations, rewards, terminated)


class ContinuousMountainCarKernel(_Cars):
    """The batch form of mo-mountaincarcontinuous-v0."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 999, goal_velocity: float = 0) -> None:
        edges = np.array([LEFT_WALL, -0.07], np.float32), np.array([RIGHT_WALL, 0.07], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(*edges),
            action_space=Box(-1.0, 1.0, (1,)),
            reward_space=Box(np.array([-1, -1], np.float32), np.zeros(2, np.float32)),
            max_episode_steps=max_episode_steps,
            streams=LaneStreams("random", reserve=1, num_envs=num_envs),
        )
        self.goal_velocity = float(goal_velocity)
        self.lanes_state = {"cars": np.zeros((num_envs, 3))}

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        push(actions, self.lanes_state["cars"], self.goal_velocity, observations, rewards, terminated)
