"""Results in rational numbers, slow and right to the last digit, for the tests of the Pareto mathematics."""

from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike


def exact_hypervolume(points: ArrayLike, reference: ArrayLike) -> Fraction:
    """Return the hypervolume by inclusion and exclusion."""
    boxes = [
        [Fraction(float(x)) - Fraction(float(r)) for x, r in zip(p, np.asarray(reference), strict=True)]
        for p in np.asarray(points)
    ]
    boxes = [box for box in boxes if min(box) > 0]
    total = Fraction(0)
    for size in range(1, len(boxes) + 1):
        for chosen in combinations(boxes, size):
            volume = Fraction(1)
            for coordinates in zip(*chosen, strict=True):
                volume *= min(coordinates)
            total += volume if size % 2 else -volume
    return total
