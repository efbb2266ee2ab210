"""Machine code comes from Numba's cache, so that the process that compiles computes what all later ones do.

A process that compiles a function keeps the functions that it calls as machine code of their own; one that loads the
function from the cache has copies of them in it, which were optimized together with it. Both are right, but they round
differently: the same run would give other numbers the second time, and a resumed run would differ from one that was
not interrupted.
"""

import logging
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from pickle import dumps
from tempfile import TemporaryFile
from typing import Any

import numba
from llvmlite import binding

from morl.learning.backends import waiting

_COMPILE = (
    "import signal; import sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));"
    "import pickle; path, request = pickle.load(sys.stdin.buffer); sys.path[:] = path; import importlib;"
    "module, name, kinds = pickle.loads(request); getattr(importlib.import_module(module), name).compile(kinds)"
)
"""Ended by SIGTERM, it removes a cache file that it is just writing."""
CHECKS_PER_SECOND = 10
SECONDS_TO_END = 0.5
"""From SIGTERM to SIGKILL: LLVM, which writes no files, may not return to Python for minutes."""


def compile_in_subprocess(kernel: Any, *arguments: object) -> None:
    """Compile `kernel` for arguments of these types in another process, unless that was done before.

    Where nothing can be kept, as in a cache that is full, the kernel is compiled by its first caller, as usual; a line
    in the log says so.

    Args:
        kernel: a function of a module, decorated with `njit(cache=True)`.
        arguments: those of the call that is to come; the function is not called here.

    Raises:
        BaseException: whatever ends the wait for the other process, which is ended too (`checked_while_waiting`).
    """
    kinds = tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    source = Path(kernel.py_func.__code__.co_filename)
    versions = (numba.__version__, sys.version, binding.get_host_cpu_name(), source.stat().st_mtime_ns)
    digest = sha256(repr((kinds, versions)).encode()).hexdigest()[:16]
    marker = Path(kernel.stats.cache_path) / f"{source.stem}.{kernel.__name__}-{digest}.compiled"
    if marker.exists():
        return
    request = dumps((_path_of_child(), dumps((kernel.__module__, kernel.__name__, kinds))))
    code, said = _run_child(request)
    if code == 0:
        with suppress(OSError):
            marker.touch()
        return
    reason = (said.strip().splitlines() or [f"exit code {code}"])[-1]
    logging.getLogger("morl").warning(
        "%s could not be compiled beforehand (%s): its numbers may differ from those of later runs in the last digits",
        kernel.__name__,
        reason,
    )


def _run_child(request: bytes) -> tuple[int, str]:
    """Run a process that compiles, and return its exit code and what it wrote to standard error.

    It is in a session of its own, so that Ctrl-C in a terminal reaches this process alone, which ends it.

    Args:
        request: what it reads from standard input.

    Raises:
        BaseException: whatever a check raises that ends the wait (`morl.learning.backends.waiting`).
    """
    command = [sys.executable, "-P", "-c", _COMPILE]
    with TemporaryFile() as words:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words, start_new_session=True
        )
        try:
            with suppress(BrokenPipeError):
                assert child.stdin is not None
                child.stdin.write(request)
                child.stdin.close()
            while child.poll() is None:
                waiting.check()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(1.0 / CHECKS_PER_SECOND)
        finally:
            _end(child)
        words.seek(0)
        return child.returncode, words.read().decode(errors="replace")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a process that still runs."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _path_of_child() -> list[str]:
    """Return this process's path without the current folder, and with the folder of this package last.

    The user's files in the current folder, such as random.py, must not stand in for modules that the child needs. The
    child finds this package in the very folder that this process has it from, because cached code belongs to a path.
    """
    package_folder = Path(__file__).parents[4]
    others = [
        entry
        for entry in sys.path
        if entry and Path(entry).resolve() != Path.cwd() and not (Path(entry) / "morl" / "__init__.py").exists()
    ]
    return [*others, str(package_folder)]
