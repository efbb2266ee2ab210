"""Compiled loops over environments: what MuJoCo tasks compute around each physics step.

A NumPy call costs a microsecond or two whatever the number of environments, and several times that when the physics has
just emptied the processor's caches. Eight environments on many cores do not take much longer than that to step; so
what most tasks share is one loop here. The rest of a task reads better in NumPy.

Rewards are rounded to float32 where mo-gymnasium rounds them: each objective for itself, then after every addition.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def state(positions: Floats, velocities: Floats, skipped: int, bound: float) -> Floats:
    """Return positions from number `skipped` on, then velocities cut to [-bound, bound]: [env, entry]."""
    num_envs, number = positions.shape
    kept = number - skipped
    rows = np.empty((num_envs, kept + velocities.shape[1]))
    for env in range(num_envs):
        for index in range(kept):
            rows[env, index] = positions[env, skipped + index]
        for index in range(velocities.shape[1]):
            velocity = velocities[env, index]
            rows[env, kept + index] = -bound if velocity < -bound else min(velocity, bound)
    return rows


@njit(cache=True, nogil=True)
def squared_sums(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the sum of squares of each row, added in the order in which `np.sum` adds fewer than 128 numbers.

    NumPy adds up to seven numbers one after the other, more of them in eight columns.
    """
    num_envs, number = rows.shape
    sums = np.zeros(num_envs, dtype=rows.dtype)
    column = np.zeros(8, dtype=rows.dtype)
    whole = number - number % 8
    for env in range(num_envs):
        if whole:
            for index in range(8):
                column[index] = rows[env, index] * rows[env, index]
            for index in range(8, whole):
                column[index % 8] += rows[env, index] * rows[env, index]
            left = (column[0] + column[1]) + (column[2] + column[3])
            sums[env] = left + ((column[4] + column[5]) + (column[6] + column[7]))
        for index in range(whole, number):
            sums[env] += rows[env, index] * rows[env, index]
    return sums


@njit(cache=True, nogil=True)
def run(before: Floats, after: Floats, actions: NDArray[np.floating], dt: float, weight: float) -> NDArray[np.float32]:
    """Return (speed along x, -|action|^2) [env, 2]; the energy is weighted and unweighted again, as upstream does."""
    paid = np.empty((len(before), 2), dtype=np.float32)
    energy = squared_sums(actions)
    scale = energy.dtype.type(weight)
    for env in range(len(before)):
        paid[env, 0] = (after[env, 0] - before[env, 0]) / dt
        paid[env, 1] = -(scale * energy[env]) / scale
    return paid


@njit(cache=True, nogil=True)
def hop(
    before: Floats,
    after: Floats,
    positions: Floats,
    actions: NDArray[np.floating],
    dt: float,
    weight: float,
    ground: float,
    energy_apart: bool,
) -> NDArray[np.float32]:
    """Return (speed along x, 10 times the height gained), and -|action|^2 `energy_apart` or, weighted, in both."""
    paid = np.empty((len(before), 3 if energy_apart else 2), dtype=np.float32)
    energy = squared_sums(actions)
    scale = energy.dtype.type(weight)
    for env in range(len(before)):
        cost = -(scale * energy[env])
        paid[env, 0] = (after[env, 0] - before[env, 0]) / dt
        paid[env, 1] = 10 * (positions[env, 1] - ground)
        if energy_apart:
            paid[env, 2] = cost / scale
        else:
            paid[env, 0] += cost
            paid[env, 1] += cost
    return paid


Range = tuple[float, float]


@njit(cache=True, nogil=True)
def upright(positions: Floats, velocities: Floats, tall: Range, pitch: Range, rest: Range) -> NDArray[np.bool_]:
    """Return whether height, pitch and all other positions and velocities lie inside their ranges [env]."""
    num_envs = positions.shape[0]
    stands = np.empty(num_envs, dtype=np.bool_)
    for env in range(num_envs):
        upward = tall[0] < positions[env, 1] < tall[1]
        stands[env] = upward and pitch[0] < positions[env, 2] < pitch[1]
        for index in range(2, positions.shape[1]):
            stands[env] &= rest[0] < positions[env, index] < rest[1]
        for index in range(velocities.shape[1]):
            stands[env] &= rest[0] < velocities[env, index] < rest[1]
    return stands


@njit(cache=True, nogil=True)
def settle(
    paid: NDArray[np.float32], stands: NDArray[np.bool_], bonus: float, fall_paid: bool, fall_ends: bool
) -> NDArray[np.bool_]:
    """Add the bonus for standing to every objective in place and return the terminations [env]."""
    terminated = np.empty(len(stands), dtype=np.bool_)
    for env in range(len(stands)):
        if stands[env] or fall_paid:
            for index in range(paid.shape[1]):
                paid[env, index] = np.float32(np.float64(paid[env, index]) + bonus)
        terminated[env] = fall_ends and not stands[env]
    return terminated


@njit(cache=True, nogil=True)
def inside(rows: Floats, first: int, low: float, high: float) -> NDArray[np.bool_]:
    """Return whether all entries of a row, from number `first` on, lie between low and high, ends excluded [env]."""
    num_envs, number = rows.shape
    within = np.ones(num_envs, dtype=np.bool_)
    for env in range(num_envs):
        for index in range(first, number):
            within[env] &= low < rows[env, index] < high
    return within
