"""Type aliases for code that writes LLVM instructions: Numba and llvmlite publish no types for them."""

from collections.abc import Callable
from typing import Any, TypeAlias

Context: TypeAlias = Any
"""Numba's typing or target context."""
Signature: TypeAlias = Any
"""Numba's signature of a call: `args` and `return_type`."""
NumbaType: TypeAlias = Any
"""Numba's type of an argument."""
Value: TypeAlias = Any
"""An LLVM value of llvmlite."""
Intrinsic: TypeAlias = tuple[Signature, Callable[..., Value]]
"""What a function decorated with `numba.extending.intrinsic` returns: the signature and the code generator."""
