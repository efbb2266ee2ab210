"""Which points no other point dominates."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.arguments import as_points
from morl.pareto.compilation import kernel
from morl.pareto.order import descending

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


def non_dominated(points: ArrayLike, keep_duplicates: bool = False) -> Mask:
    """Returns a mask [n] of the points that no other point dominates (maximisation).

    A point dominates another when it is at least as good in every objective and better in one.

    Args:
        points: [n, objective]; infinities are ordinary values here.
        keep_duplicates: keep every copy of a non-dominated point instead of the first.

    Raises:
        ValueError: `points` is not [n, objective] or holds NaN.
    """
    values = as_points(points, finite=False)
    mask = np.zeros(values.shape[0], np.bool_)
    if values.shape[0] > 0:
        order = descending(values)
        _scan(values, order, mask)
        if keep_duplicates:
            _add_copies(values, order, mask)
    return mask


@kernel
def _weakly_dominates(points: Array, a: int, b: int) -> bool:
    for k in range(points.shape[1]):
        if points[a, k] < points[b, k]:
            return False
    return True


@kernel
def _scan(points: Array, order: Indices, mask: Mask) -> None:
    kept = np.empty_like(order)
    count = 0
    for i in order:
        for j in kept[:count]:
            if _weakly_dominates(points, j, i):
                break
        else:
            kept[count] = i
            count += 1
            mask[i] = True


@kernel
def _add_copies(points: Array, order: Indices, mask: Mask) -> None:
    for place in range(1, order.shape[0]):
        before, here = order[place - 1], order[place]  # copies are neighbours in this order, the first one first
        if mask[before] and _weakly_dominates(points, here, before):
            mask[here] = True
