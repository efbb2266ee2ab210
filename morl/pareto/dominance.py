"""Which points no other point dominates."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import kernel
from morl.pareto.dominance_blocks import maximal_in_blocks
from morl.pareto.order import descending, falls, merge_sort

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

SMALL = 128  # up to here one simple kernel is quicker than anything clever


def non_dominated(points: ArrayLike, keep_duplicates: bool = False) -> Mask:
    """Return a mask [n] of the points that no other point dominates (maximization).

    A point dominates another when it is at least as good in every objective and better in one. O(n log n) in two
    objectives, one sort and one sweep in three, blocks of points compared by their quantiles above.

    Args:
        points: [n, objective]; infinities are ordinary values here.
        keep_duplicates: keep every copy of a non-dominated point instead of the first.

    Raises:
        ValueError: `points` is not [n, objective] or holds NaN.
    """
    return maximal(as_points(points, finite=False), keep_duplicates)


def maximal(values: Array, keep_duplicates: bool = False) -> Mask:
    """Return the mask of `non_dominated` for a C-ordered array without NaN, which is not checked."""
    n, m = values.shape
    if n <= SMALL:
        return _of_few(values, keep_duplicates)
    candidates = not_below_the_best_sum(values)
    few = values if candidates.shape[0] == n else values[candidates]
    if m <= 3:
        order = descending(few)
        if m == 3 and falls(few, order, 1):  # see `hypervolume_3d`
            few = np.ascontiguousarray(few[:, [0, 2, 1]])
            order = descending(few)
        found = np.zeros(few.shape[0], np.bool_)
        if m <= 2:
            _sweep_2d(few, order, found)
        else:
            _sweep_3d(few, order, found)
    else:
        found = maximal_in_blocks(few)
        order = descending(few) if keep_duplicates else candidates
    if keep_duplicates:
        _add_copies(few, order, found)
    if candidates.shape[0] == n:
        return found
    mask = np.zeros(n, np.bool_)
    mask[candidates] = found
    return mask


def non_dominated_in_stack(points: Array, ends: Indices) -> Mask:
    """Return `maximal` of each of the sets points[ends[i]:ends[i + 1]], one after the other: a mask of all points."""
    mask = np.empty(points.shape[0], np.bool_)
    _few_by_few(points, ends, mask)
    for i in np.flatnonzero(np.diff(ends) > SMALL):
        mask[ends[i] : ends[i + 1]] = maximal(points[ends[i] : ends[i + 1]])
    return mask


@kernel
def _few_by_few(points: Array, ends: Indices, mask: Mask) -> None:
    for i in range(ends.shape[0] - 1):
        if ends[i + 1] - ends[i] <= SMALL:
            mask[ends[i] : ends[i + 1]] = _of_few(points[ends[i] : ends[i + 1]], False)


@kernel
def _of_few(points: Array, keep_duplicates: bool) -> Mask:
    mask = np.zeros(points.shape[0], np.bool_)
    if points.shape[0] == 0:
        return mask
    candidates = not_below_the_best_sum(points)
    order = candidates
    merge_sort(points, order, 0, order.shape[0])
    if points.shape[1] <= 2:
        _sweep_2d(points, order, mask)
    elif points.shape[1] == 3:
        _sweep_3d(points, order, mask)
    else:
        _scan(points, order, mask)
    if keep_duplicates:
        _add_copies(points, order, mask)
    return mask


@kernel
def not_below_the_best_sum(points: Array) -> Indices:
    """Return the indices of the points that one strong point does not dominate; of a random cloud, very few.

    That is the point with the largest sum of objectives, each divided by its range.
    """
    n, m = points.shape
    low = np.full(m, np.inf)
    high = np.full(m, -np.inf)
    for i in range(n):
        for k in range(m):
            low[k] = min(low[k], points[i, k])
            high[k] = max(high[k], points[i, k])
    scale = np.zeros(m)
    for k in range(m):
        scale[k] = 1.0 / (high[k] - low[k]) if high[k] > low[k] else 0.0
    best = 0
    largest = -np.inf
    for i in range(n):
        total = 0.0
        for k in range(m):
            total += (points[i, k] - low[k]) * scale[k]
        if total > largest:  # never with infinite ranges: then it is NaN, and any point will do
            best = i
            largest = total
    candidates = np.empty(n, np.int64)
    count = 0
    for i in range(n):
        below = points[i, 0] <= points[best, 0]
        same = points[i, 0] == points[best, 0]
        for k in range(1, m):
            below &= points[i, k] <= points[best, k]
            same &= points[i, k] == points[best, k]
        candidates[count] = i
        count += same or not below
    return candidates[:count]


@kernel
def _at_least(points: Array, a: int, b: int) -> bool:
    for k in range(points.shape[1]):
        if points[a, k] < points[b, k]:
            return False
    return True


@kernel
def _scan(points: Array, order: Indices, mask: Mask) -> None:
    kept = np.empty_like(order)
    count = 0
    for i in order:
        dominated = False
        for j in kept[:count]:
            if _at_least(points, j, i):
                dominated = True
                break
        if not dominated:
            kept[count] = i
            count += 1
            mask[i] = True


@kernel
def _sweep_2d(points: Array, order: Indices, mask: Mask) -> None:
    last = points.shape[1] - 1
    mask[order[0]] = True
    highest = points[order[0], last]
    for i in order:
        if last == 1 and points[i, 1] > highest:
            highest = points[i, 1]
            mask[i] = True


@kernel
def _sweep_3d(points: Array, order: Indices, mask: Mask) -> None:
    """Pass the points by the first objective, descending, and keeps the staircase of the other two.

    Source: Kung, Luccio, Preparata 1975; the staircase is a sorted array.
    """
    across = np.empty(order.shape[0] + 1)  # ascends
    up = np.empty(order.shape[0] + 1)  # descends
    size = 0
    for i in order:
        x = points[i, 1]
        y = points[i, 2]
        first = 0  # the first step that is lower than y
        end = size
        while first < end:
            middle = (first + end) // 2
            if up[middle] < y:
                end = middle
            else:
                first = middle + 1
        if first > 0 and across[first - 1] >= x:
            continue
        mask[i] = True
        after = first  # the first step that stays
        while after < size and across[after] <= x:
            after += 1
        if after == first:
            for j in range(size, first, -1):
                across[j] = across[j - 1]
                up[j] = up[j - 1]
        elif after > first + 1:
            for j in range(after, size):
                across[j - after + first + 1] = across[j]
                up[j - after + first + 1] = up[j]
        across[first] = x
        up[first] = y
        size += 1 - (after - first)


@kernel
def _add_copies(points: Array, order: Indices, mask: Mask) -> None:
    for place in range(1, order.shape[0]):
        before = order[place - 1]  # copies are neighbours in this order, the first one first
        here = order[place]
        if mask[before] and _at_least(points, here, before):
            mask[here] = True
