"""A reservoir: floods upstream against crops that go dry (`lab/dam-v0`).

Each week the dam releases water, then a random inflow arrives; what the reservoir cannot hold goes over the crest.

    flooded: -(10 ha x (level above the bank) + 100 ha x (water over the crest))
    harvest: -(loss of crops, 0.1 M euro for each of the first missing units of demand and 0.2 for each further one)

Both costs are convex and piecewise linear with corners at whole units of water; demand, capacity, inflows and starts
are whole as well. Whole releases are therefore best, although any amount may be released, and dynamic programming over
whole levels is exact. (A unit more in a full reservoir costs at most 10 ha in each later week or 100 ha when it flows
over, which keeps the cost to go convex up to a discount of 0.9.)
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.envs.families.lab.convex_front import Points, TabularProblem, steps_within, tabular_front

CAPACITY = 16
BANK = 9  # level above which land is flooded
DEMAND = 4
PATIENT = 2  # missing units that cost little
LARGEST_RELEASE = 7
INFLOWS = np.array([0.0, 2.0, 4.0, 9.0])
CHANCES = np.array([0.3, 0.3, 0.2, 0.2])
LOWEST_START = 2
NUM_STARTS = 8  # whole levels
BANK_AREA = 10.0  # ha
CREST_AREA = 100.0  # ha
LOSS = 0.1  # M euro
HORIZON = 50


class Outcome(NamedTuple):
    """What a week brings."""

    level: float
    flooded: float
    harvest: float


@njit(cache=True, nogil=True)
def week(level: float, release: float, inflow: float) -> Outcome:
    """Return the level after a week and both rewards; no more than the level is released."""
    amount = min(max(release, 0.0), LARGEST_RELEASE, level)
    missing = max(DEMAND - amount, 0.0)
    full = level - amount + inflow
    after = min(full, float(CAPACITY))
    flooded = BANK_AREA * max(after - BANK, 0.0) + CREST_AREA * (full - after)
    return Outcome(after, -flooded, -LOSS * (missing + max(missing - PATIENT, 0.0)))


@njit(cache=True, nogil=True)
def inflow_of(uniform: float) -> float:
    """Return the inflow for a draw in [0, 1)."""
    total = 0.0
    for index in range(INFLOWS.size):
        total += CHANCES[index]
        if uniform < total:
            return float(INFLOWS[index])
    return float(INFLOWS[-1])


@njit(cache=True, nogil=True)
def advance(actions: Array, level: Array, draws: Array, positions: Array, observations: Array, rewards: Array) -> None:
    """Release water and let the river in. `actions`: [env, 1] units of water; `level`: [env]."""
    for env in range(level.size):
        outcome = week(level[env], np.float64(actions[env, 0]), inflow_of(draws[env, positions[env]]))
        positions[env] += 1
        level[env] = outcome.level
        observations[env, 0] = outcome.level
        rewards[env, 0] = outcome.flooded
        rewards[env, 1] = outcome.harvest


class DamKernel(KernelVectorEnv):
    """The batch form of lab/dam-v0. Observation: the level. Action: the release, both in units of water."""

    picture_size = (480, 320)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = HORIZON) -> None:
        worst = [BANK_AREA * (CAPACITY - BANK) + CREST_AREA * INFLOWS.max(), LOSS * (2 * DEMAND - PATIENT)]
        super().__init__(
            num_envs,
            observation_space=Box(0.0, CAPACITY, (1,), np.float32),
            action_space=Box(0.0, LARGEST_RELEASE, (1,), np.float32),
            reward_space=Box(-np.array(worst, np.float32), np.zeros(2, np.float32)),
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=2, num_envs=num_envs),
        )
        self.arrays = {"level": np.zeros(num_envs)}

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the reservoir with bank and crest, and what the last week released."""
        level = float(self.arrays["level"][0])

        def height(units: float) -> float:
            return 280 - 14.0 * units

        sheet.rectangle((20, height(level)), (300, 280), (120, 180, 225))
        sheet.rectangle((300, height(CAPACITY) - 4), (326, 280), "faint")
        sheet.line([(20, height(BANK)), (300, height(BANK))], "orange", 2)
        sheet.text((26, height(BANK) - 10), "land is flooded above", "orange", 12)
        sheet.line([(12, 281), (468, 281)], "ink", 2)
        released = 0.0 if action is None else float(np.clip(np.asarray(action).ravel()[0], 0.0, LARGEST_RELEASE))
        sheet.rectangle((326, 280 - 6 * released), (468, 280), (120, 180, 225))
        sheet.text((397, 220), f"release {released:.1f}", "ink", 14, "middle")
        sheet.text((397, 240), f"demand {DEMAND}", "faint", 12, "middle")
        sheet.text((20, 20), f"level {level:.1f} of {CAPACITY}", "ink", 14)

    def _start(self, mask: Array, observations: Array) -> None:
        assert self.streams is not None
        envs = np.flatnonzero(mask)
        draws = self.streams.draws[envs, self.streams.position[envs]]
        self.streams.position[envs] += 1
        self.arrays["level"][envs] = LOWEST_START + np.floor(NUM_STARTS * draws)
        observations[envs, 0] = self.arrays["level"][envs]

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        assert self.streams is not None
        terminated[:] = False
        draws = self.streams.draws
        advance(actions, self.arrays["level"], draws, self.streams.position, observations, rewards)


def as_table(parts: int = 1) -> TabularProblem:
    """Return the decision process over levels and releases that are multiples of 1 / `parts` units of water."""
    levels = np.arange(CAPACITY * parts + 1) / parts
    releases = np.arange(LARGEST_RELEASE * parts + 1) / parts
    shape = (levels.size, releases.size, INFLOWS.size)
    following = np.zeros(shape, dtype=np.int64)
    rewards = np.zeros((*shape[:2], 2))
    for state, action, outcome in np.ndindex(shape):
        after, flooded, harvest = week(float(levels[state]), float(releases[action]), float(INFLOWS[outcome]))
        following[state, action, outcome] = round(after * parts)
        rewards[state, action] += CHANCES[outcome] * np.array([flooded, harvest])
    start = np.zeros(levels.size)
    start[parts * np.arange(LOWEST_START, LOWEST_START + NUM_STARTS)] = 1.0 / NUM_STARTS
    return TabularProblem(following, np.broadcast_to(CHANCES, shape), rewards, start)


@cache
def _front(discount: float, horizon: int) -> Points:
    return tabular_front(as_table(), discount, horizon, divisions=200)


def front(discount: float, max_episode_steps: int | None = HORIZON, **_: EnvOption) -> Points:
    """Return the exact returns [flooded, harvest] that are best for one of 201 preferences.

    Args:
        discount: of returns; exact up to 0.9.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _front(discount, steps_within(max_episode_steps)).copy()
