"""The sampled batches of one policy, as compiled loops take them."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.backends.numba.gemm import Array
from morl.learning.backends.numba.threads import ThreadTeam, partition
from morl.learning.sampled_batches import SampledBatches


class PolicyBatches(NamedTuple):
    """The sampled batches of one policy; see `morl.learning.sampled_batches.SampledBatches`.

    Attributes:
        rows: [row, column] of the replay buffer.
        indices: [update, batch] rows sampled.
        action_width: columns of an action.
        condition: [update, batch, condition].
        noise: [update, draw, batch, action].
        scale: [objective].
        weight: [update, batch, objective].
        direction: [update, batch, objective], or [0, 0, 0] without angles.
        origin: [objective].
    """

    rows: Array
    indices: NDArray[np.int64]
    action_width: int
    condition: Array
    noise: Array
    scale: Array
    weight: Array
    direction: Array
    origin: Array


def policy_batches(batches: SampledBatches, policy: int) -> PolicyBatches:
    """Return the sampled batches of one policy.

    Raises:
        ValueError: the batches have no weights, because the utility is not linear.
    """
    if batches.weight is None:
        raise ValueError("weight is None, but compiled updates support linear utilities only: use the eager backend")

    def array(tensor: Tensor) -> Array:
        found: Array = tensor[policy].contiguous().numpy()
        return found

    weight = array(batches.weight)
    scale = array(batches.scale)
    return PolicyBatches(
        rows=batches.rows[policy].numpy(),
        indices=batches.index[policy].contiguous().numpy(),
        action_width=batches.action_width,
        condition=array(batches.condition),
        noise=array(batches.noise),
        scale=scale,
        weight=weight,
        direction=weight[:0] if batches.direction is None else array(batches.direction),
        origin=scale if batches.origin is None else array(batches.origin),
    )


class GatheredBatch(NamedTuple):
    """The transitions of one batch.

    Attributes:
        inputs: [batch, observation + action]: s, a.
        next_inputs: [batch, observation + action]: s', and room for an action.
        rewards: [batch, objective] in units of the scale.
        discounts: [batch] of the values of s'.
    """

    inputs: Array
    next_inputs: Array
    rewards: Array
    discounts: Array


def gathered_batch(size: int, input_width: int, objectives: int, dtype: np.dtype[Any]) -> GatheredBatch:
    """Return room for a batch."""
    return GatheredBatch(
        inputs=np.zeros((size, input_width), dtype),
        next_inputs=np.zeros((size, input_width), dtype),
        rewards=np.zeros((size, objectives), dtype),
        discounts=np.zeros(size, dtype),
    )


@njit(cache=True, nogil=True)
def gather(team: ThreadTeam, batches: PolicyBatches, update: int, discount: float, batch: GatheredBatch) -> None:
    """Gather this member's rows of the batch of an update.

    Args:
        team: who partitions the rows.
        batches: of the policy.
        update: which of the batches.
        discount: gamma.
        batch: receives the transitions.
    """
    start, stop = partition(team, batch.inputs.shape[0])
    condition = batches.condition[update]
    scale = batches.scale
    objectives = scale.shape[0]
    total = batch.inputs.shape[1]
    conditions = condition.shape[1]
    state = total - batches.action_width
    width = state - conditions
    following = total - conditions + objectives
    for i in range(start, stop):
        row = batches.rows[batches.indices[update, i]]
        for j in range(width):
            batch.inputs[i, j] = row[j]
            batch.next_inputs[i, j] = row[following + j]
        for j in range(conditions):
            batch.inputs[i, width + j] = condition[i, j]
            batch.next_inputs[i, width + j] = condition[i, j]
        for j in range(total - state):
            batch.inputs[i, state + j] = row[width + j]
        for k in range(objectives):
            batch.rewards[i, k] = row[following - objectives + k] / scale[k]
        batch.discounts[i] = np.float32(discount) * (np.float32(1.0) - row[following + width])
