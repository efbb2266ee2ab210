"""Exact hypervolume in four and more dimensions."""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import kernel
from morl.pareto.hypervolume_2d3d import hypervolume_3d

Array = NDArray[np.float64]


@kernel
def hypervolume_wfg(points: Array) -> float:
    """Returns the volume under `points` [n, objective], all coordinates positive, three objectives or more.

    Source: While, Bradstreet, Barone 2012 (WFG): the sum over points, worst last objective last, of the volume that
    the point adds to those before it.
    """
    n, m = points.shape
    if n == 0:
        return 0.0
    if m == 3:
        return hypervolume_3d(points, np.argsort(-points[:, 2]))
    order = np.argsort(-points[:, m - 1])
    total = 0.0
    limited = np.empty((n, m - 1))
    for place in range(n):
        point = points[order[place]]
        count = 0
        for before in order[:place]:
            for k in range(m - 1):
                limited[count, k] = min(point[k], points[before, k])
            count = _insert(limited, count)
        volume = 1.0
        for k in range(m - 1):
            volume *= point[k]
        total += point[m - 1] * (volume - hypervolume_wfg(limited[:count].copy()))
    return total


@kernel
def _insert(points: Array, count: int) -> int:
    kept = 0
    candidate = points[count].copy()
    for j in range(count):
        if np.all(points[j] >= candidate):
            return count
        if not np.all(points[j] <= candidate):
            points[kept] = points[j]
            kept += 1
    points[kept] = candidate
    return kept + 1
