"""The corridor of doors: its rules, its front by trying all policies, and what policies without a memory are worth."""

import itertools

import numpy as np
import pytest

from morl.envs import make, make_vec, specs
from morl.envs.backends.vector import SynchronousVectorEnv
from morl.envs.families.recall import LEFT, PLACES, PRIZES, RIGHT, front
from morl.pareto import hypervolume, non_dominated

STEPS = int(PLACES[-1]) + 1
DISCOUNTS = (1.0, 0.9)


def returns_of(plan, discount):
    """Return the return of each side [2, objective] of a plan: (side, step) -> action."""
    totals = np.zeros((2, 2))
    for row, side in enumerate((LEFT, RIGHT)):
        for step in range(STEPS):
            totals[row, 1] -= discount**step
            action = plan(side, step)
            if step in PLACES and action != 0:
                if action == side:
                    totals[row, 0] = discount**step * PRIZES[list(PLACES).index(step)]
                break
    return totals


def test_rules():
    envs = make_vec("recall-v0", 200, seed=0)
    observations, _ = envs.reset()
    sides = np.where(observations[:, 0] < 0, LEFT, RIGHT)
    np.testing.assert_array_equal(observations[:, 1:], 0.0)
    assert 60 < (sides == LEFT).sum() < 140
    for step in range(int(PLACES[0])):  # no doors yet: whatever the action, one walks on
        observations, rewards, terminated, _, _ = envs.step(np.arange(200) % 3)
        np.testing.assert_array_equal(rewards, [[0.0, -1.0]] * 200)
        assert not terminated.any()
        np.testing.assert_allclose(observations[:, :2], [[0.0, (step + 1) / PLACES[-1]]] * 200, rtol=1e-6)
    assert (observations[:, 2] == 1.0).all()
    actions = np.arange(200) % 3
    observations, rewards, terminated, _, infos = envs.step(actions)
    np.testing.assert_array_equal(terminated, actions != 0)
    np.testing.assert_array_equal(rewards[:, 0], np.where(actions == sides, PRIZES[0], 0.0))
    assert (np.abs(observations[actions != 0, 0]) == 1.0).all()  # the next episode's side
    assert (infos["final_obs"][actions != 0, 0] == 0.0).all()


def test_at_the_end_of_the_corridor_one_stays():
    env = make("recall-v0")
    env.reset(seed=0)
    for step in range(20):
        observation, reward, terminated, truncated, _ = env.step(0)
        assert observation[1] == pytest.approx(min(step + 1, PLACES[-1]) / PLACES[-1])
        assert reward.tolist() == [0.0, -1.0]
        assert (terminated, truncated) == (False, step == 19)


def test_the_kernel_steps_as_single_environments_do():
    kernel = make_vec("recall-v0", 3, seed=4)
    singles = SynchronousVectorEnv("recall-v0", lambda: make("recall-v0"), 3)
    first, _ = kernel.reset(seed=4)
    other, _ = singles.reset(seed=4)
    np.testing.assert_array_equal(first, other)
    random = np.random.default_rng(0)
    for _ in range(100):
        actions = random.integers(3, size=3)
        for one, two in zip(kernel.step(actions)[:4], singles.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(one, two)
    singles.close()


@pytest.mark.parametrize("discount", DISCOUNTS)
def test_the_front_is_that_of_all_policies_without_chance(discount):
    """A policy decides for each side and each place: walk on, left, right."""
    points = []
    for choices in itertools.product(range(3), repeat=2 * len(PLACES)):
        table = np.reshape(choices, (2, len(PLACES)))

        def plan(side, step, table=table):
            return table[side - LEFT, list(PLACES).index(step)] if step in PLACES else 0

        points.append(returns_of(plan, discount).mean(axis=0))
    distinct = np.unique(np.round(points, 12), axis=0)
    best = distinct[non_dominated(distinct)]
    np.testing.assert_allclose(front(discount), best)


@pytest.mark.parametrize("discount", DISCOUNTS)
def test_without_a_memory_the_prize_is_half_of_that_of_the_place(discount):
    points = []
    for table in itertools.product(range(3), repeat=len(PLACES)):  # of what is seen at the doors: the place alone

        def plan(side, step, table=table):
            return table[list(PLACES).index(step)] if step in PLACES else 0

        point = returns_of(plan, discount).mean(axis=0)
        points.append(point)
        door = next((row for row, action in enumerate(table) if action != 0), None)
        expected = 0.0 if door is None else discount ** PLACES[door] * PRIZES[door] / 2
        assert point[0] == pytest.approx(expected)
    if discount == 1.0:
        reference = specs["recall-v0"].reference_point
        assert hypervolume(np.array(points), reference) == pytest.approx(27.0)
        assert hypervolume(front(1.0), reference) == pytest.approx(60.0)


@pytest.mark.parametrize(("limit", "expected"), [(1, [[0, -1]]), (3, [[4, -3]]), (6, [[4, -3], [7, -4.5], [10, -6]])])
def test_the_front_within_a_time_limit(limit, expected):
    np.testing.assert_allclose(front(1.0, max_episode_steps=limit), expected)
    for unlimited in (None, -1):
        np.testing.assert_array_equal(front(1.0, max_episode_steps=unlimited), front(1.0))
