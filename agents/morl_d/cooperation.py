"""Neighbourhoods, and the exchange of parameters between neighbours: pure functions of indices and returns."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from morl.preferences import neighbourhoods
from morl.protocols import BoolArray, FloatArray, IndexArray


def find_neighbours(kind: str, positions: FloatArray, count: int) -> IndexArray:
    """Return each policy's neighbours [policy, k], itself first.

    Args:
        kind: none, nearest or all.
        positions: of the policies in weight space or objective space [policy, dimension].
        count: number of nearest neighbours.
    """
    size = {"none": 1, "nearest": 1 + count, "all": len(positions)}[kind]
    return neighbourhoods(positions, size)


def normalize(points: FloatArray, front: FloatArray) -> FloatArray:
    """Return points with every objective as a share of the range of a front; raw differences where the range is 0.

    Args:
        points: [n, objective].
        front: [k, objective].
    """
    low = front.min(axis=0)
    high = front.max(axis=0)
    normalized: FloatArray = (points - low) / np.where(high > low, high - low, 1.0)
    return normalized


def successors(trained: IndexArray, neighbours: IndexArray, replaceable: BoolArray) -> IndexArray:
    """Return for each policy the one it continues from [policy]: a trained neighbour if it is replaceable, else itself.

    Args:
        trained: policies that have just trained.
        neighbours: [policy, k], itself first.
        replaceable: [policy].
    """
    sources = np.arange(len(neighbours))
    for policy in trained.tolist():
        followers = [other for other in neighbours[policy, 1:].tolist() if replaceable[other] and other not in trained]
        sources[followers] = policy
    return sources


def replacements(utilities: FloatArray, neighbours: IndexArray) -> IndexArray:
    """Return for each policy the neighbour with the highest utility for it [policy]; itself among equals (MOEA/D).

    Args:
        utilities: of the returns of every `other` policy to every `policy` [policy, other].
        neighbours: [policy, k], itself first.
    """
    in_neighbourhood = np.take_along_axis(utilities, neighbours, axis=1)
    best: IndexArray = np.take_along_axis(neighbours, in_neighbourhood.argmax(axis=1)[:, None], axis=1)[:, 0]
    return best


def copy_members(members: Mapping[str, Tensor], sources: IndexArray) -> None:
    """Replace every policy by a copy of the one it continues from, in place.

    Args:
        members: state of the population by name, each [policy, ...].
        sources: index of the policy to copy [policy].
    """
    changed = np.flatnonzero(sources != np.arange(len(sources)))
    if len(changed):
        for tensor in members.values():
            tensor[changed] = tensor[sources[changed]].clone()


def soft_transfer(members: Mapping[str, Tensor], trained: IndexArray, neighbours: IndexArray, rate: float) -> None:
    """Move the networks of the neighbours of trained policies towards them, in place.

    theta_j <- theta_j + rate (theta_i - theta_j). Optimizer states and everything else that is no network stay.

    Args:
        members: state of the population by name, each [policy, ...].
        trained: policies that have just trained.
        neighbours: [policy, k], itself first.
        rate: share of the distance, from 0 to 1.
    """
    before = {name: members[name].clone() for name in ("actor", "critic", "target", "parameters") if name in members}
    for policy in trained.tolist():
        for other in neighbours[policy, 1:].tolist():
            for name, tensor in before.items():
                members[name][other].lerp_(tensor[policy], rate)
