"""Heating and cooling an office of 23 zones (C-MORL's Building-3d and Building-9d, after SustainGym's BuildingEnv).

Each hour every zone's unit heats or cools with up to 8 kW; the temperatures follow T' = a T + b u exactly
(`building_model`). Weather, carbon and price come from a year of tables (`building_year`); an episode is 480 hours
from a random hour 1 to 200, and carbon and price carry Gaussian noise of 0.02. Rewards, with n zones, |.|_1 the sum of
absolute values, and a the actions:

    comfort  n - |T' - 20|_1 / 20          energy  n - |a|_1 / 20       (9d, per floor)
    price    n - price / highest price * |a|_1                          (3d)
    ramping  n - | |a_(t-1)|_1 - |a_(t-2)|_1 |, and 0 in the first two hours

C-MORL's first observation was a scalar spread over all 29 inputs; here it is the observation. Its episodes terminated
after 480 hours; here that is a time limit, which truncates.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, LaneStreams
from morl.envs.core.single import single_lane
from morl.envs.families.building_model import FIRST, ZONES
from morl.envs.families.building_year import load
from morl.envs.families.quantiles import normals

Array = NDArray[Any]

HORIZON = 480
NUMBER = len(ZONES)
PADDED = 24  # zones and one more: whole SIMD registers
INPUTS = 2 * PADDED + 4
TARGET, HOTTEST, NOISE = 20.0, 40.0, 0.02
STARTS = 200
ACTIVITY = 120.0  # W per person
OUTDOOR, IRRADIANCE, GROUND, CARBON, PRICE = range(5)
"""Columns of `year` [hour, 5]; irradiance as a share of the year's highest."""
HOUR, ELAPSED, NOISY_CARBON, NOISY_PRICE, POWER = range(5)
"""Columns of `clocks` [env, 4 + 6]: hour of the year, hours into the episode, tariffs with their noise, and from POWER
on the |a|_1 of each floor in the hour before and in the one before that."""


@njit(cache=True, nogil=True)
def people_heat(temperature: float) -> float:
    """Return the sensible heat of a person in W at the mean `temperature` (EnergyPlus; its linear term is left out)."""
    a, t = ACTIVITY, temperature
    constant = 6.461927 + 0.946892 * a + 0.0000255737 * a * a
    return (
        constant + t * (0.0000589172 * a * a - 0.0627909 * a) - t * t * (0.19855 - 0.000940018 * a + 1.49532e-6 * a * a)
    )


@njit(cache=True, nogil=True)
def add_noise(lane: int, clocks: Array, year: Array, draws: Array, positions: Array) -> None:
    """Draw this hour's carbon intensity and price."""
    first, second = normals(draws[lane, positions[lane]], draws[lane, positions[lane] + 1])
    positions[lane] += 2
    hour = int(clocks[lane, HOUR])
    clocks[lane, NOISY_CARBON] = year[hour, CARBON] + NOISE * first
    clocks[lane, NOISY_PRICE] = year[hour, PRICE] + NOISE * second


@njit(cache=True, nogil=True)
def observe(lane: int, temperature: Array, clocks: Array, year: Array, people: float, observations: Array) -> None:
    """Write temperatures, outdoor, irradiance, ground, heat of a person, carbon, price; all between 0 and 1."""
    hour = int(clocks[lane, HOUR])
    for zone in range(NUMBER):
        observations[lane, zone] = temperature[lane, zone] / HOTTEST
    observations[lane, NUMBER] = min(max((year[hour, OUTDOOR] + 40.0) / 80.0, 0.0), 1.0)
    observations[lane, NUMBER + 1] = year[hour, IRRADIANCE]
    observations[lane, NUMBER + 2] = min(max((year[hour, GROUND] + 40.0) / 80.0, 0.0), 1.0)
    observations[lane, NUMBER + 3] = min(max((people / 1000.0 + 1.0) / 2.0, 0.0), 1.0)
    observations[lane, NUMBER + 4] = min(max(clocks[lane, NOISY_CARBON], 0.0), 1.0)
    observations[lane, NUMBER + 5] = min(max(clocks[lane, NOISY_PRICE], 0.0), 1.0)


@njit(cache=True, nogil=True)
def start(
    mask: Array, temperature: Array, clocks: Array, year: Array, draws: Array, positions: Array, observations: Array
) -> None:
    """Begin at 20 degrees at a random hour from 1 to 200 in the lanes of `mask` [env]."""
    for lane in range(mask.size):
        if mask[lane]:
            for zone in range(NUMBER):
                temperature[lane, zone] = TARGET
            for column in range(clocks.shape[1]):
                clocks[lane, column] = 0.0
            clocks[lane, HOUR] = 1 + int(STARTS * draws[lane, positions[lane]])
            positions[lane] += 1
            add_noise(lane, clocks, year, draws, positions)
            observe(lane, temperature, clocks, year, people_heat(TARGET), observations)


@njit(cache=True, nogil=True)
def heat(model: Array, inputs: Array, following: Array) -> None:
    """Write the temperatures of the next hour to `following` [PADDED]: a T + b u.

    `model`: [input, PADDED], `inputs`: temperatures, actions, both PADDED, then people, ground, outdoor, irradiance.
    Four inputs a round and zones along memory: three times as fast as one by one, and, other than with BLAS, the order
    of the sums does not depend on the number of lanes.
    """
    for zone in range(PADDED):
        following[zone] = 0.0
    for row in range(0, INPUTS, 4):
        one, two, three, four = inputs[row], inputs[row + 1], inputs[row + 2], inputs[row + 3]
        for zone in range(PADDED):
            following[zone] += (
                model[row, zone] * one
                + model[row + 1, zone] * two
                + model[row + 2, zone] * three
                + model[row + 3, zone] * four
            )


@njit(cache=True, nogil=True)
def pay(lane: int, error: Array, power: Array, clocks: Array, highest_price: float, rewards: Array) -> None:
    """Write the rewards. `error`: sum of |T' - 20| per floor, `power`: |a|_1 per floor; 3 or 9 objectives."""
    ramps = clocks[lane, ELAPSED] >= 2.0
    if rewards.shape[1] == 3:
        before = clocks[lane, POWER] + clocks[lane, POWER + 1] + clocks[lane, POWER + 2]
        earlier = clocks[lane, POWER + 3] + clocks[lane, POWER + 4] + clocks[lane, POWER + 5]
        rewards[lane, 0] = NUMBER - (error[0] + error[1] + error[2]) / 20.0
        rewards[lane, 1] = NUMBER - clocks[lane, NOISY_PRICE] / highest_price * (power[0] + power[1] + power[2])
        rewards[lane, 2] = NUMBER - abs(before - earlier) if ramps else 0.0
    else:
        for floor in range(3):
            zones = FIRST[floor + 1] - FIRST[floor]
            change = abs(clocks[lane, POWER + floor] - clocks[lane, POWER + 3 + floor])
            rewards[lane, floor] = zones - error[floor] / 20.0
            rewards[lane, 3 + floor] = zones - power[floor] / 20.0
            rewards[lane, 6 + floor] = zones - change if ramps else 0.0


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    temperature: Array,
    clocks: Array,
    model: Array,
    year: Array,
    highest_price: float,
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
) -> None:
    """Let an hour pass in every lane. `actions`: [env, zone], cut off at -1 and 1; `temperature`: [env, zone]."""
    inputs, following, error, power = np.zeros(INPUTS), np.empty(PADDED), np.empty(3), np.empty(3)
    for lane in range(actions.shape[0]):
        if clocks[lane, ELAPSED] > 0.0:  # the first hour of an episode has been observed already
            clocks[lane, HOUR] += 1.0
            add_noise(lane, clocks, year, draws, positions)
        mean, hour = 0.0, int(clocks[lane, HOUR])
        for floor in range(3):
            power[floor] = 0.0
            for zone in range(FIRST[floor], FIRST[floor + 1]):
                mean += temperature[lane, zone] / NUMBER
                inputs[zone] = temperature[lane, zone]
                inputs[PADDED + zone] = min(max(actions[lane, zone], -1.0), 1.0)
                power[floor] += abs(inputs[PADDED + zone])
        people = people_heat(mean)
        inputs[INPUTS - 4], inputs[INPUTS - 3] = people, year[hour, GROUND]
        inputs[INPUTS - 2], inputs[INPUTS - 1] = year[hour, OUTDOOR], year[hour, IRRADIANCE]
        heat(model, inputs, following)
        for floor in range(3):
            error[floor] = 0.0
            for zone in range(FIRST[floor], FIRST[floor + 1]):
                error[floor] += abs(following[zone] - TARGET)
                temperature[lane, zone] = min(max(following[zone], 0.0), HOTTEST)
        pay(lane, error, power, clocks, highest_price, rewards)
        for floor in range(3):
            clocks[lane, POWER + 3 + floor] = clocks[lane, POWER + floor]
            clocks[lane, POWER + floor] = power[floor]
        clocks[lane, ELAPSED] += 1.0
        observe(lane, temperature, clocks, year, people, observations)


class BuildingKernel(KernelVectorEnv):
    """The batch form of building-3d-v0 and building-9d-v0.

    Args:
        num_envs: number of lanes.
        max_episode_steps: time limit in hours.
        per_floor: nine objectives, comfort, energy and ramping of each floor, instead of three of the whole building.
        data: folder with a real year, and perhaps a building (`building_year`); None is the synthetic year.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = HORIZON,
        per_floor: bool = False,
        data: str | None = None,
    ) -> None:
        year, step = load(data)
        objectives = 9 if per_floor else 3
        super().__init__(
            num_envs,
            observation_space=Box(0.0, 1.0, (NUMBER + 6,), np.float32),
            action_space=Box(-1.0, 1.0, (NUMBER,), np.float32),
            reward_space=Box(-np.inf, np.inf, (objectives,), np.float32),
            max_episode_steps=max_episode_steps,
            streams=LaneStreams("random", reserve=5, num_envs=num_envs),
        )
        share = year.irradiance / year.irradiance.max()
        self.year = np.stack([year.outdoor, share, year.ground, year.carbon, year.price], axis=1)
        self.highest_price = float(year.price.max())
        self.model = np.zeros((INPUTS, PADDED))
        self.model[:NUMBER, :NUMBER] = step.a.T
        self.model[PADDED : PADDED + NUMBER, :NUMBER] = step.b[:, 3:-1].T
        self.model[2 * PADDED :, :NUMBER] = step.b[:, [0, 1, 2, -1]].T
        self.lanes_state = {"temperature": np.zeros((num_envs, NUMBER)), "clocks": np.zeros((num_envs, POWER + 6))}

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        temperature, clocks = self.lanes_state.values()
        start(mask, temperature, clocks, self.year, self.streams.draws, self.streams.position, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        temperature, clocks = self.lanes_state.values()
        model = self.model, self.year, self.highest_price
        chance = self.streams.draws, self.streams.position
        advance(actions, temperature, clocks, *model, *chance, observations, rewards)


building = single_lane(BuildingKernel)
"""The single form of both ids."""
