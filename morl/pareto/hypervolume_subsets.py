"""Exact hypervolume in four dimensions of points that are words of ranks; up to ten without a branch that data decide.

A sweep takes another path for every set, and where sets are small a processor loses more time by guessing paths wrongly
than by computing. So here a table holds, for *every subset* of the points, the area that it covers in two objectives.
The other two objectives cut the space into n^2 cells, and what reaches above a cell is a subset, the intersection of
those that are high enough in one and in the other: the volume is a sum of n^2 look-ups.

The table doubles with each point: passed in descending order of an objective x, a point covers nothing that the points
before it do not, but where it is higher than they are, up to its x. For every subset s of those that is one maximum,
area(s + p) = area(s) + x_p * max(0, y_p - height(s)), which becomes vector code.

Source: the subsets are ours; the sweep for more points is that of `hypervolume_4d`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import inlined_kernel, ordered_kernel
from morl.pareto.hypervolume_4d import hypervolume_4d

Array = NDArray[np.float64]
Words = NDArray[np.uint64]

MOST_SUBSETS = 10  # points; from here on the table, 2^n, takes longer than the sweep
AREAS = (1 << MOST_SUBSETS) + 24  # and not a power of two, which would put the rows of a table on the same cache lines
ONE = np.uint64(1)
NONE = np.uint64(0)


class Workspace(NamedTuple):
    """Memory for the volume of up to n points in four objectives.

    Attributes:
        rows: [n, 4], the values of the points: the only input among these arrays.
        front: [3, n + 1], the front of the sweep.
        steps: [2, n + 1], the staircase of the sweep, or the levels of the second and the third objective.
        areas: [2, AREAS], of each subset the area and the largest value in the first objective.
        sets: [3, n + 1], the points at each level or above, one bit each, and their places.
    """

    rows: Array
    front: Array
    steps: Array
    areas: Array
    sets: Words


@ordered_kernel
def workspace(n: int) -> Workspace:
    """Return memory for up to `n` points; its content is undefined."""
    return Workspace(
        np.empty((n, 4)),
        np.empty((3, n + 1)),
        np.empty((2, n + 1)),
        np.empty((2, AREAS)),
        np.empty((3, n + 1), np.uint64),
    )


@inlined_kernel
def hypervolume_of_words(words: Words, n: int, width: int, work: Workspace) -> float:
    """Return the volume under the first `n` words, which descend in the fourth objective.

    Args:
        words: [point], ranks in four objectives, the first one in the lowest bits; higher bits do not matter.
        n: how many of them count.
        width: bits for each rank, of which the top one is 0.
        work: memory for `n` points; `work.rows` holds the values of the words.
    """
    if n > MOST_SUBSETS:
        return hypervolume_4d(work.rows, n, work.front, work.steps)
    rows = work.rows
    steps = work.steps
    sets = work.sets
    _fill(n, rows, work.areas)
    _find_places(words, n, width, sets)
    rank = (ONE << np.uint64(width - 1)) - ONE
    for i in range(n):
        for k in range(2):
            place = (sets[2, i] >> np.uint64(width * (k + 1))) & rank
            steps[k, place] = rows[i, k + 1]
            sets[k, place] = ONE << np.uint64(i)
    return _sum(n, work.areas, steps, sets)


@inlined_kernel
def _fill(n: int, rows: Array, areas: Array) -> None:
    areas[0, 0] = areas[1, 0] = 0.0
    size = 1
    for i in range(n):
        x = rows[i, 3]
        y = rows[i, 0]
        for subset in range(size):
            height = areas[1, subset]
            top = max(height, y)
            areas[1, size + subset] = top
            areas[0, size + subset] = areas[0, subset] + x * (top - height)
        size *= 2


@inlined_kernel
def _find_places(words: Words, n: int, width: int, sets: Words) -> None:
    """Write how many points are larger in each objective, all objectives at once; of equal ones the first is larger."""
    ones = np.uint64(0)
    for k in range(4):
        ones |= ONE << np.uint64(width * k)
    top_bits = ones << np.uint64(width - 1)
    to_bottom = np.uint64(width - 1)
    for i in range(n):
        larger = np.uint64(0)
        for j in range(i):
            j_is_larger = (((words[j] | top_bits) - words[i]) & top_bits) >> to_bottom
            larger += j_is_larger
            sets[2, j] += j_is_larger ^ ones
        sets[2, i] = larger


@inlined_kernel
def _sum(n: int, areas: Array, levels: Array, sets: Words) -> float:
    levels[0, n] = levels[1, n] = 0.0
    reached = NONE
    for j in range(n):  # from values and single points to widths and sets
        reached |= sets[1, j]
        sets[1, j] = reached
        levels[1, j] -= levels[1, j + 1]
    volume = 0.0
    high = NONE
    for i in range(n):
        high |= sets[0, i]
        area = 0.0
        for j in range(n):
            area += areas[0, high & sets[1, j]] * levels[1, j]
        volume += area * (levels[0, i] - levels[0, i + 1])
    return volume
