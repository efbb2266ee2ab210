"""Exact hypervolume in five dimensions: WFG's slices, whose bases are measured in four dimensions.

The volume is cut along the fifth objective, from the top: each point adds a slab whose base is the point's box in the
other four less the volume of the points above it, *limited* to that box (each coordinate replaced by the smaller one).
A limited point that is lower than the box in one objective only cuts it straight through: it is no work, it just moves
the corner from which the box begins, and what does not reach beyond that corner is gone too. Points that a later one
covers in the four objectives left are of no more use to any slab and leave.

Limiting and dominance only ask who is larger, so a point is one 64-bit word, its ranks in four objectives, 16 bits
each: one subtraction compares two points, a few more operations limit one to the box of another.

Source: While, Bradstreet, Barone 2012 (WFG); ranks packed into words and the moving corner are ours.
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import inlined_kernel, ordered_kernel
from morl.pareto.hypervolume_subsets import hypervolume_of_words, workspace
from morl.pareto.order import places_descending

Array = NDArray[np.float64]
Words = NDArray[np.uint64]

MOST_5D = 8191  # points; their ranks, from 1, leave the top bit of their 16 free
COUNTED = 256  # points, up to which comparing all pairs is quicker than sorting
TOP_BITS = np.uint64(0x8000800080008000)
RANKS = ~TOP_BITS
ONES = np.uint64(0x0001000100010001)
RANK = np.uint64(0x7FFF)
NONE = np.uint64(0)
ONE = np.uint64(1)
FIFTEEN = np.uint64(15)
WIDTH = np.uint64(16)
HIGH = np.uint64(48)
FIRST, SECOND, THIRD, FOURTH = (RANK << np.uint64(16 * k) for k in range(4))


@ordered_kernel
def hypervolume_5d(columns: Array, n: int) -> float:
    """Return the volume under the first `n`, up to 8191, points of `columns` [5, n or more], positive."""
    words, table = _pack(columns, n)
    order = places_descending(columns[4], n)
    above = np.empty(n, np.uint64)
    candidates = np.empty(n, np.uint64)
    limited = np.empty(n, np.uint64)
    work = workspace(n)
    rows = work.rows
    total = 0.0
    count = 0
    for i in order:
        corner, left = _limit(words[i], above, count, candidates, limited)
        base = 1.0
        for k in range(4):
            shift = WIDTH * np.uint64(k)
            start = table[k, (corner >> shift) & RANK]
            base *= columns[k, i] - start
            for j in range(left):
                rows[j, k] = table[k, (limited[j] >> shift) & RANK] - start
        if left == 1:
            base -= rows[0, 0] * rows[0, 1] * rows[0, 2] * rows[0, 3]
        elif left > 1:
            base -= hypervolume_of_words(limited, left, 16, work)
        total += base * columns[4, i]
        count = _enter(words[i], above, count)
    return total


@ordered_kernel
def _pack(columns: Array, n: int) -> tuple[Words, Array]:
    """Return the words of n points, the fourth objective in the highest bits, and the value of each rank [4, n + 1].

    Ranks begin with 1, and rank 0 is the value 0.
    """
    words = np.zeros(n, np.uint64)
    table = np.zeros((4, n + 1))
    ranks = np.empty(n, np.int64)
    for k in range(4):
        if n <= COUNTED:
            for i in range(n):
                ranks[i] = 1
                for j in range(n):  # this becomes vector code
                    ranks[i] += columns[k, j] < columns[k, i]
        else:
            order = places_descending(columns[k], n)
            for place in range(n):
                i = order[place]
                before = order[max(place - 1, 0)]
                equal = place > 0 and columns[k, i] == columns[k, before]
                ranks[i] = ranks[before] if equal else n - place
        for i in range(n):
            table[k, ranks[i]] = columns[k, i]
            words[i] |= np.uint64(ranks[i]) << np.uint64(16 * k)
    return words, table


@inlined_kernel
def _at_least(a: np.uint64, b: np.uint64) -> bool:
    return bool((((a | TOP_BITS) - b) & TOP_BITS) == TOP_BITS)  # no rank borrows from the next: the top bits stay


@inlined_kernel
def _minimum(a: np.uint64, b: np.uint64) -> np.uint64:
    larger = ((a | TOP_BITS) - b) & TOP_BITS
    return a ^ ((a ^ b) & (larger - (larger >> FIFTEEN)))  # b where a is larger


@ordered_kernel
def _limit(box: np.uint64, above: Words, count: int, candidates: Words, limited: Words) -> tuple[np.uint64, int]:
    """Return the corner where the box begins, and how many of the first `count` points of `above` are left.

    They are limited to the box, reach beyond the corner, and are written to `limited`. `above` and `limited` descend in
    the fourth objective, so a later candidate is never better than an earlier one, but for ties.
    """
    corner = _corner(box, above, count, candidates)
    beyond = corner + ONES
    kept = 0
    for place in range(count):
        candidate = candidates[place]
        candidates[kept] = candidate
        kept += _at_least(candidate, beyond)
    left = 0
    for word in candidates[:kept]:
        dominated = 0
        for j in range(left):  # no early exit: this becomes vector code
            dominated += _at_least(limited[j], word)
        if dominated > 0:
            continue
        ties = left
        while ties > 0 and (limited[ties - 1] ^ word) >> HIGH == NONE:
            ties -= 1
        stay = ties
        for j in range(ties, left):
            if not _at_least(word, limited[j]):
                limited[stay] = limited[j]
                stay += 1
        limited[stay] = word
        left = stay + 1
    return corner, left


@inlined_kernel
def _corner(box: np.uint64, above: Words, count: int, candidates: Words) -> np.uint64:
    """Return where the box begins, in each objective, and writes the points limited to the box to `candidates`."""
    first = second = third = fourth = NONE
    covered = 0
    for place in range(count):  # all in arithmetic, without choices: this becomes vector code
        word = _minimum(above[place], box)
        candidates[place] = word
        lower = ((box - word) + RANKS) & TOP_BITS  # top bits: in which objectives it is lower than the box
        covered += lower == NONE
        only_one = NONE - np.uint64((lower & (lower - ONE)) == NONE)  # all bits or none
        cut = word & (lower - (lower >> FIFTEEN)) & only_one
        first = max(first, cut & FIRST)
        second = max(second, cut & SECOND)
        third = max(third, cut & THIRD)
        fourth = max(fourth, cut & FOURTH)
    return box if covered > 0 else first | second | third | fourth


@ordered_kernel
def _enter(word: np.uint64, above: Words, count: int) -> int:
    """Return how many points stay above once the word has been sorted in by the fourth objective."""
    covered = 0
    for j in range(count):
        covered += _at_least(word, above[j])
    if covered > 0:
        kept = 0
        for j in range(count):
            above[kept] = above[j]
            kept += not _at_least(word, above[j])
        count = kept
    place = count
    while place > 0 and above[place - 1] >> HIGH < word >> HIGH:
        above[place] = above[place - 1]
        place -= 1
    above[place] = word
    return count + 1
