"""Archived policies: who stays, who is picked to be extended, and mixtures of neighbours."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from morl.agents.constrained import Constraint, violations
from morl.learning.population import TrainingState
from morl.pareto import ParetoArchive, crowding_distance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Member:
    """A policy as it was when it was evaluated: all that acting and learning go on from.

    Attributes:
        number: its number for life.
        state: its training state.
        returns: [objective] archive value: mean discounted returns when it was archived; NaN before any evaluation.
        preference: [objective] the weights it was trained for; NaN for what constrained extension made.
        learning_rate: at the time.
    """

    number: int
    state: TrainingState
    returns: Array
    preference: Array
    learning_rate: float


def surviving(
    points: Array,
    constraints: Sequence[Constraint],
    reference_point: tuple[float, ...] | None,
    capacity: int,
    tolerance: float,
) -> list[int]:
    """Return the rows of returns [n, objective] that an archive keeps of them, ascending.

    Kept are, in this order of filters: points better than the reference point in every objective, unless there is none;
    points that keep all constraints, unless there is none (then the smallest violations count as objectives beside the
    others); non-dominated points, without near duplicates; the least crowded `capacity` of them.

    Args:
        points: [n, objective]; of near duplicates the first one stays.
        constraints: bounds on single objectives; these are not optimised.
        reference_point: [objective] or None.
        capacity: largest number of points kept.
        tolerance: a point that improves on a kept one by no more than this share of the points' range in every
            objective is a near duplicate.
    """
    rows = np.arange(len(points))
    if reference_point is not None:
        above = (points > np.array(reference_point)).all(axis=1)
        rows = rows[above] if above.any() else rows
    broken = violations(constraints, points).max(axis=1, initial=0.0)
    columns = np.delete(points, [each.objective for each in constraints], axis=1)
    if (broken[rows] == 0.0).any():
        rows = rows[broken[rows] == 0.0]
    else:
        columns = np.column_stack([columns, -broken])
    scaled = columns[rows] / _ranges(columns[rows])
    archive = ParetoArchive(capacity, tolerance=tolerance)
    archive.add_all(scaled, rows.tolist())
    return sorted(archive.payloads)


def select(points: Array, count: int, chosen_before: Collection[int]) -> list[int]:
    """Return `count` rows of points [n, objective] to be extended: extremes first, then the least crowded.

    Rows that were chosen before come last; a row appears twice only where there are fewer points than `count`.
    """
    crowding = crowding_distance(points)
    again = np.array([row in chosen_before for row in range(len(points))])
    order = np.lexsort([-crowding, again])
    return [int(order[place % len(order)]) for place in range(count)]


def mixtures(members: Sequence[Member]) -> list[TrainingState]:
    """Return for each pair of nearest neighbours the policy half-way between them in the space of weights."""
    points = np.stack([member.returns for member in members])
    scaled = points / _ranges(points)
    distances = np.square(scaled[:, None] - scaled[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    pairs = sorted({(min(one, int(two)), max(one, int(two))) for one, two in enumerate(nearest)})
    return [_mean(members[one].state, members[two].state) for one, two in pairs if one != two]


def _ranges(points: Array) -> Array:
    """Return the range of each objective [objective], 1 where there is none."""
    ranges = np.ptp(points, axis=0)
    return np.where(ranges > 0.0, ranges, 1.0)


def _mean(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {key: _mean(value, other[key]) for key, value in one.items()}
    return torch.lerp(one, other, 0.5) if isinstance(one, torch.Tensor) else 0.5 * (one + other)
