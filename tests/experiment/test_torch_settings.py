"""Torch's process-wide settings do not change a run, and are what they were when it has ended."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toys

import morl

pytestmark = pytest.mark.usefixtures("without_figures")

WALK, CONTINUOUS = "toy-walk-v0", "toy-continuous-walk-v0"
AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", WALK, toys.TINY),
    "pd-morl, continuous": ("pd-morl", CONTINUOUS, toys.TINY_CONTINUOUS | {"backend": "eager"}),
    "c-morl": ("c-morl", WALK, toys.TINY_CMORL | {"backend": "eager"}),
    "c-morl, cpo": ("c-morl", CONTINUOUS, toys.TINY_CMORL | {"solver": "cpo", "backend": "eager"}),
    "c-morl, compiled": ("c-morl", CONTINUOUS, toys.TINY_CMORL),
    "gmorl": ("gmorl", WALK, toys.TINY_GMORL),
    "morl-d, dqn": ("morl-d", WALK, toys.TINY_MORLD_OFF_POLICY),
    "morl-d, two threads": ("morl-d", WALK, toys.TINY_MORLD_OFF_POLICY | {"workers": 2}),
    "morl-d, discrete sac": ("morl-d", WALK, toys.TINY_MORLD_OFF_POLICY | {"solver": "discrete-sac"}),
    "morl-d, sac": ("morl-d", CONTINUOUS, toys.TINY_MORLD_OFF_POLICY | {"backend": "eager"}),
    "morl-d, ppo": ("morl-d", WALK, toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "backend": "eager"}),
    "morl-d, eupg": ("morl-d", WALK, toys.TINY_MORLD_ON_POLICY | {"preset": "eupg"}),
    "morl-d, sb3": ("morl-d", WALK, toys.TINY_MORLD | {"solver": "sb3:PPO", "rollout_steps": 4, "batch_size": 10}),
}


@contextlib.contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Any] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default dtype": default_dtype,
    "default device": default_device,
    "device context": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def points(run_dir: Path, name: str, **changes: Any) -> Any:
    agent, env, config = AGENTS[name]
    run = morl.train(agent, env, total_steps=160, run_dir=run_dir, config=config, **toys.SCHEDULE | changes)
    return run.front.points


@pytest.mark.parametrize("name", AGENTS)
def test_torch_settings_of_the_caller_do_not_change_a_run(name: str, tmp_path: Path) -> None:
    plain = points(tmp_path / "plain", name)
    names = SETTINGS if name in ("pd-morl", "c-morl") else ("inference_mode", "default dtype")
    for setting in names:
        with SETTINGS[setting]():
            assert points(tmp_path / setting, name).tobytes() == plain.tobytes(), setting
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("setting", SETTINGS)
def test_torch_settings_do_not_change_what_is_resumed(setting: str, tmp_path: Path) -> None:
    whole = points(tmp_path / "whole", "c-morl", evaluate_every=80)
    agent, env, config = AGENTS["c-morl"]
    schedule = toys.SCHEDULE | {"evaluate_every": 80}
    morl.train(agent, env, total_steps=80, run_dir=tmp_path / "part", config=config, **schedule)
    with SETTINGS[setting]():
        resumed = morl.resume(tmp_path / "part", total_steps=160)
    assert resumed.front.points.tobytes() == whole.tobytes()
