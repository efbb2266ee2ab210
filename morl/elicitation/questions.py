"""Which two outcomes to compare next: the pair whose answer says most about which policy is best.

It is asked which policy suffices, not which is worth most: policies within the limit of regret are as good as the
best. The particles are divided by the policy that serves them within this limit, with few policies, and the next pair
maximizes the mutual information of its answer and this division. What an answer says about the utility beyond that
is not counted.

Sources: information gain of a comparison: Houlsby et al. 2011 (BALD). Information about the decision rather than the
model, and regions of models that share a decision: Javdani et al. 2014. Expected regret as the measure: Boutilier 2002.
"""

from typing import NamedTuple

import numpy as np

from morl.elicitation.posterior import FloatArray, IndexArray, Posterior, Uniforms, answer_probabilities

ALL_PAIRS = 400
"""Pairs that are all considered; of more, those of the policies that may be best and some others."""
LIKELIEST = 22
"""Policies that may be best, all pairs of which are considered."""
OTHER_PAIRS = 160
"""Pairs of any policies that are considered too."""
MOST_DECISIONS = 40
"""Policies that the particles are divided by; the rest are one part."""
PAIR_STREAM = 500
"""Stream of random numbers of an answer from which other pairs are drawn."""
EQUAL = 1e9
"""Scores and shares are compared as multiples of its inverse, so that rounding decides nothing."""


class Recommendation(NamedTuple):
    """The policy to take if no more is asked.

    Attributes:
        row: of the front's points.
        probability_best: that no other policy is better.
        probability_within: that no other policy is better by more than the limit.
        expected_regret: value lost in the mean, a share of the utility's range over the front.
    """

    row: int
    probability_best: float
    probability_within: float
    expected_regret: float


def regrets(posterior: Posterior) -> FloatArray:
    """Return the regret of each point to each particle [n, particle], from 0 to 1, the worst."""
    return np.clip(1.0 - posterior.values, 0.0, 1.0)


def recommend(posterior: Posterior, limit: float) -> Recommendation:
    """Return the point of the lowest expected regret, the first of equals.

    Args:
        posterior: what is known.
        limit: regret within which a policy is as good as the best.
    """
    lost = regrets(posterior)
    expected = lost @ posterior.shares
    row = int(np.argmin(_rounded(expected)))
    best = float(posterior.shares[lost[row] <= 1e-9].sum())
    within = float(posterior.shares[lost[row] <= limit].sum())
    return Recommendation(row, min(1.0, best), min(1.0, within), float(expected[row]))


def best_pair(posterior: Posterior, limit: float, asked: set[tuple[int, int]], seed: int) -> tuple[int, int] | None:
    """Return the rows to compare next, left and right; None where all pairs have been compared.

    Args:
        posterior: what is known.
        limit: regret within which a policy is as good as the best.
        asked: pairs that have been compared, the smaller row first.
        seed: of the other pairs, and of which of the two stands left.
    """
    uniforms = Uniforms(seed, Posterior.STREAMS * len(posterior.comparisons) + PAIR_STREAM)
    lost = regrets(posterior)
    pairs = candidate_pairs(lost, posterior.shares, uniforms)
    pairs = np.array([pair for pair in pairs.tolist() if tuple(pair) not in asked], dtype=np.int64)
    if not len(pairs):
        pairs = _first_pair_left(len(lost), asked)
    if not len(pairs):
        return None
    gains = information(posterior, pairs, decisions(lost, posterior.shares, limit))
    first, second = pairs[int(np.argmax(_rounded(gains)))].tolist()
    return (first, second) if uniforms.draw(1)[0] < 0.5 else (second, first)


def candidate_pairs(lost: FloatArray, shares: FloatArray, uniforms: Uniforms) -> IndexArray:
    """Return pairs of rows [pair, 2] that are worth a look, the smaller row first.

    Args:
        lost: [n, particle] regrets.
        shares: [particle].
        uniforms: random numbers.
    """
    count = len(lost)
    likely = np.arange(count)
    if count * (count - 1) // 2 > ALL_PAIRS:
        best = _rounded((lost <= 1e-9) @ shares)
        likely = np.sort(np.lexsort((_rounded(lost @ shares), -best))[:LIKELIEST])
    first, second = np.triu_indices(len(likely), k=1)
    pairs = np.column_stack([likely[first], likely[second]])
    if len(likely) == count:
        return pairs
    ends = np.floor(uniforms.draw(2 * OTHER_PAIRS) * count).astype(np.int64).reshape(OTHER_PAIRS, 2)
    ends = np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1)
    return np.concatenate([pairs, ends])


def _first_pair_left(count: int, asked: set[tuple[int, int]]) -> IndexArray:
    """Return the first pair [1, 2] that has not been compared; [0, 2] where there is none."""
    for first in range(count):
        for second in range(first + 1, count):
            if (first, second) not in asked:
                return np.array([[first, second]])
    return np.empty((0, 2), dtype=np.int64)


def decisions(lost: FloatArray, shares: FloatArray, limit: float) -> IndexArray:
    """Return for each particle the policy that serves it within the limit [particle], as numbers from 0 on.

    Policies are taken greedily, always the one that serves most of the particles that are left, so there are few.

    Args:
        lost: [n, particle] regrets.
        shares: [particle].
        limit: regret within which a policy is as good as the best.
    """
    serves = lost <= limit
    weights = serves.astype(np.float64)
    left = shares.copy()
    numbers = np.full(len(shares), -1, dtype=np.int64)
    for number in range(MOST_DECISIONS):
        served = weights @ left
        row = int(np.argmax(_rounded(served)))
        if served[row] < 1e-6:
            break
        numbers[serves[row] & (numbers < 0)] = number
        left[serves[row]] = 0.0
    numbers[numbers < 0] = numbers.max() + 1
    return numbers


def information(posterior: Posterior, pairs: IndexArray, numbers: IndexArray) -> FloatArray:
    """Return the mutual information of answers and decisions, I = H(answer) - H(answer | decision) [pair], in nats.

    Args:
        posterior: what is known.
        pairs: [pair, 2] rows.
        numbers: [particle] the decision that serves each particle.
    """
    left = pairs[:, 0]
    right = pairs[:, 1]
    values = posterior.values
    acceptances = posterior.acceptances
    chances = answer_probabilities(
        (values[left], values[right]), (acceptances[left], acceptances[right]), posterior.response
    )
    parts = np.zeros((len(numbers), int(numbers.max()) + 1))
    parts[np.arange(len(numbers)), numbers] = posterior.shares
    joint = np.maximum(chances @ parts, 1e-300)  # [answer, pair, decision]
    sizes = parts.sum(axis=0)
    given = -(joint * np.log(joint / np.maximum(sizes, 1e-300))).sum(axis=(0, 2))
    marginal = joint.sum(axis=2)
    gains: FloatArray = -(marginal * np.log(marginal)).sum(axis=0) - given
    return gains


def _rounded(numbers: FloatArray) -> FloatArray:
    return np.floor(numbers * EQUAL + 0.5)
