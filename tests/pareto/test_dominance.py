"""Filter, ranks and crowding: against brute force, moocore and their own laws."""

from itertools import permutations
from time import process_time

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import moocore
import numpy as np
import pytest
from hypothesis import given, settings

from morl.pareto import (
    convex_coverage_set,
    crowding_distance,
    hypervolume,
    hypervolume_contributions,
    non_dominated,
    non_dominated_sort,
)

INF = float("inf")


def brute_force(points, keep_duplicates):
    at_least = (points[:, None, :] >= points[None, :, :]).all(axis=2)
    dominates = at_least & ~at_least.T
    mask = ~dominates.any(axis=0)
    if not keep_duplicates:
        for i in range(len(points)):
            mask[i] &= not (points[:i] == points[i]).all(axis=1).any()
    return mask


def clouds(n, m, generator):
    yield generator.random((n, m))
    directions = np.abs(generator.standard_normal((n, m)))
    yield directions / np.linalg.norm(directions, axis=1, keepdims=True)
    yield generator.integers(0, 3, (n, m)).astype(float)
    flat = generator.random((n, m))
    flat[:, 0] = 1.0
    yield flat
    yield np.sort(generator.random((n, 1)), axis=0) * np.ones(m)  # a chain
    outlier = generator.random((n, m))
    outlier[n // 2] = -1e12
    yield outlier
    infinite = generator.integers(0, 5, (n, m)).astype(float)
    infinite[infinite == 0.0] = -INF
    infinite[infinite == 4.0] = INF
    yield infinite


small = st.integers(1, 10).flatmap(
    lambda m: hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 25), st.just(m)),
        elements=st.sampled_from([-INF, -1.0, 0.0, 1e-300, 1.0, INF]),
    )
)


@given(small, st.booleans())
@settings(max_examples=200, deadline=None)
def test_filter_equals_brute_force(points, keep_duplicates):
    np.testing.assert_array_equal(non_dominated(points, keep_duplicates), brute_force(points, keep_duplicates))


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8, 9, 12, 17, 40])
@pytest.mark.parametrize("n", [128, 129, 400])
def test_filter_equals_brute_force_in_every_size_class(m, n):
    for points in clouds(n, m, np.random.default_rng([m, n])):
        for keep in (False, True):
            np.testing.assert_array_equal(non_dominated(points, keep_duplicates=keep), brute_force(points, keep))


@pytest.mark.parametrize("m", [2, 3, 4, 9])
def test_filter_equals_moocore_on_many_points(m):
    for points in clouds(6000, m, np.random.default_rng(m)):
        if np.isfinite(points).all():
            expected = moocore.is_nondominated(points, maximise=True)
            np.testing.assert_array_equal(non_dominated(points), expected)


def test_no_order_and_no_copies_make_the_filter_or_the_sweep_quadratic():
    """100,000 points, in 10 seconds at most (0.5 are usual); copies alone took 20 when they were quadratic."""
    n = 100_000
    start = process_time()
    for m in (4, 9):
        copies = np.repeat([[1.0] * (m - 1) + [2.0], [2.0] + [1.0] * (m - 1)], n // 2, axis=0)
        assert non_dominated(copies).nonzero()[0].tolist() == [0, n // 2]
        assert non_dominated(copies, keep_duplicates=True).all()
    line = np.linspace(0.0, 1.0, n)
    points = np.stack([line, 1.0 - line, line], axis=1) + 1.0
    for order in permutations(range(3)):
        for turned in (points[:, order], points[::-1, order]):
            assert non_dominated(turned).all()
            assert hypervolume(turned, [0, 0, 0]) == pytest.approx(hypervolume(points, [0, 0, 0]), rel=1e-12)
            assert hypervolume_contributions(turned, [0, 0, 0]).sum() == pytest.approx(
                hypervolume_contributions(points, [0, 0, 0]).sum(), rel=1e-9
            )
    assert process_time() - start < 10.0


@given(small)
@settings(max_examples=150, deadline=None)
def test_ranks_are_what_peeling_gives(points):
    expected = np.zeros(len(points), int)
    left = np.ones(len(points), bool)
    rank = 0
    while left.any():
        front = np.nonzero(left)[0][brute_force(points[left], True)]
        expected[front] = rank
        left[front] = False
        rank += 1
    ranks = non_dominated_sort(points)
    assert np.issubdtype(ranks.dtype, np.integer)
    np.testing.assert_array_equal(ranks, expected)


@pytest.mark.parametrize("m", [2, 3, 5, 9])
def test_ranks_equal_moocore(m):
    for points in clouds(700, m, np.random.default_rng(m)):
        if np.isfinite(points).all():
            np.testing.assert_array_equal(non_dominated_sort(points), moocore.pareto_rank(points, maximise=True))


@given(small, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_filter_laws(points, random):
    mask = non_dominated(points)
    order = list(range(len(points)))
    random.shuffle(order)
    all_copies = non_dominated(points, keep_duplicates=True)
    np.testing.assert_array_equal(non_dominated(points[order], keep_duplicates=True), all_copies[order])
    assert non_dominated(points[mask]).all()
    assert not (mask & ~all_copies).any()
    np.testing.assert_array_equal(non_dominated_sort(points) == 0, all_copies)


def test_crowding_distance_of_a_line():
    line = [[0, 4], [1, 3], [3, 1], [4, 0]]
    np.testing.assert_allclose(crowding_distance(line), [np.inf, 0.75, 0.75, np.inf])
    assert crowding_distance([]).shape == (0,)
    assert np.isinf(crowding_distance([[1, 2]])).all()
    assert np.isinf(crowding_distance([[1, 2], [2, 1]])).all()
    np.testing.assert_array_equal(crowding_distance([[1, 2], [2, 1], [1, 2]]), [np.inf, np.inf, 0.0])
    np.testing.assert_allclose(crowding_distance([[0, 7], [1, 7], [5, 7]]), [np.inf, 0.5, np.inf])


@given(hnp.arrays(np.float64, st.tuples(st.integers(3, 20), st.integers(1, 5)), elements=st.integers(0, 50).map(float)))
@settings(max_examples=60, deadline=None)
def test_crowding_does_not_depend_on_units(points):
    distances = crowding_distance(points)
    assert (distances >= 0.0).all()
    np.testing.assert_allclose(crowding_distance(points * 4.0 - 8.0), distances, rtol=1e-12)


def test_convex_coverage_set():
    points = [[0, 1], [0.4, 0.4], [1, 0], [0.6, 0.6], [0.6, 0.6], [0.5, 0.5], [0.0, 1.0]]
    assert convex_coverage_set(points).tolist() == [True, False, True, True, False, False, False]
    assert convex_coverage_set([]).tolist() == []
    assert convex_coverage_set([[3, 1, 2]]).tolist() == [True]
    concave = [[0, 1], [0.45, 0.45], [1, 0]]  # non-dominated, but no weight prefers the middle one
    assert convex_coverage_set(concave).tolist() == [True, False, True]


@pytest.mark.parametrize("m", [2, 3, 4, 6])
def test_convex_coverage_set_serves_every_weight_and_no_less_would(m):
    generator = np.random.default_rng(m)
    points = generator.random((60, m))
    mask = convex_coverage_set(points)
    weights = generator.dirichlet(np.full(m, 0.5), 4000)
    utilities = weights @ points.T
    np.testing.assert_allclose(utilities[:, mask].max(axis=1), utilities.max(axis=1), rtol=1e-9)
    assert set(utilities.argmax(axis=1)) <= set(np.nonzero(mask)[0])
    assert not (mask & ~non_dominated(points)).any()


@pytest.mark.parametrize("m", [2, 3, 5])
def test_convex_coverage_set_equals_a_linear_programme(m):
    linprog = pytest.importorskip("scipy.optimize").linprog
    points = np.random.default_rng(m).random((30, m))
    mask = convex_coverage_set(points)
    for i, point in enumerate(points):
        others = np.delete(points, i, axis=0)
        # max t with w.(point - other) >= t, w on the simplex
        rows = np.column_stack([others - point, np.ones(len(others))])
        result = linprog(
            np.append(np.zeros(m), -1.0),
            A_ub=rows,
            b_ub=np.zeros(len(others)),
            A_eq=[[*np.ones(m), 0.0]],
            b_eq=[1.0],
            bounds=[(0, None)] * m + [(None, None)],
        )
        assert mask[i] == (-result.fun > 1e-9)


@pytest.mark.parametrize("function", [non_dominated, non_dominated_sort, crowding_distance, convex_coverage_set])
@pytest.mark.parametrize("points", [[[1, np.nan]], [1, 2], [[[1, 2]]], [["a"]], np.empty((2, 0)), None, [[1], [1, 2]]])
def test_bad_input(function, points):
    with pytest.raises(ValueError, match=r"^points must"):
        function(points)


@pytest.mark.parametrize("function", [crowding_distance, convex_coverage_set])
def test_what_measures_needs_finite_values(function):
    with pytest.raises(ValueError, match=r"^points must be finite, got inf at \[0, 1\]"):
        function([[1, np.inf]])


@pytest.mark.parametrize("function", [non_dominated, non_dominated_sort, crowding_distance, convex_coverage_set])
def test_inputs_are_not_modified(function):
    points = np.random.default_rng(0).random((200, 5))
    frozen = points.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(function(frozen), function(points.tolist()))
    np.testing.assert_array_equal(function(np.asfortranarray(points)), function(points))
    np.testing.assert_array_equal(points, frozen)
