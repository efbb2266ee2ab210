"""The posterior over utilities: values as `morl.utilities` defines them, answers, and particles that stay diverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from morl import utilities
from morl.elicitation import ANSWERS, KINDS, Response
from morl.elicitation.posterior import (
    LARGEST_MISSED,
    Comparison,
    Particles,
    Posterior,
    Uniforms,
    Valuation,
    answer_probabilities,
    prior_particles,
    resampled_rows,
)

Array = NDArray[np.float64]


def front(count: int, objectives: int, seed: int = 0) -> Array:
    directions = np.abs(np.random.default_rng(seed).normal(size=(count, objectives)))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return (points - points.min(axis=0)) / np.ptp(points, axis=0)


@pytest.mark.parametrize("objectives", [2, 3, 6])
def test_values_are_shares_of_the_utilities_of_morl(objectives: int) -> None:
    points = front(40, objectives)
    particles = prior_particles(300, objectives, Uniforms(1, 0))
    values = Valuation(particles, points).of_front()
    assert set(particles.kinds.tolist()) == {0, 1, 2}
    met = 0
    for number, (kind, weights) in enumerate(zip(particles.kinds, particles.weights, strict=True)):
        worth = utilities.linear(points, weights)
        best, worst = worth.max(), worth.min()
        if KINDS[kind] == "tchebycheff":
            worth = utilities.tchebycheff(points, weights, np.ones(objectives))
            best, worst = worth.max(), worth.min()
        if KINDS[kind] == "requirements":
            least = particles.requirements(points)[number]
            required = np.where(least > 0.0, least, -np.inf)
            worth = utilities.linear_above_minimum(points, weights, required)
            if np.isneginf(worth).all():
                assert values[:, number].max() == pytest.approx(1.0)
                continue
            met += 1
            best = worth.max()
            assert (values[np.isneginf(worth), number] < 0.0).all()
        kept = np.isfinite(worth)
        np.testing.assert_allclose(values[kept, number], 1.0 - (best - worth[kept]) / (best - worst), atol=1e-9)
    assert met > 10


def test_outcomes_that_are_not_of_the_front_are_valued_alike() -> None:
    points = front(20, 3)
    particles = prior_particles(90, 3, Uniforms(2, 0))
    valuation = Valuation(particles, points)
    np.testing.assert_array_equal(valuation.of(points[4:9]), valuation.of_front()[4:9])


def test_unmet_requirements_are_rarely_acceptable_and_met_ones_mostly() -> None:
    points = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    level = 0.5 + 0.5 * 0.4 / LARGEST_MISSED  # two of five missed, of three points: between the first and the second
    particles = Particles(np.array([2]), np.zeros((1, 2)), np.array([[level, 0.1]]))
    valuation = Valuation(particles, points)
    acceptances = valuation.acceptance(points, valuation.of_front(), Response())[:, 0]
    assert particles.requirements(points)[0] == pytest.approx([0.4, 0.0])
    assert acceptances[0] < 0.01
    assert acceptances[1:].min() > 0.99


def test_requirements_are_as_likely_to_be_missed_by_points_that_lie_close_together() -> None:
    points = np.column_stack([[0.0, 0.001, 0.002, 0.003, 1.0], np.linspace(1.0, 0.0, 5)])
    particles = prior_particles(3_000, 2, Uniforms(3, 0))
    required = particles.requirements(points)[:, 0]
    assert (required == 0.0).mean() == pytest.approx(0.5, abs=0.03)
    assert ((required > 0.0) & (required <= 0.003)).mean() == pytest.approx(0.5 * 0.75 / 0.95, abs=0.03)


@pytest.mark.parametrize("link", ["logistic", "probit"])
def test_probabilities_of_answers(link: str) -> None:
    response = Response(link=link)
    left = np.linspace(-0.3, 1.0, 41)
    right = np.full(41, 0.35)
    chances = answer_probabilities((left, right), (np.full(41, 0.9), np.full(41, 0.2)), response)
    np.testing.assert_allclose(chances.sum(axis=0), 1.0, atol=1e-6)
    assert chances.min() > 0.0
    assert (np.diff(chances[0]) >= 0.0).all()
    assert (np.diff(chances[1]) <= 0.0).all()
    assert ANSWERS[int(chances[:3, 20].argmax())] == "equal"
    np.testing.assert_allclose(chances[3], 0.98 * 0.1 * 0.8 + 0.005)


def test_probit_is_the_normal_distribution() -> None:
    from statistics import NormalDist

    margins = np.linspace(-6.0, 6.0, 101)
    expected = [NormalDist().cdf(margin) for margin in margins]
    np.testing.assert_allclose(Response(noise=1.0, link="probit").rises(margins), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("given_settings", "word"),
    [
        ({"noise": 0.0}, "noise is 0.0"),
        ({"lapse": 1.0}, "lapse"),
        ({"indifference": -1.0}, "indifference"),
        ({"link": "x"}, "link is 'x'"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(given_settings: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Response(**given_settings)  # type: ignore[arg-type]


def test_random_numbers_are_uniform_and_do_not_depend_on_the_count() -> None:
    uniforms = Uniforms(7, 3)
    first = uniforms.draw(20_000)
    second = uniforms.draw(20_000)
    np.testing.assert_array_equal(Uniforms(7, 3).draw(50), first[:50])
    counts = np.bincount((first * 50).astype(int), minlength=50)
    assert np.square(counts - 400).sum() / 400 < 90  # chi-squared with 49 degrees of freedom: 85 with 0.1 %
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03
    assert 0.0 < first.min() < first.max() < 1.0
    assert not np.array_equal(Uniforms(8, 3).draw(50), first[:50])


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30).filter(lambda sizes: sum(sizes) > 0.01),
    st.floats(0.0, 0.999),
)
def test_resampling_keeps_counts_within_one_of_expectation(sizes: list[float], offset: float) -> None:
    shares = np.array(sizes) / sum(sizes)
    counts = np.bincount(resampled_rows(shares, offset), minlength=len(shares))
    assert counts.sum() == len(shares)
    assert (np.abs(counts - shares * len(shares)) < 1.0 + 1e-6).all()


def answered(points: Array, count: int, particles: int, seed: int = 0) -> Posterior:
    """Return a posterior after random comparisons by a user with a Tchebycheff utility."""
    generator = np.random.default_rng(seed)
    worth = utilities.tchebycheff(points, generator.dirichlet(np.ones(points.shape[1])), np.ones(points.shape[1]))
    posterior = Posterior.before_answers(points, particles, seed, Response())
    for _ in range(count):
        left, right = generator.choice(len(points), size=2, replace=False)
        posterior = posterior.after(Comparison(points[left], points[right], 0 if worth[left] > worth[right] else 1))
    return posterior


@pytest.mark.parametrize("objectives", [2, 3])
def test_moved_particles_have_the_distribution_of_the_posterior(objectives: int) -> None:
    """A posterior of moved particles agrees with one of very many particles that were only weighed."""
    points = front(12, objectives)
    moved = answered(points, 4, 4_000)
    weighed = Posterior.before_answers(points, 200_000, 9, Response())
    for comparison in moved.comparisons:
        logs = np.log(weighed.shares)
        valuation = Valuation(weighed.particles, points)
        pair = np.array([comparison.left, comparison.right])
        values = valuation.of(pair)
        acceptances = valuation.acceptance(pair, values, Response())
        chances = answer_probabilities((values[0], values[1]), (acceptances[0], acceptances[1]), Response())
        weighed = Posterior(points, weighed.particles, logs + np.log(chances[comparison.answer]), (), 9, Response())
    assert weighed.effective_size > 2_000
    assert len(np.unique(moved.particles.logs[:, 0])) > 3_000  # they were moved
    for statistic in (
        lambda p: np.clip(p.values, 0.0, 1.0) @ p.shares,
        lambda p: np.bincount(p.particles.kinds, p.shares, 3),
    ):
        np.testing.assert_allclose(statistic(moved), statistic(weighed), atol=0.05)


@pytest.mark.parametrize("objectives", [2, 6])
def test_the_posterior_does_not_collapse(objectives: int) -> None:
    posterior = answered(front(50, objectives), 40, 300)
    assert posterior.effective_size >= 0.5 * 300 - 1e-6
    assert len(np.unique(posterior.particles.logs[:, 0])) > 200


def test_contradictory_answers_leave_a_posterior() -> None:
    points = front(10, 2)
    posterior = Posterior.before_answers(points, 200, 0, Response())
    for number in range(30):
        posterior = posterior.after(Comparison(points[1], points[8], number % len(ANSWERS)))
    assert np.isfinite(posterior.shares).all()
    assert posterior.shares.sum() == pytest.approx(1.0)
    assert np.isfinite(posterior.values).all()
    assert posterior.effective_size >= 90
