"""Stops in the middle of a compilation: Numba may take half a minute for the kernels of an environment.

Kernels of updates are compiled in another process (`morl.learning.backends.numba.cache`); those of environments and of
the Pareto mathematics in this one, at their first call. Between two passes of the compiler nothing of the run changes.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event

from morl.learning.backends.waiting import checked_while_waiting


class _AtPasses(event.Listener):
    """Calls a function before each pass of a compilation in the main thread, which signals are handled in.

    Args:
        check: raises an exception that ends the compilation, or returns.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def on_start(self, event: object) -> None:
        """Call the function."""
        del event
        if threading.current_thread() is threading.main_thread():
            self._check()

    def on_end(self, event: object) -> None:
        """Do nothing."""


@contextmanager
def checked_while_compiling(check: Callable[[], None], check_wait: Callable[[], None]) -> Iterator[None]:
    """Call functions during all compilations while the block runs.

    Args:
        check: called between the passes of those in this process; raises an exception that ends the compilation, or
            returns.
        check_wait: called a few times a second while another process compiles; likewise.
    """
    with checked_while_waiting(check_wait), event.install_listener("numba:run_pass", _AtPasses(check)):
        yield
