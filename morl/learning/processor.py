"""Process-wide settings that make small batched updates fast on a CPU. Called once by the runner, never on import."""

import ctypes
import sys

import torch

# Parameters of glibc's mallopt: block size from which memory is mapped afresh, and size of the heap top that is kept.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare_processor(threads: int = 1) -> None:
    """Set the number of torch threads, flush denormal numbers to zero and keep freed memory in the process.

    By default glibc hands every temporary above 128 KiB back to the kernel, and the next one is paged in anew: that
    alone can cost more than the arithmetic. One thread by default, because two on a busy two-core machine wait for each
    other. Both were measured: docs/pd_morl.md, speed.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        except (OSError, AttributeError):
            pass  # a libc without mallopt (musl): only slower


def resolve_device(device: str) -> torch.device:
    """Return the device for "auto" (CUDA where there is one), "cpu" or "cuda".

    Raises:
        ValueError: "cuda" on a machine without it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch finds no CUDA device here: use 'cpu' or 'auto'")
    return torch.device(device)
