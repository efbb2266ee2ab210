"""Minecart in batch (Abels et al. 2019): drive to mines, dig two ores, sell them at home, save fuel.

Each action lasts `frame_skip` sub-steps. The order of events in a sub-step is mo-gymnasium's: the action first, then
the end of the episode, then motion, then the base; so the action still acts once in the sub-step after the sale. Ore is
drawn from each environment's own generator, as in our repaired single form (`mo_gymnasium_patches.SeededOre`).
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from llvmlite.ir import IRBuilder, Value
from numba import njit
from numba.core import types
from numba.extending import intrinsic

from morl.envs.backends.kernels import KernelVectorEnv, set_rows
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Array

MINE, LEFT, RIGHT, ACCELERATE, BRAKE = range(5)
ROTATION = 10.0
ACCELERATION = 0.0075
DECELERATION = 1.0
STANDSTILL = 0.001
MAX_SPEED = 1.0
MINE_RADIUS = 0.14
BASE_RADIUS = 0.15
FUEL_IDLE = -0.005
FUEL_EXTRA = np.array([-0.05, 0.0, 0.0, -0.025, 0.0, 0.0])  # per sub-step, for each action
X, Y, SPEED, ANGLE, FIRST_ORE, SECOND_ORE, DEPARTED = range(7)  # columns of `carts`


@intrinsic
def fused_multiply_add(typing_context: object, a: object, b: object, c: object) -> object:  # noqa: ARG001 - Numba's form
    """Return a * b + c with one rounding, which is how NumPy's `dot` (BLAS) adds the second product."""

    def generate(context: object, builder: IRBuilder, signature: object, arguments: list[Value]) -> Value:  # noqa: ARG001
        first, second, summand = arguments
        return builder.fma(first, second, summand)

    return types.float64(types.float64, types.float64, types.float64), generate


class World(NamedTuple):
    """What does not change: mines [mine, 6], capacity of a cart, fuel [action] of a step, sub-steps of a step."""

    mines: Array
    capacity: float
    fuel: Array
    frame_skip: int


@njit(cache=True, nogil=True)
def length(x: float, y: float) -> float:
    """Return the Euclidean length of (x, y), rounded as in the single environment."""
    return math.sqrt(fused_multiply_add(y, y, x * x))  # type: ignore[call-arg]


@njit(cache=True, nogil=True)
def dig(cart: Array, mines: Array, normals: Array, position: int, capacity: float) -> int:
    """Dig once at the nearest mine in reach; return the new position in the row of random numbers.

    `mines`: [mine, 6] x, y, mean and deviation of the first ore, of the second ore. Ore is cut off at zero.
    """
    nearest = 0
    distance = np.inf
    for mine in range(mines.shape[0]):
        here = length(cart[X] - mines[mine, 0], cart[Y] - mines[mine, 1])
        if here < distance:
            nearest = mine
            distance = here
    if distance > MINE_RADIUS:
        return position
    amounts = (0.0, 0.0)
    for ore in range(2):
        amount = mines[nearest, 2 + 2 * ore]
        if mines[nearest, 3 + 2 * ore] != 0.0:
            amount += mines[nearest, 3 + 2 * ore] * normals[position]
            position += 1
        amounts = (amounts[1], max(0.0, amount))
    room = capacity - (cart[FIRST_ORE] + cart[SECOND_ORE])
    total = amounts[0] + amounts[1]
    scale = room / total if total > room else 1.0
    cart[FIRST_ORE] += amounts[0] * scale
    cart[SECOND_ORE] += amounts[1] * scale
    return position


@njit(cache=True, nogil=True)
def steer(cart: Array, action: int) -> None:
    """Turn by 10 degrees, accelerate or brake."""
    if action == LEFT:
        cart[ANGLE] = (cart[ANGLE] - ROTATION) % 360
    elif action == RIGHT:
        cart[ANGLE] = (cart[ANGLE] + ROTATION) % 360
    elif action == ACCELERATE:
        cart[SPEED] = min(max(cart[SPEED] + ACCELERATION, 0.0), MAX_SPEED)
    elif action == BRAKE:
        cart[SPEED] = min(max(cart[SPEED] - DECELERATION, 0.0), MAX_SPEED)


@njit(cache=True, nogil=True)
def roll(cart: Array) -> None:
    """Move the cart for one sub-step; hitting a wall at an angle turns it by 10 degrees along the wall."""
    if cart[SPEED] < STANDSTILL:
        return
    x = cart[X]
    y = cart[Y]
    x_velocity = cart[SPEED] * math.cos(cart[ANGLE] * math.pi / 180)
    y_velocity = cart[SPEED] * math.sin(cart[ANGLE] * math.pi / 180)
    if y not in (0.0, 1.0) and abs(y_velocity) > STANDSTILL:
        if x == 1.0 and x_velocity > 0:
            cart[ANGLE] += math.copysign(ROTATION, y_velocity)
        if x == 0.0 and x_velocity < 0:
            cart[ANGLE] -= math.copysign(ROTATION, y_velocity)
    if x not in (0.0, 1.0) and abs(x_velocity) > STANDSTILL:
        if y == 1.0 and y_velocity > 0:
            cart[ANGLE] -= math.copysign(ROTATION, x_velocity)
        if y == 0.0 and y_velocity < 0:
            cart[ANGLE] += math.copysign(ROTATION, x_velocity)
    cart[X] = min(max(x + x_velocity, 0.0), 1.0)
    cart[Y] = min(max(y + y_velocity, 0.0), 1.0)
    cart[SPEED] = length(x - cart[X], y - cart[Y])


@njit(cache=True, nogil=True)
def observe(cart: Array, capacity: float, observation: Array) -> None:
    """Write x, y, speed, sine and cosine of the heading, and both loads as shares of the capacity."""
    angle = cart[ANGLE] * (math.pi / 180)
    observation[0] = cart[X]
    observation[1] = cart[Y]
    observation[2] = cart[SPEED]
    observation[3] = math.sin(angle)
    observation[4] = math.cos(angle)
    observation[5] = cart[FIRST_ORE] / capacity
    observation[6] = cart[SECOND_ORE] / capacity


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    carts: Array,
    world: World,
    normals: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
    terminated: Array,
) -> None:
    """Step every environment: `frame_skip` sub-steps of the same action."""
    mines, capacity, fuel, frame_skip = world
    for env in range(actions.size):
        cart = carts[env]
        action = actions[env]
        home = False
        rewards[env, 2] = fuel[action]
        for _ in range(frame_skip):
            steer(cart, action)
            if action == MINE and cart[SPEED] < STANDSTILL:
                positions[env] = dig(cart, mines, normals[env], positions[env], capacity)
            if home:
                break
            roll(cart)
            if length(cart[X], cart[Y]) >= BASE_RADIUS:
                cart[DEPARTED] = 1.0
            elif cart[DEPARTED] == 1.0:
                home = True
                for ore in range(2):
                    rewards[env, ore] = np.float32(cart[FIRST_ORE + ore])  # the single environment pays float32
                    cart[FIRST_ORE + ore] = 0.0
        observe(cart, capacity, observations[env])
        terminated[env] = home


class MinecartKernel(KernelVectorEnv):
    """The batch form of minecart-v0 and minecart-deterministic-v0. `config`: a mine file of mo-gymnasium's format."""

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 1000,
        config: str | None = None,
        frame_skip: int = 4,
    ) -> None:
        if config is None:
            from mo_gymnasium.envs.minecart import minecart

            config = str(Path(minecart.__file__).parent / "mine_config.json")
        data = json.loads(Path(config).read_text())
        highest = np.array([data["capacity"], data["capacity"], 0], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(-np.ones(7, np.float32), np.ones(7, np.float32)),
            action_space=Discrete(6),
            reward_space=Box(np.array([0, 0, -1], np.float32), highest),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("standard_normal", reserve=2 * frame_skip, num_envs=num_envs),
        )
        fuel = np.float32(FUEL_IDLE * frame_skip) + (FUEL_EXTRA * frame_skip).astype(np.float32)
        mines = np.array([[m["x"], m["y"], *m["distributions"][0], *m["distributions"][1]] for m in data["mines"]])
        self.world = World(mines, float(data["capacity"]), fuel.astype(np.float64), frame_skip)
        self.home = np.array([0.0, 0.0, 0.0, 45.0, 0.0, 0.0, 0.0])
        self.first = np.zeros(7, dtype=np.float32)
        observe(self.home, self.world.capacity, self.first)
        self.arrays = {"carts": np.zeros((num_envs, 7))}

    def _start(self, mask: Array, observations: Array) -> None:
        set_rows(mask, self.arrays["carts"], self.home)
        set_rows(mask, observations, self.first)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        draws = self.streams.draws
        positions = self.streams.position
        advance(actions, self.arrays["carts"], self.world, draws, positions, observations, rewards, terminated)
