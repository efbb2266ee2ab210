"""Indicators against their definitions, moocore and hand-worked numbers."""

import moocore
import numpy as np
import pytest

from morl.pareto import (
    epsilon_additive,
    expected_utility,
    igd,
    igd_plus,
    maximum_utility_loss,
    mean_distance,
    r2,
    share_found,
    sparsity,
)
from morl.utilities import tchebycheff

FRONT = [[0, 4], [2, 3], [4, 0]]
POINTS = [[0, 4], [1, 1], [3, 0]]


def test_worked_by_hand():
    assert expected_utility(FRONT, [[1, 0], [0, 1], [0.5, 0.5]]) == pytest.approx((4 + 4 + 2.5) / 3)
    assert maximum_utility_loss(POINTS, FRONT, [[1, 0], [0, 1], [0.5, 0.5]]) == 1.0
    assert maximum_utility_loss(FRONT, POINTS, [[1, 0]]) == -1.0
    assert sparsity(FRONT) == pytest.approx((4 + 4 + 9 + 1) / 2)
    assert sparsity([*FRONT, [0, 0], [2, 3]]) == sparsity(FRONT)
    assert igd(POINTS, FRONT) == pytest.approx((0 + np.sqrt(5) + 1) / 3)
    assert igd_plus(POINTS, FRONT) == pytest.approx((0 + 2 + 1) / 3)  # (0, 4) falls short of (2, 3) by 2 only
    assert epsilon_additive(POINTS, FRONT) == 2.0
    assert epsilon_additive(FRONT, POINTS) == 0.0


def test_sparsity_of_one_point_is_zero():
    assert sparsity([]) == sparsity([[1, 2]]) == sparsity([[1, 2], [1, 2], [0, 0]]) == 0.0


def test_an_empty_set_is_the_worst():
    assert expected_utility([], [[1, 0]]) == -np.inf
    for indicator in (igd, igd_plus, epsilon_additive):
        assert indicator([], FRONT) == np.inf
    assert maximum_utility_loss(np.empty((0, 2)), FRONT, [[1, 0]]) == np.inf


@pytest.mark.parametrize("m", [2, 3, 6, 9])
def test_equal_moocore(m):
    generator = np.random.default_rng(m)
    points, front = generator.random((40, m)), generator.random((60, m)) + 0.2
    assert igd(points, front) == pytest.approx(moocore.igd(points, ref=front, maximise=True), rel=1e-12)
    assert igd_plus(points, front) == pytest.approx(moocore.igd_plus(points, ref=front, maximise=True), rel=1e-12)
    expected = moocore.epsilon_additive(points, ref=front, maximise=True)
    assert epsilon_additive(points, front) == pytest.approx(expected, rel=1e-12)


def test_better_sets_score_better():
    generator = np.random.default_rng(0)
    front = generator.random((30, 3)) + 1.0
    weights = generator.dirichlet(np.ones(3), 200)
    points = generator.random((10, 3))
    better = np.vstack([points, front[:5]])
    assert expected_utility(better, weights) >= expected_utility(points, weights)
    for indicator in (igd_plus, epsilon_additive):
        assert 0.0 < indicator(better, front) < indicator(points, front)
    assert maximum_utility_loss(better, front, weights) <= maximum_utility_loss(points, front, weights)
    assert igd(front, front) == igd_plus(front, front) == epsilon_additive(front, front) == 0.0
    assert maximum_utility_loss(front, front, weights) == 0.0


def test_many_preferences_are_handled_in_parts():
    generator = np.random.default_rng(0)
    points, weights = generator.random((3000, 2)), generator.dirichlet([1, 1], 8000)
    parts = [expected_utility(points, part) for part in np.split(weights, 4)]
    assert expected_utility(points, weights) == pytest.approx(np.mean(parts), rel=1e-12)


@pytest.mark.parametrize("indicator", [igd, igd_plus, epsilon_additive])
def test_bad_input(indicator):
    with pytest.raises(ValueError, match=r"^points must"):
        indicator([[1, np.nan]], FRONT)
    with pytest.raises(ValueError, match=r"^points must have 2 objectives, got 3"):
        indicator([[1, 2, 3]], FRONT)
    with pytest.raises(ValueError, match=r"^known_front must"):
        indicator(POINTS, [[np.inf, 1]])
    with pytest.raises(ValueError, match=r"^known_front must hold"):
        indicator(POINTS, [])


def test_bad_utility_input():
    with pytest.raises(ValueError, match=r"^preferences must hold"):
        expected_utility(POINTS, [])
    with pytest.raises(ValueError, match=r"^preferences must not be negative, got -0.5 at \[0, 1\]"):
        expected_utility(POINTS, [[1.5, -0.5]])
    with pytest.raises(ValueError, match=r"^preferences must have shape"):
        expected_utility(POINTS, [1, 0])
    with pytest.raises(ValueError, match=r"^points must have 3 objectives"):
        expected_utility(POINTS, [[1, 0, 0]])
    with pytest.raises(ValueError, match=r"^known_front must have 2"):
        maximum_utility_loss(POINTS, [[1, 2, 3]], [[1, 0]])
    with pytest.raises(ValueError, match=r"^known_front must hold"):
        maximum_utility_loss(POINTS, [], [[1, 0]])
    with pytest.raises(ValueError, match=r"^points must be finite"):
        sparsity([[1, np.inf]])


def test_samples_worked_by_hand():
    ideal = [4, 4]
    assert r2(FRONT, ideal, [[1, 0], [0, 1]]) == 0.0
    assert r2(FRONT, ideal, [[0.5, 0.5], [0.75, 0.25]]) == pytest.approx((1.0 + 1.0) / 2)
    assert r2([], ideal, [[1, 0]]) == np.inf
    assert share_found(POINTS, FRONT) == pytest.approx(1 / 3)
    assert share_found([*POINTS, *POINTS, *FRONT], FRONT) == 1.0
    assert share_found([], FRONT) == 0.0
    assert share_found([[0, 4.1]], FRONT, tolerance=0.2) == pytest.approx(1 / 3)
    assert mean_distance([[0, 0], [3, 4], [0, 0]]) == pytest.approx((5 + 5 + 0) / 3)
    assert mean_distance([[1, 2]]) == mean_distance([]) == 0.0


def test_r2_is_the_distance_of_the_tchebycheff_utility():
    generator = np.random.default_rng(2)
    points = generator.random((30, 3))
    preferences = generator.dirichlet(np.ones(3), 20)
    best = tchebycheff(points[None], preferences[:, None], np.ones(3)).max(axis=1)
    assert r2(points, np.ones(3), preferences) == pytest.approx(-best.mean())
    assert r2([*points, np.ones(3)], np.ones(3), preferences) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r2(FRONT, [3, 9], [[1, 0]]), "ideal must be at least as good as every point"),
        (lambda: r2(FRONT, [4, 4, 4], [[1, 0]]), "ideal must"),
        (lambda: share_found(POINTS, []), "known_front must hold at least one point"),
        (lambda: mean_distance([[1.0, np.nan]]), "candidates must"),
    ],
)
def test_wrong_samples_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
