"""Exact hypervolume in four dimensions: sweep the fourth objective, keep the front of the other three.

Each new point adds its exclusive volume to that of the front. It is found in one pass over the front, which is sorted
by the third objective: from the point's own height downwards, until a point that is wider and deeper closes the box.

Source: the scheme of HV4D+, Guerreiro and Fonseca 2018, O(n^2); arrays instead of linked lists.
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import ordered_kernel
from morl.pareto.staircase import add_step, raise_floor, widen_wall

Array = NDArray[np.float64]


@ordered_kernel
def hypervolume_4d(points: Array, n: int, front: Array, steps: Array) -> float:
    """Return the volume under the first `n` rows of `points` [., 4], sorted by the fourth objective, descending.

    Args:
        points: [n or more, 4], positive.
        n: how many of them count.
        front: [3, n or more], work space: the front passed so far, by the third objective, descending.
        steps: [2, n + 1 or more], work space.
    """
    if n == 0:
        return 0.0
    level = 1  # points of the same, largest height: limited points often are
    while level < n and points[level, 3] == points[0, 3]:
        level += 1
    volume = _first_level(points, level, front, steps)
    count = level
    height = points[0, 3]
    total = 0.0
    for i in range(level, n):
        total += volume * (height - points[i, 3])
        height = points[i, 3]
        x = points[i, 0]
        y = points[i, 1]
        z = points[i, 2]
        gain = exclusive_3d(front, count, x, y, z, steps)
        if gain > 0.0:
            volume += gain
            count = replace(front, count, x, y, z)
    return float(total + volume * height)


@ordered_kernel
def _first_level(points: Array, n: int, front: Array, steps: Array) -> float:
    """Return the 3-D volume under the first `n` points, by one sweep, and writes them to `front`."""
    for i in range(n):
        place = i
        while place > 0 and front[2, place - 1] < points[i, 2]:
            for k in range(3):
                front[k, place] = front[k, place - 1]
            place -= 1
        for k in range(3):
            front[k, place] = points[i, k]
    size = 0
    volume = area = height = 0.0
    for j in range(n):
        volume += area * (height - front[2, j])
        height = front[2, j]
        size, gain = add_step(steps, 0, size, 0.0, 0.0, front[0, j], front[1, j])
        area += gain
    return volume + area * height


@ordered_kernel
def exclusive_3d(front: Array, count: int, x: float, y: float, z: float, steps: Array) -> float:
    """Return the volume below (x, y, z) that the first `count` points of `front` do not cover.

    At each height the covered part of the base is a strip on the left (from deeper points), a strip below (from wider
    points) and a few steps between them.
    """
    place = 0  # points before this one are at least as high: their base counts from the start
    for j in range(count):  # no early exit here and below: this becomes vector code
        place += front[2, j] >= z
    wall = floor = 0.0
    for j in range(place):
        wall = max(wall, front[0, j] if front[1, j] >= y else 0.0)
        floor = max(floor, front[1, j] if front[0, j] >= x else 0.0)
    if wall >= x:
        return 0.0
    start = stop = 0
    free = (x - wall) * (y - floor)
    for j in range(place):
        if (front[0, j] > wall) & (front[1, j] > floor):
            stop, gain = add_step(steps, start, stop, wall, floor, front[0, j], front[1, j])
            free -= gain
    volume = 0.0
    height = z
    for j in range(place, count):
        if (front[0, j] > wall) & (front[1, j] > floor):
            volume += free * (height - front[2, j])
            height = front[2, j]
            if front[0, j] < x and front[1, j] < y:
                stop, gain = add_step(steps, start, stop, wall, floor, front[0, j], front[1, j])
            elif front[0, j] < x:
                start, gain = widen_wall(steps, start, stop, wall, floor, front[0, j], y)
                wall = front[0, j]
            elif front[1, j] < y:
                stop, gain = raise_floor(steps, start, stop, wall, floor, x, front[1, j])
                floor = front[1, j]
            else:
                return float(volume)
            free -= gain
    return float(volume + free * height)


@ordered_kernel
def replace(front: Array, count: int, x: float, y: float, z: float) -> int:
    """Return the size of the front after the point has joined it and those that it dominates have left."""
    write = 0
    for j in range(count):
        write += front[2, j] > z
    held_x = x  # the row that waits for a place
    held_y = y
    held_z = z
    for j in range(write, count):  # only points that are not higher can be dominated
        if (front[0, j] > x) | (front[1, j] > y):
            next_x = front[0, j]
            next_y = front[1, j]
            next_z = front[2, j]
            front[0, write] = held_x
            front[1, write] = held_y
            front[2, write] = held_z
            held_x = next_x
            held_y = next_y
            held_z = next_z
            write += 1
    front[0, write] = held_x
    front[1, write] = held_y
    front[2, write] = held_z
    return write + 1
