"""The memory of transitions: stated, refused where there is less, and promised without being taken."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

import morl
from morl.learning import memory
from morl.learning.memory import available_memory, check_memory
from morl.learning.observations import observation_encoder
from morl.learning.processor import untouched_zeros
from morl.protocols import MemoryNeed

CPU = torch.device("cpu")
GIB = 1024**3


def need(**changes: Any) -> MemoryNeed:
    values: dict[str, Any] = {
        "what": "the replay",
        "setting": "buffer_size",
        "value": 1_000_000,
        "transitions": 60_000,
        "bytes_each": 38_428,
        "copies": 6,
    }
    return MemoryNeed(**values | changes)


def test_the_memory_is_stated_before_it_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 4 * GIB)
    with caplog.at_level(logging.INFO, "morl"):
        check_memory(need(), CPU)
    assert caplog.messages == [
        "The replay of 60,000 transitions takes 2.1 GiB of memory (38,428 bytes each); 4.0 GiB are available."
    ]
    caplog.clear()
    with caplog.at_level(logging.INFO, "morl"):
        check_memory(need(bytes_each=40), CPU)  # a few megabytes are not worth a line
    assert caplog.messages == []


def test_more_than_there_is_is_refused_with_the_number_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 1 * GIB)
    fitting = GIB // 38_428 // 6
    message = (
        r"buffer_size is 1000000, but the replay of 60,000 transitions with 38,428 bytes each takes 2.1 GiB of memory,"
        rf" and 1.0 GiB are available: set buffer_size to at most {fitting}$"
    )
    with pytest.raises(ValueError, match=message):
        check_memory(need(), CPU)
    check_memory(need(transitions=6 * fitting), CPU)
    monkeypatch.setattr(memory, "available_memory", lambda device: None)  # a system that does not say
    check_memory(need(), CPU)


def test_the_memory_of_a_gpu_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU's is taken as transitions come: a short run may have a replay that would not fit."""
    monkeypatch.setattr(memory, "available_memory", lambda device: 4 * GIB)
    check_memory(need(), CPU)
    with pytest.raises(ValueError, match=r"the replay of 6,000,000 transitions .* takes 214.7 GiB of memory"):
        check_memory(need(), torch.device("cuda"))


def test_the_smaller_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory._available_to_group(tmp_path) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._available_to_group(tmp_path) is None
    monkeypatch.setattr(memory, "_available_to_machine", lambda: 5000)
    monkeypatch.setattr(memory, "_available_to_group", lambda: 2000)
    monkeypatch.setattr("sys.platform", "linux")
    assert available_memory(CPU) == 2000


def test_pixels_are_counted_as_bytes() -> None:
    space = spaces.Dict(eye=spaces.Box(0, 255, (10, 10, 1), np.uint8), where=spaces.Box(0.0, 1.0, (3,)))
    assert observation_encoder(space).transition_bytes(5) == 2 * (12 + 100) + 20


@pytest.mark.parametrize(
    ("agent", "config", "setting"),
    [
        ("pd-morl", {"buffer_size": 10_000_000}, "buffer_size"),
        ("morl-d", {"buffer_size": 10_000_000}, "buffer_size"),
        ("morl-d", {"solver": "ppo", "rollout_steps": 1_000_000}, "rollout_steps"),
        ("morl-d", {"solver": "sb3:DQN", "buffer_size": 10_000_000}, "buffer_size"),
        ("c-morl", {"samples_per_update": 10_000_000, "initial_steps": 1_000_000_000}, "samples_per_update"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(
    agent: str, config: dict[str, Any], setting: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"total_steps": 1_000_000_000, "run_dir": tmp_path / "run", "config": config}
    options["reward_units"] = "environment"  # measuring them would draw a thousand images
    with pytest.raises(ValueError, match=rf"{setting} is \d+, but the .* takes .* GiB of memory, and .* are available"):
        morl.train(agent, "minecart-rgb-v0", num_envs=6, device="cpu", **options)
    assert not (tmp_path / "run").exists()


def test_a_promise_takes_no_memory() -> None:
    rows = untouched_zeros(6, 10**6, 2 * 10**5, device=CPU, dtype=torch.uint8)  # 1.1 TiB
    rows[5, 999_999] = 7
    assert int(rows[5, 999_999, 3]) == 7
    assert int(rows[0, 0].sum()) == 0
