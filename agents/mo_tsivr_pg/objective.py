"""The utility f(J) of the expected returns that MO-TSIVR-PG ascends, and the two of its paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from morl import utilities
from morl.learning.return_weights import ReturnEstimates, UtilityOfReturns, WeightRule, nash, of_utility, preference
from morl.learning.scalarization import check_utility
from morl.protocols import FloatArray, Problem

if TYPE_CHECKING:
    from morl.agents.mo_tsivr_pg.config import Config

HORIZON = 500
"""H of the queues: steps of an episode."""
NEED_REFERENCE: Mapping[str, utilities.Utility] = {"nash": utilities.nash, "maximin": utilities.maximin}
"""Utilities that measure returns from a reference point instead of the ideal one."""


@dataclass(frozen=True)
class Objective:
    """A utility of the expected returns, and the rule of its gradient.

    Attributes:
        value: f(J; w) [policy] of returns and preferences [policy, objective].
        weights: the rule of grad f(J; w) (`morl.learning.return_weights`).
    """

    value: UtilityOfReturns
    weights: WeightRule

    def gradient(self, returns: FloatArray, preferences: FloatArray, deviations: FloatArray) -> FloatArray:
        """Return grad f(J; w) [policy, objective].

        Args:
            returns: [policy, objective] J.
            preferences: [policy, objective] w.
            deviations: [policy, objective] of the returns of episodes.
        """
        estimates = ReturnEstimates(preferences, returns, deviations, advantage_deviations=deviations)
        weights, _ = self.weights(estimates, np.zeros(returns.shape))
        return weights.astype(np.float64)


def find_objective(config: "Config", problem: Problem) -> Objective:
    """Return the utility that the settings name.

    Args:
        config: settings.
        problem: the environment.

    Raises:
        ValueError: there is no such utility, it has no gradient, or the point that it measures returns from is missing
            or of the wrong length.
    """
    name = config.utility
    if name == "linear":
        return Objective(utilities.linear, preference)
    function = NEED_REFERENCE[name] if name in NEED_REFERENCE else utilities.find_utility(name)
    if ":" in name:
        check_utility(name, function, problem.num_objectives)
    point = _point(config, problem)
    tensor = torch.as_tensor(point)

    def value(returns: Tensor, preferences: Tensor) -> Tensor:
        found: Tensor = function(returns, preferences, tensor)
        return found

    if name == "nash":  # its gradient grows without bound at the reference point
        return Objective(value, lambda estimates, state: nash(point, estimates, state))
    return Objective(value, lambda estimates, state: of_utility(value, estimates, state))


def _point(config: "Config", problem: Problem) -> FloatArray:
    """Return the third argument of the utility [objective], in the agent's units."""
    if config.ideal is not None:
        if len(config.ideal) != problem.num_objectives:
            raise ValueError(f"ideal is {config.ideal}, but must have {problem.num_objectives} numbers")
        return np.array(config.ideal) / (1.0 if problem.units is None else np.array(problem.units))
    if config.utility in NEED_REFERENCE and problem.reference_point is not None:
        return np.array(problem.reference_point, dtype=np.float64)
    if ":" in config.utility:  # the user's own may not need it
        return np.zeros(problem.num_objectives)
    raise ValueError(f"ideal is None, but utility is {config.utility!r}: give the point that it measures returns from")


def return_deviations(rewards: FloatArray, factors: FloatArray) -> FloatArray:
    """Return the standard deviations [policy, objective] of the episodes' discounted returns.

    Args:
        rewards: [policy, episode, step, objective].
        factors: [step] gamma^t.
    """
    returns = (factors[:, None] * rewards).sum(axis=2)
    deviations: FloatArray = returns.std(axis=1)
    return deviations


# --- The utilities of the paper's experiments -------------------------------------------------------------------------


def queues(returns: Tensor, preferences: Tensor, ideal: Tensor) -> Tensor:  # noqa: ARG001
    """Return -sum_k H / (J_k + 1): serve every queue (MO-TSIVR-PG's utility of the server queues).

    Args:
        returns: [..., objective] J, customers served in each queue; below 0 they count as 0.
        preferences: not read.
        ideal: not read.
    """
    return -(HORIZON / (returns.clip(0.0) + 1.0)).sum(-1)


def sea(returns: Tensor, preferences: Tensor, ideal: Tensor) -> Tensor:  # noqa: ARG001
    """Return sqrt(J_0 + 1) + sqrt(101 + J_1): treasure against time (MO-TSIVR-PG's utility of the deep sea).

    The paper projects J to at most 23.7 and at least -100 first.

    Args:
        returns: [..., 2] treasure and minus time.
        preferences: not read.
        ideal: not read.
    """
    treasure = returns[..., 0].clip(0.0, 23.7)
    time = returns[..., 1].clip(-100.0, 0.0)
    return (treasure + 1.0) ** 0.5 + (101.0 + time) ** 0.5
