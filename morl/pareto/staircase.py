"""Staircases: the region of a plane covered by boxes with one corner at the origin, and the area that a new box adds.

Step i, from `start` to `stop`, covers everything left of steps[0, i] and below steps[1, i]; the first row ascends, the
second descends, both strictly. Everything left of `wall` and everything below `floor` is covered as well.
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import ordered_kernel

Array = NDArray[np.float64]


@ordered_kernel
def add_step(steps: Array, start: int, stop: int, wall: float, floor: float, x: float, y: float) -> tuple[int, float]:
    """Return the new end of a staircase that also covers the box up to (x, y), and the area gained by it."""
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
            steps[0, j] = steps[0, j - 1]
            steps[1, j] = steps[1, j - 1]
    elif after > first + 1:
        for j in range(after, stop):
            steps[0, j - after + first + 1] = steps[0, j]
            steps[1, j - after + first + 1] = steps[1, j]
    steps[0, first] = x
    steps[1, first] = y
    return stop + 1 - (after - first), gain


@ordered_kernel
def widen_wall(steps: Array, start: int, stop: int, wall: float, floor: float, x: float, y: float) -> tuple[int, float]:
    """Return the first of the steps left when the wall moves to `x`, and the area that it covers up to `y`."""
    gain = 0.0
    while start < stop and steps[0, start] <= x:
        gain += (steps[0, start] - wall) * (y - steps[1, start])
        wall = steps[0, start]
        start += 1
    return start, gain + (x - wall) * (y - (steps[1, start] if start < stop else floor))


@ordered_kernel
def raise_floor(
    steps: Array, start: int, stop: int, wall: float, floor: float, x: float, y: float
) -> tuple[int, float]:
    """Return the end of the steps left when the floor is raised to `y`, and the area that it covers up to `x`."""
    gain = 0.0
    while start < stop and steps[1, stop - 1] <= y:
        gain += (steps[1, stop - 1] - floor) * (x - steps[0, stop - 1])
        floor = steps[1, stop - 1]
        stop -= 1
    return stop, gain + (y - floor) * (x - (steps[0, stop - 1] if start < stop else wall))
