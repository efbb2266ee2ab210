"""The non-dominated filter for many points in four and more objectives.

Every point gets a 64-bit word with one bit field for each objective: the quantile of that objective in which it lies.
A point can only dominate another when it is at least as good in every field, which one subtraction decides (each field
has a spare top bit, so that none borrows from the next). Points are sorted along a space-filling curve and cut into
blocks of 64; the maximum of a block in each field, its upper corner, excludes with one more such test that any of its
points dominates. Blocks of 64 blocks have corners too. Only the few pairs that pass all this are compared exactly.

Memory is O(n), and the time on fronts of 10^3 to 10^5 points is far below n^2 (docs/results/pareto.md).
"""

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import kernel, ordered_kernel

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]

BLOCK = 64
ONE = np.uint64(1)


def maximal_in_blocks(points: Array) -> Mask:
    """Return a mask [n] of the points that no other point dominates; of copies the first."""
    words, curve, top_bits = quantile_words(points)
    order = np.argsort(curve)[::-1]
    mask = np.empty(points.shape[0], np.bool_)
    mask[order] = _maximal(points[order], words[order], order, np.uint64(top_bits))
    return mask


@kernel
def quantile_words(points: Array) -> tuple[Words, Words, np.uint64]:
    """Return each point's word, its place on the space-filling curve (Morton's Z), and the top bits of the fields.

    Quantiles are those of a sample of at most 127 points, so that no outlier can spoil them; objectives beyond the
    32nd have no field and are only compared exactly.
    """
    n = points.shape[0]
    m = min(points.shape[1], 32)
    width = min(64 // m, 8)
    most = (1 << (width - 1)) - 1  # the largest quantile that leaves the top bit free
    words = np.zeros(n, np.uint64)
    curve = np.zeros(n, np.uint64)
    bounds = np.full((m, 128), np.inf)
    top_bits = np.uint64(0)
    for k in range(m):
        top_bits |= ONE << np.uint64(width * k + width - 1)
        count = min(most, 1 + n // 4)
        for j in range(count):  # insertion sort of a sample
            value = points[j * n // count, k]
            while j > 0 and bounds[k, j - 1] > value:
                bounds[k, j] = bounds[k, j - 1]
                j -= 1
            bounds[k, j] = value
    for i in range(n):
        word = np.uint64(0)
        for k in range(m):
            quantile = 0  # how many bounds are not above the value
            for step in (64, 32, 16, 8, 4, 2, 1):
                quantile += step if bounds[k, quantile + step - 1] <= points[i, k] else 0
            word |= np.uint64(min(quantile, most)) << np.uint64(width * k)
        words[i] = word
        place = np.uint64(0)
        for bit in range(width - 2, max(width - 5, -1), -1):
            for k in range(m):
                place = (place << ONE) | ((word >> np.uint64(width * k + bit)) & ONE)
        # at most 48 bits so far; copies, which share their place, come in the order of their indices, roughly, so that
        # each meets a copy with a smaller index at once
        curve[i] = (place << np.uint64(16)) | np.uint64(65535 - 65535 * i // n)
    return words, curve, top_bits


@ordered_kernel
def passes(a: np.uint64, b: np.uint64, top_bits: np.uint64) -> bool:
    """Return whether a is at least b in every field."""
    return bool((((a | top_bits) - b) & top_bits) == top_bits)


@ordered_kernel
def _maximum(a: np.uint64, b: np.uint64, top_bits: np.uint64) -> np.uint64:
    larger = ((b | top_bits) - a) & top_bits  # where b is at least a
    whole = np.uint64(0)
    spread = larger
    for _ in range(8):  # fields are at most eight bits wide: spread each top bit over its field
        whole |= spread
        spread = (spread >> ONE) & ~top_bits
    return (b & whole) | (a & ~whole)


@ordered_kernel
def _corners(words: Words, top_bits: np.uint64) -> Words:
    corners = np.zeros((words.shape[0] + BLOCK - 1) // BLOCK, np.uint64)
    for i in range(words.shape[0]):
        corners[i // BLOCK] = _maximum(corners[i // BLOCK], words[i], top_bits)
    return corners


@ordered_kernel
def _maximal(points: Array, words: Words, index: Indices, top_bits: np.uint64) -> Mask:
    n = points.shape[0]
    corners = _corners(words, top_bits)
    far_corners = _corners(corners, top_bits)
    near = np.empty(BLOCK, np.int64)
    mask = np.ones(n, np.bool_)
    for i in range(n):
        for far in range(far_corners.shape[0]):
            if not passes(far_corners[far], words[i], top_bits):
                continue
            count = 0
            for block in range(far * BLOCK, min((far + 1) * BLOCK, corners.shape[0])):
                near[count] = block
                count += passes(corners[block], words[i], top_bits)
            for block in near[:count]:
                if _dominated_within(block * BLOCK, i, points, words, index, top_bits):
                    mask[i] = False
                    break
            if not mask[i]:
                break
    return mask


@ordered_kernel
def _dominated_within(start: int, i: int, points: Array, words: Words, index: Indices, top_bits: np.uint64) -> bool:
    members = words[start : start + BLOCK]
    possible = 0
    for j in range(members.shape[0]):  # no early exit: this becomes vector code
        possible += passes(members[j], words[i], top_bits)
    if start <= i < start + BLOCK:
        possible -= 1
    if possible == 0:
        return False
    for j in range(start, start + members.shape[0]):
        if j != i and passes(words[j], words[i], top_bits):
            at_least = same = True
            for k in range(points.shape[1]):
                if points[j, k] != points[i, k]:
                    same = False
                    if points[j, k] < points[i, k]:
                        at_least = False
                        break
            if at_least and (not same or index[j] < index[i]):
                return True
    return False
