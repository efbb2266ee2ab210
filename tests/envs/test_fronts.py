"""Fronts that are known and fronts that are only the best known, each against the environment itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from morl.envs import make, make_vec, problem, specs
from morl.envs.classic import fronts
from morl.envs.classic.minecart_plans import PLANS
from morl.pareto import hypervolume, non_dominated

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "minecart-deterministic.json").read_text())["gammas"]
RECORDS = [
    (float(discount), record["actions"], record["ret"]) for discount, records in GOLDEN.items() for record in records
]


def test_golden_plans_replay_in_the_kernel():
    longest = max(len(actions) for _, actions, _ in RECORDS)
    envs = make_vec("minecart-deterministic-v0", len(RECORDS), seed=0)
    envs.reset()
    discounts = np.array([discount for discount, *_ in RECORDS])
    returns, driving = np.zeros((len(RECORDS), 3)), np.ones(len(RECORDS), bool)
    for step in range(longest):
        driving &= np.array([step < len(actions) for _, actions, _ in RECORDS])
        actions = np.array([actions[step] if step < len(actions) else 5 for _, actions, _ in RECORDS])
        _, rewards, terminated, *_ = envs.step(actions)
        returns[driving] += (discounts[:, None] ** step * rewards)[driving]
        assert terminated[driving].tolist() == [
            step == len(a) - 1 for (_, a, _), d in zip(RECORDS, driving, strict=True) if d
        ]
    np.testing.assert_allclose(returns, [found for *_, found in RECORDS], rtol=0, atol=1e-6)


def test_golden_plans_replay_in_mo_gymnasium():
    env = make("minecart-deterministic-v0")
    for discount, actions, found in RECORDS:
        env.reset(seed=0)
        returns = np.zeros(3)
        for step, action in enumerate(actions):
            _, reward, terminated, _, _ = env.step(action)
            returns += discount**step * reward.astype(np.float64)
            assert terminated == (step == len(actions) - 1)
        np.testing.assert_allclose(returns, found, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("discount", "volume", "packaged"), [(1.0, 198.8398, 147.837), (0.99, 139.2878, 110.0959), (0.98, 93.2678, 81.7997)]
)
def test_the_best_known_of_minecart_is_a_lower_bound_and_no_front(discount, volume, packaged):
    """At least the volume found in environments.md E, far above mo-gymnasium's own front; and agents never see it."""
    best = fronts.minecart_deterministic(discount)
    assert non_dominated(best).all()
    assert hypervolume(best, (0, 0, -200)) >= volume
    theirs = make("minecart-deterministic-v0").unwrapped.pareto_front(discount)
    assert hypervolume(np.array(theirs), (0, 0, -200)) == pytest.approx(packaged, abs=1e-3)
    for found in (record["ret"] for record in GOLDEN[str(discount)]):
        assert (best >= np.array(found) - 1e-6).all(axis=1).any()  # covers every golden point


def test_a_lower_bound_is_not_passed_off_as_the_front():
    row = specs["minecart-deterministic-v0"]
    assert row.best_known_front is fronts.minecart_deterministic
    assert row.known_front is None
    assert problem(row.id).known_front is None
    assert all(spec.known_front is None or spec.best_known_front is None for spec in specs.values())


def test_plans_that_do_not_reach_home_count_nothing():
    best = fronts.minecart_deterministic(1.0, frame_skip=3)
    assert 0 < len(best) < len(PLANS)
    np.testing.assert_array_less(best[:, 2], 0)


UP, DOWN, LEFT, RIGHT = range(4)


def replayed(actions, discount, episodes=4000):
    """Return the mean discounted return of a fixed route in resource-gathering, and its standard error."""
    envs = make_vec("resource-gathering-v0", episodes, seed=0)
    envs.reset()
    returns, alive = np.zeros((episodes, 3)), np.ones(episodes, bool)
    for step, action in enumerate(actions):
        _, rewards, terminated, *_ = envs.step(np.full(episodes, action))
        returns[alive] += discount**step * rewards[alive]
        alive &= ~terminated
    assert not alive.any()
    return returns.mean(axis=0), returns.std(axis=0) / np.sqrt(episodes)


def test_the_route_that_mo_gymnasiums_front_misses():
    """18 steps, both items, no enemy; its return is a point of our front and better than all of theirs."""
    to_gold = [LEFT, UP, UP, UP, UP, RIGHT]  # column 1 up to the first row; gold lies at (0, 2)
    to_gem = [LEFT, DOWN, DOWN, RIGHT, RIGHT, RIGHT, UP]  # below the enemies
    mean, error = replayed([*to_gold, *to_gem, DOWN, DOWN, DOWN, LEFT, LEFT], 0.99)
    assert error.max() < 1e-12
    np.testing.assert_allclose(mean, [0, 0.99**17, 0.99**17])
    assert np.abs(fronts.resource_gathering(0.99) - mean).max(axis=1).min() < 1e-9
    assert fronts.resource_gathering(1.0).tolist() == [[0, 1, 1]]
    theirs = np.array(make("resource-gathering-v0").unwrapped.pareto_front(0.99))
    assert not (theirs >= mean - 1e-6).all(axis=1).any()


@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_resource_gatherings_front_is_that_of_its_scalar_problems(discount):
    """For every preference, the best point of the front is the value that ordinary value iteration finds."""
    front = fronts.resource_gathering(discount)
    for preference in np.random.default_rng(0).dirichlet(np.ones(3), size=4):
        assert (front @ preference).max() == pytest.approx(scalar_value(preference, discount), abs=1e-9)


def scalar_value(preference, discount):
    """Return the optimal value of home under a linear preference, with mo-gymnasium's map, by value iteration."""
    env = make("resource-gathering-v0").unwrapped
    gold, gem, home = ((r, c) for r, c in (np.argwhere(env.map == name)[0] for name in ("R1", "R2", "H")))
    values = np.zeros((5, 5, 2, 2))
    for _ in range(100):
        updated = np.empty_like(values)
        for row, column, has_gold, has_gem in np.ndindex(values.shape):
            options = []
            for move_row, move_column in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                cell = min(max(row + move_row, 0), 4), min(max(column + move_column, 0), 4)
                if cell == tuple(home):
                    options.append(preference @ [0, has_gold, has_gem])
                    continue
                onwards = (
                    discount * values[(*cell, int(has_gold or cell == tuple(gold)), int(has_gem or cell == tuple(gem)))]
                )
                danger = 0.1 if env.map[cell] in ("E1", "E2") else 0.0
                options.append(danger * -preference[0] + (1 - danger) * onwards)
            updated[row, column, has_gold, has_gem] = max(options)
        values = updated
    return values[(*tuple(home), 0, 0)]
