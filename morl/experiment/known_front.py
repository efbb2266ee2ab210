"""The known front as a check: where nothing is left to chance, returns that are better contradict it.

Whether there is chance is told by the environments' generators, and by episodes from different seeds that pay the same.
"""

import numpy as np

from morl.protocols import FloatArray, IndexArray

ROUNDING = 1e-5
"""Share of the largest return that rounding may change: environments may pay in float32."""
MARGIN = 1e-3
"""Share of the front's range in an objective by which a return must exceed the front there."""


def rows_beyond(points: FloatArray, front: FloatArray) -> IndexArray:
    """Return the rows of returns that dominate a point of the front by more than rounding.

    A return between two points of a front that is only sampled dominates neither of them.

    Args:
        points: [n, objective] returns.
        front: [k, objective] the known front.
    """
    rounding = ROUNDING * np.abs(front).max(axis=0)
    margin = np.maximum(rounding, MARGIN * np.ptp(front, axis=0))
    gains = points[:, None] - front
    beyond = (gains >= -rounding).all(axis=2) & (gains > margin).any(axis=2)
    return np.flatnonzero(beyond.any(axis=1))


def contradiction(points: FloatArray, front: FloatArray) -> str:
    """Return the sentence that says which return contradicts the known front; empty if none does.

    Args:
        points: [n, objective] returns without chance: a mean over random episodes may exceed the front by luck.
        front: [k, objective] the known front, under the same discount.
    """
    rows = rows_beyond(points, front)
    if not rows.size:
        return ""
    better = points[rows[0]]
    sizes = np.where(np.ptp(front, axis=0) > 0.0, np.ptp(front, axis=0), 1.0)
    nearest = front[np.linalg.norm((front - better) / sizes, axis=1).argmin()]
    return (
        f"the environment pays more than its known front: {np.round(better, 6).tolist()} was returned, and the nearest"
        f" point of the front is {np.round(nearest, 6).tolist()}; known_front is wrong, or the environment is"
    )
