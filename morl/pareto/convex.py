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
    """Returns a mask [n] of the points that are the best for some non-negative weight, as few as cover all weights.

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
    """Returns the mask [n] of the points, non-dominated and different, that a convex coverage set needs."""
    n = points.shape[0]
    keep = np.ones(n, np.bool_)
    for i in range(n - 1, -1, -1):  # later points go first where several could
        keep[i] = False
        if keep.any():
            keep[i] = lead(points[keep], points[i]) > MARGIN
        else:
            keep[i] = True
    return keep


@kernel
def lead(points: Array, candidate: Array) -> float:
    """Returns max over weights w on the simplex of min over points q of w.(candidate - q), in units of the ranges.

    Positive: some weight selects the candidate alone. This is the value of a matrix game; with payoffs made positive
    it is 1 / max(sum x), M x <= 1, x >= 0, solved by the simplex method in a tableau of m rows (Bland's rule).
    """
    n, m = points.shape
    gaps = np.empty((m, n))  # [objective, point]: how far the point is ahead of the candidate
    for k in range(m):
        low = high = candidate[k]
        for i in range(n):
            low, high = min(low, points[i, k]), max(high, points[i, k])
        span = high - low if high > low else 1.0
        for i in range(n):
            gaps[k, i] = (points[i, k] - candidate[k]) / span
    # Every entry of gaps lies in [-1, 1]: 2 - gaps is positive, and a weight minimises the largest w.gaps.
    tableau = np.zeros((m + 1, n + m + 1))
    tableau[:m, :n] = 2.0 - gaps
    tableau[m, :n] = -1.0
    for k in range(m):
        tableau[k, n + k] = 1.0
        tableau[k, n + m] = 1.0
    basis = np.arange(n, n + m)
    for _ in range(50 * (n + m)):
        if not _pivot(tableau, basis):
            break
    return float(1.0 / tableau[m, n + m] - 2.0)


@kernel
def _pivot(tableau: Array, basis: NDArray[np.int64]) -> bool:
    m, last = tableau.shape[0] - 1, tableau.shape[1] - 1
    entering = -1
    for column in range(last):
        if tableau[m, column] < -1e-12:
            entering = column
            break
    if entering < 0:
        return False
    leaving = -1
    smallest = np.inf
    for row in range(m):
        if tableau[row, entering] > 1e-12:
            ratio = tableau[row, last] / tableau[row, entering]
            if ratio < smallest or (ratio == smallest and basis[row] < basis[leaving]):
                smallest, leaving = ratio, row
    if leaving < 0:
        return False
    tableau[leaving] /= tableau[leaving, entering]
    for row in range(m + 1):
        if row != leaving and tableau[row, entering] != 0.0:
            tableau[row] -= tableau[row, entering] * tableau[leaving]
    basis[leaving] = entering
    return True
