"""Machine code comes from Numba's cache, so that the process that compiles computes what all later ones do.

A process that compiles a function has the functions inside it as machine code of their own, and calls these; one that
loads the function from the cache calls the copies in it, which were optimized together with it. Both are right, but
they round differently: the same run would end elsewhere the second time, and a resumed one not go on as it had begun.
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

_IN_A_CHILD = (
    "import importlib, pickle, sys; module, name, kinds = pickle.load(sys.stdin.buffer);"
    "getattr(importlib.import_module(module), name).compile(kinds)"
)


def have_compiled(kernel: Any, *arguments: Any) -> None:
    """Have another process compile `kernel` for arguments of these types, unless that was done before.

    Where nothing can be kept, as in a cache that is full, the kernel is compiled by whoever calls it, as ever.

    Args:
        kernel: a function of a module, decorated with `njit(cache=True)`.
        arguments: those of the call that is to come; the function is not called here.
    """
    kinds = tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    source = Path(kernel.py_func.__code__.co_filename)
    versions = numba.__version__, sys.version, binding.get_host_cpu_name(), source.stat().st_mtime_ns
    digest = sha256(repr((kinds, versions)).encode()).hexdigest()[:16]
    done = Path(kernel.stats.cache_path) / f"{source.stem}.{kernel.__name__}-{digest}.compiled"
    if done.exists():
        return
    wanted = dumps((kernel.__module__, kernel.__name__, kinds))
    child = subprocess.run([sys.executable, "-c", _IN_A_CHILD], input=wanted, capture_output=True, check=False)
    if child.returncode == 0:
        with suppress(OSError):
            done.touch()
