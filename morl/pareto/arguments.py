"""Validation of arguments: they become C-ordered float64 arrays, or raise one clear ValueError.

Functions that only compare values take infinities as ordinary values, the largest and the smallest. Functions that
measure a volume or a distance refuse them: infinity minus infinity has no answer.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.pareto.compilation import kernel

Array = NDArray[np.float64]

FLOAT64 = np.dtype(np.float64)


@kernel
def all_finite(values: Array) -> bool:
    """Return whether no value of a C-ordered array is infinite or NaN."""
    bad = 0
    for value in values.reshape(values.size):  # without early exit and in integers, this becomes vector code
        bad += value - value != 0.0
    return bad == 0


@kernel
def _any_nan(values: Array) -> bool:
    bad = 0
    for value in values.reshape(values.size):
        bad += value != value
    return bad > 0


def _as_float64(values: ArrayLike, name: str) -> Array:
    if type(values) is np.ndarray and values.dtype is FLOAT64:
        array: Array = np.ascontiguousarray(values)
    else:
        try:
            given = np.asarray(values)
            if given.dtype.kind not in "biufO":  # NumPy would turn text and dates into numbers, and halve complex ones
                raise TypeError(f"dtype {given.dtype}")
            array = np.ascontiguousarray(given, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"{name} must be numbers of shape [n, objective], got {_shorten(values)} ({error})"
            raise ValueError(message) from None
    # Numba would compile everything once more for a read-only array
    return array if array.flags.writeable else array.copy()


def _shorten(values: object) -> str:
    text = repr(values).replace("\n", "")
    return text if len(text) <= 60 else text[:57] + "..."


def as_points(points: ArrayLike, name: str = "points", *, finite: bool = True, objectives: int | None = None) -> Array:
    """Return `points` as a C-ordered float64 array [n, objective]; the same memory where it is one already.

    Args:
        points: [n, objective]; an empty list or array of shape (0,) is an empty set.
        name: the argument's name for the error message.
        finite: refuse infinities as well as NaN.
        objectives: the number of objectives that is expected, if there is one.

    Raises:
        ValueError: not numbers, not two-dimensional, no objectives, NaN (or infinite), wrong number of objectives.
    """
    array = _as_float64(points, name)
    if array.size == 0 and array.ndim <= 2:
        columns = array.shape[1] if array.ndim == 2 and array.shape[0] == 0 else 0
        if array.ndim == 2 and array.shape[0] > 0:
            raise ValueError(f"{name} must have at least one objective, got shape {array.shape}")
        if objectives is not None and columns not in (0, objectives):
            raise ValueError(f"{name} must have {objectives} objectives, got {columns}")
        return np.empty((0, columns if objectives is None else objectives))
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape [n, objective], got shape {np.shape(points)}")
    if objectives is not None and array.shape[1] != objectives:
        raise ValueError(f"{name} must have {objectives} objectives, got {array.shape[1]}")
    if finite and not all_finite(array):
        raise ValueError(f"{name} must be finite, got {_first_bad(array, np.isfinite(array))}")
    if not finite and _any_nan(array):
        raise ValueError(f"{name} must not hold NaN, got {_first_bad(array, ~np.isnan(array))}")
    return array


def _first_bad(array: Array, good: NDArray[np.bool_]) -> str:
    place = np.argwhere(~good)[0]
    return f"{array[tuple(place)]} at {place.tolist()}"


def as_vector(vector: ArrayLike, name: str, objectives: int | None = None) -> Array:
    """Return `vector` as a finite float64 array [objective].

    Raises:
        ValueError: not numbers, not one-dimensional, empty, not finite, wrong length.
    """
    array = _as_float64(vector, name)
    if array.ndim != 1 or array.size == 0 or (array.size == 1 and np.ndim(vector) != 1):
        raise ValueError(f"{name} must have shape [objective], got shape {np.shape(vector)}")
    if objectives is not None and array.shape[0] != objectives:
        raise ValueError(f"{name} must have {objectives} values, one per objective, got {array.shape[0]}")
    if not all(map(math.isfinite, array.tolist())):
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    return array
