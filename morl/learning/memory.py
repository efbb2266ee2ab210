"""How much memory transitions take: stated and checked before any is allocated."""

import logging
import sys
from pathlib import Path
from typing import Final

import torch

from morl.protocols import MemoryNeed

_LOGGER = logging.getLogger("morl")

STATED_FROM: Final = 256 * 1024**2
"""Bytes from which on a log line states the memory."""


def check_memory(need: MemoryNeed, device: torch.device) -> None:
    """State in the log how much memory transitions take, and check that there is as much.

    A CPU's memory is taken as transitions come, so that a short run takes less; a GPU's is taken at once.

    Args:
        need: what they take.
        device: where they will lie.

    Raises:
        ValueError: there is less; the message says how many transitions fit.
    """
    available = available_memory(device)
    transitions = need.transitions if device.type == "cpu" else need.value * need.copies
    size = transitions * need.bytes_each
    known = "" if available is None else f"; {_text(available)} are available"
    if available is not None and size > available:
        fitting = max(1, available // need.bytes_each // need.copies)
        raise ValueError(
            f"{need.setting} is {need.value}, but {need.what} of {transitions:,} transitions with"
            f" {need.bytes_each:,} bytes each takes {_text(size)} of memory, and {_text(available)} are available: set"
            f" {need.setting} to at most {fitting}"
        )
    if size >= STATED_FROM:
        _LOGGER.info(
            "%s of %s transitions takes %s of memory (%s bytes each)%s.",
            need.what.capitalize(),
            f"{transitions:,}",
            _text(size),
            f"{need.bytes_each:,}",
            known,
        )


def available_memory(device: torch.device) -> int | None:
    """Return the bytes that can be allocated on a device without swapping; None where the system does not say.

    Args:
        device: a CPU, whose memory a control group may limit, or a GPU.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if sys.platform != "linux":
        return None
    found = [_available_to_machine(), _available_to_group()]
    return min((size for size in found if size is not None), default=None)


def _available_to_machine() -> int | None:
    """Return MemAvailable of /proc/meminfo in bytes."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _available_to_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what the control group (version 2) has left, in bytes; None without a limit."""
    try:
        limit = int((folder / "memory.max").read_text())
        return max(0, limit - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):  # no such files, or "max"
        return None


def _text(size: int) -> str:
    """Return a number of bytes as text, such as "2.3 GiB"."""
    return f"{size / 1024**3:.1f} GiB" if size >= 0.1 * 1024**3 else f"{size / 1024**2:.0f} MiB"
