"""The hyper-grid: functions at points that are known, rewards of all cells, masks, the front by playing all paths."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from morl.envs import make, make_vec, problem
from morl.envs.families import hyper_grid
from morl.pareto import hypervolume, non_dominated


def at(function: Any, *places: float) -> float:
    """Return a function at a place in the units of its own domain."""
    low, high = {"branin": ((-5, 0), (10, 15)), "shubert": ((-10, -10), (10, 10)), "beale": ((-4.5, -4.5), (4.5, 4.5))}[
        function.__name__
    ]
    shares = [np.array([(p - a) / (b - a)]) for p, a, b in zip(places, low, high, strict=True)]
    return float(function(shares[0], shares[1])[0])


def test_the_functions_have_their_published_optima() -> None:
    """Surjanovic and Bingham's Virtual Library of Simulation Experiments lists them."""
    for place in ((-np.pi, 12.275), (np.pi, 2.275), (9.42478, 2.475)):
        assert -at(hyper_grid.branin, *place) == pytest.approx(0.397887, abs=1e-5)
    assert at(hyper_grid.beale, 3.0, 0.5) == pytest.approx(0.0, abs=1e-9)
    assert np.expm1(-at(hyper_grid.beale, 0.0, 0.0)) == pytest.approx(1.5**2 + 2.25**2 + 2.625**2)
    assert -at(hyper_grid.shubert, -7.0835, 4.8580) == pytest.approx(-186.7309, abs=1e-3)
    best = hyper_grid.currin(np.array([0.216667]), np.array([0.0]))
    assert best == pytest.approx(13.7986, abs=1e-3)


@pytest.mark.parametrize(("dimensions", "objectives"), [(2, 2), (2, 4), (3, 3)])
def test_objectives_lie_between_zero_and_one(dimensions: int, objectives: int) -> None:
    values = hyper_grid.cell_values(9, dimensions, objectives)
    assert values.shape == (9**dimensions, objectives)
    np.testing.assert_allclose(values.min(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(values.max(axis=0), 1.0)


def play(env: Any, actions: list[int]) -> tuple[np.ndarray, list[bool]]:
    env.reset(seed=0)
    rewards, ended = [], []
    for action in actions:
        _, reward, terminated, _, _ = env.step(action)
        rewards.append(reward)
        ended.append(terminated)
    return np.array(rewards), ended


@pytest.mark.parametrize(("dimensions", "discount"), [(2, 1.0), (2, 0.9), (3, 0.8)])
def test_the_front_is_that_of_all_paths(dimensions: int, discount: float) -> None:
    options = {"side": 4, "dimensions": dimensions, "objectives": 3}
    env = make("hyper-grid-v0", **options)
    returns = []
    for cell in product(range(4), repeat=dimensions):
        moves = [axis for axis, steps in enumerate(cell) for _ in range(steps)]
        rewards, ended = play(env, [*moves, dimensions])
        assert ended == [False] * len(moves) + [True]
        assert (rewards[:-1] == 0.0).all()
        returns.append(discount ** np.arange(len(rewards)) @ rewards)
    returns = np.array(returns)
    expected = returns[non_dominated(returns)]
    found = hyper_grid.front(discount, **options)
    np.testing.assert_allclose(np.unique(found, axis=0), np.unique(expected, axis=0), rtol=1e-6)


def test_a_time_limit_cuts_the_front() -> None:
    whole = hyper_grid.front(1.0)
    near = hyper_grid.front(1.0, max_episode_steps=10)
    assert hypervolume(near, np.zeros(2)) < hypervolume(whole, np.zeros(2)) <= 1.0
    values = hyper_grid.cell_values(32, 2, 2).reshape(32, 32, 2)
    allowed = [values[i, j] for i, j in product(range(32), repeat=2) if i + j < 10]
    assert all(any(np.allclose(point, one) for one in allowed) for point in near)
    np.testing.assert_array_equal(hyper_grid.front(1.0, max_episode_steps=-1), whole)


def test_masks_keep_to_the_grid_and_stopping_is_always_allowed() -> None:
    envs = make_vec("hyper-grid-v0", 64, seed=0, side=3)
    _, infos = envs.reset()
    generator = np.random.default_rng(0)
    for _ in range(60):
        mask = infos["action_mask"] == 1
        assert mask[:, 2].all()
        actions = np.argmax(generator.random(mask.shape) * mask, axis=1)
        before = envs.last_observations.copy()
        observations, _, terminated, _, infos = envs.step(actions)
        np.testing.assert_array_equal(infos["action_mask"][:, :2], observations < 2)
        np.testing.assert_array_equal(terminated, actions == 2)
        moved = observations.sum(axis=1) - before.sum(axis=1)
        assert (moved[~terminated] == 1).all()


def test_who_leaves_the_grid_stays() -> None:
    env = make("hyper-grid-v0", side=2)
    env.reset(seed=0)
    for _ in range(3):
        observation, reward, terminated, _, _ = env.step(0)
    assert observation.tolist() == [1, 0]
    assert not terminated
    assert (reward == 0.0).all()


def test_the_three_dimensional_grid_knows_its_front() -> None:
    stated = problem("hyper-grid-3d-v0", side=5)
    assert stated.objectives == ("branin", "currin", "shubert", "beale")
    assert stated.known_front is not None
    front = stated.known_front(1.0)
    assert front.shape[1] == 4
    values = hyper_grid.cell_values(5, 3, 4)
    assert len(front) == len(np.unique(values[non_dominated(values)], axis=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 1}, "side must be at least 2"),
        ({"side": 4000}, "at most 10,000,000, got 4000"),
        ({"dimensions": 4}, "dimensions must be one of 2, 3, got 4"),
        ({"objectives": 5}, "objectives must be in 1 .. 4, got 5"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_vec("hyper-grid-v0", 1, **options)
