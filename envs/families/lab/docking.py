"""A craft that docks with its thruster: time against fuel against the energy of the contact (`lab/docking-v0`).

The craft is some metres away from the station and drifts slowly towards it or away. A step of 2 s fires the thruster,
forwards or backwards, or not at all; a firing changes the speed by 0.25 m/s and takes 0.4 kg of fuel. Contact ends the
episode and costs the kinetic energy; leaving the range of the station ends it too and costs more than any contact.
Starts are random, so that episodes differ in length.

Distances are multiples of 0.5 m and speeds of 0.25 m/s, so that all states form a table and the front is exact.
"""

from functools import cache

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.envs.families.lab.convex_front import Points, TabularProblem, steps_within, tabular_front

STEP = 2.0  # s
LENGTH = 0.5  # m in a unit of distance
SPEED = 0.25  # m/s in a unit of speed: a step at this speed covers a unit of distance
FUEL = 0.4  # kg of a firing
MASS = 500.0  # kg
FARTHEST = 40  # units of distance
SLOWEST = -3  # units of speed; positive towards the station
FASTEST = 6
LOST = -1000.0  # J, of a craft that leaves the range of the station
NEAREST_START = 12
NUM_STARTS = 13  # distances, from the nearest on
START_SPEEDS = 3  # -1, 0, 1
HORIZON = 50


@njit(cache=True, nogil=True)
def advance(
    actions: Array, place: Array, ranges: Array, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Step every craft.

    Args:
        actions: [env] 0 fires backwards, 1 does not fire, 2 fires forwards.
        place: [env, 2] distance and speed in units; updated.
        ranges: the farthest distance, the slowest and the fastest speed, in units.
        observations: [env, 2] distance in m, speed in m/s.
        rewards: [env, 3] minus time in s, minus fuel in kg, minus the energy of the contact in J.
        terminated: [env] whether the craft touches the station or leaves its range.
    """
    for env in range(actions.size):
        thrust = actions[env] - 1
        speed = min(max(place[env, 1] + thrust, ranges[1]), ranges[2])
        distance = place[env, 0] - speed
        rewards[env, 0] = -STEP
        rewards[env, 1] = -FUEL * abs(thrust)
        rewards[env, 2] = 0.0
        terminated[env] = distance <= 0 or distance > ranges[0]
        if distance <= 0:
            rewards[env, 2] = -0.5 * MASS * (SPEED * speed) ** 2
        elif distance > ranges[0]:
            rewards[env, 2] = LOST
        place[env, 0] = distance
        place[env, 1] = speed
        observations[env, 0] = LENGTH * distance
        observations[env, 1] = SPEED * speed


@njit(cache=True, nogil=True)
def start(mask: Array, place: Array, draws: Array, positions: Array, observations: Array) -> None:
    """Put the crafts of `mask` [env] at a random distance with a random speed."""
    for env in range(mask.size):
        if mask[env]:
            place[env, 0] = NEAREST_START + int(NUM_STARTS * draws[env, positions[env]])
            place[env, 1] = int(START_SPEEDS * draws[env, positions[env] + 1]) - 1
            positions[env] += 2
            observations[env, 0] = LENGTH * place[env, 0]
            observations[env, 1] = SPEED * place[env, 1]


RANGES = np.array([FARTHEST, SLOWEST, FASTEST])


class DockingKernel(KernelVectorEnv):
    """The batch form of lab/docking-v0. Observation: distance in m, speed in m/s."""

    picture_size = (480, 220)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = HORIZON) -> None:
        low = np.array([-STEP, -FUEL, LOST], np.float32)
        high = np.array([-STEP, 0.0, 0.0], np.float32)
        super().__init__(
            num_envs,
            observation_space=Box(
                np.array([-LENGTH * FASTEST, SPEED * SLOWEST], np.float32),
                np.array([LENGTH * (FARTHEST - SLOWEST), SPEED * FASTEST], np.float32),
            ),
            action_space=Discrete(3),
            reward_space=Box(low, high),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=2, num_envs=num_envs),
        )
        self.arrays = {"place": np.zeros((num_envs, 2), dtype=np.int64)}

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the station on the right, the craft at its distance, and the flame of its thruster."""
        sheet.rectangle((0, 0), (480, 220), (18, 24, 38))
        distance, speed = self.arrays["place"][0].tolist()
        unit = 390.0 / FARTHEST
        left = 420 - unit * min(max(distance, 0), FARTHEST)
        sheet.rectangle((430, 60), (470, 160), "faint")
        sheet.rectangle((420, 98), (430, 122), "yellow")
        sheet.polygon(
            [(left, 110), (left - 14, 100), (left - 28, 100), (left - 28, 120), (left - 14, 120)], (225, 230, 240)
        )
        thrust = 0 if action is None else int(action) - 1
        if thrust > 0:
            sheet.polygon([(left - 28, 104), (left - 50, 110), (left - 28, 116)], "orange")
        if thrust < 0:
            sheet.polygon([(left - 8, 96), (left + 14, 92), (left - 8, 102)], "orange")
        words = f"{LENGTH * distance:.1f} m away, {SPEED * speed:+.2f} m/s towards the station"
        sheet.text((20, 200), words, (225, 230, 240), 13)

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        start(mask, self.arrays["place"], self.streams.draws, self.streams.position, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, self.arrays["place"], RANGES, observations, rewards, terminated)


def as_table() -> TabularProblem:
    """Return the decision process, built with the kernel itself; the last state is the end of the episode.

    State (distance - 1) * speeds + speed - SLOWEST, for distances from 1 to FARTHEST.
    """
    speeds = FASTEST - SLOWEST + 1
    end = FARTHEST * speeds
    states = np.arange(end)
    before = np.stack([states // speeds + 1, states % speeds + SLOWEST], axis=1)
    following = np.full((end + 1, 3, 1), end)
    rewards = np.zeros((end + 1, 3, 3))
    for action in range(3):
        place = before.copy()
        terminated = np.zeros(end, dtype=np.bool_)
        advance(np.full(end, action), place, RANGES, np.zeros((end, 2)), rewards[:end, action], terminated)
        after = (place[:, 0] - 1) * speeds + place[:, 1] - SLOWEST
        following[:end, action, 0] = np.where(terminated, end, after)
    start_chances = np.zeros(end + 1)
    distances = before[:, 0] - NEAREST_START
    starts = (distances >= 0) & (distances < NUM_STARTS) & (np.abs(before[:, 1]) <= 1)
    start_chances[:end][starts] = 1.0 / (NUM_STARTS * START_SPEEDS)
    return TabularProblem(following, np.ones(following.shape), rewards, start_chances)


@cache
def _front(discount: float, horizon: int) -> Points:
    return tabular_front(as_table(), discount, horizon, divisions=20)


def front(discount: float, max_episode_steps: int | None = HORIZON, **_: EnvOption) -> Points:
    """Return the exact returns [time, fuel, contact] that are best for one of 231 preferences.

    Args:
        discount: of returns.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _front(discount, steps_within(max_episode_steps)).copy()
