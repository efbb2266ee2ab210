"""Exclusive volumes: the part of the dominated region that each point alone covers.

The reference point is the origin here. From four objectives on, points are non-dominated, different and positive.
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import ordered_kernel
from morl.pareto.hypervolume_4d import hypervolume_4d
from morl.pareto.hypervolume_few import hypervolume_few, limit, pack, ranked_points, union_of_four, volume
from morl.pareto.staircase import raise_floor, widen_wall

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@ordered_kernel
def contributions_2d(points: Array, order: Indices) -> Array:
    """Return the exclusive area of each point [n]; any points, `order` sorts them lexicographically, descending."""
    n = order.shape[0]
    areas = np.zeros(n)
    last = -1  # the last point of the front so far; its area waits for its left neighbour
    floor = 0.0
    copied = False
    for i in order:
        x = points[i, 0]
        y = points[i, 1]
        if x <= 0.0 or y <= 0.0:
            continue
        if last >= 0 and y <= points[last, 1]:
            copied |= x == points[last, 0] and y == points[last, 1]
            continue
        if last >= 0:
            areas[last] = 0.0 if copied else (points[last, 0] - x) * (points[last, 1] - floor)
            floor = points[last, 1]
        last = i
        copied = False
    if last >= 0 and not copied:
        areas[last] = points[last, 0] * (points[last, 1] - floor)
    return areas


@ordered_kernel
def contributions_3d(points: Array, order: Indices) -> Array:
    """Return the exclusive volume of each point [n]; any points, `order` sorts them lexicographically, descending.

    The sweep of `hypervolume_3d`, from the top of the first objective, where each step of the staircase also records
    which part of the base is its own: right of a wall, above a floor, and outside the steps that it covered when it
    was added. A new point moves the floor of its left neighbour and the wall of its right one, and no other.
    O(n log n) but for the array's moves. Source: the idea of Emmerich and Fonseca 2011.
    """
    n = order.shape[0]
    stairs = np.empty(n + 1, np.int64)  # points, the second objective ascending and the third descending
    size = 0
    steps = np.empty((2, 2 * n))  # covered steps, those of each point in a row from `start` to `stop`
    used = 0
    start = np.zeros(n, np.int64)
    stop = np.zeros(n, np.int64)
    wall = np.zeros(n)
    floor = np.zeros(n)
    own = np.zeros(n)
    height = np.zeros(n)
    volumes = np.zeros(n)
    copied = np.zeros(n, np.bool_)
    for i in order:
        x = points[i, 1]
        y = points[i, 2]
        z = points[i, 0]
        if x <= 0.0 or y <= 0.0 or z <= 0.0:
            continue
        first = _lower_than(points, stairs, size, y)
        if first > 0 and points[stairs[first - 1], 1] >= x:  # dominated, since all steps are at least as high
            left = stairs[first - 1]
            copied[left] |= points[left, 0] == z and points[left, 1] == x and points[left, 2] == y
            continue
        after = first  # the first step that stays
        start[i] = used
        height[i] = z
        while after < size and points[stairs[after], 1] <= x:
            covered = stairs[after]
            volumes[covered] += own[covered] * (height[covered] - z)
            own[covered] = 0.0
            steps[0, used] = points[covered, 1]
            steps[1, used] = points[covered, 2]
            used += 1
            after += 1
        stop[i] = used
        if first > 0:
            left = stairs[first - 1]
            wall[i] = points[left, 1]
            volumes[left] += own[left] * (height[left] - z)
            stop[left], loss = raise_floor(steps, start[left], stop[left], wall[left], floor[left], points[left, 1], y)
            own[left] = own[left] - loss
            height[left] = z
            floor[left] = y
        if after < size:
            right = stairs[after]
            floor[i] = points[right, 2]
            volumes[right] += own[right] * (height[right] - z)
            edge = points[right, 2]
            start[right], loss = widen_wall(steps, start[right], stop[right], wall[right], floor[right], x, edge)
            own[right] = own[right] - loss
            height[right] = z
            wall[right] = x
        _, own[i] = widen_wall(steps, start[i], stop[i], wall[i], floor[i], x, y)
        size = _put(stairs, size, first, after, i)
    for i in stairs[:size]:
        volumes[i] += own[i] * height[i]
    for i in range(n):
        if copied[i]:
            volumes[i] = 0.0
    return volumes


@ordered_kernel
def _lower_than(points: Array, stairs: Indices, size: int, y: float) -> int:
    low = 0
    high = size
    while low < high:
        middle = (low + high) // 2
        if points[stairs[middle], 2] < y:
            high = middle
        else:
            low = middle + 1
    return low


@ordered_kernel
def _put(stairs: Indices, size: int, first: int, after: int, i: int) -> int:
    if after == first:
        for j in range(size, first, -1):
            stairs[j] = stairs[j - 1]
    elif after > first + 1:
        for j in range(after, size):
            stairs[j - after + first + 1] = stairs[j]
    stairs[first] = i
    return size + 1 - (after - first)


@ordered_kernel
def contributions_4d(points: Array) -> Array:
    """Return the exclusive volume of each point [n]; rows descend in the fourth objective.

    Each is the point's box less the volume of the others limited to it.
    """
    n = points.shape[0]
    limited = np.empty((n, 4))
    front = np.empty((3, n + 1))
    steps = np.empty((2, n + 1))
    volumes = np.empty(n)
    for i in range(n):
        count = 0
        for j in range(n):
            if j != i:
                for k in range(4):
                    limited[count, k] = min(points[i, k], points[j, k])
                count += 1
        box = points[i, 0] * points[i, 1] * points[i, 2] * points[i, 3]
        volumes[i] = box - hypervolume_4d(limited, count, front, steps)
    return volumes


@ordered_kernel
def contributions_few(points: Array, orders: Indices) -> Array:
    """Return the exclusive volume of each of up to 127 points [n, 5 to 8 objectives].

    Args:
        points: [n, objective].
        orders: [objective, n], the points by each objective, ascending.
    """
    n, m = points.shape
    ranked = ranked_points(m + 2, n)
    words = ranked.words
    table = ranked.table
    pack(m, n, points, orders, words, table)
    original = words[m].copy()
    volumes = np.empty(n)
    last = n - 1
    for i in range(n):
        words[m + 1] = original
        words[m + 1, i] = original[last]  # the others before, this one last
        words[m + 1, last] = original[i]
        count = 0
        for place in range(last, -1, -1):
            j = orders[m - 1, place]
            if j != i:
                ranked.orders[m + 1, count] = i if j == last else j
                count += 1
        left = limit(m + 1, last, words, ranked.orders)
        volumes[i] = volume(original[i], table)
        if left <= 4:
            volumes[i] -= union_of_four(m, left, words, table)
        else:
            volumes[i] -= hypervolume_few(m, left, ranked)
    return volumes
