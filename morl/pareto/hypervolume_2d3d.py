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
    n = order.shape[0]
    across = np.empty(n + 2)  # the staircase: `across` ascends, `up` descends, with a guard at both ends
    up = np.empty(n + 2)
    across[0], up[0] = 0.0, np.inf
    across[1], up[1] = np.inf, 0.0
    size = 2
    volume = area = height = 0.0
    for i in order:
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        volume += area * (height - z)
        height = z
        low, high = 0, size - 1  # first step with across >= x
        while low < high:
            middle = (low + high) // 2
            if across[middle] < x:
                low = middle + 1
            else:
                high = middle
        right = low
        if up[right] >= y:
            continue
        left, edge = right - 1, x  # walk left over the steps that the new one covers
        while True:
            area += (edge - across[left]) * (y - up[left + 1])
            if up[left] > y:
                break
            edge = across[left]
            left -= 1
        if across[right] == x:
            right += 1
        shift = left + 2 - right
        if shift > 0:
            for j in range(size - 1, right - 1, -1):
                across[j + shift], up[j + shift] = across[j], up[j]
        elif shift < 0:
            for j in range(right, size):
                across[j + shift], up[j + shift] = across[j], up[j]
        across[left + 1], up[left + 1] = x, y
        size += shift
    return volume + area * height
