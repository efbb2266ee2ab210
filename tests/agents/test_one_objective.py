"""One objective is the smallest number there is: every agent, solver and preset works with it."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import toys
from gymnasium import spaces

import morl
from morl.agents.morl_d.config import Config

pytestmark = pytest.mark.usefixtures("without_figures")


class One(gymnasium.Env[Any, Any]):
    """Five steps that pay the action, one of two, or the push, in [0, 1]."""

    def __init__(self, continuous: bool = False) -> None:
        self.observation_space = spaces.Box(0.0, 9.0, (1,), np.float32)
        self.action_space = spaces.Box(0.0, 1.0, (1,), np.float32) if continuous else spaces.Discrete(2)
        self.reward_space = spaces.Box(0.0, 1.0, (1,), np.float64)
        self.clock = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.clock = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.clock += 1
        reward = np.asarray(action, dtype=np.float64).reshape(1)
        return np.array([self.clock], np.float32), reward, self.clock >= 5, False, {}


def pushed() -> One:
    return One(continuous=True)


ON_POLICY = ("eupg", "pg-morl")
DISCRETE: dict[str, tuple[str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", toys.TINY),
    "c-morl": ("c-morl", toys.TINY_CMORL),
    "c-morl, default preferences": ("c-morl", toys.TINY_CMORL | {"initial_divisions": None}),
    "c-morl, interpolating": ("c-morl", toys.TINY_CMORL | {"interpolate": True}),
    "c-morl, reference code": ("c-morl", toys.TINY_CMORL | {"solver": "reference-code"}),
    "morl-d, discrete sac": ("morl-d", toys.TINY_MORLD_OFF_POLICY | {"solver": "discrete-sac"}),
    "morl-d, sb3": ("morl-d", toys.TINY_MORLD | {"solver": "sb3:DQN", "learning_starts": 12}),
}
CONTINUOUS: dict[str, tuple[str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", toys.TINY_CONTINUOUS),
    "pd-morl, combination": ("pd-morl", toys.TINY_CONTINUOUS | {"networks": "combination"}),
    "pd-morl, keys": ("pd-morl", toys.TINY_CONTINUOUS | {"key_pretraining_steps": 40}),
    "c-morl, cpo": ("c-morl", toys.TINY_CMORL | {"solver": "cpo"}),
    "morl-d, sac": ("morl-d", toys.TINY_MORLD_OFF_POLICY),
    "morl-d, td3": ("morl-d", toys.TINY_MORLD_OFF_POLICY | {"solver": "td3"}),
    "morl-d, ppo": ("morl-d", toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
}
for preset in Config.PRESETS:
    tiny = toys.TINY_MORLD_ON_POLICY if preset in ON_POLICY else toys.TINY_MORLD_CONDITIONED
    DISCRETE[f"morl-d, {preset}"] = ("morl-d", tiny | {"preset": preset})


def check(agent: str, env: Any, config: dict[str, Any], run_dir: Path) -> None:
    run = morl.train(agent, env, total_steps=200, run_dir=run_dir, config=config, **toys.SCHEDULE)
    assert run.front.points.shape[1] == 1
    assert (run.front.points >= 0.0).all()
    assert len(run.front.points) == 1  # one number is always better than another, or the same
    action, _ = run.policy([1.0]).predict(np.zeros(1, np.float32))
    assert 0.0 <= float(np.asarray(action).item()) <= 1.0
    assert run.evaluate(episodes=1).discounted.shape == (1, 1)
    more = morl.resume(run_dir, total_steps=260, env=env)
    assert more.front.points.shape[1] == 1


@pytest.mark.parametrize("name", DISCRETE)
def test_one_objective_with_discrete_actions(name: str, tmp_path: Path) -> None:
    agent, config = DISCRETE[name]
    check(agent, One, config, tmp_path / "run")


@pytest.mark.parametrize("name", CONTINUOUS)
def test_one_objective_with_continuous_actions(name: str, tmp_path: Path) -> None:
    agent, config = CONTINUOUS[name]
    check(agent, pushed, config, tmp_path / "run")
