"""Non-dominated sorting and crowding distance."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import kernel, ordered_kernel
from morl.pareto.dominance_blocks import passes, quantile_words
from morl.pareto.order import descending, merge_sort

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Words = NDArray[np.uint64]

BLOCK = 16  # points
FEW = 256  # points, up to which one kernel that sorts by itself is quicker than NumPy's sort between two kernels


def non_dominated_sort(points: ArrayLike) -> Indices:
    """Return the rank of each point [n]: 0 for the non-dominated ones, 1 for those left without them, and so on.

    Copies share a rank. Points are passed in descending lexicographic order, so none dominates an earlier one, and the
    right front for each is found by binary search. Source: in two objectives Jensen 2003, O(n log n); above, efficient
    non-dominated sort, Zhang et al. 2015, with members compared by their quantiles first (`dominance_blocks`).

    Args:
        points: [n, objective]; infinities are ordinary values here.

    Raises:
        ValueError: `points` is not [n, objective] or holds NaN.
    """
    values = as_points(points, finite=False)
    if values.shape[0] <= FEW:
        return _ranks_of_few(values)
    return _ranks(values, descending(values))


@kernel
def _ranks_of_few(points: Array) -> Indices:
    order = np.arange(points.shape[0])
    merge_sort(points, order, 0, order.shape[0])
    return _ranks(points, order)


@kernel
def _ranks(points: Array, order: Indices) -> Indices:
    ranks = np.zeros(points.shape[0], np.int64)
    if points.shape[0] > 0 and points.shape[1] <= 2:
        _rank_2d(points, order, ranks)
    elif points.shape[0] > 0:
        words, _, top_bits = quantile_words(points)
        _rank(points, words, np.uint64(top_bits), order, ranks)
    return ranks


@kernel
def _same(points: Array, a: int, b: int) -> bool:
    for k in range(points.shape[1]):
        if points[a, k] != points[b, k]:
            return False
    return True


@kernel
def _rank_2d(points: Array, order: Indices, ranks: Indices) -> None:
    last = points.shape[1] - 1
    highest = np.empty(order.shape[0])  # of each front, in the last objective; strictly descending over fronts
    fronts = 0
    before = order[0]
    for i in order:
        if points[i, 0] == points[before, 0] and points[i, last] == points[before, last] and i != before:
            ranks[i] = ranks[before]
            continue
        low = 0
        high = fronts
        while low < high:
            middle = (low + high) // 2
            if highest[middle] >= points[i, last]:
                low = middle + 1
            else:
                high = middle
        highest[low] = points[i, last]
        ranks[i] = low
        fronts = max(fronts, low + 1)
        before = i


@kernel
def _rank(points: Array, words: Words, top_bits: np.uint64, order: Indices, ranks: Indices) -> None:
    n = points.shape[0]
    blocks = np.empty((n, BLOCK), np.int64)  # a front is a chain of blocks of its members, the newest block first
    block_words = np.empty((n, BLOCK), np.uint64)
    filled = np.zeros(n, np.int64)
    older = np.full(n, -1)
    newest = np.full(n, -1)
    fronts = used = 0
    before = -1
    for i in order:
        if before >= 0 and _same(points, i, before):
            ranks[i] = ranks[before]
            continue
        low = 0  # the first front with no member that dominates i
        high = fronts
        while low < high:
            middle = (low + high) // 2
            block = newest[middle]
            while block >= 0 and not _dominated_by(
                block, i, blocks, block_words, filled[block], points, words, top_bits
            ):
                block = older[block]
            if block >= 0:
                low = middle + 1
            else:
                high = middle
        if newest[low] < 0 or filled[newest[low]] == BLOCK:
            older[used] = newest[low]
            newest[low] = used
            used += 1
        block = newest[low]
        blocks[block, filled[block]] = i
        block_words[block, filled[block]] = words[i]
        filled[block] += 1
        ranks[i] = low
        fronts = max(fronts, low + 1)
        before = i


@ordered_kernel
def _dominated_by(
    block: int,
    i: int,
    blocks: Indices,
    block_words: Words,
    count: int,
    points: Array,
    words: Words,
    top_bits: np.uint64,
) -> bool:
    possible = 0
    for j in range(count):  # no early exit: this becomes vector code
        possible += passes(block_words[block, j], words[i], top_bits)
    if possible == 0:
        return False
    for j in range(count):
        if passes(block_words[block, j], words[i], top_bits):
            k = 0
            while k < points.shape[1] and points[blocks[block, j], k] >= points[i, k]:
                k += 1
            if k == points.shape[1]:
                return True
    return False


def crowding_distance(points: ArrayLike) -> Array:
    """Return the crowding distance of each point [n]: infinite at the ends, small where neighbours are close.

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
    rows = as_points(points)
    columns = rows.T.copy()
    orders = columns.argsort(axis=1)
    distances, some_are_equal = _crowding(columns, orders)
    if some_are_equal:  # there may be copies: measure again without them
        originals = _originals(rows, descending(rows))
        columns = np.ascontiguousarray(columns[:, originals])
        distances = np.zeros(rows.shape[0])
        distances[originals], _ = _crowding(columns, columns.argsort(axis=1))
    return distances


@kernel
def _originals(points: Array, order: Indices) -> Indices:
    first = np.ones(order.shape[0], np.bool_)
    for place in range(1, order.shape[0]):
        if _same(points, order[place], order[place - 1]):
            first[order[place]] = False
    return np.nonzero(first)[0]


@kernel
def _crowding(columns: Array, orders: Indices) -> tuple[Array, bool]:
    """Return the distances [n], and whether two points are equal in the first objective."""
    m, n = columns.shape
    distances = np.zeros(n)
    values = np.empty(n)  # of one objective, ascending
    equal_at_first = False
    for k in range(m):
        for place in range(n):
            values[place] = columns[k, orders[k, place]]
        equal = 0
        for place in range(1, n):
            equal += values[place] == values[place - 1]
        if k == 0:
            equal_at_first = equal > 0
        if n == 0 or values[0] == values[n - 1]:
            continue
        if values[n - 1] - values[0] == np.inf:  # beyond the largest number
            values *= 0.5
        span = values[n - 1] - values[0]
        if equal > 0:
            _add_gaps_with_ties(values, orders[k], span, distances)
            continue
        for place in range(1, n - 1):
            distances[orders[k, place]] += (values[place + 1] - values[place - 1]) / span
        distances[orders[k, 0]] = distances[orders[k, n - 1]] = np.inf
    if n <= 2:
        distances[:] = np.inf
    return distances / m, equal_at_first


@kernel
def _add_gaps_with_ties(values: Array, order: Indices, span: float, distances: Array) -> None:
    n = order.shape[0]
    start = 0
    while start < n:
        stop = start
        first = last = order[start]  # by index, of the points with this value
        while stop < n and values[stop] == values[start]:
            first = min(first, order[stop])
            last = max(last, order[stop])
            stop += 1
        distances[first] += (values[stop] - values[start]) / span if stop < n else np.inf
        distances[last] += (values[start] - values[start - 1]) / span if start > 0 else np.inf
        start = stop
