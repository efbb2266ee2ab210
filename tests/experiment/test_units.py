"""Multiplying an objective, and its reference point, by a constant changes nothing in what an agent does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from gymnasium import spaces

import morl
from morl.experiment.units import RewardUnits, root_mean_square

pytestmark = pytest.mark.usefixtures("without_figures")

SCHEDULE = {"total_steps": 600, "num_envs": 4, "evaluate_every": 300, "evaluation_divisions": 5}
TINY = {"hidden_sizes": (8,)}
MORL_D: dict[str, Any] = {
    **TINY,
    "population": 3,
    "exchange_every": 200,
    "evaluation_episodes": 1,
    "random_exploration_steps": 20,
    "learning_starts": 20,
    "batch_size": 16,
}
AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", "discrete", {**TINY, "learning_starts": 50, "key_update_steps": 200}),
    "pd-morl, utility targets": ("pd-morl", "discrete", {**TINY, "learning_starts": 50, "target_action": "utility"}),
    "pd-morl, continuous": ("pd-morl", "box", {**TINY, "learning_starts": 50, "random_exploration_steps": 100}),
    "c-morl": ("c-morl", "discrete", toys.TINY_CMORL),
    "c-morl, continuous": ("c-morl", "box", toys.TINY_CMORL),
    "c-morl, trust region": ("c-morl", "box", toys.TINY_CMORL | {"solver": "cpo"}),
    "c-morl, lagrangian": ("c-morl", "discrete", toys.TINY_CMORL | {"solver": "lagrangian"}),
    "morl-d, dqn": ("morl-d", "discrete", MORL_D),
    "morl-d, discrete sac": ("morl-d", "discrete", MORL_D | {"solver": "discrete-sac"}),
    "morl-d, tchebycheff": ("morl-d", "discrete", MORL_D | {"preset": "tchebycheff"}),
    "morl-d, eupg": ("morl-d", "discrete", {**TINY, "preset": "eupg", "population": 2, "exchange_every": 300}),
    "morl-d, gpi-ls": ("morl-d", "discrete", MORL_D | {"preset": "gpi-ls"}),
    "morl-d, ppo": ("morl-d", "discrete", {**TINY, "solver": "ppo", "population": 2, "rollout_steps": 32}),
    "morl-d, sac": ("morl-d", "box", MORL_D),
    "morl-d, td3": ("morl-d", "box", MORL_D | {"solver": "td3"}),
    "morl-d, sb3": ("morl-d", "discrete", {"solver": "sb3:PPO", "population": 2, "hidden_sizes": (8,)}),
}
SCALES = ((0.5, 4096.0), (2.0**-20, 2.0**20), (1e6, 1e-6), (1e-6, 3.0))


class Scaled(toys.Walk):
    """A noisy walk whose objectives are multiplied by constants."""

    scales = (1.0, 1.0)
    box = False

    def __init__(self) -> None:
        super().__init__()
        if self.box:
            self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward * self.scales, terminated, truncated, info


def train(folder: Path, case: str, scales: tuple[float, float]) -> morl.Run:
    agent, actions, config = AGENTS[case]
    env = type("Scaled", (Scaled,), {"scales": np.array(scales), "box": actions == "box"})
    reference = (-60.0 * scales[0], -30.0 * scales[1])
    return morl.train(agent, env, run_dir=folder, reference_point=reference, config=config, **SCHEDULE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> dict[str, morl.Run]:
    return {}


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("case", AGENTS)
def test_the_scale_of_objectives_does_not_matter(
    case: str,
    scales: tuple[float, float],
    plain: dict[str, morl.Run],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if case not in plain:
        plain[case] = train(tmp_path_factory.mktemp("plain") / "run", case, (1.0, 1.0))
    expected = plain[case]
    found = train(tmp_path / "run", case, scales)
    np.testing.assert_allclose(found.front.points / scales, expected.front.points, rtol=1e-5)
    np.testing.assert_allclose(found.front.preferences, expected.front.preferences)
    np.testing.assert_allclose(
        found.front.indicators["hypervolume"] / np.prod(scales), expected.front.indicators["hypervolume"], rtol=1e-5
    )
    observations = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    for row in range(len(expected.front.points)):
        actions, _ = found.policy(row=row).predict(observations)
        wanted, _ = expected.policy(row=row).predict(observations)
        np.testing.assert_allclose(actions, wanted, atol=1e-4)
    weights = np.array([0.3, 0.7])
    chosen = found.policy(weights, normalized=True)
    assert chosen.policy_id == expected.policy(weights, normalized=True).policy_id
