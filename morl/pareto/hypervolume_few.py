"""Exact hypervolume of up to 127 points in up to eight dimensions: where WFG spends its time.

Dominance only asks who is larger, so a point is one 64-bit word: its rank in each of eight objectives, one byte each
(objectives that do not exist have rank 0 and value 1). One subtraction compares all eight ranks of two points, a few
more operations limit one point to the box of another, and a table turns ranks back into values for the volumes.

An objective in which all points of a sub-problem agree is only a factor of every volume, so cutting along an objective
never has to remove it.

Source: While, Bradstreet, Barone 2012 (WFG); ranks packed into words are ours.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import ordered_kernel
from morl.pareto.hypervolume_subsets import Workspace, hypervolume_of_words, workspace

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Words = NDArray[np.uint64]

MOST = 127  # points, so that a rank leaves the top bit of its byte free
TOP_BITS = np.uint64(0x8080808080808080)
BYTE = np.uint64(8)
RANK = np.uint64(127)
SEVEN = np.uint64(7)
NONE = np.uint64(0)


class RankedPoints(NamedTuple):
    """Points as words of ranks, one set of points for each depth of the recursion, and memory to measure them.

    Attributes:
        words: [depth, point], ranks; those at the depth that is measured are the input, lower ones are overwritten.
        table: [8, 128], the value of each rank.
        orders: [depth, point], memory: the points by their last objective but one.
        work: memory for the volumes in four objectives.
    """

    words: Words
    table: Array
    orders: Indices
    work: Workspace


@ordered_kernel
def ranked_points(depths: int, n: int) -> RankedPoints:
    """Return memory for up to `n` points at `depths` depths; its content is undefined."""
    return RankedPoints(
        np.empty((depths, n), np.uint64),
        np.empty((8, MOST + 1)),
        np.empty((depths, n), np.int64),
        workspace(n),
    )


@ordered_kernel
def hypervolume_of_few(points: Array, orders: Indices) -> float:
    """Return the volume under `points` [n, objective], positive, 1 to 127 of them, with up to eight objectives.

    Args:
        points: [n, objective], descending in the last objective.
        orders: [objective, n], the points by each objective, ascending.
    """
    n, m = points.shape
    ranked = ranked_points(m + 1, n)
    pack(m, n, points, orders, ranked.words, ranked.table)
    return hypervolume_few(m, n, ranked)


@ordered_kernel
def hypervolume_few(d: int, n: int, ranked: RankedPoints) -> float:
    """Return the volume under the first n points at depth d; overwrites the words of the depths below.

    Args:
        d: the points differ only in their first d objectives, 1 to 8, and descend in the last of them.
        n: number of points.
        ranked: the points, `ranked.words[d]`, and memory.
    """
    if d == 4:
        return _four(n, ranked.words, ranked.table, ranked.work)
    words = ranked.words
    table = ranked.table
    orders = ranked.orders
    total = volume(words[d, 0], table)
    orders[d, 0] = 0
    for p in range(1, n):
        left = limit(d, p, words, orders)
        total += volume(words[d, p], table)
        if left <= 4:
            total -= union_of_four(d - 1, left, words, table)
        else:
            total -= hypervolume_few(d - 1, left, ranked)
        _enter(d, p, words, orders)
    return total


@ordered_kernel
def volume(word: np.uint64, table: Array) -> float:
    """Return the volume of the box under a point."""
    product = 1.0
    for k in range(8):
        product *= table[k, (word >> np.uint64(8 * k)) & RANK]
    return product


@ordered_kernel
def _at_least(a: np.uint64, b: np.uint64) -> bool:
    return bool((((a | TOP_BITS) - b) & TOP_BITS) == TOP_BITS)  # no byte borrows: the top bits stay


@ordered_kernel
def _minimum(a: np.uint64, b: np.uint64) -> np.uint64:
    larger = ((a | TOP_BITS) - b) & TOP_BITS
    return a ^ ((a ^ b) & (larger - (larger >> SEVEN)))  # b where a is larger


@ordered_kernel
def union_of_four(d: int, n: int, words: Words, table: Array) -> float:
    """Return the volume of the union of up to four boxes, by inclusion and exclusion."""
    if n == 0:
        return 0.0
    a = words[d, 0]
    if n == 1:
        return volume(a, table)
    b = words[d, 1]
    if n == 2:
        return volume(a, table) + volume(b, table) - volume(_minimum(a, b), table)
    c = words[d, 2]
    union = _union_of_three(a, b, c, table)
    if n == 4:
        e = words[d, 3]
        union += volume(e, table) - _union_of_three(_minimum(a, e), _minimum(b, e), _minimum(c, e), table)
    return union


@ordered_kernel
def _union_of_three(a: np.uint64, b: np.uint64, c: np.uint64, table: Array) -> float:
    ab = _minimum(a, b)
    ac = _minimum(a, c)
    bc = _minimum(b, c)
    single = volume(a, table) + volume(b, table) + volume(c, table)
    return single - volume(ab, table) - volume(ac, table) - volume(bc, table) + volume(_minimum(ab, c), table)


@ordered_kernel
def _four(n: int, words: Words, table: Array, work: Workspace) -> float:
    factor = 1.0
    for k in range(4, 8):
        factor *= table[k, (words[4, 0] >> np.uint64(8 * k)) & RANK]
    for i in range(n):
        for k in range(4):
            work.rows[i, k] = table[k, (words[4, i] >> np.uint64(8 * k)) & RANK]
    return factor * hypervolume_of_words(words[4], n, 8, work)


@ordered_kernel
def limit(d: int, p: int, words: Words, orders: Indices) -> int:
    """Return how many of the points before p are left, limited to its box; writes them to words[d - 1].

    They come in descending order of objective d - 2, so a later one is never better than an earlier one, but for ties.
    """
    left = 0
    box = words[d, p]
    shift = BYTE * np.uint64(d - 2)
    for place in range(p):
        candidate = _minimum(words[d, orders[d, place]], box)
        dominated = 0
        for j in range(left):  # no early exit: this becomes vector code
            dominated += _at_least(words[d - 1, j], candidate)
        if dominated > 0:
            continue
        equal = left
        while equal > 0 and ((words[d - 1, equal - 1] ^ candidate) >> shift) & RANK == NONE:
            equal -= 1
        kept = equal
        for j in range(equal, left):
            if not _at_least(candidate, words[d - 1, j]):
                words[d - 1, kept] = words[d - 1, j]
                kept += 1
        words[d - 1, kept] = candidate
        left = kept + 1
    return left


@ordered_kernel
def _enter(d: int, p: int, words: Words, orders: Indices) -> None:
    """Sort point p into the order of the points before it by the last objective but one."""
    shift = BYTE * np.uint64(d - 2)
    rank = (words[d, p] >> shift) & RANK
    place = p
    while place > 0 and (words[d, orders[d, place - 1]] >> shift) & RANK < rank:
        orders[d, place] = orders[d, place - 1]
        place -= 1
    orders[d, place] = p


@ordered_kernel
def pack(d: int, n: int, values: Array, orders: Indices, words: Words, table: Array) -> None:
    """Write the ranks of n points in their first d objectives, d <= 8, to words[d], and fills `table`.

    Args:
        d: number of objectives.
        n: number of points.
        values: [point, objective].
        orders: [objective, n or more], the points by each objective, ascending.
        words: [depth, point].
        table: [8, 128].
    """
    for i in range(n):
        words[d, i] = NONE
    for k in range(d):
        rank = 0
        table[k, 0] = values[orders[k, 0], k]
        for place in range(n):
            i = orders[k, place]
            if values[i, k] > table[k, rank]:
                rank += 1
                table[k, rank] = values[i, k]
            words[d, i] |= np.uint64(rank) << np.uint64(8 * k)
    for k in range(d, 8):
        table[k, 0] = 1.0
