"""Fronts behind the front: ranks, and how crowded each point is among its neighbours."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import kernel
from morl.pareto.order import descending

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def non_dominated_sort(points: ArrayLike) -> Indices:
    """Returns the rank of each point [n]: 0 for the non-dominated ones, 1 for those left without them, and so on.

    Copies share a rank. Source: efficient non-dominated sort with binary search, Zhang et al. 2015.

    Args:
        points: [n, objective]; infinities are ordinary values here.

    Raises:
        ValueError: `points` is not [n, objective] or holds NaN.
    """
    values = as_points(points, finite=False)
    ranks = np.zeros(values.shape[0], np.int64)
    if values.shape[0] > 0:
        _rank(values, descending(values), ranks)
    return ranks


@kernel
def _rank(points: Array, order: Indices, ranks: Indices) -> None:
    n = points.shape[0]
    last = np.full(n, -1)  # last member of each front; `previous` chains the members from last to first
    previous = np.full(n, -1)
    fronts = 0
    before = -1
    for i in order:
        if before >= 0 and np.all(points[i] == points[before]):
            ranks[i] = ranks[before]
            continue
        low, high = 0, fronts  # the first front with no member that dominates i
        while low < high:
            middle = (low + high) // 2
            j = last[middle]
            while j >= 0 and not _at_least(points, j, i):
                j = previous[j]
            if j >= 0:
                low = middle + 1
            else:
                high = middle
        previous[i] = last[low]
        last[low] = i
        ranks[i] = low
        fronts = max(fronts, low + 1)
        before = i


@kernel
def _at_least(points: Array, a: int, b: int) -> bool:
    for k in range(points.shape[1]):
        if points[a, k] < points[b, k]:
            return False
    return True


def crowding_distance(points: ArrayLike) -> Array:
    """Returns the crowding distance of each point [n]: infinite at the ends, small where neighbours are close.

    Per objective, the gap between a point's two neighbours divided by the range of that objective; the mean over
    objectives. The largest and the smallest value of an objective are ends (of equal ones the first by index at the
    top, the last at the bottom). An objective without range adds nothing. A copy of an earlier point gets 0 and is
    nobody's neighbour; one or two different points are all ends.

    Source: Deb et al. 2002 (NSGA-II), in the convention of pymoo 0.6 (mean instead of sum).

    Args:
        points: [n, objective], finite, usually one front.

    Raises:
        ValueError: `points` is not [n, objective] or not finite.
    """
    values = as_points(points)
    distances = np.zeros(values.shape[0])
    if values.shape[0] > 0:
        originals = _originals(values, descending(values))
        unique = values[originals]
        if unique.shape[0] <= 2:
            distances[originals] = np.inf
        else:
            columns = np.ascontiguousarray(unique.T)
            distances[originals] = _crowding(columns, np.argsort(-columns, axis=1, kind="stable"))
    return distances


@kernel
def _originals(points: Array, order: Indices) -> Indices:
    first = np.ones(order.shape[0], np.bool_)
    for place in range(1, order.shape[0]):
        if np.all(points[order[place]] == points[order[place - 1]]):
            first[order[place]] = False
    return np.nonzero(first)[0]


@kernel
def _crowding(columns: Array, orders: Indices) -> Array:
    m, n = columns.shape
    distances = np.zeros(n)
    for k in range(m):
        values, order = columns[k], orders[k]
        span = values[order[0]] - values[order[-1]]
        if span == 0.0:
            continue
        distances[order[0]] = distances[order[-1]] = np.inf
        for place in range(1, n - 1):
            distances[order[place]] += (values[order[place - 1]] - values[order[place + 1]]) / (span * m)
    return distances
