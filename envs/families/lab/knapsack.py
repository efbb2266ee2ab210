"""A van is loaded with one parcel after another: three kinds of worth, one capacity (`lab/knapsack-v0`).

Each step takes one more parcel; the episode ends when none of the rest fits. The mask allows the parcels that are
outside and fit. A forbidden one ends the episode without pay, so that nothing is gained by it.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.envs.families.lab.convex_front import Points, distinct_front, steps_within

CAPACITY = 60  # kg
WEIGHTS = np.array([11, 17, 8, 14, 21, 9, 13, 19, 6, 16, 12, 10])  # kg
REVENUES = np.array([310.0, 940.0, 120.0, 820.0, 560.0, 470.0, 150.0, 1080.0, 90.0, 330.0, 640.0, 260.0])  # euro
GOODWILL = np.array([6.5, 2.0, 5.5, 1.5, 9.5, 2.5, 7.5, 1.0, 3.5, 4.0, 3.0, 0.5])  # points of a survey
RECYCLED = np.array([0.004, 0.006, 0.003, 0.016, 0.007, 0.002, 0.011, 0.009, 0.008, 0.024, 0.005, 0.019])  # shares


class Parcels(NamedTuple):
    """The parcels."""

    weights: Array
    """[parcel] in kg."""
    worths: Array
    """[parcel, objective]"""


class State(NamedTuple):
    """Arrays of all environments."""

    loaded: Array
    """[env, parcel] 1 where a parcel is in the van."""
    room: Array
    """[env] kg that are left."""
    allowed: Array
    """[env, parcel] 1 where a parcel may be taken."""


@njit(cache=True, nogil=True)
def observe(env: int, state: State, parcels: Parcels, observations: Array) -> bool:
    """Write mask and observation of an environment; return whether another parcel fits."""
    fits = False
    number = parcels.weights.size
    for parcel in range(number):
        allowed = state.loaded[env, parcel] == 0 and parcels.weights[parcel] <= state.room[env]
        state.allowed[env, parcel] = allowed
        observations[env, parcel] = state.loaded[env, parcel]
        fits |= allowed
    observations[env, number] = state.room[env] / CAPACITY
    return fits


@njit(cache=True, nogil=True)
def advance(
    actions: Array, state: State, parcels: Parcels, observations: Array, rewards: Array, terminated: Array
) -> None:
    """Load a parcel into every van."""
    for env in range(actions.size):
        parcel = actions[env]
        forbidden = state.allowed[env, parcel] == 0
        if not forbidden:
            state.loaded[env, parcel] = 1
            state.room[env] -= parcels.weights[parcel]
            for objective in range(rewards.shape[1]):
                rewards[env, objective] = parcels.worths[parcel, objective]
        fits = observe(env, state, parcels, observations)
        terminated[env] = forbidden or not fits


@njit(cache=True, nogil=True)
def start(mask: Array, state: State, parcels: Parcels, observations: Array) -> None:
    """Empty the vans of `mask` [env]."""
    for env in range(mask.size):
        if mask[env]:
            state.room[env] = CAPACITY
            for parcel in range(parcels.weights.size):
                state.loaded[env, parcel] = 0
            observe(env, state, parcels, observations)


def first_parcels(number: int) -> Parcels:
    """Return the first parcels.

    Raises:
        ValueError: the number is not in 1 .. 12.
    """
    if not 1 <= number <= len(WEIGHTS):
        raise ValueError(f"parcels must be in 1 .. {len(WEIGHTS)}, got {number!r}")
    worths = np.stack([REVENUES, GOODWILL, RECYCLED], axis=1)
    return Parcels(WEIGHTS[:number], worths[:number])


class KnapsackKernel(KernelVectorEnv):
    """The batch form of lab/knapsack-v0; `parcels` takes the first so many of 12.

    Observation: whether each parcel is loaded, and the share of the capacity that is left.
    """

    picture_size = (480, 320)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, parcels: int = 12) -> None:
        self.parcels = first_parcels(parcels)
        super().__init__(
            num_envs,
            observation_space=Box(0.0, 1.0, (parcels + 1,), np.float32),
            action_space=Discrete(parcels),
            reward_space=Box(np.zeros(3, np.float32), self.parcels.worths.max(axis=0).astype(np.float32)),
            max_episode_steps=max_episode_steps,
        )
        self.arrays = {
            "loaded": np.zeros((num_envs, parcels), dtype=np.int8),
            "room": np.zeros(num_envs, dtype=np.int64),
            "allowed": np.ones((num_envs, parcels), dtype=np.int8),
        }

    def _start(self, mask: Array, observations: Array) -> None:
        start(mask, State(**self.arrays), self.parcels, observations)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        advance(actions, State(**self.arrays), self.parcels, observations, rewards, terminated)

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the parcels, those in the van filled, the last one in orange, and the room that is left."""
        loaded = self.arrays["loaded"][0]
        weights = self.parcels.weights
        for parcel, weight in enumerate(weights.tolist()):
            left = 20.0 + 112.0 * (parcel % 4)
            bottom = 90.0 + 76.0 * (parcel // 4)
            side = 9.0 * float(np.sqrt(weight))
            last = action is not None and int(action) == parcel
            color = ("orange" if last else "blue") if loaded[parcel] else "light"
            sheet.rectangle((left, bottom - side), (left + side, bottom), color, "faint")
            sheet.text((left + side + 8, bottom - 10), f"{weight} kg", "ink" if loaded[parcel] else "faint", 13)
        used = 1.0 - int(self.arrays["room"][0]) / CAPACITY
        sheet.rectangle((20, 268), (460, 288), "light")
        sheet.rectangle((20, 268), (20 + 440 * used, 288), "green")
        sheet.text((20, 304), f"{used * CAPACITY:.0f} of {CAPACITY} kg", "faint", 13)

    def _infos(self) -> dict[str, Array]:
        return {"action_mask": self.arrays["allowed"]}


@cache
def _front(number: int, discount: float, steps: int) -> Points:
    """Return the front by dynamic programming over sets of parcels; without a discount each set has one return."""
    parcels = first_parcels(number)
    loads: dict[int, Points] = {0: np.zeros((1, 3))}
    reached = [np.zeros((1, 3))]
    for step in range(steps):
        larger: dict[int, list[Points]] = {}
        for load, returns in loads.items():
            weight = sum(int(parcels.weights[parcel]) for parcel in range(number) if load >> parcel & 1)
            for parcel in range(number):
                if not load >> parcel & 1 and weight + parcels.weights[parcel] <= CAPACITY:
                    worth = discount**step * parcels.worths[parcel]
                    larger.setdefault(load | 1 << parcel, []).append(returns + worth)
        loads = {load: distinct_front(np.concatenate(parts)) for load, parts in larger.items()}
        reached += loads.values()
    return distinct_front(np.concatenate(reached))


def front(discount: float, parcels: int = 12, max_episode_steps: int | None = None, **_: EnvOption) -> Points:
    """Return the exact front [revenue, goodwill, recycled].

    Args:
        discount: of returns.
        parcels: number of parcels.
        max_episode_steps: time limit; None or -1 for none.
    """
    return _front(parcels, discount, steps_within(max_episode_steps, parcels)).copy()
