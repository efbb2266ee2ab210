"""The next question: information about the best policy, as its definition says, and nothing asked twice."""

import numpy as np
import pytest
from numpy.typing import NDArray

from morl.elicitation import Response
from morl.elicitation.posterior import Posterior, Uniforms, answer_probabilities
from morl.elicitation.questions import (
    ALL_PAIRS,
    LIKELIEST,
    OTHER_PAIRS,
    best_pair,
    candidate_pairs,
    decisions,
    information,
    recommend,
    regrets,
)

Array = NDArray[np.float64]


def circle(count: int, objectives: int = 2, seed: int = 0) -> Array:
    directions = np.abs(np.random.default_rng(seed).normal(size=(count, objectives)))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return (points - points.min(axis=0)) / np.ptp(points, axis=0)


def prior(points: Array, particles: int = 300) -> Posterior:
    return Posterior.before_answers(points, particles, 0, Response())


def entropy(chances: Array) -> float:
    return float(-(chances * np.log(chances)).sum())


def test_information_is_the_mutual_information_of_answer_and_decision() -> None:
    posterior = prior(circle(8, 3), 60)
    numbers = decisions(regrets(posterior), posterior.shares, 0.05)
    assert len(set(numbers.tolist())) > 2
    pairs = np.array([[0, 1], [2, 7], [3, 5]])
    gains = information(posterior, pairs, numbers)
    for (left, right), gain in zip(pairs, gains, strict=True):
        values = (posterior.values[left], posterior.values[right])
        acceptances = (posterior.acceptances[left], posterior.acceptances[right])
        chances = answer_probabilities(values, acceptances, posterior.response)
        expected = entropy(chances @ posterior.shares)
        for number in set(numbers.tolist()):
            shares = np.where(numbers == number, posterior.shares, 0.0)
            expected -= shares.sum() * entropy(chances @ shares / shares.sum())
        assert gain == pytest.approx(expected, abs=1e-12)


def test_decisions_serve_within_the_limit_and_are_few() -> None:
    posterior = prior(circle(60))
    lost = regrets(posterior)
    numbers = decisions(lost, posterior.shares, 0.05)
    for number in range(int(numbers.max())):  # the last one may hold what is left
        assert (lost[:, numbers == number] <= 0.05).all(axis=1).any()
    assert numbers.min() == 0
    assert len(set(numbers.tolist())) < len(set(lost.argmin(axis=0).tolist()))


def test_nothing_is_to_be_learned_where_all_utilities_agree() -> None:
    """The utility stays unknown, but the best policy is not: no answer says anything about it."""
    points = np.vstack([circle(10) * 0.5, [[1.0, 1.0]]])
    posterior = prior(points)
    numbers = decisions(regrets(posterior), posterior.shares, 0.01)
    assert set(numbers.tolist()) == {0}
    pairs = np.array([[first, second] for first in range(11) for second in range(first + 1, 11)])
    assert np.abs(information(posterior, pairs, numbers)).max() < 1e-9
    found = recommend(posterior, 0.01)
    assert found.row == 10
    assert found.probability_best == found.probability_within == pytest.approx(1.0)
    assert found.expected_regret == pytest.approx(0.0, abs=1e-12)


def test_all_pairs_of_few_points_and_the_likeliest_of_many_are_considered() -> None:
    few = prior(circle(12))
    assert len(candidate_pairs(regrets(few), few.shares, Uniforms(0, 1))) == 66
    many = prior(circle(100))
    lost = regrets(many)
    pairs = candidate_pairs(lost, many.shares, Uniforms(0, 1))
    likely = LIKELIEST * (LIKELIEST - 1) // 2
    assert likely < len(pairs) <= likely + OTHER_PAIRS < ALL_PAIRS + 1
    assert (pairs[:, 0] < pairs[:, 1]).all()
    best = (lost <= 1e-9) @ many.shares
    assert set(np.argsort(-best)[:5].tolist()) <= set(pairs[:likely].ravel().tolist())


def test_no_pair_is_asked_twice_and_the_last_one_is_found() -> None:
    posterior = prior(circle(5))
    asked: set[tuple[int, int]] = set()
    while (pair := best_pair(posterior, 0.01, asked, 0)) is not None:
        key = (min(pair), max(pair))
        assert key not in asked
        asked.add(key)
    assert len(asked) == 10


def test_pairs_are_left_where_all_candidates_have_been_asked() -> None:
    posterior = prior(circle(60), 50)
    every = {(first, second) for first in range(60) for second in range(first + 1, 60)}
    pair = best_pair(posterior, 0.01, every - {(58, 59)}, 0)
    assert pair is not None
    assert sorted(pair) == [58, 59]


def test_the_left_outcome_is_not_always_the_first() -> None:
    pairs = [best_pair(prior(circle(20, seed=seed)), 0.01, set(), seed) for seed in range(12)]
    assert len({pair[0] < pair[1] for pair in pairs if pair is not None}) == 2
