"""Multiplying an objective, and its reference point, by a constant changes nothing in what an agent does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from gymnasium import spaces

import morl
from morl.experiment.units import RewardUnits, UnitRewards, root_mean_square
from morl.preferences import scales_of, simplex_lattice

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
    "gmorl": ("gmorl", "discrete", toys.TINY_GMORL),
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
SCALES = ((2.0**-20, 2.0**20), (1e6, 1e-6), (1e-6, 3.0))


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


# --- Units ------------------------------------------------------------------------------------------------------------


class Late(toys.Walk):
    """Random walks seldom come far enough for the second objective to pay."""

    scale = 1.0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, np.array([reward[0], self.scale * (self.place > 8.0)]), terminated, truncated, info


@pytest.mark.parametrize("scale", [1.0, 2.0**20, 2.0**-20])
def test_an_objective_that_pays_for_the_first_time_in_training_gets_its_unit_then(scale: float, tmp_path: Path) -> None:
    env = type("Late", (Late,), {"scale": scale})
    session = toys.session(tmp_path / "run", "pd-morl", "toy-walk-v0")
    session.close()
    units = RewardUnits(np.array([2.0, np.nan]))
    envs = UnitRewards(morl.make_vec(env, 4, seed=0), units)
    envs.reset()
    paid = 0
    steps = 0
    while not paid:
        rewards = envs.step(np.ones(4, dtype=int))[1]
        steps += 4
        paid = int((rewards[:, 1] > 0).sum())
    assert units.values[1] == pytest.approx(scale * np.sqrt(paid / steps))
    np.testing.assert_allclose(rewards[:, 1].max(), np.sqrt(steps / paid))
    fixed = units.values.copy()
    envs.step(np.ones(4, dtype=int))
    np.testing.assert_array_equal(units.values, fixed)
    envs.close()


def test_units_do_not_depend_on_seed_number_of_environments_or_length(tmp_path: Path) -> None:
    options = {"config": TINY, "evaluation_divisions": 2}
    changes = ({"seed": 0}, {"seed": 7}, {"num_envs": 12}, {"total_steps": 150})
    units = [
        toys.train(tmp_path / str(number), "toy-walk-v0", **{**options, **change}).front.units.tolist()
        for number, change in enumerate(changes)
    ]
    assert units[1:] == [units[0]] * 3


def test_steps_that_measure_units_are_counted(tmp_path: Path) -> None:
    measured = toys.front(toys.train(tmp_path / "measured", "toy-walk-v0", 100).directory)
    plain = toys.front(toys.train(tmp_path / "plain", "toy-walk-v0", 100, reward_units="environment").directory)
    assert measured["pretraining_steps"] - plain["pretraining_steps"] == 1_024
    assert plain["units"] == [1.0, 1.0]


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_root_mean_squares_do_not_overflow(size: float) -> None:
    rewards = size * np.array([[3.0, 0.0], [-4.0, 0.0]])
    np.testing.assert_allclose(root_mean_square(rewards), [size * np.sqrt(12.5), 0.0])


def test_bounds_on_returns_hold_in_the_environments_units(tmp_path: Path) -> None:
    """The second objective is a hundred times as large; the same share of it is bounded."""
    config = toys.TINY_CMORL | {"constraints": {"objective_1": ">= -600"}}
    plain = toys.TINY_CMORL | {"constraints": {"objective_1": ">= -6"}}
    runs = []
    for number, (scale, chosen) in enumerate(((1.0, plain), (100.0, config))):
        env = type("Scaled", (Scaled,), {"scales": np.array([1.0, scale])})
        runs.append(morl.train("c-morl", env, run_dir=tmp_path / str(number), config=chosen, **SCHEDULE))
    np.testing.assert_allclose(runs[1].front.points / [1.0, 100.0], runs[0].front.points, rtol=1e-5)
    np.testing.assert_allclose(runs[1].front.violations, runs[0].front.violations, rtol=1e-5, atol=1e-9)


# --- Scales -----------------------------------------------------------------------------------------------------------


def front_of(points: Any, scales: Any = None) -> Any:
    return scales_of(np.array(points, dtype=np.float64), scales)


def test_scales_are_what_was_registered_or_the_range_of_the_front() -> None:
    np.testing.assert_array_equal(front_of([[0.0, 100.0], [2.0, 40.0]]), [2.0, 60.0])
    np.testing.assert_array_equal(front_of([[0.0, 100.0], [2.0, 40.0]], (1.0, 5.0)), [1.0, 5.0])
    np.testing.assert_array_equal(front_of([[0.0, -7.0]]), [1.0, 7.0])


def test_registered_scales_reach_the_front_and_decide_what_a_preference_means(tmp_path: Path) -> None:
    env = type("Scaled", (Scaled,), {"scales": np.array([1.0, 1000.0])})
    morl.envs.register("scaled-walk-v0", env, objectives=("near", "far"), scales=(2.0, 9000.0))
    run = morl.train("pd-morl", "scaled-walk-v0", run_dir=tmp_path / "run", config=TINY, **SCHEDULE)
    np.testing.assert_array_equal(run.front.scales, [2.0, 9000.0])
    assert run.front.normalizes
    points = run.front.choice_points
    row = run.best_row([0.5, 0.5])
    assert row == np.argmax(points @ [0.5 / 2.0, 0.5 / 9000.0])
    assert run.best_row([0.5, 0.5], normalized=False) == np.argmax(points @ [0.5, 0.5])
    weighed = run.policy([0.5, 0.5], conditioned=True).conditioning / run.front.units
    np.testing.assert_allclose(weighed[0] / weighed[1], 9000.0 / 2.0)
    raw = run.policy([0.5, 0.5], conditioned=True, normalized=False).conditioning / run.front.units
    np.testing.assert_allclose(raw[0], raw[1])


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.0), (1.0, -2.0), (1.0, float("nan")), (1.0, "2")])
def test_wrong_scales_are_refused(scales: Any) -> None:
    with pytest.raises(ValueError, match="scales must be 2 finite numbers greater than 0"):
        morl.envs.register("wrong-scales-v0", toys.Walk, objectives=("near", "far"), scales=scales)


def test_utility_in_scales_stands_beside_the_raw_one_where_they_differ(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", "c-morl", (1.0, 1.0)).front
    scaled = train(tmp_path / "scaled", "c-morl", (1.0, 4096.0)).front
    assert ("normalized_expected_utility" in plain.indicators) == plain.normalizes
    assert "expected_utility" in scaled.indicators
    grid = simplex_lattice(2, SCHEDULE["evaluation_divisions"])
    points = scaled.points / scaled.scales
    chosen = (grid @ (scaled.choice_points / scaled.scales).T).argmax(axis=1)
    expected = (grid * points[chosen]).sum(axis=1).mean()
    assert scaled.indicators["normalized_expected_utility"] == pytest.approx(expected)


class Bonus(toys.Walk):
    """Pays a bonus in every step, beside which all else is small."""

    bonus = 1e4

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, np.add(reward, [self.bonus, 0.0]), terminated, truncated, info


@pytest.mark.parametrize(("bonus", "named"), [(1e4, True), (0.0, False)])
def test_a_constant_in_the_rewards_is_named(
    bonus: float, named: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = type("Bonus", (Bonus,), {"bonus": bonus})
    toys.train(tmp_path / "run", env, 50)
    assert ("objective_0 pays 1" in caplog.text) == named
    assert "objective_1 pays" not in caplog.text
