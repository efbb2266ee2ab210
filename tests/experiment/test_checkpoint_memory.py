"""What saving a state takes: a replay is not copied on the way to the disk, and once from a device that is no CPU."""

from pathlib import Path

import pretend
import pytest
import torch
from torch import Tensor

from morl.experiment import checkpoint

ROWS = torch.arange(200_000.0).view(2, 10_000, 10)

STATES: dict[str, Tensor] = {
    "whole": ROWS,
    "rows in use": ROWS[1, :50],
    "columns": ROWS[0, :50, 3:5],
    "transposed": ROWS[0, :50].T,
    "the same row": ROWS[0, :1].expand(50, 10),
    "a number": ROWS[0, 3, 3],
    "nothing": ROWS[0, :0],
    "with a gradient": ROWS[0, :5].clone().requires_grad_(),
    "bytes": ROWS[0, :50].to(torch.uint8)[:, 2:4],
    "bfloat16": ROWS[0, :50].to(torch.bfloat16)[3:5],
}


@pytest.mark.parametrize("name", STATES)
def test_a_file_holds_the_numbers_of_a_view_and_nothing_else(name: str, tmp_path: Path) -> None:
    tensor = STATES[name]
    checkpoint.save_file(tmp_path / "state.pt", {"tensor": tensor})
    loaded = checkpoint.load_file(tmp_path / "state.pt")["tensor"]
    assert torch.equal(loaded, tensor.detach())
    assert loaded.dtype == tensor.dtype
    assert (tmp_path / "state.pt").stat().st_size < tensor.numel() * tensor.element_size() + 4_000


@pytest.mark.parametrize("name", ["whole", "rows in use", "bytes"])
def test_rows_that_lie_side_by_side_are_not_copied(name: str) -> None:
    tensor = STATES[name] if name != "bytes" else STATES[name].contiguous()
    spelled = checkpoint._to_tensors(tensor)
    assert isinstance(spelled, Tensor)
    assert spelled.data_ptr() == tensor.data_ptr()


def test_a_state_on_a_device_is_copied_once(device: torch.device) -> None:
    state = {"rows": ROWS.to(device)[:, :50], "parameters": ROWS.to(device)[0]}
    if device.type == "cuda":
        assert torch.equal(checkpoint._to_tensors(state)["rows"], ROWS[:, :50])  # type: ignore[index]
        return
    with pretend.watched() as log:
        checkpoint._to_tensors(state)
    assert log.total(pretend.TO_HOST) == 2
    assert log.total(pretend.KERNEL, pretend.TO_DEVICE, pretend.WAIT) == 0
