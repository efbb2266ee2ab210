"""A grid on which one cell is chosen: the hyper-grid of multi-objective GFlowNets (Jain et al. 2023, arXiv 2210.12765).

An episode begins in a corner. Each step moves one cell along one axis, away from that corner, or stops. Stopping ends
the episode and pays the objectives of the cell; moving pays nothing. The objectives are test functions of global
optimization on their usual domains. Every cell is the end of some episode, so the exact front is found by looking at
all cells. The action mask forbids to leave the grid; a forbidden move stays where it is.

Each objective is scaled to [0, 1] over the cells of the grid, 1 the best. The papers scale by constants of the domain:
their hypervolumes are close to these, not equal.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba import njit

from morl.envs.backends.kernels import KernelVectorEnv, set_rows
from morl.envs.backends.single import single_form
from morl.envs.core.types import Action, Array, EnvOption, Sheet
from morl.pareto import non_dominated
from morl.protocols import FloatArray

SIDE = 32
LARGEST = 10_000_000
"""Cells of the largest grid."""
DIMENSIONS = (2, 3)


def branin(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the function of Branin and Hoo, negated; `x`, `y` in [0, 1] stand for [-5, 10] and [0, 15]."""
    first = 15.0 * x - 5.0
    second = 15.0 * y
    valley = second - 5.1 / (4.0 * np.pi**2) * first**2 + 5.0 / np.pi * first - 6.0
    found: FloatArray = -(valley**2 + 10.0 * (1.0 - 1.0 / (8.0 * np.pi)) * np.cos(first) + 10.0)
    return found


def currin(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the exponential function of Currin et al. (1988) on the unit square."""
    with np.errstate(divide="ignore"):
        rise = 1.0 - np.exp(-0.5 / y)
    found: FloatArray = rise * (2300.0 * x**3 + 1900.0 * x**2 + 2092.0 * x + 60.0)
    return found / (100.0 * x**3 + 500.0 * x**2 + 4.0 * x + 20.0)


def shubert(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return Shubert's function, negated; `x`, `y` in [0, 1] stand for [-10, 10]."""

    def waves(position: FloatArray) -> FloatArray:
        terms = [number * np.cos((number + 1) * (20.0 * position - 10.0) + number) for number in range(1, 6)]
        return np.asarray(sum(terms))

    return -waves(x) * waves(y)


def beale(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return minus log(1 + Beale's function), which spans five orders of magnitude; [0, 1] stands for [-4.5, 4.5]."""
    first = 9.0 * x - 4.5
    second = 9.0 * y - 4.5
    total = sum(
        (constant - first + first * second**power) ** 2 for constant, power in ((1.5, 1), (2.25, 2), (2.625, 3))
    )
    return np.asarray(-np.log1p(total))


FUNCTIONS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "branin": branin,
    "currin": currin,
    "shubert": shubert,
    "beale": beale,
}
"""Name of an objective -> the function, to be maximized."""


@cache
def cell_values(side: int, dimensions: int, objectives: int) -> FloatArray:
    """Return the objectives of all cells [cell, objective], in row-major order of the coordinates; read-only.

    In three dimensions, an objective is the mean of its function over the first two coordinates and the last two.

    Args:
        side: cells along an axis.
        dimensions: number of axes.
        objectives: the first so many of `FUNCTIONS`.

    Raises:
        ValueError: a number is out of its range.
    """
    if dimensions not in DIMENSIONS:
        raise ValueError(f"dimensions must be one of {', '.join(map(str, DIMENSIONS))}, got {dimensions!r}")
    if not 2 <= side <= LARGEST or side**dimensions > LARGEST:
        raise ValueError(f"side must be at least 2 and side^{dimensions} at most {LARGEST:,}, got {side!r}")
    if not 1 <= objectives <= len(FUNCTIONS):
        raise ValueError(f"objectives must be in 1 .. {len(FUNCTIONS)}, got {objectives!r}")
    places = np.indices((side,) * dimensions).reshape(dimensions, -1) / (side - 1)  # [axis, cell] in [0, 1]
    values = []
    for function in list(FUNCTIONS.values())[:objectives]:
        pairs = [function(places[axis], places[axis + 1]) for axis in range(dimensions - 1)]
        mean = np.mean(pairs, axis=0)
        values.append((mean - mean.min()) / np.ptp(mean))
    table: FloatArray = np.stack(values, axis=1)
    table.flags.writeable = False
    return table


@njit(cache=True, nogil=True)
def advance(
    actions: Array,
    place: Array,
    values: Array,
    allowed: Array,
    side: int,
    observations: Array,
    rewards: Array,
    terminated: Array,
) -> None:
    """Move along an axis, or stop and pay. `place`, `observations`: [env, axis]; `values`: [cell, objective]."""
    axes = place.shape[1]
    for env in range(actions.size):
        axis = actions[env]
        terminated[env] = axis == axes
        if axis < axes and place[env, axis] < side - 1:
            place[env, axis] += 1
        cell = 0
        for other in range(axes):
            cell = cell * side + place[env, other]
            observations[env, other] = place[env, other]
            allowed[env, other] = place[env, other] < side - 1
        if axis == axes:
            for objective in range(values.shape[1]):
                rewards[env, objective] = values[cell, objective]


class HyperGridKernel(KernelVectorEnv):
    """The batch form of hyper-grid-v0.

    Observation: the coordinates of the cell. Actions: one step along each axis, then stop.

    Args:
        num_envs: number of environments.
        max_episode_steps: time limit in steps, None for none.
        side: cells along an axis.
        dimensions: 2 or 3.
        objectives: the first so many of Branin, Currin, Shubert, Beale.
    """

    picture_size = (480, 520)

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        side: int = SIDE,
        dimensions: int = 2,
        objectives: int = 2,
    ) -> None:
        self.values = cell_values(int(side), int(dimensions), int(objectives))
        self.side = int(side)
        super().__init__(
            num_envs,
            observation_space=Box(0, side - 1, (dimensions,), np.int32),
            action_space=Discrete(dimensions + 1),
            reward_space=Box(0.0, 1.0, (objectives,), np.float32),
            max_episode_steps=max_episode_steps,
        )
        self.corner = np.zeros(dimensions, dtype=np.int32)
        self.arrays = {
            "place": np.zeros((num_envs, dimensions), dtype=np.int32),
            "allowed": np.ones((num_envs, dimensions + 1), dtype=np.int8),
        }

    def _start(self, mask: Array, observations: Array) -> None:
        for rows in (self.arrays["place"], observations):
            set_rows(mask, rows, self.corner)
        self.arrays["allowed"][mask] = 1

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        place = self.arrays["place"]
        allowed = self.arrays["allowed"]
        advance(actions, place, self.values, allowed, self.side, observations, rewards, terminated)

    def _infos(self) -> dict[str, Array]:
        return {"action_mask": self.arrays["allowed"]}

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the cells, darker the better their mean objective is, and the one of the episode: orange, taken: red."""
        place = self.arrays["place"][0].tolist()
        means = self.values.mean(axis=1).reshape((self.side,) * len(place))
        plane = means if len(place) == 2 else means[:, :, place[2]]
        text = f"cell {place}" if len(place) == 2 else f"cell {place}; the plane of its third coordinate"
        sheet.text((16, 24), text, "ink")
        cells = min(self.side, 64)
        width = 448.0 / cells
        sample = np.linspace(0, self.side - 1, cells).round().astype(int)
        for row, first in enumerate(sample.tolist()):
            for column, second in enumerate(sample.tolist()):
                shade = int(245 - 190 * plane[first, second])
                corner = (16 + width * row, 504 - width * (column + 1))
                sheet.rectangle(corner, (corner[0] + width, corner[1] + width), (shade, shade, 250))
        left, top = (width * place[axis] * (cells - 1) / (self.side - 1) for axis in range(2))
        stopped = action is not None and int(action) == len(place)
        color = (200, 30, 30) if stopped else "orange"
        sheet.rectangle((16 + left, 504 - top - width), (16 + left + width, 504 - top), color)


hyper_grid = single_form(HyperGridKernel)
"""The single form of hyper-grid-v0."""


def front(
    discount: float,
    side: int = SIDE,
    dimensions: int = 2,
    objectives: int = 2,
    max_episode_steps: int | None = None,
    **_: EnvOption,
) -> FloatArray:
    """Return the exact front [point, objective]: the non-dominated cells of the whole grid.

    A cell is reached in as many steps as its coordinates sum to, whatever the path, and pays in the step after them.

    Args:
        discount: of returns.
        side: cells along an axis.
        dimensions: number of axes.
        objectives: number of objectives.
        max_episode_steps: time limit; None or -1 for none.
    """
    values = cell_values(side, dimensions, objectives)
    steps = np.indices((side,) * dimensions).reshape(dimensions, -1).sum(axis=0)
    within = np.full(len(steps), True) if max_episode_steps in (None, -1) else steps < max_episode_steps
    returns = (discount ** steps[within, None]) * values[within]
    return np.asarray(returns[non_dominated(returns)])
