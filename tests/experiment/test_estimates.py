"""What a front reports is what a user of its policies gets: no number was selected by the episodes that it is of."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import toys

import morl
from morl.evaluation import Returns
from morl.experiment.estimates import imprecise_rows, indicator_errors, moderated_errors, repeats_exactly
from morl.experiment.front import Front, delivered_utility
from morl.pareto import expected_utility, hypervolume
from morl.preferences import simplex_lattice

pytestmark = pytest.mark.usefixtures("without_figures")

GRID = simplex_lattice(2, 20)
ANGLES = np.linspace(0.0, np.pi / 2, 60)
TRUTH = 10.0 + 10.0 * np.stack([np.sin(ANGLES), np.cos(ANGLES)], axis=1)
"""[policy, objective] true mean returns of some policies on a circle."""


class Found(NamedTuple):
    """A front that was found, and the policies behind it."""

    front: Front
    rows: Any


def fronts(folder: Path, noise: float, episodes: int, number: int) -> Iterator[Found]:
    """Yield the fronts of independent evaluations of policies whose returns are random."""
    random = np.random.default_rng(3)
    with closing(toys.session(folder, "pd-morl", "toy-walk-v0", evaluation_episodes=episodes)) as session:
        reporter = session.reporter

        def returns(policies: Any, preferences: Any, purpose: str, count: int | None = None) -> Returns:
            shape = (len(policies), count or episodes, 2)
            samples = TRUTH[policies][:, None] + noise * random.standard_normal(shape)
            return Returns.of_episodes(samples, samples, np.ones(shape[:2]))

        reporter._returns = returns  # type: ignore[method-assign]
        preferences = np.stack([1.0 - ANGLES, ANGLES], axis=1)
        session.agent.policies = lambda grid: (np.arange(len(ANGLES)), preferences)  # type: ignore[method-assign]
        for step in range(number):
            session.agent.steps = step
            reporter.best = None  # every one is published
            front = reporter.evaluate(scheduled=True)
            yield Found(front, front.policy_ids)


@pytest.mark.parametrize(("noise", "episodes"), [(1.0, 5), (5.0, 5), (5.0, 10), (20.0, 5)])
def test_a_second_look_finds_what_was_reported(noise: float, episodes: int, tmp_path: Path) -> None:
    inside: dict[str, list[bool]] = {"points": [], "chosen": [], "utility": []}
    surplus = []
    surplus_of_the_best = []
    for front, rows in fronts(tmp_path / "run", noise, episodes, 120):
        truth = TRUTH[rows]
        close = np.abs(front.points - truth) <= np.maximum(2.0 * front.standard_errors, 0.02 * truth)
        inside["points"] += close.flatten().tolist()
        picked = (GRID @ front.choice_points.T).argmax(axis=1)
        delivered = (GRID * truth[picked]).sum(axis=1)
        promised = (GRID * front.points[picked]).sum(axis=1)
        error = np.sqrt((np.square(GRID) * np.square(front.standard_errors[picked])).sum(axis=1))
        inside["chosen"] += (np.abs(promised - delivered) <= np.maximum(2.0 * error, 0.02 * delivered)).tolist()
        reported = delivered_utility(front.points, front.choice_points, GRID)
        limit = max(2.0 * front.indicator_errors["expected_utility"], 0.02 * delivered.mean())
        inside["utility"].append(abs(reported - delivered.mean()) <= limit)
        surplus.append(reported / delivered.mean() - 1.0)
        best = (GRID @ front.points.T).argmax(axis=1)
        surplus_of_the_best.append(expected_utility(front.points, GRID) / (GRID * truth[best]).sum(axis=1).mean() - 1.0)
    for what, found in inside.items():
        assert np.mean(found) > 0.9, what  # 95 % but for chance, and for errors of errors of few episodes
    spread = np.std(surplus) / np.sqrt(len(surplus))
    assert abs(np.mean(surplus)) < 3.5 * spread
    if noise >= 5.0:  # choosing by the numbers that are reported would promise more than it delivers
        assert np.mean(surplus_of_the_best) > 3.5 * spread


def test_where_nothing_is_random_two_evaluations_are_enough(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-fork-v0", 100)
    np.testing.assert_array_equal(run.front.points, run.front.choice_points)
    assert not np.nan_to_num(run.front.standard_errors).any()
    assert run.front.indicators["expected_utility"] == expected_utility(
        run.front.points, run.experiment.evaluation_preferences
    )


def test_standard_errors_are_published(tmp_path: Path) -> None:
    run = morl.load(toys.train(tmp_path / "run", "toy-walk-v0", 100, evaluation_episodes=4).directory)
    assert run.front.standard_errors.shape == run.front.points.shape
    assert (run.front.standard_errors > 0).all()
    assert {"hypervolume", "expected_utility"} <= {
        name for name, error in run.front.indicator_errors.items() if error > 0
    }
    returns = run.evaluate(episodes=64)
    assert returns.standard_errors.shape == run.front.points.shape
    assert (returns.episodes == 64).all()


# --- Parts ------------------------------------------------------------------------------------------------------------


def test_means_and_errors_are_those_of_all_episodes_together() -> None:
    random = np.random.default_rng(0)
    samples = random.normal(size=(4, 9, 3)) * [1.0, 5.0, 0.1] + [1e6, 0.0, 0.0]
    lengths = random.integers(1, 9, size=(4, 9)).astype(np.float64)
    whole = Returns.of_episodes(samples, 2.0 * samples, lengths)
    rows = np.array([0, 2])
    first = Returns.of_episodes(samples[:, :4], 2.0 * samples[:, :4], lengths[:, :4])
    rest = Returns.of_episodes(samples[rows, 4:], 2.0 * samples[rows, 4:], lengths[rows, 4:])
    joined = first.joined(rows, rest)
    for row, expected in enumerate((whole, first, whole, first)):
        count = expected.episodes[row]
        np.testing.assert_allclose(joined.discounted[row], expected.discounted[row])
        np.testing.assert_allclose(joined.undiscounted[row], expected.undiscounted[row])
        np.testing.assert_allclose(joined.lengths[row], expected.lengths[row])
        np.testing.assert_allclose(joined.deviations[row, :count], expected.deviations[row], rtol=1e-6, atol=1e-8)
        assert not joined.deviations[row, count:].any()
        np.testing.assert_allclose(joined.standard_errors[row], expected.standard_errors[row], rtol=1e-6)
    np.testing.assert_allclose(whole.standard_errors[1], samples[1].std(axis=0, ddof=1) / 3.0, rtol=1e-6)


def test_the_error_of_a_hypervolume_is_that_of_its_points() -> None:
    """Two points far from each other: the volume is a product, whose error is known to first order."""
    random = np.random.default_rng(1)
    samples = np.array([10.0, 20.0]) + random.normal(size=(1, 100, 2)) * [1.0, 3.0]
    returns = Returns.of_episodes(samples, samples, np.ones((1, 100)))
    errors = indicator_errors(
        lambda points: {"hypervolume": hypervolume(points, (0.0, 0.0))}, returns, returns.standard_errors, random
    )
    (one, two), (error_one, error_two) = returns.discounted[0], returns.standard_errors[0]
    assert errors["hypervolume"] == pytest.approx(np.hypot(two * error_one, one * error_two), rel=0.3)


def test_one_episode_says_nothing_of_errors() -> None:
    returns = Returns.of_episodes(np.ones((3, 1, 2)), np.ones((3, 1, 2)), np.ones((3, 1)))
    assert np.isnan(returns.standard_errors).all()
    errors = moderated_errors(returns, [returns])
    assert np.isnan(errors).all()
    found = indicator_errors(lambda points: {"sum": points.sum()}, returns, errors, np.random.default_rng(0))
    assert np.isnan(found["sum"])
    assert len(imprecise_rows(returns, errors)) == 0
    assert repeats_exactly(returns, returns)


def test_further_episodes_go_where_returns_vary() -> None:
    samples = np.zeros((3, 4, 2))
    samples[:, :, 0] = [[0.0] * 4, [5.0] * 4, [10.0] * 4]
    samples[1, :, 1] = [-9.0, 9.0, -9.0, 9.0]
    samples[2, :, 1] = 1.0
    returns = Returns.of_episodes(samples, samples, np.ones((3, 4)))
    np.testing.assert_array_equal(imprecise_rows(returns, returns.standard_errors), [1])


def test_episodes_that_are_equal_by_chance_promise_no_error_of_zero() -> None:
    """A rare event that five episodes of one policy do not show shows in its other evaluations or in its neighbors."""
    random = np.random.default_rng(4)
    truth = 0.9
    inside = []
    for _ in range(400):
        sets = [(random.random((3, 5, 1)) < truth).astype(float) for _ in range(3)]
        returns, *earlier = [Returns.of_episodes(each, each, np.ones((3, 5))) for each in sets]
        if not returns.deviations[0].any():
            error = moderated_errors(returns, earlier)[0, 0]
            inside.append(abs(returns.discounted[0, 0] - truth) <= 2.0 * error)
    assert len(inside) > 200  # more than half of all evaluations show nothing
    assert np.mean(inside) > 0.85


def test_common_random_numbers_move_the_whole_front() -> None:
    """Luck that all policies share does not average out over the front: the error of their mean is that of each."""
    random = np.random.default_rng(5)
    luck = random.normal(size=(1, 200, 1))
    shared = np.broadcast_to(luck, (8, 200, 2)).copy()
    own = random.normal(size=(8, 200, 2))

    def error_of_mean(samples: Any) -> float:
        returns = Returns.of_episodes(samples, samples, np.ones((8, 200)))
        found = indicator_errors(lambda points: {"mean": points.mean()}, returns, returns.standard_errors, random)
        return found["mean"]

    assert error_of_mean(shared) == pytest.approx(1.0 / np.sqrt(200), rel=0.25)
    assert error_of_mean(own) == pytest.approx(1.0 / np.sqrt(200 * 16), rel=0.25)
