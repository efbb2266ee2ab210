"""Exact hypervolume in five and more dimensions: WFG, with dominance tests on 64 points at a time.

The volume is cut along the last objective, from the top: each point adds a slab whose base is the point's exclusive
volume, one dimension lower, over the points above it. That in turn is the point's own box less the volume of the
others *limited* to that box (each coordinate replaced by the smaller one), after removing those that limiting made
dominated. So the recursion goes down one dimension at a time. Small sets go on in `hypervolume_few`, four dimensions in
`hypervolume_4d`.

Most of the time of WFG goes into finding which limited points are dominated. Here every set of points is a row of bits:
`at_least[k, :, i]` holds the points that are at least as good as point i in objective k. Limited to the box of p,
point j is at least as good as i in objective k when it is at least as good as i *or* as p. So one OR per objective and
an AND over objectives answer the question for 64 points j at once, without computing a single limited coordinate.

Source: While, Bradstreet, Barone 2012, "A fast way of calculating exact hypervolumes"; the bit sets are ours.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import ordered_kernel
from morl.pareto.hypervolume_4d import hypervolume_4d
from morl.pareto.hypervolume_few import MOST, RankedPoints, hypervolume_few, pack, ranked_points, union_of_four

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Bits = NDArray[np.uint64]

ONE = np.uint64(1)
NONE = np.uint64(0)


class Slices(NamedTuple):
    """The points of the sub-problem in each dimension, and memory to measure them.

    Attributes:
        rows: [dimension, n, objective], values.
        orders: [dimension, objective, n], the points by each objective, ascending.
        at_least: [dimension, objective, word, n], one bit for each point that is at least as good as this one.
        ranked: memory for sub-problems of few points.
    """

    rows: Array
    orders: Indices
    at_least: Bits
    ranked: RankedPoints


@ordered_kernel
def hypervolume_wfg(points: Array, orders: Indices) -> float:
    """Return the volume under `points` [n, objective], positive and non-dominated, with five objectives or more.

    Args:
        points: [n, objective], descending in the last objective.
        orders: [objective, n], the points by each objective, ascending.
    """
    n, m = points.shape
    slices = Slices(
        np.empty((m + 1, n, m)),
        np.empty((m + 1, m, n), np.int64),
        np.empty((m + 1, m, (n + 63) // 64, n), np.uint64),
        ranked_points(m + 1, n),
    )
    slices.rows[m] = points
    slices.orders[m] = orders
    return _volume_of_slices(m, n, slices)


@ordered_kernel
def _volume_of_slices(d: int, n: int, slices: Slices) -> float:
    """Return the volume of the sub-problem in dimension d, n rows with their orders by each objective."""
    rows = slices.rows
    orders = slices.orders
    at_least = slices.at_least
    ranked = slices.ranked
    _fill_bits(d, n, rows, orders, at_least)
    dominators = np.empty(((n + 63) // 64, n), np.uint64)
    here = np.empty(dominators.shape[0], np.uint64)
    label = np.empty(n, np.int64)
    total = 0.0
    for p in range(n):
        volume = 1.0
        for k in range(d - 1):
            volume *= rows[d, p, k]
        left = _limit(d, p, at_least, dominators, here, label)
        _gather(d, n, p, left, rows, orders, label)
        if left > 4 and d == 5:
            volume -= hypervolume_4d(rows[4], left, ranked.work.front, ranked.work.steps)
        elif left > MOST or d > 9:
            volume -= _volume_of_slices(d - 1, left, slices)
        elif left > 0:
            pack(d - 1, left, rows[d - 1], orders[d - 1], ranked.words, ranked.table)
            if left <= 4:
                volume -= union_of_four(d - 1, left, ranked.words, ranked.table)
            else:
                volume -= hypervolume_few(d - 1, left, ranked)
        total += volume * rows[d, p, d - 1]
    return total


@ordered_kernel
def _fill_bits(d: int, n: int, rows: Array, orders: Indices, at_least: Bits) -> None:
    words = (n + 63) // 64
    passed = np.empty(words, np.uint64)
    for k in range(d - 1):
        for word in range(words):
            passed[word] = NONE
        start = n - 1
        while start >= 0:
            value = rows[d, orders[d, k, start], k]
            stop = start
            while stop >= 0 and rows[d, orders[d, k, stop], k] == value:
                i = orders[d, k, stop]
                passed[i >> 6] |= ONE << np.uint64(i & 63)
                stop -= 1
            for place in range(start, stop, -1):
                i = orders[d, k, place]
                for word in range(words):
                    at_least[d, k, word, i] = passed[word]
            start = stop


@ordered_kernel
def _limit(d: int, p: int, at_least: Bits, dominators: Bits, here: Bits, label: Indices) -> int:
    """Return how many of the points before p are left, limited to its box; marks them with 0 in `label`, others -1."""
    words = (p + 63) // 64
    for word in range(words):
        everyone = ~NONE if 64 * (word + 1) <= p else (ONE << np.uint64(p & 63)) - ONE
        for i in range(p):
            dominators[word, i] = everyone
        for k in range(d - 1):
            enough = at_least[d, k, word, p]
            for i in range(p):
                dominators[word, i] &= at_least[d, k, word, i] | enough
    for i in range(p):
        dominators[i >> 6, i] &= ~(ONE << np.uint64(i & 63))
    left = p
    for word in range(words):
        here[word] = ~NONE
    for i in range(p):
        label[i] = 0
        found = NONE
        for word in range(words):
            found |= dominators[word, i] & here[word]
        if found != NONE:
            label[i] = -1
            left -= 1
            here[i >> 6] &= ~(ONE << np.uint64(i & 63))  # of points that have become equal, only the last stays
    return left


@ordered_kernel
def _gather(d: int, n: int, p: int, left: int, rows: Array, orders: Indices, label: Indices) -> None:
    """Write the sub-problem of the points left: limited rows by their last objective, and their orders."""
    count = 0
    for place in range(n - 1, -1, -1):
        i = orders[d, d - 2, place]
        if i < p and label[i] >= 0:
            label[i] = count
            orders[d - 1, d - 2, left - 1 - count] = count
            for k in range(d - 1):
                rows[d - 1, count, k] = min(rows[d, i, k], rows[d, p, k])
            count += 1
    if d == 5 and left > 4:
        return
    for k in range(d - 2):
        count = 0
        for place in range(n):
            i = orders[d, k, place]
            if i < p and label[i] >= 0:
                orders[d - 1, k, count] = label[i]
                count += 1
