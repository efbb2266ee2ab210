"""Copies between the environments, which live in the CPU's memory, and a device: one in and one out for each step.

A GPU is asked to copy in microseconds and waited for in tens of them, however little is copied. So all arrays of a step
travel as one block of bytes: the transitions to store, the random numbers of the updates that are due, and, ahead of
their use, the observations to act on next. On the CPU nothing is copied and nothing is packed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""Arrays by name."""


class Staging:
    """Copies arrays to a device and tensors back, several at a time.

    Args:
        device: where the tensors live.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._ahead: dict[str, tuple[NDArray[Any], Tensor]] = {}
        """Name -> an array that was sent ahead, and its copy on the device."""

    def send(self, arrays: Arrays, ahead: Callable[[], Arrays] | None = None) -> dict[str, Tensor]:
        """Return arrays as tensors on the device, which may share an array's memory on the CPU.

        Args:
            arrays: by name; types stay as they are.
            ahead: returns arrays that `take` will ask for next. They travel along; on the CPU it is not called.
        """
        if self.device.type == "cpu":
            return {name: torch.as_tensor(array) for name, array in arrays.items()}
        early = {} if ahead is None else {name: np.array(array) for name, array in ahead().items()}
        found = self._copy([*arrays.values(), *early.values()])
        self._ahead = dict(zip(early, zip(early.values(), found[len(arrays) :], strict=True), strict=True))
        return dict(zip(arrays, found, strict=False))

    def take(self, arrays: Arrays) -> dict[str, Tensor]:
        """Return arrays as tensors on the device, without a copy where all of them, as they are, were sent ahead.

        Args:
            arrays: by name.
        """
        if self.device.type != "cpu" and all(self._was_sent(name, array) for name, array in arrays.items()):
            return {name: self._ahead[name][1] for name in arrays}
        return self.send(arrays)

    def _was_sent(self, name: str, array: NDArray[Any]) -> bool:
        """Return whether the same numbers were sent ahead under this name."""
        if name not in self._ahead:
            return False
        sent = self._ahead[name][0]
        return sent.dtype == array.dtype and np.array_equal(sent, array)

    def _copy(self, arrays: list[NDArray[Any]]) -> list[Tensor]:
        """Return copies on the device of arrays of any types, made at once."""
        order = sorted(range(len(arrays)), key=lambda place: -arrays[place].itemsize)  # so that all are aligned
        ends = np.cumsum([arrays[place].nbytes for place in order])
        pinned = self.device.type == "cuda"  # PyTorch keeps pinned memory until the copy has read it
        host = torch.empty(int(ends[-1]) if len(ends) else 0, dtype=torch.uint8, pin_memory=pinned)
        block = host.numpy()
        for place, end in zip(order, ends, strict=True):
            array = arrays[place]
            part = block[end - array.nbytes : end]
            part[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        sent = host.to(self.device, non_blocking=pinned)
        found: dict[int, Tensor] = {}
        for place, end in zip(order, ends.tolist(), strict=True):
            array = arrays[place]
            dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
            found[place] = sent[end - array.nbytes : end].view(dtype).view(array.shape)
        return [found[place] for place in range(len(arrays))]

    def fetch(self, tensors: Sequence[Tensor]) -> list[NDArray[np.float32]]:
        """Return tensors of float32 as arrays, which may share a tensor's memory on the CPU.

        Args:
            tensors: of any shapes.
        """
        if self.device.type == "cpu" or len(tensors) == 1:
            return [tensor.cpu().numpy() for tensor in tensors]
        flat = torch.cat([tensor.flatten() for tensor in tensors]).cpu().numpy()
        ends = np.cumsum([tensor.numel() for tensor in tensors])
        parts = np.split(flat, ends[:-1])
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
