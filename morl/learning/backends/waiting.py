"""Long waits in updates, such as for a compiler, that a run may have to end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHECKS: list[Callable[[], None]] = []
"""Of the runs of this process: normally one. Threads that update some of its policies share it."""


def check() -> None:
    """Raise what ends the wait, if something is to end it; to be called a few times a second while waiting."""
    for each in tuple(_CHECKS):
        each()


@contextmanager
def checked_while_waiting(raise_if_ended: Callable[[], None]) -> Iterator[None]:
    """Call a function during all long waits of updates while the block runs.

    Args:
        raise_if_ended: raises an exception that ends the wait, or returns.
    """
    _CHECKS.append(raise_if_ended)
    try:
        yield
    finally:
        _CHECKS.remove(raise_if_ended)
