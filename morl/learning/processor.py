"""The device, and process-wide settings that make small batched updates fast on a CPU while a run trains."""

import ctypes
import hashlib
import math
import mmap
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

# Parameters of glibc's mallopt: block size from which memory is mapped afresh, and size of the heap top that is kept.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_MAP_NORESERVE = 0x4000  # Linux: pages are not counted before they are written to; Python 3.13 has a name for it


@contextmanager
def own_torch_settings() -> Iterator[None]:
    """Undo torch's process-wide settings that would change results, until the block ends.

    A caller may be inside `torch.no_grad()`, `torch.inference_mode()` or `torch.autocast`, or have set another default
    dtype or device: agents state the dtype and device of what matters to them, and differentiate where they need to.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.is_autocast_enabled("cpu"):
            stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.is_autocast_enabled("cuda"):
            stack.enter_context(torch.autocast("cuda", enabled=False))
        if torch.get_default_device().type != "cpu":  # only then: it slows every operation down
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        yield


@contextmanager
def prepared_processor(threads: int = 1) -> Iterator[None]:
    """Set the number of torch threads, flush denormal numbers to zero and keep freed memory in the process.

    Torch's other settings that could change results are the defaults inside the block (`own_torch_settings`). All of
    this but the memory is restored when the block ends: a library call must not change its caller's floats.

    By default glibc returns every temporary above 128 KiB to the kernel, and the next one is paged in anew: that alone
    can cost more than the arithmetic. One thread by default, because two on a busy two-core machine wait for each
    other. Both were measured: docs/agents/pd_morl.md, speed.

    Args:
        threads: of torch's operations.
    """
    threads_before = torch.get_num_threads()
    flushed_before = sys.float_info.min / 2 == 0.0
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30) or libc.mallopt(_M_MMAP_THRESHOLD, 1 << 25)  # before glibc 2.35
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        except (OSError, AttributeError):
            pass  # a libc without mallopt (musl): only slower
    try:
        with own_torch_settings():
            yield
    finally:
        torch.set_num_threads(threads_before)
        torch.set_flush_denormal(flushed_before)


def untouched_zeros(*shape: int, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return zeros whose memory a CPU takes page by page, as it is written to.

    torch.zeros writes at once: six buffers of a million transitions each would take gigabytes before the first one.

    Args:
        shape: of the tensor.
        device: where it lives.
        dtype: float32, or uint8 for numbers that are 0 or 1.
    """
    if device.type != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    kind = np.dtype(np.uint8 if dtype == torch.uint8 else np.float32)
    try:
        return torch.from_numpy(np.zeros(shape, dtype=kind))
    except MemoryError:  # more than the machine has; a run of few steps may never fill it
        if sys.platform != "linux":
            raise
        count = math.prod(shape)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        pages = mmap.mmap(-1, count * kind.itemsize, flags=flags)
        return torch.from_numpy(np.frombuffer(pages, dtype=kind, count=count).reshape(shape))


def resolve_device(device: str) -> torch.device:
    """Return a device by name.

    Args:
        device: "cpu" or "cuda"; "auto" is the CPU.

    Raises:
        ValueError: "cuda" on a machine without it; the message says whether PyTorch or the driver lacks it.
    """
    if device == "cuda" and not torch.cuda.is_available():
        built_for = torch.version.cuda
        if built_for is None:
            reason = f"this PyTorch, {torch.__version__}, is built without CUDA"
        else:
            reason = f"PyTorch finds no GPU here with a driver for CUDA {built_for}"
        raise ValueError(f"device is 'cuda', but {reason}: use 'cpu'")
    return torch.device("cpu" if device == "auto" else device)


DRIVER = Path("/proc/driver/nvidia/version")
"""Linux: its first line names NVIDIA's kernel module with its version."""


def gpu_facts() -> dict[str, str | None]:
    """Return the name of the GPU that is used, the version of its driver, and that of CUDA which PyTorch is built for.

    The driver is None where the system does not say.
    """
    driver = None
    if DRIVER.exists():
        first_line = DRIVER.read_text(errors="replace").partition("\n")[0]
        found = re.search(r"\d+\.\d+(\.\d+)?", first_line)
        driver = found.group() if found else None
    return {"name": torch.cuda.get_device_name(), "driver": driver, "cuda": torch.version.cuda}


def restore_generator(generator: torch.Generator, state: torch.Tensor) -> None:
    """Restore a random stream; where the state is that of another kind of device, seed the stream with it.

    A CPU's generators and a GPU's hold different things. The stream then continues with other numbers, which depend on
    nothing but the state.

    Args:
        generator: the stream.
        state: result of `get_state`, on the CPU.
    """
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
        return
    digest = hashlib.sha256(state.numpy().tobytes()).digest()
    generator.manual_seed(int.from_bytes(digest[:7], "big"))
