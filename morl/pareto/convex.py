"""Which points some non-negative weight prefers: the convex coverage set."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import kernel
from morl.pareto.dominance import non_dominated

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MARGIN = 1e-10  # of the objectives' ranges: a smaller lead than this is rounding


def convex_coverage_set(points: ArrayLike) -> Mask:
    """Return a mask [n] of the points that are the best for some non-negative weight, as few as cover all weights.

    A point stays when a weight w >= 0 gives it a larger w.p than every other point that stays. Of copies the first
    stays; a point on the segment between two others goes, since they serve its weight as well. Source: the pruning
    step of Roijers and Whiteson 2017, section 3.2, with one small linear programme per point.

    Args:
        points: [n, objective], finite.

    Raises:
        ValueError: `points` is not [n, objective] or not finite.
    """
    values = as_points(points)
    mask = non_dominated(values)
    survivors = np.nonzero(mask)[0]
    if survivors.size > 1:
        mask[survivors] = prune(values[survivors])
    return mask


@kernel
def prune(points: Array) -> Mask:
    """Return the mask [n] of the points, non-dominated and different, that a convex coverage set needs."""
    n, m = points.shape
    keep = np.ones(n, np.bool_)
    others = np.empty((n, m))
    for i in range(n - 1, -1, -1):  # later points go first where several could
        count = 0
        for j in range(n):
            if keep[j] and j != i:
                for k in range(m):
                    others[count, k] = points[j, k]
                count += 1
        keep[i] = lead(others, count, points[i]) > MARGIN
    return keep


@kernel
def lead(points: Array, n: int, candidate: Array) -> float:
    """Return max over weights w on the simplex of min over the first n points q of w.(candidate - q).

    Measured in units of the objectives' ranges. Positive: some weight selects the candidate alone. This is the value of
    a matrix game; with payoffs made positive it is 1 / max(sum x), M x <= 1, x >= 0, solved by the simplex method in a
    tableau of m rows (Bland's rule).
    """
    if n == 0:
        return np.inf
    m = points.shape[1]
    last = n + m
    tableau = np.zeros((m + 1, last + 1))
    basis = np.empty(m, np.int64)
    for k in range(m):
        low = high = candidate[k]
        for i in range(n):
            low = min(low, points[i, k])
            high = max(high, points[i, k])
        scale = 0.25 if high > 1e300 or low < -1e300 else 1.0  # a range can exceed the largest number
        span = high * scale - low * scale if high > low else 1.0
        for i in range(n):  # M: positive, since a gap is at most one range
            tableau[k, i] = 2.0 + (candidate[k] * scale - points[i, k] * scale) / span
            tableau[m, i] = -1.0
        tableau[k, n + k] = tableau[k, last] = 1.0
        basis[k] = n + k
    for _ in range(50 * last):
        entering = 0
        while entering < last and tableau[m, entering] >= -1e-12:
            entering += 1
        if entering == last or not _pivot(tableau, basis, entering):
            break
    return float(1.0 / tableau[m, last] - 2.0)


@kernel
def _pivot(tableau: Array, basis: NDArray[np.int64], entering: int) -> bool:
    m = tableau.shape[0] - 1
    last = tableau.shape[1] - 1
    leaving = -1
    smallest = np.inf
    for row in range(m):
        if tableau[row, entering] > 1e-12:
            ratio = tableau[row, last] / tableau[row, entering]
            if ratio < smallest or (ratio == smallest and basis[row] < basis[leaving]):
                smallest = ratio
                leaving = row
    if leaving < 0:
        return False
    divisor = tableau[leaving, entering]
    for column in range(last + 1):
        tableau[leaving, column] /= divisor
    for row in range(m + 1):
        factor = tableau[row, entering]
        if row != leaving and factor != 0.0:
            for column in range(last + 1):
                tableau[row, column] -= factor * tableau[leaving, column]
    basis[leaving] = entering
    return True
