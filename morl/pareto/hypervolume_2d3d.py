"""Exact hypervolume in two and three dimensions: sweep once, keep the staircase of what was passed.

All boxes reach from the origin to a point with positive coordinates. Points come sorted by their last objective,
descending, so a slab of the volume between two neighbours has as its base the staircase of the points passed so far.
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import kernel
from morl.pareto.order import falls
from morl.pareto.staircase import add_step

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@kernel
def hypervolume_2d(points: Array, order: Indices) -> float:
    """Return the area under `points` [n, 2]; `order` [n] sorts them by the second objective, descending."""
    area = 0.0
    widest = 0.0
    for i in order:
        if points[i, 0] > widest:
            area += (points[i, 0] - widest) * points[i, 1]
            widest = points[i, 0]
    return area


@kernel
def hypervolume_3d(points: Array, order: Indices) -> float:
    """Return the volume under `points` [n, 3]; `order` [n] sorts them by the third objective, descending.

    Source: Beume et al. 2009, dimension sweep in O(n log n); here the staircase is a sorted array, not a tree: steps
    that come at its front move all others, so the objective that grows is the one along it.
    """
    x, y = (1, 0) if falls(points, order, 0) else (0, 1)
    steps = np.empty((2, order.shape[0] + 1))
    size = 0
    volume = area = height = 0.0
    for i in order:
        volume += area * (height - points[i, 2])
        height = points[i, 2]
        size, gain = add_step(steps, 0, size, 0.0, 0.0, points[i, x], points[i, y])
        area += gain
    return volume + area * height
