"""Selection of the policies that train until the next exchange."""

import numpy as np

from morl.agents.morl_d.cooperation import normalize
from morl.pareto import crowding_distance, hypervolume, non_dominated_sort
from morl.protocols import FloatArray, IndexArray


def round_robin(population: int, count: int, turn: int) -> IndexArray:
    """Return the policies of a turn [count]: all of them in order, then from the first again.

    Args:
        population: number of policies.
        count: policies in a turn.
        turn: number of turns before this one.
    """
    return np.sort((turn * count + np.arange(count)) % population)


def tournament(returns: FloatArray, count: int, random: np.random.Generator) -> IndexArray:
    """Return the winners of binary tournaments [count], all different: lower rank first, then the less crowded one.

    Source: NSGA-II, Deb et al. 2002.

    Args:
        returns: mean returns [policy, objective].
        count: number of winners.
        random: stream that the pairs are drawn from.
    """
    best_first = np.lexsort([-crowding_distance(returns), non_dominated_sort(returns)])
    place = np.argsort(best_first)
    candidates = list(range(len(returns)))
    winners: list[int] = []
    for _ in range(count):
        pair = random.choice(candidates, size=min(2, len(candidates)), replace=False)
        winner = int(min(pair, key=lambda policy: place[policy]))
        winners.append(winner)
        candidates.remove(winner)
    return np.sort(np.array(winners))


def most_promising(returns: FloatArray, gains: FloatArray, front: FloatArray, count: int) -> IndexArray:
    """Return the policies whose predicted next returns add most hypervolume to the archive [count], one by one.

    The prediction is the return plus the gain of the last training; for a policy that never trained, the best gain of
    the others in each objective. Objectives are shares of the archive's range; the reference point lies a tenth of it
    below. After PG-MORL (Xu et al. 2020), which fits its prediction over neighbouring weights.

    Args:
        returns: mean returns [policy, objective].
        gains: change of the returns by the last training [policy, objective]; NaN where a policy never trained.
        front: points of the archive [k, objective].
        count: number of policies.
    """
    trained = np.asarray(np.isfinite(gains).all(axis=1))
    optimistic_gain = np.maximum(gains[trained], 0.0).max(axis=0, initial=0.0)
    predicted = normalize(returns + np.where(trained[:, None], gains, optimistic_gain), front)
    reached = normalize(front, front)
    reference = np.full(returns.shape[1], -0.1)
    chosen: list[int] = []
    for _ in range(count):
        volumes = [
            -np.inf if policy in chosen else hypervolume(np.vstack([reached, point]), reference)
            for policy, point in enumerate(predicted)
        ]
        chosen.append(int(np.argmax(volumes)))
        reached = np.vstack([reached, predicted[chosen[-1]]])
    return np.sort(np.array(chosen))
