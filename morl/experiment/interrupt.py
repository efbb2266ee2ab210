"""Ctrl-C and SIGTERM: a run stops where its state is consistent, at the latest after a short while.

The first signal is a wish. The loop obeys it at the agent's next yield, where all is saved. An evaluation, or an agent
that takes long between two yields, has `PATIENCE` seconds to come to its end; then `StopRequest.check`, called before
every step of any environment, raises `Stopped`. A second signal stops at once.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

PATIENCE = 2.0
"""Seconds between a signal and the moment from which no further step of an environment is made."""


class Stopped(BaseException):
    """A signal has asked for the end of the run, and its patience is over.

    It is no `Exception`, so that agents and environments do not catch it.
    """


class StopRequest:
    """Whether somebody asked the run to stop.

    Attributes:
        number: the signal that asked; None as long as none did.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._deadline = 0.0

    @property
    def requested(self) -> bool:
        """Return whether somebody asked."""
        return self.number is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; obey the second at once."""
        del frame
        if self.requested:
            raise_for(number, "stopped at once: the last checkpoint is the newest")
        self._deadline = time.monotonic() + PATIENCE
        self.number = number

    def check(self) -> None:
        """Raise `Stopped` where somebody asked, and `PATIENCE` is over."""
        if self.number is not None and time.monotonic() >= self._deadline:
            raise Stopped

    def check_wait(self) -> None:
        """Raise `Stopped` where somebody asked: waiting for a compiler may take minutes, and changes no state."""
        if self.requested:
            raise Stopped


def raise_for(number: int, message: str) -> NoReturn:
    """Raise what ends a program as the signal does: KeyboardInterrupt, or SystemExit with code 128 + number.

    Args:
        number: the signal.
        message: what a KeyboardInterrupt says.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt(message)
    raise SystemExit(128 + number)


def exit_after_interrupt() -> NoReturn:
    """End the program after Ctrl-C, with code 130.

    In a terminal, die from the signal itself: a shell, which has received it too, ends its loop only if the program
    that it waits for did not handle it.
    """
    if _has_terminal():
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(128 + signal.SIGINT)


def _has_terminal() -> bool:
    """Return whether a terminal controls this process; False on systems without POSIX terminals."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Yield a `StopRequest` that Ctrl-C and SIGTERM set while the block runs (outside the main thread nothing does)."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
