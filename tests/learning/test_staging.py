"""Copies between the CPU and a device: several arrays at once, and arrays that are sent ahead of their use."""

from typing import Any

import numpy as np
import pretend
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl.learning.staging import Staging

CPU = torch.device("cpu")
TYPES = [np.bool_, np.uint8, np.float32, np.int64, np.float64]


def arrays_of(kinds: list[Any], shapes: list[tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        f"array {number}": random.integers(0, 2, size=shape).astype(kind)
        for number, (kind, shape) in enumerate(zip(kinds, shapes, strict=False))
    }


@pytest.mark.parametrize("kinds", [TYPES, TYPES[::-1], [np.uint8, np.float64, np.bool_], [np.float32]])
def test_arrays_of_all_types_are_one_copy(kinds: list[Any], device: torch.device) -> None:
    arrays = arrays_of(kinds, [(3, 5), (0, 4), (7,), (1, 1, 3), ()])
    arrays["not contiguous"] = np.arange(12.0).reshape(3, 4).T
    with pretend.watched() as log:
        found = Staging(device).send(arrays)
    if device.type != "cuda":
        assert log.total(pretend.TO_DEVICE) == 1
        assert log.total(pretend.KERNEL, pretend.TO_HOST, pretend.WAIT) == 0
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].device.type == device.type
        assert found[name].cpu().numpy().dtype == array.dtype
        np.testing.assert_array_equal(found[name].cpu().numpy(), array)


def test_arrays_that_were_sent_ahead_are_not_copied_again(device: torch.device) -> None:
    staging = Staging(device)
    later = arrays_of([np.float32, np.bool_], [(4, 3), (4, 2)])
    with pretend.watched() as log:
        staging.send({"now": np.ones(3)}, ahead=lambda: later)
        found = staging.take({name: array.copy() for name, array in later.items()})
    assert device.type == "cuda" or log.total(pretend.TO_DEVICE) == 1
    for name, array in later.items():
        np.testing.assert_array_equal(found[name].cpu().numpy(), array)


@pytest.mark.parametrize("change", ["number", "type", "shape", "name", "in place"])
def test_changed_arrays_are_copied_again(change: str, device: torch.device) -> None:
    """A state that was loaded, or an environment that was reset, needs no call that forgets what was sent."""
    staging = Staging(device)
    array = np.zeros((2, 3), dtype=np.float32)
    staging.send({}, ahead=lambda: {"inputs": array})
    if change == "in place":
        array[0, 0] = 5.0
    asked = {
        "number": {"inputs": array + np.float32(1.0)},
        "type": {"inputs": array.astype(np.float64)},
        "shape": {"inputs": array[:1]},
        "name": {"inputs": array, "masks": np.ones(2)},
        "in place": {"inputs": array},
    }[change]
    with pretend.watched() as log:
        found = staging.take(asked)
    assert device.type == "cuda" or log.total(pretend.TO_DEVICE) == 1
    for name, expected in asked.items():
        np.testing.assert_array_equal(found[name].cpu().numpy(), expected)


def test_results_are_one_copy_back(device: torch.device) -> None:
    tensors = [torch.arange(6.0, device=device).view(2, 3), torch.ones(4, device=device), torch.zeros(0, device=device)]
    with pretend.watched() as log:
        found = Staging(device).fetch(tensors)
    assert device.type == "cuda" or log.total(pretend.TO_HOST) == 1
    for array, tensor in zip(found, tensors, strict=True):
        np.testing.assert_array_equal(array, tensor.cpu().numpy())


@given(kinds=st.lists(st.sampled_from(TYPES), max_size=5))
def test_on_the_cpu_memory_is_shared_and_nothing_is_sent_ahead(kinds: list[Any]) -> None:
    arrays = arrays_of(kinds, [(2, 3)] * len(kinds))

    def never() -> Any:
        raise AssertionError("nothing travels on the CPU")

    found = Staging(CPU).send(arrays, ahead=never)
    for name, array in arrays.items():
        assert found[name].data_ptr() == array.ctypes.data
