"""Weight vectors: the first ones, and their adaptation (PSA, corner weights)."""

from math import comb

import numpy as np

from morl.agents.morl_d.cooperation import normalize
from morl.preferences import corner_weights, dirichlet, riesz, simplex_lattice
from morl.protocols import FloatArray


def first_weights(kind: str, objectives: int, population: int, seed: int) -> FloatArray:
    """Return the first weight vectors [policy, objective].

    Args:
        kind: riesz, lattice, dirichlet, or corners (the unit vectors in turn).
        objectives: number of objectives.
        population: number of policies.
        seed: of random weights.

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


def _lattice(objectives: int, population: int) -> FloatArray:
    if objectives == 1:  # the lattice is one point, whatever its divisions: all policies have that weight
        return np.ones((population, 1))
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


def psa(weights: FloatArray, returns: FloatArray, front: FloatArray, factor: float, same: float = 0.01) -> FloatArray:
    """Return weights [policy, objective] that push every policy away from its nearest neighbour in the archive.

    Pareto simulated annealing: for policy i and the member v' of the archive that is closest to its return v_i, among
    those farther away than `same`, w_ij is multiplied by 1 + delta where v_ij >= v'_j and divided by it elsewhere, then
    normalized. A weight of zero stays zero, so the ends of the front keep their weights. Source: Czyzak and Jaszkiewicz
    1998.

    Args:
        weights: [policy, objective].
        returns: mean returns [policy, objective].
        front: points of the archive [k, objective].
        factor: delta.
        same: a member of the archive at most this far away counts as the policy itself; the distance is Euclidean, in
            shares of the archive's range.
    """
    distances = np.linalg.norm(normalize(returns, front)[:, None] - normalize(front, front)[None], axis=2)
    distances[distances <= same] = np.inf
    closest = front[distances.argmin(axis=1)]
    change = np.where(returns >= closest, 1.0 + factor, 1.0 / (1.0 + factor))
    change[np.isinf(distances.min(axis=1))] = 1.0
    adapted = weights * change
    normalized: FloatArray = adapted / adapted.sum(axis=1, keepdims=True)
    return normalized


def next_corners(front: FloatArray, visited: FloatArray, count: int) -> FloatArray:
    """Return at most `count` corner weights of the archive [k, objective], the farthest from all visited ones.

    The largest possible gain over a set of policies lies at a corner weight (Roijers 2016). OLS and GPI-LS order
    corners by a bound on that gain; here the order is by distance, in weight space, from every visited weight.

    Args:
        front: points of the archive [n, objective].
        visited: weights that policies were trained for [v, objective].
        count: largest number of corner weights.
    """
    chosen: list[FloatArray] = []
    corners = corner_weights(front)
    while len(chosen) < count:
        distances = np.linalg.norm(corners[:, None] - visited[None], axis=2).min(axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] < 1e-3:
            break
        chosen.append(corners[farthest])
        visited = np.vstack([visited, corners[farthest]])
    return np.array(chosen).reshape(-1, front.shape[1])
