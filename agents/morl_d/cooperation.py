"""Who cooperates with whom, and which policies replace which: pure functions on indices and returns."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from morl.preferences import neighbourhoods

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def find_neighbours(kind: str | None, places: Array, count: int) -> Indices:
    """Return each policy's neighbours [policy, k], itself first, for places [policy, ...] in weight or return space."""
    size = {"none": 1, "nearest": 1 + count, "all": len(places)}[kind or "none"]
    return neighbourhoods(places, size)


def shares(points: Array, of: Array) -> Array:
    """Return points [n, objective] with every objective as a share of the range of `of` [k, objective]."""
    low, high = of.min(axis=0), of.max(axis=0)
    ranged: Array = (points - low) / np.where(high > low, high - low, 1.0)
    return ranged


def successors(trained: Indices, neighbours: Indices, replaceable: NDArray[np.bool_]) -> Indices:
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


def replacements(worths: Array, neighbours: Indices) -> Indices:
    """Return for each policy the one that serves it best in its neighbourhood [policy]; itself among equals.

    Args:
        worths: [policy, other]: what the return of `other` is worth to `policy`.
        neighbours: [policy, k], itself first.
    """
    near = np.take_along_axis(worths, neighbours, axis=1)
    best: Indices = np.take_along_axis(neighbours, near.argmax(axis=1)[:, None], axis=1)[:, 0]
    return best


def copy_members(members: Mapping[str, Tensor], sources: Indices) -> None:
    """Replace every policy by a copy of the one it continues from, in place."""
    changed = np.flatnonzero(sources != np.arange(len(sources)))
    if len(changed):
        for tensor in members.values():
            tensor[changed] = tensor[sources[changed]].clone()


def drift(members: Mapping[str, Tensor], trained: Indices, neighbours: Indices, rate: float) -> None:
    """Move the networks of the neighbours of trained policies towards them, in place.

    theta_j <- theta_j + rate (theta_i - theta_j). Optimizer states stay, as does what is not a network.
    """
    before = {name: members[name].clone() for name in ("actor", "critic", "target", "parameters") if name in members}
    for policy in trained.tolist():
        for other in neighbours[policy, 1:].tolist():
            for name, tensor in before.items():
                members[name][other].lerp_(tensor[policy], rate)
