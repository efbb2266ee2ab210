"""Hypervolume, contributions and improvement: against exact arithmetic, independent libraries and their own laws."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import moocore
import numpy as np
import pygmo
import pytest
from exact import exact_hypervolume
from hypothesis import assume, given, settings

from morl.pareto import (
    hypervolume,
    hypervolume_approximate,
    hypervolume_contributions,
    hypervolume_improvement,
    non_dominated,
)


def sphere(n, m, generator):
    directions = np.abs(generator.standard_normal((n, m)))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def sets(n, m, generator):
    """Fronts of all kinds: round, hollow, flat, with ties, with copies, with dominated points, on the reference."""
    yield "sphere", sphere(n, m, generator)
    yield "hollow", 1.0 - sphere(n, m, generator)
    yield "cloud", generator.random((n, m))
    yield "grid", generator.integers(0, 4, (n, m)).astype(float)
    yield "copies", np.repeat(sphere((n + 2) // 3, m, generator), 3, axis=0)[:n]
    flat = sphere(n, m, generator)
    flat[:, m // 2] = 0.5
    yield "flat", flat
    ranks = np.argsort(generator.random((n, m)), axis=0) + 1.0
    yield "permutations", ranks
    yield "scales", sphere(n, m, generator) * 10.0 ** generator.integers(-9, 9, m)


small = st.integers(1, 6).flatmap(
    lambda m: st.tuples(
        hnp.arrays(
            np.float64, st.tuples(st.integers(0, 9), st.just(m)), elements=st.sampled_from([-1, 0, 0.5, 1, 2, 3.7])
        ),
        st.permutations(range(m)),
    )
)


@given(small)
@settings(max_examples=150, deadline=None)
def test_equals_exact_arithmetic_with_many_ties(case):
    points, _ = case
    reference = np.zeros(points.shape[1])
    assert hypervolume(points, reference) == pytest.approx(float(exact_hypervolume(points, reference)), rel=1e-12)


@pytest.mark.parametrize("m", range(1, 11))
def test_equals_exact_arithmetic_on_all_kinds_of_sets(m):
    generator = np.random.default_rng(m)
    for name, points in sets(9, m, generator):
        expected = float(exact_hypervolume(points, np.zeros(m)))
        assert hypervolume(points, np.zeros(m)) == pytest.approx(expected, rel=1e-11, abs=0), name


@pytest.mark.parametrize(
    ("m", "n"), [(2, 300), (3, 300), (4, 200), (5, 150), (6, 140), (7, 60), (8, 30), (9, 25), (10, 15)]
)
def test_equals_moocore_and_pygmo(m, n):
    generator = np.random.default_rng(100 * m)
    for name, points in sets(n, m, generator):
        reference = np.full(m, -0.1 if name != "scales" else 0.0)
        found = hypervolume(points, reference)
        if m <= 7:
            expected = moocore.hypervolume(points, ref=reference, maximise=True)
            assert found == pytest.approx(expected, rel=1e-10, abs=0), name
        if m >= 5:
            above = points[(points > reference).all(axis=1)]
            expected = pygmo.hypervolume(-above).compute(-reference, hv_algo=pygmo.hvwfg())
            assert found == pytest.approx(expected, rel=1e-10, abs=0), name


def test_more_points_than_fit_into_one_word():
    points = sphere(400, 6, np.random.default_rng(5))
    reference = np.zeros(6)
    expected = pygmo.hypervolume(-points).compute(reference, hv_algo=pygmo.hvwfg())
    assert hypervolume(points, reference) == pytest.approx(expected, rel=1e-10)


points_and_order = st.integers(1, 6).flatmap(
    lambda m: hnp.arrays(
        np.float64, st.tuples(st.integers(1, 14), st.just(m)), elements=st.integers(0, 64).map(lambda k: k / 8)
    )
)


@given(points_and_order, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_laws(points, random):
    reference = np.zeros(points.shape[1])
    volume = hypervolume(points, reference)
    order = list(range(len(points)))
    random.shuffle(order)
    close = {"rel": 1e-12, "abs": 1e-12}
    assert hypervolume(points[order], reference) == pytest.approx(volume, **close)
    assert hypervolume(points[:, ::-1], reference) == pytest.approx(volume, **close)
    assert hypervolume(np.vstack([points, points[:1]]), reference) == pytest.approx(volume, **close)
    assert hypervolume(points + 4.0, reference + 4.0) == pytest.approx(volume, **close)
    assert hypervolume(points * 8.0, reference) == pytest.approx(volume * 8.0 ** points.shape[1], **close)
    assert hypervolume(points[:-1], reference) <= volume * (1 + 1e-12)
    contributions = hypervolume_contributions(points, reference)
    assert (contributions >= 0.0).all()
    assert contributions.sum() <= volume * (1 + 1e-12)
    assert (contributions[~non_dominated(points)] == 0.0).all()


@given(points_and_order)
@settings(max_examples=80, deadline=None)
def test_contribution_is_what_the_front_loses(points):
    reference = np.zeros(points.shape[1])
    front = points[non_dominated(points, keep_duplicates=True)]
    volume = hypervolume(front, reference)
    lost = [volume - hypervolume(np.delete(front, i, axis=0), reference) for i in range(len(front))]
    np.testing.assert_allclose(hypervolume_contributions(front, reference), lost, rtol=1e-10, atol=1e-10 * volume)


@pytest.mark.parametrize(("m", "n"), [(2, 400), (3, 400), (4, 60), (5, 30), (8, 20), (9, 15)])
def test_contributions_equal_moocore(m, n):
    points = 0.5 + sphere(n, m, np.random.default_rng(m))
    expected = moocore.hv_contributions(points, ref=np.zeros(m), maximise=True)
    found = hypervolume_contributions(points, np.zeros(m))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=2e-8)  # moocore cuts below 1.5e-8


@given(points_and_order)
@settings(max_examples=60, deadline=None)
def test_improvement_is_the_difference(points):
    reference = np.zeros(points.shape[1])
    volume = hypervolume(points[1:], reference)
    gain = hypervolume_improvement(points[1:], points[0], reference)
    assert gain == pytest.approx(hypervolume(points, reference) - volume, rel=1e-10, abs=1e-10 * (1 + volume))
    many = hypervolume_improvement(points[1:], points, reference)
    assert many.shape == (len(points),)
    assert many[0] == gain
    assert (many[1:] == 0.0).all()


@pytest.mark.parametrize("m", [1, 2, 3, 5, 9])
def test_approximation_is_within_five_standard_errors(m):
    points = sphere(30, m, np.random.default_rng(m)) * np.arange(1, m + 1)
    estimate, error = hypervolume_approximate(points, np.zeros(m), samples=4000, seed=1)
    exact = hypervolume(points, np.zeros(m))
    assert abs(estimate - exact) <= 5 * error + 1e-9 * exact
    assert error < 0.1 * exact
    assert hypervolume_approximate(points, np.zeros(m), samples=4000, seed=1) == (estimate, error)
    assert hypervolume_approximate([], np.zeros(m)) == (0.0, 0.0)


def test_what_does_not_count():
    assert hypervolume([], [0, 0]) == 0.0
    assert hypervolume(np.empty((0, 3)), [0, 0, 0]) == 0.0
    assert hypervolume([[1, 0], [0, 1], [-1, 5]], [0, 0]) == 0.0
    assert hypervolume_contributions([], [0, 0]).shape == (0,)
    assert hypervolume_improvement([], [2, 3], [0, 0]) == 6.0
    assert hypervolume_contributions([[1, 1], [1, 1]], [0, 0]).tolist() == [0.0, 0.0]


def test_inputs_are_not_modified_and_lists_work():
    points = [[1, 3], [2, 2], [3, 1]]
    array = np.array(points, dtype=float)
    frozen = array.copy()
    frozen.setflags(write=False)
    for function in (hypervolume, hypervolume_contributions):
        np.testing.assert_array_equal(function(points, [0, 0]), function(frozen, (0.0, 0.0)))
    np.testing.assert_array_equal(array, frozen)
    assert hypervolume(np.asfortranarray(array), [0, 0]) == hypervolume(array.astype(np.float32), [0, 0]) == 6.0


@pytest.mark.parametrize("function", [hypervolume, hypervolume_contributions, hypervolume_approximate])
@pytest.mark.parametrize(
    ("points", "reference", "named"),
    [
        ([[1, np.nan]], [0, 0], "points"),
        ([[1, np.inf]], [0, 0], "points"),
        ([1, 2], [0, 0], "points"),
        ([[1, 2, 3]], [0, 0], "points"),
        ([[[1, 2]]], [0, 0], "points"),
        ([[1, 2], [3]], [0, 0], "points"),
        ([["a", "b"]], [0, 0], "points"),
        (None, [0, 0], "points"),
        ([["1", "2"]], [0, 0], "points"),
        (np.array([[1j, 2]]), [0, 0], "points"),
        ([[10**400, 1]], [0, 0], "points"),
        (np.empty((3, 0)), [0, 0], "points"),
        (np.empty((0, 3)), [0, 0], "points"),
        ([[1, 2]], [0, np.nan], "reference"),
        ([[1, 2]], [0, -np.inf], "reference"),
        ([[1, 2]], 0, "reference"),
        ([[1, 2]], [[0, 0]], "reference"),
        ([[1, 2]], [], "reference"),
    ],
)
def test_bad_input(function, points, reference, named):
    with pytest.raises(ValueError, match=f"^{named} must"):
        function(points, reference)


def test_bad_candidates_and_samples():
    for candidates in ([1, 2, 3], [[1, 2], [3]], "ab"):
        with pytest.raises(ValueError, match=r"^candidates must"):
            hypervolume_improvement([[1, 2]], candidates, [0, 0])
    for samples in (1, 2.5, "many"):
        with pytest.raises(ValueError, match=r"^samples must"):
            hypervolume_approximate([[1, 2]], [0, 0], samples=samples)
    for seed in (-1, 0.5, None):
        with pytest.raises(ValueError, match=r"^seed must"):
            hypervolume_approximate([[1, 2]], [0, 0], seed=seed)


@given(points_and_order)
@settings(max_examples=30, deadline=None)
def test_tiny_and_huge_scales(points):
    m = points.shape[1]
    assume((points > 0).any())
    volume = hypervolume(points, np.zeros(m))
    for exponent in (-40, 40):
        scaled = hypervolume(np.ldexp(points, exponent), np.zeros(m))
        assert scaled == pytest.approx(np.ldexp(volume, m * exponent), rel=1e-12, abs=0)


@pytest.mark.parametrize("m", range(2, 10))
@pytest.mark.parametrize("n", [4, 20])
def test_areas_beyond_the_largest_number_do_not_matter(m, n):
    points = sphere(n, m, np.random.default_rng([m, n]))
    volume, contributions = hypervolume(points, np.zeros(m)), hypervolume_contributions(points, np.zeros(m))
    exponents = np.array([600, -600] * (m // 2) + [0] * (m % 2))  # the area in the first two objectives is as it was
    exponents = np.sort(exponents)[::-1]  # the one in the first objectives alone is not
    scaled = np.ldexp(points, exponents)
    assert hypervolume(scaled, np.zeros(m)) == pytest.approx(volume, rel=1e-12)
    np.testing.assert_allclose(
        hypervolume_contributions(scaled, np.zeros(m)), contributions, rtol=0, atol=1e-13 * volume
    )
    assert hypervolume(points * 1e300, np.zeros(m)) == np.inf
    assert hypervolume(points * 1e-300, np.zeros(m)) == 0.0
    assert hypervolume(np.full((2, m), 1e308), np.full(m, -1e308)) == np.inf


@pytest.mark.parametrize("m", [4, 5, 6])
def test_few_levels_and_clipped_fronts(m):
    """Limited sets of every size, with ties in every objective: where small and large sets take different paths."""
    generator = np.random.default_rng(m)
    for n in range(1, 60, 2):
        for levels in (2, 5, 30):
            points = np.ceil(sphere(n, m, generator) * levels) / levels
            expected = moocore.hypervolume(points, ref=np.zeros(m), maximise=True)
            assert hypervolume(points, np.zeros(m)) == pytest.approx(expected, rel=1e-12)
        points = np.minimum(sphere(n, m, generator), generator.random(m) / 2 + 0.2)
        expected = moocore.hypervolume(points, ref=np.zeros(m), maximise=True)
        assert hypervolume(points, np.zeros(m)) == pytest.approx(expected, rel=1e-12)
