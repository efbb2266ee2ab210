"""Preferences: on the simplex, none lost, the same for the same seed."""

from fractions import Fraction
from itertools import combinations
from math import comb
from time import process_time

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from morl.preferences import (
    absolute_normal,
    corner_weights,
    dirichlet,
    neighbourhoods,
    normalized_preference,
    riesz,
    simplex_lattice,
)


@pytest.mark.parametrize("objectives", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("divisions", [1, 2, 3, 7, 10])
def test_lattice_is_complete_and_ordered(objectives, divisions):
    lattice = simplex_lattice(objectives, divisions)
    assert lattice.shape == (comb(divisions + objectives - 1, objectives - 1), objectives)
    counts = np.rint(lattice * divisions)
    np.testing.assert_allclose(lattice, counts / divisions, rtol=0, atol=0)
    assert (counts.sum(axis=1) == divisions).all()
    rows = [tuple(row) for row in counts.tolist()]
    assert rows == sorted(set(rows))


def test_the_lattice_that_float_sums_lose_points_of():
    start = process_time()
    lattice = simplex_lattice(6, 20)
    assert process_time() - start < 1.0
    assert lattice.shape == (53130, 6)
    assert (lattice.sum(axis=1) != 1.0).any()  # which is why nobody may compare with 1
    np.testing.assert_allclose(lattice.sum(axis=1), 1.0, rtol=1e-15)


@pytest.mark.parametrize(("objectives", "n"), [(1, 4), (2, 2), (2, 11), (3, 10), (3, 50), (6, 50), (4, 3), (5, 1)])
def test_riesz_directions(objectives, n):
    points = riesz(objectives, n, seed=3)
    assert points.shape == (n, objectives)
    assert (points >= 0.0).all()
    np.testing.assert_allclose(points.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(points, riesz(objectives, n, seed=3))
    if n >= objectives > 1:
        np.testing.assert_array_equal(points[:objectives], np.eye(objectives))


def test_riesz_directions_are_even():
    line = np.sort(riesz(2, 11)[:, 0])
    np.testing.assert_allclose(line, np.linspace(0, 1, 11), atol=0.01)
    for objectives, n in ((3, 50), (6, 50)):
        nearest = []
        for points in (riesz(objectives, n), dirichlet(objectives, n, 0)):
            distance = np.linalg.norm(points[:, None] - points[None], axis=2)
            np.fill_diagonal(distance, np.inf)
            nearest.append(distance.min())
        assert nearest[0] > 3 * nearest[1]


@pytest.mark.parametrize("draw", [dirichlet, absolute_normal])
def test_random_preferences(draw):
    points = draw(4, 1000, 7)
    assert points.shape == (1000, 4)
    assert (points >= 0.0).all()
    np.testing.assert_allclose(points.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(points.mean(axis=0), 0.25, atol=0.03)
    np.testing.assert_array_equal(points, draw(4, 1000, 7))
    generator = np.random.default_rng(7)
    np.testing.assert_array_equal(points, draw(4, 1000, generator))
    assert not np.array_equal(points, draw(4, 1000, generator))


def test_concentration():
    spread = [dirichlet(3, 2000, 0, concentration).max(axis=1).mean() for concentration in (0.1, 1.0, 10.0)]
    assert spread[0] > spread[1] > spread[2]


def test_corner_weights_worked_by_hand():
    np.testing.assert_allclose(corner_weights([[1, 0], [0, 1]]), [[0, 1], [0.5, 0.5], [1, 0]])
    expected = [[0, 1], [0.4, 0.6], [0.6, 0.4], [1, 0]]
    np.testing.assert_allclose(corner_weights([[1, 0], [0, 1], [0.6, 0.6]]), expected, atol=1e-12)
    np.testing.assert_allclose(corner_weights([[1, 0], [0, 1], [0.4, 0.4]]), [[0, 1], [0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(corner_weights([[5, 5, 5]]), np.eye(3)[::-1])
    np.testing.assert_allclose(corner_weights(np.eye(3))[3], [1 / 3] * 3)
    np.testing.assert_allclose(corner_weights([[3], [4]]), [[1]])


@pytest.mark.parametrize(("objectives", "n"), [(2, 30), (3, 12), (4, 10), (5, 8)])
def test_corner_weights_are_the_vertices_of_the_upper_surface(objectives, n):
    scipy_spatial = pytest.importorskip("scipy.spatial")
    points = np.random.default_rng(objectives).random((n, objectives))
    corners = corner_weights(points)
    np.testing.assert_allclose(corners.sum(axis=1), 1.0)
    # half-spaces over (w_1..w_{m-1}, v): v >= w.p, w >= 0, and a lid above
    last = points[:, -1:]
    above = np.hstack([points[:, :-1] - last, -np.ones((n, 1)), last])
    positive = np.hstack([-np.eye(objectives - 1), np.zeros((objectives - 1, 2))])
    simplex = np.r_[np.ones(objectives - 1), 0.0, -1.0]
    lid = np.r_[np.zeros(objectives - 1), 1.0, -9.0]
    inside = np.r_[np.full(objectives - 1, 1 / objectives), 5.0]
    vertices = scipy_spatial.HalfspaceIntersection(np.vstack([above, positive, simplex, lid]), inside).intersections
    vertices = vertices[vertices[:, -1] < 8.0, :-1]
    expected = np.unique(np.round(np.column_stack([vertices, 1 - vertices.sum(axis=1)]), 9) + 0.0, axis=0)
    found = np.unique(np.round(corners, 9) + 0.0, axis=0)
    assert found.shape == corners.shape  # no vertex twice
    np.testing.assert_allclose(found, expected, atol=1e-8)


def exact_corners(points):
    """Solve every choice of constraints in rational numbers and keep the solutions that meet all others."""
    rows = [[Fraction(int(value)) for value in point] for point in points]
    m = len(rows[0])
    positive = [[Fraction(int(j == k)) for j in range(m)] + [Fraction(0)] for k in range(m)]
    constraints = positive + [[*row, Fraction(-1)] for row in rows]
    found = set()
    for chosen in combinations(range(len(constraints)), m):
        solution = solve([constraints[i] for i in chosen] + [[Fraction(1)] * m + [Fraction(0)]])
        if solution is None or min(solution[:m]) < 0:
            continue
        if all(sum(w * p for w, p in zip(solution, row, strict=False)) <= solution[m] for row in rows):
            found.add(tuple(solution[:m]))
    return np.array(sorted(tuple(map(float, corner)) for corner in found))


def solve(matrix):
    """Return x with matrix x = (0, ..., 0, 1) by elimination, or None where there is not exactly one."""
    size = len(matrix)
    rows = [[*row, Fraction(int(i == size - 1))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next((i for i in range(column, size) if rows[i][column] != 0), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for i in range(size):
            if i != column:
                factor = rows[i][column]
                rows[i] = [value - factor * other for value, other in zip(rows[i], rows[column], strict=True)]
    return [row[-1] for row in rows]


GRIDS = st.integers(1, 4).flatmap(
    lambda m: hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.just(m)), elements=st.integers(-2, 3))
)


@given(points=GRIDS, units=st.tuples(*[st.sampled_from([1, 2, 1000])] * 4))
@example(points=np.array([[2, 0], [1, 2], [2, 2]]), units=(1, 1, 1, 1))
@example(points=np.array([[3, 1, 3, 0], [1, 3, 1, 1], [3, 3, 1, 0], [3, 0, 2, 3]]), units=(1, 1, 1, 1))
@settings(deadline=None, max_examples=150)
def test_corner_weights_are_all_corners_and_only_corners(points, units):
    points = points * np.array(units[: points.shape[1]])
    expected = exact_corners(points)
    found = corner_weights(points)
    assert found.shape == expected.shape
    distances = np.abs(found[:, None] - expected[None]).max(axis=2)
    assert distances.min(axis=0).max() < 1e-9
    assert distances.min(axis=1).max() < 1e-9


@pytest.mark.parametrize("unit", [1e-300, 1e-30, 1e30, 1e300])
def test_corner_weights_do_not_depend_on_units(unit):
    points = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]])
    np.testing.assert_allclose(corner_weights(points * unit), corner_weights(points), atol=1e-12)
    in_other_units = corner_weights(points * [1.0, unit])
    assert len(in_other_units) == 4
    inner = in_other_units[(in_other_units > 0.0).all(axis=1)]  # where the best point changes
    np.testing.assert_allclose(np.sort(inner[:, 0] / inner[:, 1]), np.array([2 / 3, 1.5]) * unit, rtol=1e-9)
    assert corner_weights(points * [1e300, 1e-300]).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_neighbourhoods_do_not_depend_on_units():
    lattice = simplex_lattice(3, 4)
    for unit in (2.0**-990, 2.0**990):
        np.testing.assert_array_equal(neighbourhoods(lattice * unit, 5), neighbourhoods(lattice, 5))


def test_neighbourhoods():
    lattice = simplex_lattice(2, 4)
    assert neighbourhoods(lattice, 3).tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 3], [3, 2, 4], [4, 3, 2]]
    twins = neighbourhoods([[1, 0], [1, 0], [0, 1]], 2)
    assert twins.tolist() == [[0, 1], [1, 0], [2, 0]]


NAMES = ("speed", "energy")
LENGTH = "but must have 2 weights, one each for speed, energy"
SIZE = "but its weights must be >= 0, finite and not all zero"


@pytest.mark.parametrize(
    ("preference", "words"),
    [
        (0.5, f"preference is 0.5, {LENGTH}"),
        (None, f"preference is None, {LENGTH}"),
        ("x", f"preference is 'x', {LENGTH}"),
        ("ab", f"preference is 'ab', {LENGTH}"),
        (b"ab", f"preference is b'ab', {LENGTH}"),
        ([], f"preference is [], {LENGTH}"),
        ([1.0], f"preference is [1.0], {LENGTH}"),
        ([1, 2, 3], f"preference is [1, 2, 3], {LENGTH}"),
        ([[1, 2]], f"preference is [[1, 2]], {LENGTH}"),
        ([[1], [2, 3]], f"preference is [[1], [2, 3]], {LENGTH}"),
        (["0.5", "0.5"], f"preference is ['0.5', '0.5'], {LENGTH}"),
        ([0.5, "x"], f"preference is [0.5, 'x'], {LENGTH}"),
        (True, f"preference is True, {LENGTH}"),
        ([True, False], f"preference is [True, False], {LENGTH}"),
        ([0.5, True], f"preference is [0.5, True], {LENGTH}"),
        ((0.5, np.True_), "preference is (0.5, "),
        (np.array([True, False]), f"preference is [ True False], {LENGTH}"),
        ({"speed": 1.0, "energy": 0.0}, f"preference is {{'speed': 1.0, 'energy': 0.0}}, {LENGTH}"),
        ({0.5, 0.25}, "preference is {0."),
        ([1j, 0], f"preference is [1j, 0], {LENGTH}"),
        ([object(), 1], "preference is [<object object"),
        ([10**400, 1], "preference is [1000"),
        ([np.nan, 1.0], f"preference is [nan, 1.0], {SIZE}"),
        ([None, 1.0], f"preference is [None, 1.0], {SIZE}"),
        ([np.inf, 1.0], f"preference is [inf, 1.0], {SIZE}"),
        ([-0.1, 1.0], f"preference is [-0.1, 1.0], {SIZE}"),
        ([0, 0], f"preference is [0, 0], {SIZE}"),
    ],
)
def test_a_preference_that_is_none_is_refused_in_one_sentence(preference, words):
    with pytest.raises(ValueError) as caught:
        normalized_preference(preference, NAMES)
    sentence = str(caught.value)
    assert sentence.startswith(words)
    assert len(sentence) < 400


@pytest.mark.parametrize(
    "preference",
    [[1, 3], (1, 3), np.array([1, 3]), np.float32([1, 3]), [np.int64(1), 3.0], [Fraction(1), 3], range(1, 4, 2)],
    ids=str,
)
def test_numbers_of_any_kind_are_a_preference(preference):
    assert normalized_preference(preference, NAMES).tolist() == [0.25, 0.75]


def test_weights_whose_sum_float64_cannot_hold_are_scaled_too():
    assert normalized_preference([1.5e308, 1.5e308], NAMES).tolist() == [0.5, 0.5]
    assert normalized_preference([5e-324, 0.0], NAMES).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: simplex_lattice(0, 3), "objectives"),
        (lambda: simplex_lattice(9, 1_000), "divisions is 1000, but"),
        (lambda: simplex_lattice(2, 0), "divisions"),
        (lambda: riesz(2, 0), "n"),
        (lambda: dirichlet(2, 3, 0, concentration=0.0), "concentration"),
        (lambda: dirichlet(2, 3, 0, concentration=np.nan), "concentration"),
        (lambda: absolute_normal(2, 0, 0), "n"),
        (lambda: corner_weights([]), "points"),
        (lambda: corner_weights([[1, np.nan]]), "points"),
        (lambda: neighbourhoods([[1, 0]], 2), "k"),
        (lambda: neighbourhoods([1, 0], 1), "preferences"),
    ],
)
def test_bad_input(call, named):
    with pytest.raises(ValueError, match=f"^{named} must"):
        call()
