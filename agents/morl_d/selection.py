"""Which policies train until the next exchange."""

import numpy as np
from numpy.typing import NDArray

from morl.agents.morl_d.cooperation import shares
from morl.pareto import crowding_distance, hypervolume, non_dominated_sort

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def round_robin(population: int, count: int, turn: int) -> Indices:
    """Return the policies of a turn [count]: all of them in order, and from the beginning again."""
    return np.sort((turn * count + np.arange(count)) % population)


def tournament(values: Array, count: int, random: np.random.Generator) -> Indices:
    """Return the winners of binary tournaments [count], all different: lower rank first, then the less crowded one.

    Source: NSGA-II, Deb et al. 2002.

    Args:
        values: [policy, objective] mean returns.
        count: how many are chosen.
        random: who meets whom.
    """
    ranks, room = non_dominated_sort(values), crowding_distance(values)
    order = np.lexsort([-room, ranks])  # the best first
    place = np.argsort(order)
    waiting, winners = list(range(len(values))), []
    for _ in range(count):
        pair = random.choice(waiting, size=min(2, len(waiting)), replace=False)
        winner = int(min(pair, key=lambda policy: place[policy]))
        winners.append(winner)
        waiting.remove(winner)
    return np.sort(np.array(winners))


def most_promising(values: Array, gains: Array, front: Array, count: int) -> Indices:
    """Return the policies whose predicted next returns add most hypervolume to the archive [count], one by one.

    The prediction is the return plus what training gained last time; a policy that never trained is as good as the best
    gain of the others. Objectives are shares of the archive's range, the reference point lies a tenth of it below.
    After PG-MORL (Xu et al. 2020), which fits its prediction over neighbouring weights.

    Args:
        values: [policy, objective] mean returns.
        gains: [policy, objective] what the last training added to them; NaN where there was none.
        front: [k, objective] the archive's points.
        count: how many are chosen.
    """
    known = np.asarray(np.isfinite(gains).all(axis=1))
    hopeful = np.maximum(gains[known], 0.0).max(axis=0, initial=0.0)
    predicted = shares(values + np.where(known[:, None], gains, hopeful), front)
    reached, reference = shares(front, front), np.full(values.shape[1], -0.1)
    chosen: list[int] = []
    for _ in range(count):
        volumes = [
            -np.inf if policy in chosen else hypervolume(np.vstack([reached, point]), reference)
            for policy, point in enumerate(predicted)
        ]
        chosen.append(int(np.argmax(volumes)))
        reached = np.vstack([reached, predicted[chosen[-1]]])
    return np.sort(np.array(chosen))
