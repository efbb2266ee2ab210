"""A pretended CUDA device for machines without one: real numbers, and strict about where tensors live.

PyTorch reserves the device type PrivateUse1 for backends of others, and it can be registered from Python
(`torch.utils.backend_registration._setup_privateuseone_for_python_backend`). A tensor on the device `pretend:0` is a
wrapper around a tensor on the CPU, so that agents run whole, and compute the numbers of the CPU bit for bit. On the way
every operation is checked as CUDA would check it:

  - tensors of both devices in one operation raise `WrongDevice`, except single numbers, and indices, which CUDA copies;
  - generators of the wrong device raise `WrongDevice`; without one, the device's own global generator draws;
  - `.numpy()` of a tensor on the device raises, as PyTorch does it for every device but the CPU;
  - launches, copies and waits are counted, by the line of morl that asked for them (`watched`), and `forbid_waits`
    makes an error of everything that waits for the device. Copies wait: those from and to pageable memory do on CUDA;
  - `pretend_graph.PretendGraph` captures operations and replays them as a CUDA graph does.

What it cannot show: rounding, limits of kernels and speed of a GPU. `tensor.is_cuda` is false. FakeTensorMode would not
do: autograd on a fake CUDA tensor aborts the process where PyTorch is built without CUDA, and agents need numbers.
"""

import os
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

NAME = "pretend"
PACKAGE = os.sep + "morl" + os.sep
"""Frames of files below such a folder are the library's."""


class WrongDevice(RuntimeError):
    """Tensors or generators of two devices in one operation: CUDA refuses it."""


class Waits(RuntimeError):
    """An operation waits for the device, inside `forbid_waits`."""


class NotCapturable(RuntimeError):
    """A CUDA graph cannot capture the operation, or its replay would read freed memory."""


def unavailable() -> str | None:
    """Return why this PyTorch cannot have the device; None: it can."""
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend  # noqa: F401
    except ImportError:
        return f"PyTorch {torch.__version__} registers no backends from Python"
    return None


# --- What is counted --------------------------------------------------------------------------------------------------

KERNEL = "kernel"
TO_DEVICE = "to device"
TO_HOST = "to host"
WAIT = "wait"


@dataclass
class Log:
    """What was asked of the device: (kind, line of morl, operation) -> how often."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def total(self, *kinds: str) -> int:
        """Return how often some kinds of events happened."""
        return sum(count for (kind, _, _), count in self.counts.items() if kind in kinds)

    def lines(self, *kinds: str) -> list[str]:
        """Return the events of some kinds as text, the most frequent first."""
        found = sorted(((n, *key) for key, n in self.counts.items() if key[0] in kinds), reverse=True)
        return [f"{n} x {kind} {operation} at {line}" for n, kind, line, operation in found]


class _Now:
    """What is going on, in all threads: backward passes may have one of their own."""

    log: Log | None = None
    waits_forbidden = False
    graph: Any = None  # the PretendGraph that captures


now = _Now()


def where() -> str:
    """Return the innermost line of morl on the stack, as "file:line function"."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if PACKAGE in file and "site-packages" not in file and f"{os.sep}tests{os.sep}" not in file:
            return f"{file.rsplit(PACKAGE, 1)[1]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


def _note(kind: str, operation: str) -> None:
    """Count an event; raise where it is forbidden."""
    if kind != KERNEL:
        if now.graph is not None:
            raise NotCapturable(f"{operation} ({kind}) while a graph is captured, at {where()}")
        if now.waits_forbidden:
            raise Waits(f"{operation} ({kind}) waits for the device, at {where()}")
    if now.log is not None:
        now.log.counts[kind, where(), operation] += 1


@contextmanager
def watched() -> Iterator[Log]:
    """Count what is asked of the device inside the block."""
    before = now.log
    now.log = Log()
    try:
        yield now.log
    finally:
        now.log = before


@contextmanager
def forbid_waits() -> Iterator[None]:
    """Raise `Waits` at everything inside the block that waits for the device."""
    before = now.waits_forbidden
    now.waits_forbidden = True
    try:
        yield
    finally:
        now.waits_forbidden = before


# --- Tensors ----------------------------------------------------------------------------------------------------------


class _Memory:
    """The memory of a wrapper, as long as the wrapper lives."""

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner


alive: weakref.WeakSet[_Memory] = weakref.WeakSet()
"""The memory of all tensors on the device."""


class PretendTensor(torch.Tensor):
    """A tensor on the device: a wrapper around one on the CPU."""

    memory: _Memory

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendTensor":
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=device(),
        )

    def __init__(self, inner: Tensor) -> None:
        self.memory = _Memory(inner)
        alive.add(self.memory)

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})

    @property
    def inner(self) -> Tensor:
        """The tensor on the CPU."""
        return self.memory.inner

    def tolist(self) -> Any:
        """Return the numbers as lists, which waits for them."""
        _note(TO_HOST, "tolist")
        return self.inner.tolist()

    def __repr__(self) -> str:
        return f"pretend({self.inner!r})"


def device() -> torch.device:
    """Return the pretended device."""
    return torch.device(NAME, 0)


def is_pretend(value: object) -> bool:
    """Return whether a tensor is on the device."""
    return isinstance(value, PretendTensor)


def inner_of(value: Any) -> Any:
    """Return the tensor on the CPU behind a tensor on the device; anything else as it is."""
    return value.inner if isinstance(value, PretendTensor) else value


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Return nested lists and tuples with a function applied to every item."""
    if isinstance(value, tuple | list):
        return type(value)(mapped(function, each) for each in value)
    return function(value)


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in nested lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for each in value for tensor in tensors_in(each)] if isinstance(value, tuple | list) else []


# --- Operations -------------------------------------------------------------------------------------------------------

aten = torch.ops.aten

_VIEWS = {"detach", "alias", "_unsafe_view", "lift_fresh", "_reshape_alias"}
"""Views beside those that PyTorch marks so."""
_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "is_same_size"}
"""Operations that launch nothing."""
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Operations that take indices from the CPU, and copy them; an index of truth values is counted first, which waits."""
_WAITING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "unique_consecutive", "equal"),
    *("is_nonzero", "bincount", "_linalg_check_errors", "repeat_interleave", "histc", "multinomial"),
}
"""Operations that read a number from the device, to choose a shape or to check for errors."""


@dataclass(frozen=True)
class Operation:
    """What the schema of an operation says."""

    name: str
    computes: bool  # it launches a kernel: it is no view, and more than an allocation
    waits: bool
    pointwise: bool
    written: tuple[tuple[int, str], ...]  # position and name of the arguments that are written to
    draws: bool  # from a generator


@cache
def operation_of(func: Any) -> Operation:
    """Return what the schema of an operation says."""
    name = func._schema.name.split("::")[1]
    arguments = func._schema.arguments
    dynamic = torch.Tag.dynamic_output_shape in func.tags and name not in _INDEXING
    return Operation(
        name=name,
        computes=not func.is_view and name not in _VIEWS | _ALLOCATIONS,
        waits=name in _WAITING or dynamic,
        pointwise=torch.Tag.pointwise in func.tags or name.startswith("_foreach_"),
        written=tuple(
            (place, each.name) for place, each in enumerate(arguments) if each.alias_info and each.alias_info.is_write
        ),
        draws=any(each.name == "generator" for each in arguments),
    )


def _dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check and count an operation on tensors of the device, and compute it on the CPU."""
    operation = operation_of(func)
    if operation.name == "_to_copy":
        return _to_copy(func, args[0], kwargs)
    if operation.name == "copy_":
        _note_copy(args[1], is_pretend(args[0]), "copy_")
    else:
        _check_devices(operation, tensors_in((args, *kwargs.values())))
        if operation.waits or _counts_truth_values(operation.name, args):
            _note(WAIT, operation.name)
        elif operation.computes:
            _note(KERNEL, operation.name)
    inner_args = mapped(inner_of, args)
    inner_kwargs = {name: mapped(inner_of, value) for name, value in kwargs.items()}
    if kwargs.get("device") is not None:
        inner_kwargs["device"] = torch.device("cpu")
    if operation.draws and kwargs.get("generator") is None:
        inner_kwargs["generator"] = _module.generator
    wrappers = {id(inner_of(each)): each for each in written_to(operation, args, kwargs)}
    found = compute(func, inner_args, inner_kwargs)
    return mapped(lambda each: _wrapped(each, wrappers), found)


def _wrapped(value: Any, wrappers: dict[int, Tensor]) -> Any:
    """Return a result on the device: the wrapper of what was written to, or a new one, also where that was resized."""
    if id(value) in wrappers and wrappers[id(value)].shape == value.shape:
        return wrappers[id(value)]
    return PretendTensor(value) if isinstance(value, Tensor) else value


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU; a graph that captures remembers it."""
    if now.graph is None:
        return func(*args, **kwargs)
    return now.graph.capture_operation(func, args, kwargs)


def _to_copy(func: Any, source: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Copy between devices, or to another type of numbers."""
    target = kwargs.get("device")
    to_device = is_pretend(source) if target is None else torch.device(target).type == NAME
    _note_copy(source, to_device, "_to_copy")
    inner_kwargs = kwargs if target is None else kwargs | {"device": torch.device("cpu")}
    found = compute(func, (inner_of(source),), inner_kwargs)
    return PretendTensor(found) if to_device else found


def _note_copy(source: Tensor, to_device: bool, operation: str) -> None:
    if is_pretend(source) and to_device:
        _note(KERNEL, operation)
    elif is_pretend(source) or to_device:
        _note(TO_DEVICE if to_device else TO_HOST, operation)


def _check_devices(operation: Operation, tensors: list[Tensor]) -> None:
    """Raise where CUDA would: tensors of both devices, but for numbers, and for indices, which it copies itself."""
    foreign = [each for each in tensors if not is_pretend(each)]
    if not foreign or len(foreign) == len(tensors):
        return
    if operation.name in _INDEXING and is_pretend(tensors[0]) and not any(each.is_floating_point() for each in foreign):
        for _ in foreign:
            _note(TO_DEVICE, operation.name)
        return
    if operation.pointwise and all(each.dim() == 0 for each in foreign):
        return
    shapes = ", ".join(f"{'device' if is_pretend(each) else 'cpu'} {list(each.shape)}" for each in tensors)
    raise WrongDevice(f"{operation.name} got tensors of both devices ({shapes}) at {where()}")


def _counts_truth_values(name: str, args: Any) -> bool:
    """Return whether an operation indexes by truth values."""
    if name not in _INDEXING:
        return False
    return any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in args[1])


def written_to(operation: Operation, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that an operation writes to, and may return."""
    values = [args[place] if place < len(args) else kwargs.get(name) for place, name in operation.written]
    return tensors_in([each for each in values if each is not None])


# --- Generators -------------------------------------------------------------------------------------------------------

_Generator = torch.Generator
_MARK = torch.zeros(8, dtype=torch.uint8)
"""What makes the state of a generator of the device longer than the CPU's: on CUDA their sizes differ too."""


class PretendGenerator(torch.Generator):
    """A generator of either device, with the numbers of the CPU's: both devices draw the same."""

    place: torch.device

    def __new__(cls, device: Any = "cpu") -> "PretendGenerator":
        self = super().__new__(cls)
        self.place = torch.device(device)
        return self

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it draws."""
        return self.place

    def get_state(self) -> Tensor:
        """Return its state, on the CPU."""
        state = super().get_state()
        return torch.cat([state, _MARK]) if self.place.type == NAME else state

    def set_state(self, state: Tensor) -> "PretendGenerator":
        """Restore its state.

        Raises:
            RuntimeError: it is the state of a generator of another device.
        """
        own = self.get_state()
        if state.shape != own.shape:
            raise RuntimeError(f"expected a state of size {len(own)} but found {len(state)}")
        super().set_state(state[:-8] if self.place.type == NAME else state)
        return self


class _Generators(TorchFunctionMode):
    """Refuses generators of the other device: on the way to `__torch_dispatch__` a generator loses its class."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator") or next((each for each in args if isinstance(each, _Generator)), None)
        if generator is not None:
            target = _target(args, kwargs)
            if generator.device.type != target.type:
                raise WrongDevice(f"{func.__name__} on {target} got a generator of {generator.device} at {where()}")
            if now.graph is not None:
                raise NotCapturable(f"{func.__name__} draws random numbers while a graph is captured, at {where()}")
        return func(*args, **kwargs)


def _target(args: Any, kwargs: dict[str, Any]) -> torch.device:
    """Return the device that an operation with a generator draws on."""
    tensors = [each for each in (kwargs.get("out"), *args[:1]) if isinstance(each, Tensor)]
    return tensors[0].device if tensors else torch.device(kwargs.get("device") or "cpu")


class _Module:
    """What `torch.pretend` is: PyTorch looks here for the device's own functions."""

    def __init__(self) -> None:
        self.generator = _Generator()

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def get_rng_state(self, device: Any = 0) -> Tensor:
        return torch.cat([self.generator.get_state(), _MARK])

    def set_rng_state(self, state: Tensor, device: Any = 0) -> None:
        self.generator.set_state(state[:-8])


_module = _Module()


# --- The device -------------------------------------------------------------------------------------------------------

_libraries: list[torch.library.Library] = []


def install() -> None:
    """Register the device in this process, once; before the first backward pass, which counts the devices."""
    if _libraries:
        return
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME, backend_module=_module)
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    # CPU and CUDA have a kernel for it; other devices would compute it of parts, which round otherwise.
    library.impl("silu_backward", lambda *args: _dispatch(aten.silu_backward.default, args, {}), "PrivateUse1")
    _libraries.append(library)


def _empty(size: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return PretendTensor(compute(aten.empty.memory_format, (size,), {"dtype": dtype}))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return PretendTensor(compute(aten.empty_strided.default, (size, stride), {"dtype": dtype}))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy, where C++ does it on its own: in `torch.as_tensor`, `torch.tensor` and `Tensor.new_tensor`."""
    _note_copy(source, is_pretend(target), "copy_")
    compute(aten.copy_.default, (inner_of(target), inner_of(source)), {})
    return target


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Lend the device: inside the block generators belong to devices.

    Backward passes run in the caller's thread, whose lines are then known, unless the caller turns that off. Modules
    that are moved to the device keep their parameters, as on CUDA, so that their optimizers do not lose them.
    """
    install()
    _module.generator.manual_seed(0)
    swapped_before = torch.__future__.get_swap_module_params_on_conversion()
    torch.Generator = PretendGenerator  # type: ignore[misc]
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Generators(), torch.autograd.set_multithreading_enabled(False):
            yield device()
    finally:
        torch.Generator = _Generator  # type: ignore[misc]
        torch.__future__.set_swap_module_params_on_conversion(swapped_before)
