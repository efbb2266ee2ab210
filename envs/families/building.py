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

from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.single import single_form
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, Sheet
from morl.envs.families.building_model import FIRST, FLOOR_ROOMS, ZONES
from morl.envs.families.building_year import load
from morl.envs.families.quantiles import normals

HORIZON = 480
NUMBER = len(ZONES)
PADDED = 24  # zones and one more: whole SIMD registers
INPUTS = 2 * PADDED + 4
TARGET = 20.0  # deg C
HOTTEST = 40.0  # deg C
FULL_COLOR = 5.0  # deg C from the target at which a zone is drawn in its full color
NOISE = 0.02
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
    a = ACTIVITY
    t = temperature
    constant = 6.461927 + 0.946892 * a + 0.0000255737 * a * a
    return (
        constant + t * (0.0000589172 * a * a - 0.0627909 * a) - t * t * (0.19855 - 0.000940018 * a + 1.49532e-6 * a * a)
    )


@njit(cache=True, nogil=True)
def add_noise(env: int, clocks: Array, year: Array, draws: Array, positions: Array) -> None:
    """Draw this hour's carbon intensity and price."""
    first, second = normals(draws[env, positions[env]], draws[env, positions[env] + 1])
    positions[env] += 2
    hour = int(clocks[env, HOUR])
    clocks[env, NOISY_CARBON] = year[hour, CARBON] + NOISE * first
    clocks[env, NOISY_PRICE] = year[hour, PRICE] + NOISE * second


@njit(cache=True, nogil=True)
def observe(env: int, temperature: Array, clocks: Array, year: Array, people: float, observations: Array) -> None:
    """Write temperatures, outdoor, irradiance, ground, heat of a person, carbon, price; all between 0 and 1."""
    hour = int(clocks[env, HOUR])
    for zone in range(NUMBER):
        observations[env, zone] = temperature[env, zone] / HOTTEST
    observations[env, NUMBER] = min(max((year[hour, OUTDOOR] + 40.0) / 80.0, 0.0), 1.0)
    observations[env, NUMBER + 1] = year[hour, IRRADIANCE]
    observations[env, NUMBER + 2] = min(max((year[hour, GROUND] + 40.0) / 80.0, 0.0), 1.0)
    observations[env, NUMBER + 3] = min(max((people / 1000.0 + 1.0) / 2.0, 0.0), 1.0)
    observations[env, NUMBER + 4] = min(max(clocks[env, NOISY_CARBON], 0.0), 1.0)
    observations[env, NUMBER + 5] = min(max(clocks[env, NOISY_PRICE], 0.0), 1.0)


@njit(cache=True, nogil=True)
def start(
    mask: Array, temperature: Array, clocks: Array, year: Array, draws: Array, positions: Array, observations: Array
) -> None:
    """Begin at 20 degrees at a random hour from 1 to 200 in the environments of `mask` [env]."""
    for env in range(mask.size):
        if mask[env]:
            for zone in range(NUMBER):
                temperature[env, zone] = TARGET
            for column in range(clocks.shape[1]):
                clocks[env, column] = 0.0
            clocks[env, HOUR] = 1 + int(STARTS * draws[env, positions[env]])
            positions[env] += 1
            add_noise(env, clocks, year, draws, positions)
            observe(env, temperature, clocks, year, people_heat(TARGET), observations)


@njit(cache=True, nogil=True)
def heat(model: Array, inputs: Array, following: Array) -> None:
    """Write the temperatures of the next hour to `following` [PADDED]: a T + b u.

    `model`: [input, PADDED], `inputs`: temperatures, actions, both PADDED, then people, ground, outdoor, irradiance.
    Four inputs a round and zones along memory: three times as fast as one by one, and, other than with BLAS, the order
    of the sums does not depend on the number of environments.
    """
    for zone in range(PADDED):
        following[zone] = 0.0
    for row in range(0, INPUTS, 4):
        one = inputs[row]
        two = inputs[row + 1]
        three = inputs[row + 2]
        four = inputs[row + 3]
        for zone in range(PADDED):
            following[zone] += (
                model[row, zone] * one
                + model[row + 1, zone] * two
                + model[row + 2, zone] * three
                + model[row + 3, zone] * four
            )


@njit(cache=True, nogil=True)
def pay(env: int, error: Array, power: Array, clocks: Array, highest_price: float, rewards: Array) -> None:
    """Write the rewards. `error`: sum of |T' - 20| per floor, `power`: |a|_1 per floor; 3 or 9 objectives."""
    ramps = clocks[env, ELAPSED] >= 2.0
    if rewards.shape[1] == 3:
        before = clocks[env, POWER] + clocks[env, POWER + 1] + clocks[env, POWER + 2]
        earlier = clocks[env, POWER + 3] + clocks[env, POWER + 4] + clocks[env, POWER + 5]
        rewards[env, 0] = NUMBER - (error[0] + error[1] + error[2]) / 20.0
        rewards[env, 1] = NUMBER - clocks[env, NOISY_PRICE] / highest_price * (power[0] + power[1] + power[2])
        rewards[env, 2] = NUMBER - abs(before - earlier) if ramps else 0.0
    else:
        for floor in range(3):
            zones = FIRST[floor + 1] - FIRST[floor]
            change = abs(clocks[env, POWER + floor] - clocks[env, POWER + 3 + floor])
            rewards[env, floor] = zones - error[floor] / 20.0
            rewards[env, 3 + floor] = zones - power[floor] / 20.0
            rewards[env, 6 + floor] = zones - change if ramps else 0.0


class Building(NamedTuple):
    """What does not change in a year of a building."""

    model: Array
    """[input, PADDED] the step of one hour (`heat`)."""
    year: Array
    """[hour, 5] weather and tariffs."""
    highest_price: float


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    temperature: Array,
    clocks: Array,
    building: Building,
    draws: Array,
    positions: Array,
    observations: Array,
    rewards: Array,
) -> None:
    """Let an hour pass in every environment. `actions`: [env, zone], clipped to [-1, 1]; `temperature`: [env, zone]."""
    model, year, highest_price = building
    inputs = np.zeros(INPUTS)
    following = np.empty(PADDED)
    error = np.empty(3)
    power = np.empty(3)
    for env in range(actions.shape[0]):
        if clocks[env, ELAPSED] > 0.0:  # the first hour of an episode has been observed already
            clocks[env, HOUR] += 1.0
            add_noise(env, clocks, year, draws, positions)
        mean = 0.0
        hour = int(clocks[env, HOUR])
        for floor in range(3):
            power[floor] = 0.0
            for zone in range(FIRST[floor], FIRST[floor + 1]):
                mean += temperature[env, zone] / NUMBER
                inputs[zone] = temperature[env, zone]
                inputs[PADDED + zone] = min(max(actions[env, zone], -1.0), 1.0)
                power[floor] += abs(inputs[PADDED + zone])
        people = people_heat(mean)
        inputs[INPUTS - 4] = people
        inputs[INPUTS - 3] = year[hour, GROUND]
        inputs[INPUTS - 2] = year[hour, OUTDOOR]
        inputs[INPUTS - 1] = year[hour, IRRADIANCE]
        heat(model, inputs, following)
        for floor in range(3):
            error[floor] = 0.0
            for zone in range(FIRST[floor], FIRST[floor + 1]):
                error[floor] += abs(following[zone] - TARGET)
                temperature[env, zone] = min(max(following[zone], 0.0), HOTTEST)
        pay(env, error, power, clocks, highest_price, rewards)
        for floor in range(3):
            clocks[env, POWER + 3 + floor] = clocks[env, POWER + floor]
            clocks[env, POWER + floor] = power[floor]
        clocks[env, ELAPSED] += 1.0
        observe(env, temperature, clocks, year, people, observations)


def draw_zone(sheet: Sheet, corner: tuple[float, float], room: str, temperature: float, power: float) -> None:
    """Draw a zone: its color the temperature, a bar in its middle what its unit does.

    Args:
        sheet: to draw on.
        corner: left and top, in pixels.
        room: its name.
        temperature: in deg C.
        power: of the unit, in [-1, 1]; positive heats.
    """
    left, top = corner
    share = min(abs(temperature - TARGET) / FULL_COLOR, 1.0)
    hue = (245, 160, 110) if temperature > TARGET else (130, 185, 235)
    red, green, blue = (round(255 + share * (part - 255)) for part in hue)
    sheet.rectangle(corner, (left + 72, top + 84), (red, green, blue), "faint")
    sheet.text((left + 36, top + 14), room, "ink", 11, "middle")
    sheet.text((left + 36, top + 34), f"{temperature:.1f}", "ink", 15, "middle")
    sheet.rectangle((left + 36, top + 54), (left + 36 + 32 * power, top + 68), "orange" if power > 0 else "blue")
    sheet.line([(left + 36, top + 50), (left + 36, top + 72)], "ink", 1)


class BuildingKernel(KernelVectorEnv):
    """The batch form of building-3d-v0 and building-9d-v0.

    Args:
        num_envs: number of environments.
        max_episode_steps: time limit in hours.
        per_floor: nine objectives, comfort, energy and ramping of each floor, instead of three of the whole building.
        data: folder with a real year, and perhaps a building (`building_year`); None is the synthetic year.
    """

    picture_size = (640, 400)

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
            streams=RandomStreams("random", reserve=5, num_envs=num_envs),
        )
        share = year.irradiance / year.irradiance.max()
        hours = np.stack([year.outdoor, share, year.ground, year.carbon, year.price], axis=1)
        model = np.zeros((INPUTS, PADDED))
        model[:NUMBER, :NUMBER] = step.a.T
        model[PADDED : PADDED + NUMBER, :NUMBER] = step.b[:, 3:-1].T
        model[2 * PADDED :, :NUMBER] = step.b[:, [0, 1, 2, -1]].T
        self.building = Building(model, hours, float(year.price.max()))
        self.arrays = {"temperature": np.zeros((num_envs, NUMBER)), "clocks": np.zeros((num_envs, POWER + 6))}

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the floors: zones colored by temperature, what their units do, weather and tariffs."""
        temperature = self.arrays["temperature"][0]
        clocks = self.arrays["clocks"][0]
        weather = self.building.year[int(clocks[HOUR])]
        power = np.zeros(len(ZONES)) if action is None else np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        for floor, name in enumerate(("bottom", "middle", "top")):
            top = 278.0 - 92.0 * floor
            sheet.text((16, top + 42), name, "faint")
            for place, room in enumerate(FLOOR_ROOMS):
                zone = 2 + len(FLOOR_ROOMS) * floor + place  # the first two lie in the basement
                draw_zone(sheet, (80.0 + 78.0 * place, top), room, float(temperature[zone]), float(power[zone]))
        for zone in range(2):
            sheet.text((80 + 300 * zone, 386), f"{ZONES[zone]} {temperature[zone]:.1f} \N{DEGREE SIGN}C", "faint", 12)
        hour = int(clocks[HOUR])
        facts = (
            f"day {hour // 24 + 1}, {hour % 24:02d}:00",
            f"outside {weather[OUTDOOR]:.0f} \N{DEGREE SIGN}C",
            f"sun {100 * weather[IRRADIANCE]:.0f} %",
            f"price {clocks[NOISY_PRICE]:.2f}",
            f"carbon {clocks[NOISY_CARBON]:.2f}",
            f"power {np.abs(power).sum():.1f} of {len(ZONES)}",
        )
        for place, fact in enumerate(facts):
            sheet.text((16 + 102 * place, 22), fact, "ink", 13)
        legend = "bars: heating (orange) and cooling (blue) of each zone's unit; target 20 \N{DEGREE SIGN}C"
        sheet.text((16, 56), legend, "faint", 12)

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        temperature, clocks = self.arrays.values()
        start(mask, temperature, clocks, self.building.year, self.streams.draws, self.streams.position, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        temperature, clocks = self.arrays.values()
        draws = self.streams.draws
        positions = self.streams.position
        advance(actions, temperature, clocks, self.building, draws, positions, observations, rewards)


building = single_form(BuildingKernel)
"""The single form of both ids."""
