"""The archive of C-MORL: which policies stay, which are extended next, and interpolations of neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from morl.agents.c_morl.constraints import Constraint, smallest_slacks
from morl.learning.normalization import MeanStdState
from morl.learning.population import TrainingState
from morl.pareto import ParetoArchive, crowding_distance, non_dominated
from morl.protocols import FloatArray, IndexArray

NEAR = 0.2
"""Share of a bound's size within which an archived policy may keep it, or not: evaluations of few episodes err."""


@dataclass(frozen=True)
class Snapshot:
    """A policy at the moment it was archived: everything that acting and further learning need.

    Attributes:
        policy_id: its permanent id.
        state: its training state.
        returns: [objective] archive value: mean discounted returns of its evaluation; NaN before it.
        preference: [objective] weights it was trained for; NaN for a policy of extension or interpolation.
        learning_rate: at that moment.
        multipliers: [objective] of the user's bounds at that moment.
    """

    policy_id: int
    state: TrainingState
    returns: FloatArray
    preference: FloatArray
    learning_rate: float
    multipliers: FloatArray


def prune_archive(
    points: FloatArray,
    constraints: Sequence[Constraint],
    reference_point: tuple[float, ...] | None,
    capacity: int,
    tolerance: float,
) -> list[int]:
    """Return the rows of returns [n, objective] that an archive keeps, ascending.

    The filters, in this order: points that satisfy all constraints, or break them by a fifth of the bound at most
    (where there is none, all); points better than the reference point in every objective without a constraint (where
    there is none, all); non-dominated points without near duplicates; the `capacity` least crowded.

    Close to a bound the slack is one more objective: archive values are those of few episodes, and the evaluations of
    the report decide which of the policies near the bound keep it.

    Args:
        points: [n, objective]; the first of near duplicates stays.
        constraints: bounds on single objectives, which are not optimized.
        reference_point: [objective], or None.
        capacity: largest number of points kept.
        tolerance: a point that improves on a kept one by no more than this share of the front's range in every
            objective is a near duplicate.
    """
    rows = np.arange(len(points))
    bounded = [each.objective for each in constraints]
    columns = np.delete(points, bounded, axis=1)
    if constraints:
        near = smallest_slacks(constraints, points) / NEAR
        if (near > -1.0).any():
            rows = rows[near > -1.0]
        columns = np.column_stack([columns, np.minimum(near, 1.0)])
    if reference_point is not None:
        free = np.delete(points, bounded, axis=1)[rows]
        above = (free > np.delete(np.array(reference_point), bounded)).all(axis=1)
        rows = rows[above] if above.any() else rows
    front = columns[rows][non_dominated(columns[rows])]  # an outlier that is dominated must not stretch the range
    scaled = columns[rows] / _ranges(front)
    archive = ParetoArchive(capacity, tolerance=tolerance)
    archive.add_all(scaled, rows.tolist())
    return sorted(archive.payloads)


def select_policies(points: FloatArray, count: int, times_selected: IndexArray) -> list[int]:
    """Return the rows to extend (section 5.2): extremes first, then the largest crowding distances.

    Those that were selected less often come before all others: extending the most isolated policies again and again
    would leave the rest of a front that has no room for more unextended.

    Args:
        points: [n, objective] returns of the archive.
        count: number of rows returned, N; a row is repeated only where there are fewer points.
        times_selected: [n] how often each was selected in earlier rounds.
    """
    order = np.lexsort([-crowding_distance(points), times_selected])
    return [int(order[place % len(order)]) for place in range(count)]


def interpolate_weights(snapshots: Sequence[Snapshot]) -> list[TrainingState]:
    """Return for each pair of nearest neighbours the policy half-way between them in parameter space.

    Args:
        snapshots: the archive; neighbours are near in returns, each objective in units of its range.
    """
    points = np.stack([snapshot.returns for snapshot in snapshots])
    scaled = points / _ranges(points)
    distances = np.square(scaled[:, None] - scaled[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    pairs = sorted({(min(one, int(two)), max(one, int(two))) for one, two in enumerate(nearest)})
    return [_midpoint(snapshots[one].state, snapshots[two].state) for one, two in pairs if one != two]


def _ranges(points: FloatArray) -> FloatArray:
    """Return the range of each objective [objective], 1 where all values are equal."""
    ranges = np.ptp(points, axis=0)
    return np.where(ranges > 0.0, ranges, 1.0)


def _midpoint(one: TrainingState, other: TrainingState) -> TrainingState:
    """Return the training state half-way between two."""
    return {
        "parameters": _mean_tensor(one["parameters"], other["parameters"]),
        "first_moments": _mean_tensor(one["first_moments"], other["first_moments"]),
        "second_moments": _mean_tensor(one["second_moments"], other["second_moments"]),
        "steps": _mean_tensor(one["steps"], other["steps"]),
        "observation_statistics": _mean_statistics(one["observation_statistics"], other["observation_statistics"]),
        "reward_statistics": _mean_statistics(one["reward_statistics"], other["reward_statistics"]),
    }


def _mean_tensor(one: Tensor, other: Tensor) -> Tensor:
    # A state from a checkpoint is on the CPU, a new one on the device of learning.
    return torch.lerp(one, other.to(one.device), 0.5)


def _mean_statistics(one: MeanStdState, other: MeanStdState) -> MeanStdState:
    return {
        "count": 0.5 * (one["count"] + other["count"]),
        "mean": 0.5 * (one["mean"] + other["mean"]),
        "variance": 0.5 * (one["variance"] + other["variance"]),
    }
