"""The device: by name, why there is none, what is recorded of it, and random streams that move between devices."""

from pathlib import Path

import pytest
import torch

from morl.learning import processor
from morl.learning.processor import gpu_facts, resolve_device, restore_generator

CPU = torch.device("cpu")


def test_devices() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto") == CPU
    if torch.cuda.is_available():
        assert set(gpu_facts()) == {"name", "driver", "cuda"}


@pytest.mark.parametrize(
    ("built_for", "reason"),
    [
        (None, "this PyTorch, .*, is built without CUDA"),
        ("13.0", "PyTorch finds no GPU here with a driver for CUDA 13.0"),
    ],
)
def test_why_there_is_no_gpu(built_for: str | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    with pytest.raises(ValueError, match=f"device is 'cuda', but {reason}.*: use 'cpu'"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("line", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:17:48 UTC 2025", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.51  Release", "575.51"),
        ("nothing known", None),
        (None, None),
    ],
)
def test_the_card_is_recorded(
    line: str | None, driver: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if line is not None:
        (tmp_path / "version").write_text(f"{line}\nGCC version: 12.2.0\n")
    monkeypatch.setattr(processor, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert gpu_facts() == {"name": "a card", "driver": driver, "cuda": "13.0"}


def test_a_stream_of_another_device_is_seeded_with_its_state() -> None:
    state = torch.arange(16, dtype=torch.uint8)  # of a generator of CUDA
    streams = [torch.Generator(), torch.Generator(), torch.Generator()]
    restore_generator(streams[0], state)
    restore_generator(streams[1], state)
    restore_generator(streams[2], state + 1)
    numbers = [torch.rand(3, generator=stream).tolist() for stream in streams]
    assert numbers[0] == numbers[1] != numbers[2]
    own = streams[0].get_state()
    expected = torch.rand(3, generator=streams[0]).tolist()
    restore_generator(streams[0], own)
    assert torch.rand(3, generator=streams[0]).tolist() == expected
