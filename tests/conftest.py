"""What the tests share: toy environments and agents on the import path, here and in subprocesses."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

TOYS = str(Path(__file__).with_name("toys"))
sys.path.insert(0, TOYS)
os.environ["PYTHONPATH"] = os.pathsep.join([TOYS, *filter(None, [os.environ.get("PYTHONPATH")])])

MEMORY_DISK = "/dev/shm"
"""Where the folders of tests are made where there is room: a tiny run waits for a disk longer than it trains."""
LEAST_FREE = 4 * 1024**3
"""Bytes; the folders of all tests together have 1.6 GiB, and those of tests that passed are removed at once."""


def _has_room(folder: str) -> bool:
    """Return whether files can be written there, and programs run, as some tests write them."""
    if not os.access(folder, os.W_OK):
        return False
    return shutil.disk_usage(folder).free > LEAST_FREE and not os.statvfs(folder).f_flag & os.ST_NOEXEC


if _has_room(MEMORY_DISK):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY_DISK)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records golden traces anew."""
    parser.addoption("--update-golden", action="store_true", help="record the golden traces anew")


def pytest_configure() -> None:
    """Register the pretended device: PyTorch counts the devices at the first backward pass of a process."""
    import pretend

    if pretend.unavailable() is None:
        pretend.install()


@pytest.fixture(scope="module")
def without_figures() -> Iterator[None]:
    """Draw no figures: test_recording tests them, and a training run of 200 steps would spend its time on them."""
    from morl.experiment.recording import Recorder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "_draw", lambda self, steps, points: None)
        yield


@pytest.fixture(params=["pretend", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """A device that is no CPU: a pretended one everywhere, and CUDA where there is one (`-m gpu`)."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("PyTorch finds no CUDA device here")
        yield torch.device("cuda")
        return
    import pretend

    reason = pretend.unavailable()
    if reason is not None:
        pytest.skip(reason)
    with pretend.pretended() as place:
        yield place


@pytest.fixture
def morl_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: (exit code, standard output, standard error)."""
    from morl.__main__ import main

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            main([str(arg) for arg in args])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
