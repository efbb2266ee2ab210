"""Machine code comes from Numba's cache, so that the process that compiles computes what all later ones do.

A process that compiles a function keeps the functions that it calls as machine code of their own; one that loads the
function from the cache has copies of them in it, which were optimized together with it. Both are right, but they round
differently: the same run would give other numbers the second time, and a resumed run would differ from one that was
not interrupted.
"""

import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from pickle import dumps
from typing import Any

import numba
from llvmlite import binding

_COMPILE = (
    "import importlib, pickle, sys; module, name, kinds = pickle.load(sys.stdin.buffer);"
    "getattr(importlib.import_module(module), name).compile(kinds)"
)


def compile_in_subprocess(kernel: Any, *arguments: object) -> None:
    """Compile `kernel` for arguments of these types in another process, unless that was done before.

    Where nothing can be kept, as in a cache that is full, the kernel is compiled by its first caller, as usual.

    Args:
        kernel: a function of a module, decorated with `njit(cache=True)`.
        arguments: those of the call that is to come; the function is not called here.
    """
    kinds = tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    source = Path(kernel.py_func.__code__.co_filename)
    versions = (numba.__version__, sys.version, binding.get_host_cpu_name(), source.stat().st_mtime_ns)
    digest = sha256(repr((kinds, versions)).encode()).hexdigest()[:16]
    marker = Path(kernel.stats.cache_path) / f"{source.stem}.{kernel.__name__}-{digest}.compiled"
    if marker.exists():
        return
    request = dumps((kernel.__module__, kernel.__name__, kinds))
    child = subprocess.run([sys.executable, "-c", _COMPILE], input=request, capture_output=True, check=False)
    if child.returncode == 0:
        with suppress(OSError):
            marker.touch()
