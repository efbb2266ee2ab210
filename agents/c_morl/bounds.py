"""The user's bounds: multipliers keep them in both stages, whichever solver extends.

Bounds are on returns of the deterministic policies, which are reported. Exploring changes returns, often by more than a
bound leaves: force that is only noise costs as much as force that is meant. So bounds are not judged by rollouts.
Snapshots are evaluated anyway; multipliers follow the returns that were measured there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from morl.agents.c_morl.constraints import SMALLEST_DEVIATION, Constraint
from morl.learning.return_weights import RealArray, lagrangian_weights
from morl.protocols import BoolArray, FloatArray, StateDict

FIRST_MULTIPLIER = 1.0
"""Of a bound at first: it counts as much as the target."""
SMALLEST_MULTIPLIER = 1e-3
"""Of a bound that is far away: next to nothing beside the target's weight of 1, but soon large again."""
LARGEST_MULTIPLIER = 1e3
ASCENT_RATE = 0.2
"""Change of the logarithm of a multiplier, per slack and update."""
MOST_EPISODES = 64
"""Of the measurement of a snapshot."""


class Bounds(NamedTuple):
    """The user's constraints as arrays over all objectives."""

    signs: FloatArray
    """[objective] -1 for an upper bound, else 1."""
    thresholds: FloatArray
    """[objective] bounds of signs * G; -inf where there is none."""
    units: FloatArray
    """[objective] units of the bounds; 1 where there is none."""

    @property
    def constrained(self) -> BoolArray:
        """Return a mask [objective] of the objectives that the user bounds."""
        return np.isfinite(self.thresholds)

    def slacks(self, returns: FloatArray, deviations: FloatArray) -> FloatArray:
        """Return slacks x [policy, objective], at most 1 in size; 0 without a bound or for NaN returns.

        Their unit is that of the bound, or the deviation where that is less: policies whose returns vary by less than
        the size of a bound must be led to it all the same.

        Args:
            returns: [policy, objective] of the policies as they are reported; NaN: not measured yet.
            deviations: [policy, objective] sigma.
        """
        bounds = np.where(self.constrained, self.thresholds, 0.0)
        units = np.minimum(self.units, deviations)
        slacks = np.nan_to_num((self.signs * returns - bounds) / units, posinf=1.0, neginf=-1.0)
        return np.where(self.constrained, np.clip(slacks, -1.0, 1.0), 0.0)

    def weights(
        self, weights: RealArray, multipliers: FloatArray, slacks: FloatArray, deviations: FloatArray
    ) -> RealArray:
        """Return the weights [policy, objective] of what is maximized under the bounds.

        They are w_k / S + lambda_j exp(-x_j) / sigma_j, S = sum_k w_k sigma_k. The factor exp(-x) answers at once to a
        slack x, which damps the oscillation of multipliers alone (proportional control: Stooke, Achiam and Abbeel
        2020).

        Args:
            weights: [policy, objective] w of the target.
            multipliers: [policy, objective] lambda.
            slacks: [policy, objective] x.
            deviations: [policy, objective] sigma; what does not move is no constraint.
        """
        if not self.constrained.any():
            return weights
        moving = self.constrained & (deviations > SMALLEST_DEVIATION)
        answering = np.where(moving, multipliers * np.exp(-slacks), 0.0)
        return lagrangian_weights(weights, answering, self.signs, deviations)


def bounds_of(constraints: Sequence[Constraint], num_objectives: int) -> Bounds:
    """Return the constraints as arrays over all objectives.

    Args:
        constraints: bounds on single objectives.
        num_objectives: length of the arrays.
    """
    bounds = Bounds(np.ones(num_objectives), np.full(num_objectives, -np.inf), np.ones(num_objectives))
    for each in constraints:
        bounds.signs[each.objective] = each.sign
        bounds.thresholds[each.objective] = each.sign * each.bound
        bounds.units[each.objective] = each.unit
    return bounds


def ascent_step(multipliers: FloatArray, slacks: FloatArray) -> FloatArray:
    """Return multipliers lambda exp(-rate x) after one step of dual ascent in their logarithm.

    How much a target gains from breaking a bound is known to no order of magnitude, and steps in the logarithm reach
    every order equally soon.

    Args:
        multipliers: [policy, objective] lambda.
        slacks: [policy, objective] x.
    """
    raised: FloatArray = np.clip(multipliers * np.exp(-ASCENT_RATE * slacks), SMALLEST_MULTIPLIER, LARGEST_MULTIPLIER)
    return raised


class BoundMultipliers:
    """The multipliers of the user's bounds for the policies of a stage, and the measurements that they follow.

    Attributes:
        bounds: the bounds.
        multipliers: [policy, objective] lambda.
        returns: [policy, objective] of the policies at their latest measurement; NaN before it.
        slacks: [policy, objective] x of the latest update.
        updates: updates since the latest measurement.

    Args:
        bounds: the bounds.
        num_policies: number of policies.
    """

    def __init__(self, bounds: Bounds, num_policies: int) -> None:
        shape = (num_policies, len(bounds.signs))
        self.bounds = bounds
        self.multipliers: FloatArray = np.full(shape, FIRST_MULTIPLIER)
        self.returns: FloatArray = np.full(shape, np.nan)
        self.slacks: FloatArray = np.zeros(shape)
        self.updates = 0

    def measure(self, returns: FloatArray) -> None:
        """Note the returns [policy, objective] of the policies as they are now, measured without exploration."""
        self.returns = returns
        self.updates = 0

    def step(self, weights: RealArray, deviations: FloatArray) -> RealArray:
        """Take a step of dual ascent; return the weights [policy, objective] of what is maximized in this update.

        Args:
            weights: [policy, objective] w of the target.
            deviations: [policy, objective] sigma.
        """
        self.slacks = self.bounds.slacks(self.returns, deviations)
        self.multipliers = ascent_step(self.multipliers, self.slacks)
        self.updates += 1
        return self.bounds.weights(weights, self.multipliers, self.slacks, deviations)

    def episodes(self, least: int, samples_per_update: int, mean_length: float) -> int:
        """Return the number of episodes of a measurement: with bounds as many as fit into the steps of one update.

        Args:
            least: episodes without bounds.
            samples_per_update: steps of each policy between two updates.
            mean_length: of an episode, in steps.
        """
        if not self.bounds.constrained.any():
            return least
        return max(least, min(int(samples_per_update / mean_length), MOST_EPISODES))

    def is_due(self, least: int, samples_per_update: int, mean_length: float) -> bool:
        """Return whether a measurement would take no more steps than training since the latest; not without bounds.

        Args:
            least: episodes without bounds.
            samples_per_update: steps of each policy between two updates.
            mean_length: of an episode, in steps.
        """
        steps = self.episodes(least, samples_per_update, mean_length) * mean_length
        return bool(self.bounds.constrained.any() and self.updates * samples_per_update >= steps)

    def metrics(self) -> dict[str, float]:
        """Return the smallest slack and the largest multiplier; nothing without bounds."""
        bounded = self.bounds.constrained
        if not bounded.any():
            return {}
        return {
            "bound_slack": float(self.slacks[:, bounded].min()),
            "bound_multiplier": float(self.multipliers[:, bounded].max()),
        }

    _STATE = ("multipliers", "returns", "slacks", "updates")

    def state_dict(self) -> dict[str, NDArray[np.generic] | int]:
        """Return multipliers and measurements."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for as many policies."""
        for name in self._STATE:
            setattr(self, name, state[name])
