"""Weights from the state of the returns: one function for every way to weigh objectives while policies learn.

The policy gradient of a utility u(J) of mean returns J is that of the weighted sum w.J with w = grad u(J). So linear
scalarization, Nash welfare, maximin, desirability, the multipliers of a Lagrangian and MO-TSIVR-PG's weights differ in
one function alone, a rule:

    weights, state = rule(estimates, state)

`estimates` says what is known of the returns before an update; `state` [policy, objective] is what a rule remembers
(multipliers), zeros for the rules that remember nothing. Which rule holds is the setting `weighting` of the on-policy
agents (docs/agents/return_weights.md); `Lagrangian` is C-MORL's primal-dual solver around any of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from morl import utilities
from morl.learning.types import WeightingName
from morl.pareto import hypervolume
from morl.protocols import FloatArray

RealArray: TypeAlias = NDArray[np.floating[Any]]
"""Numbers of any precision; weights have that of the preferences."""

SMALLEST_GAIN = 0.01
"""Least gain over the reference point, in deviations of the return, that Nash welfare and desirability are taken at:
below it their gradients grow without bound, or vanish."""
LARGEST_MULTIPLIER = 100.0
"""Of a Lagrangian."""


class ReturnEstimates(NamedTuple):
    """What is known of the policies' returns before an update.

    Attributes:
        preferences: [policy, objective] w that each policy was given.
        returns: [policy, objective] J, mean discounted returns.
        deviations: [policy, objective] sigma, of the discounted sums of rewards.
        advantage_deviations: [policy, objective] of the advantages of the rollout, in units of rewards.
        slacks: [policy, objective] of constraints, in deviations of the return; +inf without a constraint.
    """

    preferences: RealArray
    returns: RealArray
    deviations: RealArray
    advantage_deviations: RealArray
    slacks: FloatArray | None = None


WeightRule: TypeAlias = Callable[[ReturnEstimates, FloatArray], tuple[RealArray, FloatArray]]
"""(estimates, state [policy, objective]) -> weights [policy, objective] and the state after them."""

UtilityOfReturns: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(returns, preferences) [policy, objective] -> utilities [policy]."""


def utility_gradient(utility: UtilityOfReturns, returns: RealArray, preferences: RealArray) -> RealArray:
    """Return grad u(J) [policy, objective], in the precision of the returns.

    Args:
        utility: u, of the mean returns.
        returns: [policy, objective] J.
        preferences: [policy, objective] w.
    """
    leaf = torch.tensor(returns, requires_grad=True)
    (gradient,) = torch.autograd.grad(utility(leaf, torch.as_tensor(preferences)).sum(), leaf)
    found: RealArray = gradient.numpy()
    return found


# --- Rules ------------------------------------------------------------------------------------------------------------


def preference(estimates: ReturnEstimates, state: FloatArray) -> tuple[RealArray, FloatArray]:
    """Return w: linear scalarization."""
    return estimates.preferences, np.zeros_like(state)


def of_utility(
    utility: UtilityOfReturns, estimates: ReturnEstimates, state: FloatArray
) -> tuple[RealArray, FloatArray]:
    """Return grad u(J): the policy gradient of the utility of the mean returns (Zhang et al. 2020, arXiv 2007.02151).

    Args:
        utility: u.
        estimates: of the returns.
        state: not read.
    """
    return utility_gradient(utility, estimates.returns, estimates.preferences), np.zeros_like(state)


def nash(reference: FloatArray, estimates: ReturnEstimates, state: FloatArray) -> tuple[RealArray, FloatArray]:
    """Return w_k / (J_k - d_k): the gradient of weighted Nash welfare, sum_k w_k log(J_k - d_k) (`utilities.nash`).

    Args:
        reference: [objective] d, returns without agreement.
        estimates: of the returns; gains below `SMALLEST_GAIN` count as that.
        state: not read.
    """
    point = torch.as_tensor(reference)
    gains = np.maximum(estimates.returns - reference, SMALLEST_GAIN * estimates.deviations)

    def welfare(returns: torch.Tensor, preferences: torch.Tensor) -> torch.Tensor:
        return utilities.nash(returns, preferences, point)

    weights = utility_gradient(welfare, reference + gains, estimates.preferences)
    return weights, np.zeros_like(state)


def maximin(reference: FloatArray, estimates: ReturnEstimates, state: FloatArray) -> tuple[RealArray, FloatArray]:
    """Return the gradient of min_k (J_k - d_k) / w_k: all weight is on the objective that lags (`utilities.maximin`).

    Args:
        reference: [objective] d.
        estimates: of the returns.
        state: not read.
    """
    point = torch.as_tensor(reference)

    def worst(returns: torch.Tensor, preferences: torch.Tensor) -> torch.Tensor:
        return utilities.maximin(returns, preferences, point)

    return utility_gradient(worst, estimates.returns, estimates.preferences), np.zeros_like(state)


def desirability(reference: FloatArray, estimates: ReturnEstimates, state: FloatArray) -> tuple[RealArray, FloatArray]:
    """Return the gradient of the weighted geometric mean of the shares (J_k - d_k) / (z_k - d_k) of what is possible.

    z is the best return of the population so far as `estimates` say (`utilities.desirability`).

    Args:
        reference: [objective] d, of no use.
        estimates: of the returns; gains below `SMALLEST_GAIN` count as that.
        state: not read.
    """
    gains = np.maximum(estimates.returns - reference, SMALLEST_GAIN * estimates.deviations)
    best = torch.as_tensor(gains.max(axis=0) + 1e-12)

    def shares(returns: torch.Tensor, preferences: torch.Tensor) -> torch.Tensor:
        return utilities.desirability(returns, preferences, best)

    return utility_gradient(shares, gains, estimates.preferences), np.zeros_like(state)


def normalized(estimates: ReturnEstimates, state: FloatArray) -> tuple[RealArray, FloatArray]:
    """Return w_k / std(A_k): the advantages of every objective are normalized before they are weighed.

    As in group relative policy optimization with several rewards: an objective whose rewards vary little weighs as much
    as others. Source: Shao et al. 2024 (arXiv 2402.03300) for one reward, here for each objective.

    Args:
        estimates: with the deviations of the advantages.
        state: not read.
    """
    weights = estimates.preferences / np.maximum(estimates.advantage_deviations, 1e-8)
    return weights.astype(estimates.preferences.dtype), np.zeros_like(state)


def hypervolume_guided(
    reference: FloatArray, estimates: ReturnEstimates, state: FloatArray
) -> tuple[RealArray, FloatArray]:
    """Return the gradient of the population's hypervolume with respect to each policy's returns, of sum 1.

    Policies that add nothing to the hypervolume keep their preferences. After Lu et al. 2025 (arXiv 2509.11452), who
    scale the reward of one policy by what its returns add to the hypervolume; a common factor of all objectives has no
    effect where advantages are standardized, so that here the hypervolume decides between the objectives.

    Args:
        reference: [objective] from which the hypervolume is measured.
        estimates: of the returns; objectives that no policy prefers do not count.
        state: not read.
    """
    counted = np.flatnonzero((estimates.preferences > 0).any(axis=0))
    points = estimates.returns[:, counted].astype(np.float64)
    corner = reference[counted]
    volume = hypervolume(points, corner)
    steps = 1e-6 * np.maximum(np.abs(points - corner).max(axis=0), 1e-9)
    gradient = np.zeros(estimates.preferences.shape)
    for policy in range(len(points)):
        for column, objective in enumerate(counted):
            moved = points.copy()
            moved[policy, column] += steps[column]
            gain = hypervolume(moved, corner) - volume
            if gain > 1e-12 * volume:  # below, it is rounding
                gradient[policy, objective] = gain / steps[column]
    totals = gradient.sum(axis=1, keepdims=True)
    weights = np.where(totals > 0, gradient / np.where(totals > 0, totals, 1.0), estimates.preferences)
    return weights.astype(estimates.preferences.dtype), np.zeros_like(state)


@dataclass(frozen=True)
class Lagrangian:
    """Constraints as weights: the multipliers of dual ascent beside the weights of a target (Ray et al. 2019).

    lambda_j <- clip(lambda_j - rate x_j, 0, 100) with the slack x_j; then w_k / S + lambda_j / sigma_j, with the scale
    S = sum_k w_k sigma_k of the target. An upper bound changes the sign of its objective.

    Attributes:
        target: rule of what is maximized.
        signs: [objective] -1 for an upper bound, else 1.
        rate: step size of dual ascent, per deviation of the return.
    """

    target: WeightRule
    signs: FloatArray
    rate: float

    def __call__(self, estimates: ReturnEstimates, state: FloatArray) -> tuple[RealArray, FloatArray]:
        """Return the weights of the Lagrangian, and its multipliers [policy, objective].

        Args:
            estimates: with slacks.
            state: [policy, objective] multipliers of the latest update.
        """
        assert estimates.slacks is not None
        weights, _ = self.target(estimates, state)
        multipliers = dual_ascent_step(state, estimates.slacks, self.rate)
        if multipliers.any():
            weights = lagrangian_weights(weights, multipliers, self.signs, estimates.deviations)
        return weights, multipliers


def dual_ascent_step(multipliers: FloatArray, slacks: FloatArray, rate: float) -> FloatArray:
    """Return the multipliers clip(lambda_j - rate x_j, 0, 100) after one step of dual ascent; 0 without a constraint.

    Args:
        multipliers: [policy, objective] lambda.
        slacks: [policy, objective] x; +inf without a constraint.
        rate: step size.
    """
    steps = np.where(np.isfinite(slacks), rate * slacks, np.inf)
    raised: FloatArray = np.clip(multipliers - steps, 0.0, LARGEST_MULTIPLIER)
    return raised


def lagrangian_weights(
    weights: RealArray, multipliers: FloatArray, signs: FloatArray, deviations: RealArray
) -> RealArray:
    """Return the weights [policy, objective] of the Lagrangian's advantage, of rewards in their own units.

    It is sum_k w_k A_k / S + sum_j lambda_j A_j / sigma_j with the scale S = sum_k w_k sigma_k of the target.

    Args:
        weights: [policy, objective] w.
        multipliers: [policy, objective] lambda.
        signs: [objective] -1 for an upper bound, else 1.
        deviations: [policy, objective] sigma.
    """
    scale = (weights * deviations).sum(axis=1, keepdims=True)
    mixed: RealArray = weights / np.maximum(scale, 1e-8) + signs * multipliers / deviations
    return mixed


# --- The choice -------------------------------------------------------------------------------------------------------

_OF_REFERENCE: Mapping[str, Callable[[FloatArray, ReturnEstimates, FloatArray], tuple[RealArray, FloatArray]]] = {
    "nash": nash,
    "maximin": maximin,
    "desirability": desirability,
    "hypervolume": hypervolume_guided,
}
_RULES: Mapping[str, WeightRule] = {"preference": preference, "normalized": normalized}


def weight_rule(name: str, reference: tuple[float, ...] | None) -> WeightRule:
    """Return a rule by its name.

    Args:
        name: of `WeightingName`.
        reference: [objective] reference point of the environment, in the agent's units; None: not known.

    Raises:
        ValueError: there is no such rule, or it needs a reference point and there is none.
    """
    if name in _RULES:
        return _RULES[name]
    if name not in _OF_REFERENCE:
        raise ValueError(f"weighting is {name!r}, but must be one of {', '.join(get_args(WeightingName))}")
    if reference is None:
        raise ValueError(
            f"weighting is {name!r}, but the environment has no reference point to measure returns from: register it"
            " with reference_point, or take 'preference' or 'normalized'"
        )
    return partial(_OF_REFERENCE[name], np.array(reference, dtype=np.float64))
