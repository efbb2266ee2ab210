"""Uniform draws made into others, for kernels: a row of `RandomStreams` holds draws of one kind only.

All take draws in [0, 1).
"""

import math

from numba import njit


@njit(cache=True, nogil=True)
def poisson(uniform: float, rate: float, none: float) -> int:
    """Return the Poisson variate of `rate` at the quantile `uniform`; `none` is exp(-rate)."""
    count = 0
    probability = none
    total = none
    while uniform >= total and probability > 0.0:
        count += 1
        probability *= rate / count
        total += probability
    return count


@njit(cache=True, nogil=True)
def exponential(uniform: float) -> float:
    """Return the exponential variate of mean 1 at the quantile `uniform`."""
    return -math.log1p(-uniform)


@njit(cache=True, nogil=True)
def normals(first: float, second: float) -> tuple[float, float]:
    """Return two independent standard normal variates (Box and Muller 1958)."""
    radius = math.sqrt(2.0 * exponential(first))
    angle = 2.0 * math.pi * second
    return radius * math.cos(angle), radius * math.sin(angle)
