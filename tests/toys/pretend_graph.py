"""A pretended CUDA graph: it captures the operations on the pretended device, and replays them as CUDA does.

- Nothing is executed for good while operations are captured: memory that was there before is restored, and what was
  made is not a number until the first replay.
- A replay repeats the operations on the same memory. Numbers that Python computed are those of the capture.
- Copies from and to the host, waits and random numbers raise `NotCapturable` while operations are captured.
- Memory that the operations found, and that has been freed since, raises `NotCapturable` at the next replay: on CUDA
  they would read what somebody else has put there.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import pretend
import torch
from torch import Tensor


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Captured(NamedTuple):
    """An operation with the memory that it reads and writes."""

    func: Any
    args: Any
    kwargs: dict[str, Any]
    found: Any
    computes: bool  # views and allocations are kept as well, so that no other tensor gets their memory

    def replay(self) -> None:
        """Compute it again, into the memory of the first time."""
        if not self.computes:
            return
        results = pretend.tensors_in(self.func(*self.args, **self.kwargs))
        for target, source in zip(pretend.tensors_in(self.found), results, strict=True):
            if target.data_ptr() != source.data_ptr():
                target.copy_(source)


class PretendGraph:
    """Satisfies `morl.learning.backends.cuda_graph.Graph`.

    Attributes:
        every: all graphs that were built.
        replays: of this graph.
    """

    every: ClassVar[list["PretendGraph"]] = []

    def __init__(self) -> None:
        self.replays = 0
        self._operations: list[_Captured] = []
        self._made: set[int] = set()  # storages that captured operations made
        self._found: dict[int, str] = {}  # storages that they found, and who read them first
        self._backups: list[tuple[torch.UntypedStorage, torch.UntypedStorage]] = []
        self._saved: set[int] = set()
        PretendGraph.every.append(self)

    def warm_up(self, run: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Run work eagerly."""
        return run()

    def capture(self, run: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Capture work; return the tensors in which every replay leaves its results."""
        assert pretend.now.graph is None
        pretend.now.graph = self
        try:
            return run()
        finally:
            pretend.now.graph = None
            for storage, backup in self._backups:
                storage.copy_(backup)
            self._backups.clear()
            for made in (tensor for each in self._operations for tensor in pretend.tensors_in(each.found)):
                if made.is_floating_point() and _storage(made) in self._made:
                    made.fill_(float("nan"))

    def capture_operation(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute an operation on the CPU, and remember it.

        Args:
            func: the operation.
            args: its arguments, with tensors on the CPU.
            kwargs: its keyword arguments.
        """
        operation = pretend.operation_of(func)
        if operation.draws:
            raise pretend.NotCapturable(f"{operation.name} draws random numbers, at {pretend.where()}")
        read = pretend.tensors_in((args, *kwargs.values()))
        for tensor in read:
            if _storage(tensor) not in self._made:
                self._found.setdefault(_storage(tensor), f"{operation.name} at {pretend.where()}")
        for tensor in pretend.written_to(operation, args, kwargs):
            self._back_up(tensor)
        found = func(*args, **kwargs)
        self._made |= {_storage(each) for each in pretend.tensors_in(found)} - self._found.keys()
        self._operations.append(_Captured(func, args, kwargs, found, operation.computes))
        return found

    def _back_up(self, tensor: Tensor) -> None:
        """Keep a copy of memory that is about to be written to, if it was there before."""
        key = _storage(tensor)
        if key not in self._made | self._saved:
            storage = tensor.untyped_storage()
            self._backups.append((storage, storage.clone()))
            self._saved.add(key)

    def replay(self) -> None:
        """Repeat all operations."""
        alive = {_storage(memory.inner) for memory in pretend.alive}
        for key, reader in self._found.items():
            if key and key not in alive:
                raise pretend.NotCapturable(f"the graph reads memory that has been freed since: {reader}")
        self.replays += 1
        with torch.no_grad():
            for operation in self._operations:
                operation.replay()
