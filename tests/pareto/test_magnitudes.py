"""Numbers of any size up to 1e300: right results or a refusal, the same from a history and from single functions."""

import math
from fractions import Fraction
from itertools import pairwise

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from exact import exact_hypervolume
from hypothesis import event, example, given, settings

import morl.pareto
from morl.pareto import (
    convex_coverage_set,
    crowding_distance,
    epsilon_additive,
    expected_utility,
    history,
    hypervolume,
    hypervolume_approximate,
    hypervolume_contributions,
    hypervolume_improvement,
    igd,
    igd_plus,
    maximum_utility_loss,
    non_dominated,
    sparsity,
)
from morl.preferences import corner_weights

NUMBERS = st.sampled_from(
    [0.0, 1.0, -1.0, 3.0, 1e-300, 1e-170, -1e-160, 1e-20, 1e20, 1e100, -1e150, 1e155, 1e300, -1e300]
)
WEIGHTS = st.sampled_from([0.0, 0.25, 1.0, 1e-300, 1e-150, 1e150, 1e300])


def sets_of(rows: st.SearchStrategy[int], numbers: st.SearchStrategy[float], objectives: int = 3):
    return st.integers(1, objectives).flatmap(
        lambda m: st.tuples(
            *(
                hnp.arrays(np.float64, st.tuples(count, st.just(m)), elements=kind)
                for count, kind in (
                    (rows, numbers),
                    (st.integers(1, 4), numbers),
                    (st.integers(1, 3), WEIGHTS),
                )
            )
        )
    )


TRIPLES = sets_of(st.integers(0, 4), NUMBERS)
"""Points, known points and preferences of as many objectives."""


def as_float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def result_of(function, *arguments):
    """Return a result, or None where it is refused; any other error fails the test."""
    try:
        return function(*arguments)
    except ValueError as error:
        if "float64" in str(error):
            return None
        raise


def assert_close(found, expected: Fraction | int, scale: Fraction | float = 0) -> None:
    """Compare with an exact value; `scale` is the size of the numbers that were subtracted on the way."""
    if found is None:
        return
    value = Fraction(expected)
    slack = (abs(value) + abs(Fraction(scale))) * Fraction(1e-12) + Fraction(1e-300)
    if math.isinf(found):
        assert (value if found > 0 else -value) + slack > Fraction(1.79e308)
    else:
        assert abs(Fraction(found) - value) <= slack


def exact(rows) -> list[list[Fraction]]:
    return [[Fraction(float(value)) for value in row] for row in rows]


def exact_utilities(points, weights) -> list[Fraction]:
    return [
        max(sum(w * p for w, p in zip(row, point, strict=True)) for point in exact(points)) for row in exact(weights)
    ]


def exact_mean_distance(points, known, only_shortfall: bool) -> Fraction:
    def distance(q: list[Fraction], p: list[Fraction]) -> Fraction:
        gaps = [max(a - b, Fraction(0)) if only_shortfall else a - b for a, b in zip(q, p, strict=True)]
        square = sum(gap * gap for gap in gaps)
        return Fraction(math.isqrt(square.numerator * square.denominator * 4**400), square.denominator * 2**400)

    return sum((min(distance(q, p) for p in exact(points)) for q in exact(known)), Fraction(0)) / len(known)


@given(triple=TRIPLES)
@example(triple=(np.array([[0.0, 1, 1], [1, 0, 1]]), np.array([[-1e150, -1, -1]]), np.ones((1, 3))))
@example(triple=(np.array([[0.0, 1, 1], [1, 0, 1]]), np.full((1, 3), -1e300), np.ones((1, 3))))
@example(triple=(np.array([[0.0], [1.0]]), np.array([[-1e150]]), np.ones((1, 1))))
@settings(deadline=None, max_examples=100)
def test_volumes_are_exact_or_refused(triple) -> None:
    points, corners, _ = triple
    reference = corners[0]
    volume = result_of(hypervolume, points, reference)
    expected = exact_hypervolume(points, reference)
    assert_close(volume, expected)
    found = result_of(hypervolume_contributions, points, reference)
    event(f"contributions are {'computed' if found is not None else 'refused'}")
    if found is not None:
        kept = non_dominated(points, keep_duplicates=True)
        for i in range(len(points)):
            others = points[kept & (np.arange(len(points)) != i)]
            box = exact_hypervolume(points[i : i + 1], reference)
            assert_close(found[i], expected - exact_hypervolume(others, reference) if kept[i] else 0, box)
    gains = hypervolume_improvement(points, corners, reference)
    for gain, candidate in zip(gains, corners, strict=True):
        together = exact_hypervolume(np.vstack([points, candidate]), reference)
        assert_close(gain, together - expected, exact_hypervolume(candidate[None], reference))


@given(triple=TRIPLES)
@settings(deadline=None, max_examples=100)
def test_indicators_are_exact_or_refused(triple) -> None:
    points, known, weights = triple
    if len(points) == 0:
        return
    utilities = exact_utilities(points, weights)
    sizes = exact_utilities(np.abs(np.vstack([points, known])), weights)
    assert_close(result_of(expected_utility, points, weights), sum(utilities) / len(weights), sum(sizes) / len(weights))
    losses = [a - b for a, b in zip(exact_utilities(known, weights), utilities, strict=True)]
    assert_close(result_of(maximum_utility_loss, points, known, weights), max(losses), max(sizes))
    assert_close(igd(points, known), exact_mean_distance(points, known, False))
    assert_close(igd_plus(points, known), exact_mean_distance(points, known, True))
    front = exact(points[non_dominated(points)])
    if len(front) > 1:
        squares = sum((b - a) ** 2 for column in zip(*front, strict=True) for a, b in pairwise(sorted(column)))
        assert_close(sparsity(points), squares / (len(front) - 1))
    shortfalls = [min(max(a - b for a, b in zip(q, p, strict=True)) for p in exact(points)) for q in exact(known)]
    assert_close(epsilon_additive(points, known), max(shortfalls))


ARGUMENTS = {
    "hypervolume": lambda known, weights: (known[0],),
    "cardinality": lambda known, weights: (),
    "sparsity": lambda known, weights: (),
    "expected_utility": lambda known, weights: (weights,),
    "maximum_utility_loss": lambda known, weights: (known, weights),
    "igd": lambda known, weights: (known,),
    "igd_plus": lambda known, weights: (known,),
    "epsilon_additive": lambda known, weights: (known,),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@given(triple=TRIPLES, cut=st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_a_history_gives_or_refuses_what_single_calls_do(name: str, triple, cut: int) -> None:
    points, known, weights = triple
    fronts = [points[:cut], points[cut:], points]
    arguments = ARGUMENTS[name](known, weights)
    single = [result_of(getattr(morl.pareto, name), front, *arguments) for front in fronts]
    together = result_of(getattr(history, name), fronts, *arguments)
    if None in single:
        assert together is None
    else:
        assert together is not None
        rounding = 0.0
        if name in ("expected_utility", "maximum_utility_loss"):  # sums of products of other sizes
            rounding = 1e-12 * min(1e308, as_float(max(exact_utilities(np.abs(np.vstack([points, known])), weights))))
        np.testing.assert_allclose(together, single, rtol=1e-9, atol=1e-290 + rounding)


@given(triple=TRIPLES, exponents=st.tuples(*[st.integers(-300, 300)] * 5))
@settings(deadline=None, max_examples=50)
def test_units_that_are_powers_of_two_change_nothing(triple, exponents) -> None:
    points = np.sign(triple[0]) + np.round(np.clip(triple[0], -1.0, 2.0))
    units = 2.0 ** np.array(exponents[: points.shape[1]])
    for unit in (units, 5e-324, 2.0**1021):
        np.testing.assert_array_equal(convex_coverage_set(points * unit), convex_coverage_set(points))
        np.testing.assert_array_equal(crowding_distance(points * unit), crowding_distance(points))
    if len(points) > 0:
        weights = corner_weights(points) / units
        expected = weights / weights.sum(axis=1, keepdims=True)
        found = corner_weights(points * units)
        assert len(found) == len(expected)
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
        for row in expected:
            assert np.abs(found - row).max(axis=1).min() < 1e-9


@pytest.mark.parametrize("factors", [(1e200, 1e200, 1e-300), (1e-200, 1e-200, 1e300), (1e150, 1e-150, 1.0)])
def test_approximate_volumes_of_any_magnitude(factors) -> None:
    points = np.random.default_rng(0).random((10, 3))
    mean, error = hypervolume_approximate(points * factors, np.zeros(3))
    unit = Fraction(factors[0]) * Fraction(factors[1]) * Fraction(factors[2])
    plain_mean, plain_error = hypervolume_approximate(points, np.zeros(3))
    assert mean == pytest.approx(float(Fraction(plain_mean) * unit))
    assert error == pytest.approx(float(Fraction(plain_error) * unit))


def test_a_large_volume_is_not_lost_beside_one_that_underflows_on_the_way() -> None:
    points = [[1e-170, 1e-170, 1e300], [1e-20, 1e-20, 1e-20]]
    expected = pytest.approx(1e-40)
    assert hypervolume(points, [0, 0, 0]) == expected
    assert history.hypervolume([points], [0, 0, 0])[0] == expected


def test_volumes_lost_to_underflow_are_refused_in_a_sentence() -> None:
    points = 1e200 * (np.full((3, 3), 1e-300) + np.eye(3))
    with pytest.raises(ValueError, match=r"^points must exceed the reference by amounts of similar magnitude"):
        hypervolume(points, np.zeros(3))
    with pytest.raises(ValueError, match=r"^fronts\[1\] must exceed"):
        history.hypervolume([[[1, 1, 1]], points], np.zeros(3))


def test_approximate_volumes_are_refused_where_they_would_be_lost() -> None:
    """Beside the best value of its objective, the other value of each point is less than the smallest number."""
    with pytest.raises(ValueError, match="similar magnitude"):
        hypervolume_approximate([[1e200, 1e-200], [1e-200, 1e200]], [0.0, 0.0])


@pytest.mark.parametrize("share", [1e-2, 1e-4, 1e-8, 1e-60])
def test_approximate_volumes_of_wide_boxes_are_right_or_refused(share: float) -> None:
    """Every point is nearly nothing in all objectives but one."""
    points = np.full((3, 3), share)
    np.fill_diagonal(points, 1.0)
    exact = 3.0 * share**2 - 2.0 * share**3
    if share < 1e-3:
        with pytest.raises(ValueError, match="similar magnitude"):
            hypervolume_approximate(points, np.zeros(3))
        return
    mean, error = hypervolume_approximate(points, np.zeros(3), samples=100_000)
    assert abs(mean - exact) < 5.0 * error
