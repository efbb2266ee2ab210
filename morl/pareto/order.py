"""Sorting points by one objective or by all of them; ties never depend on the sorting library."""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import kernel

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def descending(points: Array) -> Indices:
    """Returns indices that put `points` [n, objective] in descending lexicographic order, copies by index.

    NumPy sorts the first objective with vector instructions, much faster than any comparison sort; only runs of equal
    values are then put in order by the other objectives.
    """
    order = np.argsort(points[:, 0])[::-1].astype(np.int64)
    _break_ties(points, order)
    return order


@kernel
def _break_ties(points: Array, order: Indices) -> None:
    n = order.shape[0]
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and points[order[stop], 0] == points[order[start], 0]:
            stop += 1
        if stop - start > 1:
            merge_sort(points, order, start, stop)
        start = stop


@kernel
def _comes_first(points: Array, a: int, b: int) -> bool:
    for k in range(points.shape[1]):
        if points[a, k] != points[b, k]:
            return bool(points[a, k] > points[b, k])
    return a < b


@kernel
def merge_sort(points: Array, order: Indices, start: int, stop: int) -> None:
    """Sorts order[start:stop] in descending lexicographic order of `points`, copies by index."""
    for i in range(start, stop, 8):  # runs of eight by insertion, then merge pairs of runs
        for j in range(i + 1, min(i + 8, stop)):
            moving = order[j]
            while j > i and _comes_first(points, moving, order[j - 1]):
                order[j] = order[j - 1]
                j -= 1
            order[j] = moving
    if stop - start <= 8:
        return
    merged = np.empty(stop - start, np.int64)
    width = 8
    while width < stop - start:
        for left in range(start, stop, 2 * width):
            middle = min(left + width, stop)
            right = min(left + 2 * width, stop)
            i, j = left, middle
            for place in range(left, right):
                if j >= right or (i < middle and _comes_first(points, order[i], order[j])):
                    merged[place - start] = order[i]
                    i += 1
                else:
                    merged[place - start] = order[j]
                    j += 1
        for place in range(start, stop):
            order[place] = merged[place - start]
        width *= 2
