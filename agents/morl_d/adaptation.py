"""Weight vectors: the first ones, and how they change (PSA; corner weights)."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from morl.agents.morl_d.cooperation import shares
from morl.preferences import corner_weights, dirichlet, riesz, simplex_lattice

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def first_weights(kind: str | None, objectives: int, population: int, seed: int) -> Array:
    """Return the first weight vectors [policy, objective]: riesz, lattice, dirichlet, or corners in turn.

    Raises:
        ValueError: there is no lattice of that size.
    """
    match kind:
        case "lattice":
            return _lattice(objectives, population)
        case "dirichlet":
            return dirichlet(objectives, population, seed)
        case "corners":
            return np.eye(objectives)[np.arange(population) % objectives]
    return riesz(objectives, population, seed)


def _lattice(objectives: int, population: int) -> Array:
    divisions = 1
    sizes = [comb(divisions + objectives - 1, objectives - 1)]
    while sizes[-1] < population:
        divisions += 1
        sizes.append(comb(divisions + objectives - 1, objectives - 1))
    if sizes[-1] != population:
        near = " or ".join(str(size) for size in sizes[-2:])
        raise ValueError(
            f"population is {population}, but a lattice of {objectives} weights has {near} points: take as many, or"
            " weights 'riesz'"
        )
    return simplex_lattice(objectives, divisions)


def psa(weights: Array, values: Array, front: Array, factor: float, nearest: float = 0.01) -> Array:
    """Return weights that push every policy away from its nearest neighbour in the archive.

    Pareto simulated annealing: for policy i and the member v' of the archive that is closest to its return v_i, among
    those that are not all but the same, w_ij is multiplied by 1 + delta where v_ij >= v'_j and divided by it elsewhere,
    then normalized. A weight of zero stays zero, so the ends of the front keep what they are for. Source: Czyzak and
    Jaszkiewicz 1998.

    Args:
        weights: [policy, objective].
        values: [policy, objective] mean returns.
        front: [k, objective] the archive's points.
        factor: delta.
        nearest: a member closer than this is the same; distances are Euclidean, in shares of the archive's range.
    """
    everything = shares(values, front), shares(front, front)
    distances = np.linalg.norm(everything[0][:, None] - everything[1][None], axis=2)
    distances[distances <= nearest] = np.inf
    closest = front[distances.argmin(axis=1)]
    change = np.where(values >= closest, 1.0 + factor, 1.0 / (1.0 + factor))
    change[np.isinf(distances.min(axis=1))] = 1.0
    adapted = weights * change
    normalized: Array = adapted / adapted.sum(axis=1, keepdims=True)
    return normalized


def next_corners(front: Array, visited: Array, wanted: int) -> Array:
    """Return at most `wanted` corner weights of the archive [k, objective], the farthest from all visited ones.

    The largest possible gain over a set of policies lies at a corner weight (Roijers 2016). OLS and GPI-LS order
    corners by a bound on that gain; here the order is by distance, in weight space, from every weight trained for.

    Args:
        front: [n, objective] the archive's points.
        visited: [v, objective] weights that policies were trained for.
        wanted: how many.
    """
    chosen: list[Array] = []
    corners, known = corner_weights(front), visited
    while len(chosen) < wanted:
        distances = np.linalg.norm(corners[:, None] - known[None], axis=2).min(axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] < 1e-3:
            break
        chosen.append(corners[farthest])
        known = np.vstack([known, corners[farthest]])
    return np.array(chosen).reshape(-1, front.shape[1])
