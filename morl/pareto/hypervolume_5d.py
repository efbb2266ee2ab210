"""Exact hypervolume in five dimensions: WFG's slices, whose bases are swept in four dimensions.

The volume is cut along the fifth objective, from the top: each point adds a slab whose base is the point's box in the
other four less the volume of the points above it, *limited* to that box (each coordinate replaced by the smaller one).
Points that a later one covers in the four objectives left are of no more use to any slab and leave.

Limiting and dominance only ask who is larger, so a point is one 64-bit word, its ranks in four objectives, 16 bits
each: one subtraction compares two points, a few more operations limit one to the box of another.

Source: While, Bradstreet, Barone 2012 (WFG); Guerreiro and Fonseca 2018 (the sweep); ranks packed into words are ours.
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import ordered_kernel
from morl.pareto.hypervolume_4d import hypervolume_4d
from morl.pareto.order import places_descending

Array = NDArray[np.float64]
Words = NDArray[np.uint64]

MOST_5D = 8191  # points, so that the sum of four ranks fits into 16 bits
TOP_BITS = np.uint64(0x8000800080008000)
RANK = np.uint64(0xFFFF)
FIFTEEN, LANE, TWO_LANES, HIGH = np.uint64(15), np.uint64(16), np.uint64(32), np.uint64(48)
CROWD = 24  # candidates, from which on it pays to look for a strong one first


@ordered_kernel
def hypervolume_5d(columns: Array, n: int) -> float:
    """Returns the volume under the first `n`, up to 8191, points of `columns` [5, n or more], positive."""
    words, table = _pack(columns, n)
    order = places_descending(columns[4], n)
    above, candidates, limited = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    rows, front, steps = np.empty((n, 4)), np.empty((3, n + 1)), np.empty((2, n + 1))
    total = 0.0
    count = 0
    for i in order:
        left = _limit(words[i], above, count, candidates, limited)
        base = columns[0, i] * columns[1, i] * columns[2, i] * columns[3, i]
        for j in range(left):
            for k in range(4):
                rows[j, k] = table[k, (limited[j] >> np.uint64(16 * k)) & RANK]
        if left == 1:
            base -= rows[0, 0] * rows[0, 1] * rows[0, 2] * rows[0, 3]
        elif left > 1:
            base -= hypervolume_4d(rows, left, front, steps)
        total += base * columns[4, i]
        count = _enter(words[i], above, count)
    return total


@ordered_kernel
def _pack(columns: Array, n: int) -> tuple[Words, Array]:
    """Returns the words of n points, the fourth objective in the highest lane, and the value of each rank [4, n]."""
    words, table = np.zeros(n, np.uint64), np.empty((4, n))
    for k in range(4):
        rank = 0
        order = places_descending(columns[k], n)
        table[k, 0] = columns[k, order[n - 1]] if n > 0 else 0.0
        for i in order[::-1]:
            rank += columns[k, i] > table[k, rank]
            table[k, rank] = columns[k, i]
            words[i] |= np.uint64(rank) << np.uint64(16 * k)
    return words, table


@ordered_kernel
def _at_least(a: np.uint64, b: np.uint64) -> bool:
    return bool((((a | TOP_BITS) - b) & TOP_BITS) == TOP_BITS)  # no lane borrows: the top bits stay


@ordered_kernel
def _minimum(a: np.uint64, b: np.uint64) -> np.uint64:
    larger = ((a | TOP_BITS) - b) & TOP_BITS
    return a ^ ((a ^ b) & (larger - (larger >> FIFTEEN)))  # b where a is larger


@ordered_kernel
def _limit(box: np.uint64, above: Words, count: int, candidates: Words, limited: Words) -> int:
    """Returns how many of the first `count` points of `above` are left, limited to the box; writes them to `limited`.

    Both descend in the fourth objective, so a later candidate is never better than an earlier one, but for ties.
    """
    strongest = np.uint64(0)
    for place in range(count):  # this becomes vector code
        word = _minimum(above[place], box)
        candidates[place] = word
        pairs = word + (word >> TWO_LANES)
        strength = (pairs + (pairs >> LANE)) & RANK
        strongest = max(strongest, (strength << TWO_LANES) | np.uint64(place))
    if count >= CROWD:
        count = _drop_weaker(int(strongest & np.uint64(0xFFFFFFFF)), candidates, count)
    left = 0
    for place in range(count):
        word = candidates[place]
        dominated = 0
        for j in range(left):  # no early exit: this becomes vector code
            dominated += _at_least(limited[j], word)
        if dominated > 0:
            continue
        ties = left
        while ties > 0 and (limited[ties - 1] ^ word) >> HIGH == np.uint64(0):
            ties -= 1
        kept = ties
        for j in range(ties, left):
            if not _at_least(word, limited[j]):
                limited[kept] = limited[j]
                kept += 1
        limited[kept] = word
        left = kept + 1
    return left


@ordered_kernel
def _drop_weaker(strong: int, candidates: Words, count: int) -> int:
    """Returns how many candidates are left without those that the strong one dominates."""
    word = candidates[strong]
    kept = 0
    for place in range(count):
        candidate = candidates[place]
        candidates[kept] = candidate
        kept += place == strong or not _at_least(word, candidate)
    return kept


@ordered_kernel
def _enter(word: np.uint64, above: Words, count: int) -> int:
    """Returns how many points stay above once the word has been sorted in by the fourth objective."""
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
