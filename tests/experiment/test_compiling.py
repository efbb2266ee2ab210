"""Signals while kernels compile in this process, and while the command line is imported."""

import signal
import subprocess
import sys
import threading

import numba
import pytest

from morl.experiment.compiling import checked_while_compiling
from morl.experiment.interrupt import Stopped, StopRequest


def kernel() -> "numba.core.dispatcher.Dispatcher":
    """Return a function that is compiled at its first call."""

    @numba.njit
    def double(number: float) -> float:
        return 2.0 * number

    return double


def test_a_request_ends_a_compilation_and_leaves_the_kernel_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl.experiment.interrupt.PATIENCE", 0.0)
    stop = StopRequest()
    double = kernel()
    with checked_while_compiling(stop.check, stop.check_wait):
        assert kernel()(2.0) == 4.0  # nobody asked yet
        stop(signal.SIGTERM, None)
        with pytest.raises(Stopped):
            double(2.0)
        assert not double.signatures
        with pytest.raises(Stopped):  # Numba's lock is free again
            double(2.0)
    assert double(2.0) == 4.0


def test_a_compilation_has_the_patience_that_evaluations_have() -> None:
    stop = StopRequest()
    with checked_while_compiling(stop.check, stop.check_wait):
        stop(signal.SIGINT, None)
        assert kernel()(2.0) == 4.0


def test_other_threads_compile_to_the_end() -> None:
    """An exception in a thread would end nothing but the thread."""

    def refuse() -> None:
        raise Stopped

    found = []
    with checked_while_compiling(refuse, refuse):
        thread = threading.Thread(target=lambda: found.append(kernel()(2.0)))
        thread.start()
        thread.join()
    assert found == [4.0]


INTERRUPTED = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "morl.experiment.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
import runpy
runpy.run_module("morl", run_name="__main__")
"""


def test_control_c_while_the_command_line_is_imported_prints_no_traceback() -> None:
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, start_new_session=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "")
