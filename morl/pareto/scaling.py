"""Powers of two that keep products of large or small numbers within the range of float64.

A product of m numbers can exceed the largest float64, or fall below the smallest, on the way to a volume that does not.
Multiplying by a power of two is exact, so extreme boxes are measured in units in which the largest coordinates of all
objectives have a product of about 2^1000, and the result is multiplied by the units at the end.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.pareto.compilation import ordered_kernel

Array = NDArray[np.float64]

EXPONENT_RANGE = 1000
"""Products between 2^-1000 and 2^1000 are safe: sums of up to 2^20 of them are finite, and none is subnormal."""
SMALLEST_UNIT_VOLUME = 2.0**-900
"""What is lost to underflow in units is below 2^-1050 in all, and so below rounding beside a volume of this size."""


class UnitBoxes(NamedTuple):
    """Boxes above a reference point in units of powers of two.

    Attributes:
        boxes: [n, objective], in each objective at most 2^(1000 / objectives), and the largest at least half of it.
        exponents: [objective], of two: a box is boxes * 2^exponents.
        counting: [all points], whether a point exceeds the reference in every objective; only those have a box.
        lossless: whether no product of coordinates, one of each objective, can underflow.
    """

    boxes: Array
    exponents: NDArray[np.int64]
    counting: NDArray[np.bool_]
    lossless: bool

    @property
    def exponent(self) -> int:
        """Return the exponent of two by which a volume of unit boxes is multiplied."""
        return int(self.exponents.sum())


def unit_boxes(points: Array, corner: Array) -> UnitBoxes:
    """Return the boxes of `points` [n, objective] above `corner` [objective] in units, without those that are empty."""
    counting: NDArray[np.bool_] = np.all(points > corner, axis=1)
    boxes, doublings = differences(points[counting], corner)
    if boxes.shape[0] == 0:
        return UnitBoxes(boxes, np.zeros(corner.shape[0], np.int64), counting, True)
    exponents = np.frexp(boxes.max(axis=0))[1].astype(np.int64) - EXPONENT_RANGE // corner.shape[0]
    boxes = np.ldexp(boxes, -exponents)
    mantissas, lowest_exponents = np.frexp(boxes.min(axis=0))
    lossless = bool((mantissas > 0.0).all() and lowest_exponents.sum() > -EXPONENT_RANGE)
    return UnitBoxes(boxes, exponents + doublings, counting, lossless)


def differences(points: Array, corner: Array) -> tuple[Array, int]:
    """Return points - corner; halved, and 1 instead of 0, where a difference is beyond the largest number."""
    with np.errstate(over="ignore"):
        found = points - corner
    if np.isfinite(found).all():
        return found, 0
    return points / 2 - corner / 2, 1


def times_power_of_two(value: float, exponent: int) -> float:
    """Return value * 2^exponent, infinite where that is beyond the largest number."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


def limits(objectives: int) -> tuple[float, float]:
    """Return the smallest and the largest coordinate of boxes whose volumes are safe to compute as they are."""
    if objectives == 1:
        return 0.0, math.inf
    largest = 2.0 ** (EXPONENT_RANGE // objectives)
    return 1.0 / largest, largest


@ordered_kernel
def within(boxes: Array, smallest: float, largest: float) -> bool:
    """Return whether all coordinates of `boxes` [n, objective] lie between the limits."""
    outside = 0
    for i in range(boxes.shape[0]):  # no early exit: this becomes vector code
        for k in range(boxes.shape[1]):
            outside += (boxes[i, k] < smallest) | (boxes[i, k] > largest)
    return outside == 0
