"""Sorting points by one objective or by all of them; ties never depend on the sorting library."""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import kernel, ordered_kernel

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Keys = NDArray[np.uint64]


LONG = 32  # equal values in a row, from which on it pays to look at all objectives at once


def descending(points: Array) -> Indices:
    """Return indices that put `points` [n, objective] in descending lexicographic order, copies by index.

    NumPy sorts the first objective with vector instructions, much faster than any comparison sort. Short runs of equal
    values are then put in order by the other objectives. Where runs are long, values are few: a point's ranks in all
    objectives and its index fit into one 64-bit key, and NumPy sorts the keys.
    """
    order = np.argsort(points[:, 0].copy())[::-1].copy()
    if _longest_run(points, order) > LONG:
        keys, fit = _keys(points, np.argsort(points.T.copy(), axis=1))
        if fit:
            return _indices(np.sort(keys))
    _break_ties(points, order)
    return order


@kernel
def falls(points: Array, order: Indices, objective: int) -> bool:
    """Return whether an objective is smaller in the second half of a long order than in the first, on the whole."""
    if order.shape[0] < 1000:
        return False
    half = order.shape[0] // 2
    first = second = 0.0
    for place in range(half):
        first += points[order[place], objective]
        second += points[order[half + place], objective]
    return second < first


@kernel
def _longest_run(points: Array, order: Indices) -> int:
    longest = run = 0
    for place in range(1, order.shape[0]):
        run = run + 1 if points[order[place], 0] == points[order[place - 1], 0] else 0
        longest = max(longest, run)
    return longest


@kernel
def _bits(most: int) -> int:
    bits = 0
    while most >> bits > 0:
        bits += 1
    return bits


@kernel
def _keys(points: Array, orders: Indices) -> tuple[Keys, bool]:
    """Return a key for each point, the larger the earlier it comes, and whether everything fits into 64 bits."""
    n, m = points.shape
    keys = np.zeros(n, np.uint64)
    ranks = np.empty(n, np.uint64)
    used = _bits(n - 1)
    for k in range(m):
        rank = 0
        for place in range(n):
            i = orders[k, place]
            rank += place > 0 and points[i, k] != points[orders[k, place - 1], k]
            ranks[i] = np.uint64(rank)
        bits = np.uint64(_bits(rank))
        used += _bits(rank)
        for i in range(n):
            keys[i] = (keys[i] << bits) | ranks[i]
    for i in range(n):
        keys[i] = (keys[i] << np.uint64(_bits(n - 1))) | np.uint64(n - 1 - i)
    return keys, used <= 64


@kernel
def _indices(keys: Keys) -> Indices:
    n = keys.shape[0]
    mask = (np.uint64(1) << np.uint64(_bits(n - 1))) - np.uint64(1)
    order = np.empty(n, np.int64)
    for place in range(n):
        order[place] = n - 1 - np.int64(keys[n - 1 - place] & mask)
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
    """Sort order[start:stop] in descending lexicographic order of `points`, copies by index."""
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
            i = left
            j = middle
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


@ordered_kernel
def places_descending(values: Array, n: int) -> Indices:
    """Return indices that put the first `n` values in descending order; of equal ones the first comes first."""
    order = np.empty(n, np.int64)
    merged = np.empty(n, np.int64)
    for start in range(0, n, 8):  # runs of eight by insertion, then merge pairs of runs
        for i in range(start, min(start + 8, n)):
            place = i
            while place > start and values[order[place - 1]] < values[i]:
                order[place] = order[place - 1]
                place -= 1
            order[place] = i
    width = 8
    while width < n:
        for left in range(0, n, 2 * width):
            i = left
            middle = min(left + width, n)
            right = min(left + 2 * width, n)
            j = middle
            for place in range(left, right):
                first = j >= right or (i < middle and values[order[i]] >= values[order[j]])
                merged[place] = order[i] if first else order[j]
                i += first
                j += not first
        order, merged = merged, order
        width *= 2
    return order
