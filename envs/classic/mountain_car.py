"""The mountain cars in batch (Moore 1990; vector rewards as in mo-gymnasium), discrete and continuous.

An underpowered car must swing its way out of a valley. Every number is rounded where the single environments round it.
"""

import math

import numpy as np
from gymnasium.envs.classic_control.utils import maybe_parse_reset_bounds
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv, as_float32
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Array, Info, ObservationBatch, Options, Seed

LEFT_WALL = -1.2
RIGHT_WALL = 0.6
START = (-0.6, -0.4)
TIME, REVERSE, FORWARD, MOVE, FAST = range(5)  # what an entry of the reward vector can measure


CAR_SPACE = Box(np.array([LEFT_WALL, -0.07], np.float32), np.array([RIGHT_WALL, 0.07], np.float32))
"""Position and velocity."""


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
    for env in range(actions.size):
        action = actions[env]
        position = cars[env, 0]
        velocity = cars[env, 1]
        velocity += (action - 1) * 0.001 + math.cos(3 * position) * -0.0025
        velocity = min(max(velocity, -0.07), 0.07)
        position = min(max(position + velocity, LEFT_WALL), RIGHT_WALL)
        if position == LEFT_WALL and velocity < 0:
            velocity = 0.0
        terminated[env] = position >= 0.5 and velocity >= goal_velocity
        for index in range(entries.size):
            if entries[index] == TIME:
                value = 0.0 if terminated[env] else -1.0
            elif entries[index] == REVERSE:
                value = -1.0 if action == 0 else 0.0
            elif entries[index] == FORWARD:
                value = -1.0 if action == 2 else 0.0
            elif entries[index] == MOVE:
                value = 0.0 if action == 1 else -1.0
            else:
                value = as_float32(15 * abs(velocity))
            rewards[env, index] = value
        cars[env, 0] = position
        cars[env, 1] = velocity
        observations[env, 0] = position
        observations[env, 1] = velocity


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
    for env in range(actions.shape[0]):
        position = cars[env, 0]
        velocity = cars[env, 1]
        first = cars[env, 2] == 1.0
        action = float(actions[env, 0])
        inside = -1.0 <= action <= 1.0
        wave = 0.0025 * math.cos(3 * position if first else as_float32(3 * position))
        if inside and wide:
            change = action * 0.0015 - wave
        elif inside:
            change = as_float32(as_float32(action * as_float32(0.0015)) - as_float32(wave))
        else:
            change = math.copysign(0.0015, action) - wave
        double = first or (wide and inside)
        limit = 0.07 if double else as_float32(0.07)
        velocity = velocity + change if double else as_float32(velocity + as_float32(change))
        double = first or (double and -limit <= velocity <= limit)  # the limit is a Python float
        velocity = min(max(velocity, -limit), limit)
        left = LEFT_WALL
        right = RIGHT_WALL
        goal = 0.45
        if not double:
            left = as_float32(left)
            right = as_float32(right)
            goal = as_float32(goal)
        position = position + velocity if double else as_float32(position + as_float32(velocity))
        position = min(max(position, left), right)
        if position == left and velocity < 0:
            velocity = 0.0
        terminated[env] = position >= goal and velocity >= goal_velocity
        rewards[env, 0] = 0.0 if terminated[env] else -1.0
        rewards[env, 1] = as_float32(-(action * action))
        cars[env, 0] = as_float32(position)
        cars[env, 1] = as_float32(velocity)
        cars[env, 2] = 0.0
        observations[env, 0] = position
        observations[env, 1] = velocity


class _Cars(KernelVectorEnv):
    """Both cars: position, velocity and a mark of the first step, and a start drawn from U(-0.6, -0.4)."""

    bounds = START

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Start new episodes; `options` may hold other bounds of their starts, `low` and `high`."""
        others = {name: value for name, value in (options or {}).items() if name != "reset_mask"}
        self.bounds = maybe_parse_reset_bounds(others or None, START[0], START[1])
        try:
            return super().reset(seed=seed, options=options)
        finally:
            self.bounds = START  # for the resets at the ends of episodes

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        envs = np.flatnonzero(mask)
        draws = self.streams.draws[envs, self.streams.position[envs]]
        self.streams.position[envs] += 1
        cars = self.arrays["cars"]
        low, high = self.bounds
        cars[envs, 0] = low + (high - low) * draws  # how numpy's `uniform` rounds
        cars[envs, 1] = 0.0
        cars[envs, 2] = 1.0
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
        super().__init__(
            num_envs,
            observation_space=CAR_SPACE,
            action_space=Discrete(3),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=1, num_envs=num_envs),
        )
        self.goal_velocity = float(goal_velocity)
        self.arrays = {"cars": np.zeros((num_envs, 3))}

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        cars = self.arrays["cars"]
        swing(actions, cars, self.goal_velocity, self.entries, observations, rewards, terminated)


class ContinuousMountainCarKernel(_Cars):
    """The batch form of mo-mountaincarcontinuous-v0."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 999, goal_velocity: float = 0) -> None:
        super().__init__(
            num_envs,
            observation_space=CAR_SPACE,
            action_space=Box(-1.0, 1.0, (1,)),
            reward_space=Box(np.array([-1, -1], np.float32), np.zeros(2, np.float32)),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=1, num_envs=num_envs),
        )
        self.goal_velocity = float(goal_velocity)
        self.arrays = {"cars": np.zeros((num_envs, 3))}

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        push(actions, self.arrays["cars"], self.goal_velocity, observations, rewards, terminated)
