"""C-MORL's archive: pruning, selection for extension, interpolation."""

import numpy as np
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.agents.c_morl.archive import Snapshot, interpolate_weights, prune_archive, select_policies
from morl.agents.c_morl.constraints import (
    parse_constraints,
    violations,
)
from morl.learning.population import initial_states
from morl.learning.ppo import actor_critic
from morl.learning.rollouts import TransitionSizes
from morl.pareto import non_dominated

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20)


@settings(max_examples=80, deadline=None)
@given(POINTS, st.integers(1, 8))
def test_survivors_are_the_front_within_capacity(rows: list[tuple[int, int]], capacity: int) -> None:
    points = np.array(rows, dtype=np.float64)
    kept = prune_archive(points, [], None, capacity, 0.0)
    front = np.flatnonzero(non_dominated(points))
    assert len(kept) == min(capacity, len(front))
    assert set(map(tuple, points[kept])) <= set(map(tuple, points[front]))
    if capacity > 1:
        assert (points[kept].max(axis=0) == points.max(axis=0)).all()  # extremes stay


def test_survivors_near_the_reference_and_near_duplicates() -> None:
    points = np.array([[-5.0, 9.0], [1.0, 4.0], [1.0001, 4.0], [4.0, 1.0]])
    assert prune_archive(points, [], (0.0, 0.0), 10, 1e-3) == [1, 3]
    assert prune_archive(points, [], (0.0, 0.0), 10, 0.0) == [2, 3]
    assert prune_archive(points, [], (100.0, 100.0), 10, 1e-3) == [0, 1, 3]  # nothing is above: all are considered
    same = np.array([[2.0, 7.0], [2.0, 7.0], [2.0, 5.0]])  # no range in either objective of the front
    assert prune_archive(same, [], None, 10, 1e-3) == [0]


def test_survivors_keep_constraints_first() -> None:
    constraints = parse_constraints({"energy": ">= -2"}, ("speed", "height", "energy"))
    points = np.array([[9.0, 9.0, -5.0], [3.0, 1.0, -1.0], [1.0, 3.0, -2.0], [1.0, 1.0, 0.0]])
    assert prune_archive(points, constraints, None, 10, 0.0) == [1, 2]
    infeasible = points - [0.0, 0.0, 10.0]
    # Nothing is feasible: the violation is an objective like the others.
    assert prune_archive(infeasible, constraints, None, 10, 0.0) == [0, 1, 2, 3]
    np.testing.assert_allclose(violations(constraints, infeasible)[:, 0], [13.0, 9.0, 10.0, 8.0])


def test_selection_takes_extremes_then_gaps_then_old_ones() -> None:
    points = np.array([[0.0, 10.0], [1.0, 9.0], [2.0, 8.5], [6.0, 4.0], [10.0, 0.0]])
    never = np.zeros(5, dtype=np.int64)
    assert sorted(select_policies(points, 2, never)) == [0, 4]
    assert select_policies(points, 3, never)[2] == 3
    assert set(select_policies(points, 2, np.array([1, 0, 0, 0, 1]))) == {3, 2}
    assert select_policies(points[:1], 3, never[:1]) == [0, 0, 0]  # fewer members than asked for
    assert sorted(select_policies(points, 5, never + 1)) == [0, 1, 2, 3, 4]


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_every_policy_of_a_full_archive_is_selected_in_its_turn(count: int, size: int, seed: int) -> None:
    """However isolated others are: extending them again and again would find nothing new."""
    points = np.random.default_rng(seed).random((size, 2))
    times = np.zeros(size, dtype=np.int64)
    for _ in range(3 * size):
        np.add.at(times, np.unique(select_policies(points, count, times)), 1)
    assert np.ptp(times) <= 1


def test_interpolations_lie_between_neighbours() -> None:
    network = actor_critic(1, spaces.Discrete(2), 2, (3,))
    states = initial_states(network, 3, TransitionSizes(observation=1, action=1, objectives=2), seed=0)
    for value, state in zip((0.0, 1.0, 10.0), states, strict=True):
        state["parameters"][:] = value
        state["steps"] += 2 * value
        state["observation_statistics"]["mean"][:] = value
        state["reward_statistics"]["variance"][:] = value
    returns = np.array([[0.0, 9.0], [1.0, 8.0], [9.0, 0.0]])
    none = np.zeros(2)
    pairs = enumerate(zip(states, returns, strict=True))
    snapshots = [Snapshot(policy_id, state, row, none, 1.0, none) for policy_id, (state, row) in pairs]
    mixed = interpolate_weights(snapshots)
    for state, value in zip(mixed, (0.5, 5.5), strict=True):
        assert (state["parameters"] == value).all()
        assert state["steps"] == 2 * value
        assert state["observation_statistics"]["mean"] == value
        assert (state["reward_statistics"]["variance"] == value).all()


def test_an_outlier_that_is_dominated_does_not_make_all_others_alike() -> None:
    points = np.array([[0.0, 10.0], [5.0, 5.0], [10.0, 0.0], [-1e5, -1e5]])
    assert prune_archive(points, [], None, 10, 1e-3) == [0, 1, 2]


def test_a_reference_point_does_not_bar_what_keeps_the_constraints() -> None:
    constraints = parse_constraints({"protein": "<= 0"}, ("protein", "fat"))
    points = np.array([[0.0, 9.0], [3.0, 1.0]])
    assert prune_archive(points, constraints, (0.0, 0.0), 10, 1e-3) == [0]
