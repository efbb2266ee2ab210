"""What the policies of a wave return while they learn: estimates that constraints are judged by."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.learning.rollouts import Experience

Array = NDArray[np.float64]


class ReturnEstimates:
    """Mean discounted returns of acting policies, from their latest episodes and from what updates have changed.

    Returns are those of the task without its time limit, as the critic knows them; `beyond` is what of them lies beyond
    the limit. An evaluation, and so a user's bound, knows `returns - beyond`.

    Args:
        returns: [policy, objective] what is known beforehand; it counts for nothing once an episode has begun.
    """

    def __init__(self, returns: Array) -> None:
        policies = len(returns)
        self.returns = returns
        self.episodes = np.zeros((policies, 1))  # that the returns rest on
        self.beyond_sums, self.ends = np.zeros(returns.shape), np.zeros((policies, 1))
        self.steps, self.completed = np.zeros(policies), np.zeros(policies)  # since the wave began

    @property
    def beyond(self) -> Array:
        """Return what of the returns lies beyond the time limit [policy, objective]; 0 until an episode has ended."""
        share: Array = np.divide(self.beyond_sums, self.ends, out=np.zeros_like(self.beyond_sums), where=self.ends > 0)
        return share

    def observe(self, experience: Experience, values: NDArray[Any], deviations: Array) -> None:
        """Take in the episodes that began; what was known before counts half as much with every update.

        Few episodes begin in each update, sometimes none, and a policy moves little.

        Args:
            experience: full.
            values: [policy, lane, objective] of where every lane is now, in the critic's units.
            deviations: [policy, objective] of rewards: the critic's units.
        """
        sums, counts = experience.begun_returns(values, deviations)
        before, after = 0.5 * self.episodes, 0.5 * self.episodes + counts[:, None]
        known = after > 0.0
        self.returns = np.where(known, (before * self.returns + sums) / np.where(known, after, 1.0), self.returns)
        self.episodes = after
        ended = experience.completed_episodes[:, None]
        kept = np.where(ended > 0, 0.5, 1.0)  # where none has ended, the latest is known no better than before
        self.beyond_sums = kept * self.beyond_sums + experience.beyond * deviations
        self.ends = kept * self.ends + ended
        self.steps = self.steps + experience.steps * experience.lanes
        self.completed = self.completed + experience.completed_episodes

    def lengths(self, lanes: int, discount: float) -> Array:
        """Return the mean discounted length [policy] of an episode; until each lane has ended one, of what is seen."""
        mean_length = self.steps / np.maximum(self.completed, lanes)
        lengths: Array = mean_length if discount == 1.0 else (1.0 - discount**mean_length) / (1.0 - discount)
        return lengths

    def carry(self, gains: Array) -> None:
        """Add what an update is expected to have gained [policy, objective]."""
        self.returns = self.returns + gains

    def state_dict(self) -> dict[str, Any]:
        """Return all that the estimates go on from."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        vars(self).update(state)
