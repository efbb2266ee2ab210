"""Archived policies: who stays, who is picked to be extended, and mixtures of neighbours."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from morl.agents.c_morl.constraints import Constraint, violations
from morl.learning.population import TrainingState
from morl.pareto import ParetoArchive, crowding_distance, non_dominated

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
        multipliers: [objective] of the user's bounds at the time; None where it did not learn.
    """

    number: int
    state: TrainingState
    returns: Array
    preference: Array
    learning_rate: float
    multipliers: Array | None = None


def prune_archive(
    points: Array,
    constraints: Sequence[Constraint],
    reference_point: tuple[float, ...] | None,
    capacity: int,
    tolerance: float,
) -> list[int]:
    """Return the rows of returns [n, objective] that an archive keeps of them, ascending.

    Kept are, in this order of filters: points that keep all constraints, unless there is none (then the smallest
    violations count as objectives beside the others); points better than the reference point in every objective that is
    to be optimized, unless there is none; non-dominated points, without near duplicates; the least crowded `capacity`.

    Args:
        points: [n, objective]; of near duplicates the first one stays.
        constraints: bounds on single objectives; these are not optimized.
        reference_point: [objective] or None.
        capacity: largest number of points kept.
        tolerance: a point that improves on a kept one by no more than this share of the front's range in every
            objective is a near duplicate.
    """
    rows, bounded = np.arange(len(points)), [each.objective for each in constraints]
    broken = violations(constraints, points).max(axis=1, initial=0.0)
    columns = np.delete(points, bounded, axis=1)
    if (broken == 0.0).any():
        rows = rows[broken == 0.0]
    if reference_point is not None:
        above = (columns[rows] > np.delete(np.array(reference_point), bounded)).all(axis=1)
        rows = rows[above] if above.any() else rows
    if broken[rows].any():
        columns = np.column_stack([columns, -broken])
    front = columns[rows][non_dominated(columns[rows])]  # an outlier that is dominated must not stretch the range
    scaled = columns[rows] / _ranges(front)
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
    # A state from a checkpoint is on the CPU, a new one where learning is.
    return torch.lerp(one, other.to(one.device), 0.5) if isinstance(one, torch.Tensor) else 0.5 * (one + other)
