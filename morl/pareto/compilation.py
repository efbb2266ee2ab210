"""Decorators that compile the kernels of this package: on first use, cached on disk, without the interpreter lock."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Return `function` compiled by Numba when it is first called; the next process loads it from disk.

    Numba does not notice a change in *another* file that a cached kernel calls: after editing kernels, delete
    `__pycache__`.
    """
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def ordered_kernel(function: Function) -> Function:
    """Return `function` compiled like `kernel`, for arguments without NaN: comparisons and minima become vector code.

    Results are the same to the last bit: nothing is reordered.
    """
    compile_function = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
    return cast(Function, compile_function(function))


def inlined_kernel(function: Function) -> Function:
    """Return `function` compiled like `ordered_kernel`, and pasted into every kernel that calls it.

    For kernels so short that passing the arguments, seven numbers per array, would take most of their time.
    """
    compile_function = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"}, forceinline=True
    )
    return cast(Function, compile_function(function))
