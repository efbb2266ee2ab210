"""Exact hypervolume in two and three dimensions: sweep once, keep the staircase of what was passed.

All boxes reach from the origin to a point with positive coordinates. Points come sorted by their last objective,
descending, so a slab of the volume between two neighbours has as its base the staircase of the points passed so far.
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import kernel

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@kernel
def hypervolume_2d(points: Array, order: Indices) -> float:
    """Returns the area under `points` [n, 2]; `order` [n] sorts them by the second objective, descending."""
    area = 0.0
    widest = 0.0
    for i in order:
        if points[i, 0] > widest:
            area += (points[i, 0] - widest) * points[i, 1]
            widest = points[i, 0]
    return area


@kernel
def hypervolume_3d(points: Array, order: Indices) -> float:
    """Returns the volume under `points` [n, 3]; `order` [n] sorts them by the third objective, descending.

    Source: Beume et al. 2009, dimension sweep in O(n log n); here the staircase is a sorted array, not a tree.
    """
    steps = np.empty((2, order.shape[0] + 1))
    size = 0
    volume = area = height = 0.0
    for i in order:
        volume += area * (height - points[i, 2])
        height = points[i, 2]
        size, gain = add_step(steps, 0, size, 0.0, 0.0, points[i, 0], points[i, 1])
        area += gain
    return volume + area * height


@kernel
def add_step(steps: Array, start: int, stop: int, wall: float, floor: float, x: float, y: float) -> tuple[int, float]:
    """Returns the new end of a staircase that also covers the box up to (x, y), and the area gained by it.

    Step i, from `start` to `stop`, covers everything left of steps[0, i] and below steps[1, i]; the first row ascends,
    the second descends, both strictly. What lies left of `wall` or below `floor` is covered anyway.
    """
    first = stop  # the first step lower than y
    if stop - start > 16:
        low = start
        while low < first:
            middle = (low + first) // 2
            if steps[1, middle] < y:
                first = middle
            else:
                low = middle + 1
    else:
        while first > start and steps[1, first - 1] < y:
            first -= 1
    edge = wall
    if first > start:
        edge = max(wall, steps[0, first - 1])
        if edge >= x:
            return stop, 0.0
    gain = 0.0
    after = first  # the first step that stays: the steps before it are lower and not wider
    while after < stop and steps[0, after] <= x:
        gain += (steps[0, after] - edge) * (y - steps[1, after])
        edge = steps[0, after]
        after += 1
    gain += (x - edge) * (y - (steps[1, after] if after < stop else floor))
    if after == first:
        for j in range(stop, first, -1):
            steps[0, j], steps[1, j] = steps[0, j - 1], steps[1, j - 1]
    elif after > first + 1:
        for j in range(after, stop):
            steps[0, j - after + first + 1], steps[1, j - after + first + 1] = steps[0, j], steps[1, j]
    steps[0, first], steps[1, first] = x, y
    return stop + 1 - (after - first), gain
