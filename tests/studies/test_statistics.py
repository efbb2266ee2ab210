"""Statistics of few runs: values computed by hand, laws, intervals that contain the truth as often as they say."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from morl.board.folds import bootstrap_interval
from morl.studies.statistics import (
    estimate,
    estimated_improvement,
    optimality_gap,
    performance_profile,
    pooled_interquartile_mean,
    probability_of_improvement,
)

finite = st.floats(-100.0, 100.0).map(lambda value: round(value, 3))
runs = st.integers(1, 9).flatmap(lambda count: arrays(np.float64, count, elements=finite))
strata = st.lists(runs, min_size=1, max_size=4)


def test_values_computed_by_hand() -> None:
    two = [np.array([0.0, 1.0, 2.0, 3.0, 100.0]), np.array([4.0, 5.0, 6.0])]
    assert pooled_interquartile_mean(two) == (2 + 3 + 4 + 5) / 4  # eight runs, two cut off at each end
    assert optimality_gap([np.array([0.5, 1.5]), np.array([0.0])]) == (0.25 + 1.0) / 2
    assert optimality_gap([np.array([0.5, 1.5])], target=2.0) == 1.0
    # 5 beats 1, 3 and draws with 5: 2.5 of 3; 2 beats 1 alone: 1 of 3. On the second environment it always wins.
    first, second = [np.array([5.0, 2.0]), np.array([1.0])], [np.array([1.0, 3.0, 5.0]), np.array([0.0, 0.5])]
    assert probability_of_improvement(first, second) == pytest.approx((3.5 / 6 + 1.0) / 2)
    profile = performance_profile([np.array([0.2, 0.8]), np.array([0.5])], np.array([0.0, 0.2, 0.5, 0.9]))
    np.testing.assert_allclose(profile, [1.0, 0.75, 0.25, 0.0])


@given(runs)
def test_the_interquartile_mean_is_that_of_scipy(values: np.ndarray) -> None:
    assert pooled_interquartile_mean([values]) == pytest.approx(scipy.stats.trim_mean(values, 0.25))


@given(runs, runs)
def test_the_probability_of_improvement_is_mann_and_whitneys_statistic(first: np.ndarray, second: np.ndarray) -> None:
    u = scipy.stats.mannwhitneyu(first, second, method="asymptotic").statistic if np.ptp([*first, *second]) else None
    found = probability_of_improvement([first], [second])
    assert found == pytest.approx(0.5 if u is None else u / (len(first) * len(second)))
    assert found + probability_of_improvement([second], [first]) == pytest.approx(1.0)


@given(strata)
def test_the_profile_falls_from_one_to_zero_and_its_area_is_the_mean(values: list[np.ndarray]) -> None:
    thresholds = np.unique(np.concatenate([*values, [-101.0, 101.0]]))
    profile = performance_profile(values, thresholds)
    assert (profile[0], profile[-1]) == (1.0, 0.0)
    assert (np.diff(profile) <= 1e-12).all()
    area = thresholds[0] + (profile[:-1] * np.diff(thresholds)).sum()
    assert area == pytest.approx(np.mean([stratum.mean() for stratum in values]), abs=1e-9)
    assert optimality_gap(values, target=101.0) == pytest.approx(101.0 - area, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(strata, st.floats(0.1, 10.0), st.floats(-50.0, 50.0))
def test_estimates_move_with_the_runs_and_repeat(values: list[np.ndarray], scale: float, shift: float) -> None:
    found = estimate(values)
    low, high = min(map(np.min, values)), max(map(np.max, values))
    assert low - 1e-9 <= found.low <= found.high <= high + 1e-9
    np.testing.assert_array_equal(found, estimate(values))
    moved = estimate([scale * stratum + shift for stratum in values])
    np.testing.assert_allclose(moved, scale * np.array(found) + shift, rtol=1e-9, atol=1e-6)


def test_one_environment_has_the_interval_that_the_board_shows() -> None:
    values = np.random.default_rng(0).normal(size=7)
    found = estimate([values], seed=3)
    np.testing.assert_array_equal(found[1:], np.ravel(bootstrap_interval(values[:, None], seed=3)))


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(1).normal(size=12)
    peer = scipy.stats.bootstrap(
        (values,),
        lambda sample, axis: scipy.stats.trim_mean(sample, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    found = estimate([values])
    np.testing.assert_allclose(found[1:], peer, atol=0.05 * (peer.high - peer.low))


@pytest.mark.parametrize(("count", "environments", "least", "most"), [(3, 1, 0.65, 0.83), (5, 1, 0.84, 0.97)])
def test_intervals_contain_the_truth_as_often_as_the_page_says(
    count: int, environments: int, least: float, most: float
) -> None:
    random = np.random.default_rng(0)
    found = [estimate([random.normal(size=count) for _ in range(environments)]) for _ in range(200)]
    assert least <= np.mean([one.low <= 0.0 <= one.high for one in found]) <= most


def test_resampling_is_stratified() -> None:
    far_apart = [np.full(4, 0.0), np.full(4, 100.0)]
    found = estimate(far_apart)
    assert found == (50.0, 50.0, 50.0)  # resampling all eight together would give anything from 0 to 100


def test_improvement_has_an_interval_and_both_sides_are_resampled() -> None:
    random = np.random.default_rng(0)
    first, second = [random.normal(1.0, size=6) for _ in range(2)], [random.normal(size=6) for _ in range(2)]
    found = estimated_improvement(first, second)
    assert found.value == probability_of_improvement(first, second)
    assert 0.5 < found.low < found.value < found.high <= 1.0
    against_itself = estimated_improvement(first, first)
    assert against_itself.value == 0.5
    assert against_itself.low < 0.4 < 0.6 < against_itself.high


@pytest.mark.parametrize("wrong", [[], [np.array([])], [np.array([1.0, np.nan])], [np.ones((2, 2))]])
def test_what_is_no_run_is_refused(wrong: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="strata must be"):
        estimate(wrong)


def test_different_environments_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same environments, got 1 and 2"):
        probability_of_improvement([np.ones(2)], [np.ones(2), np.ones(2)])
