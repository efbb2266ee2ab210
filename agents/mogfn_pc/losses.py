"""The losses of generative flow networks over whole trajectories, and the rewards that they sample in proportion to.

A trajectory builds an object x step by step and stops. P_F is the policy, P_B the chance of the trajectory given x, Z
the sum of the rewards of all objects: a perfect sampler has Z P_F(trajectory) = R(x) P_B(trajectory) everywhere.
"""

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from morl.agents.mogfn_pc.config import Scalarization

SMALLEST = 1e-30
"""An ideal return below this counts as this, until something is paid."""


class Conditions(NamedTuple):
    """What the episodes of a batch are sampled under."""

    preferences: Tensor
    """[episode, objective] w."""
    exponents: Tensor
    """[episode] beta."""


def trajectory_balance(log_z: Tensor, log_forward: Tensor, log_backward: Tensor, log_reward: Tensor) -> Tensor:
    """Return (log Z + sum log P_F - log R - sum log P_B)^2 [episode] (Malkin et al. 2022).

    Args:
        log_z: [episode] log Z of the episode's condition.
        log_forward: [episode] sum over steps of log P_F.
        log_backward: [episode] sum over steps of log P_B.
        log_reward: [episode] log R of the object.
    """
    return (log_z + log_forward - log_reward - log_backward).square()


def order_preserving(log_forward: Tensor, log_backward: Tensor, best: Tensor) -> Tensor:
    """Return the cross-entropy, a scalar, between "any of the best" and the learned rewards of a batch.

    The learned reward of an object is what balances its trajectory, log R' = log Z + sum log P_F - sum log P_B (Chen
    and Mauch 2024). The loss is -mean_{x best} log softmax(log R')_x: all of the best get the same share. Z cancels.

    Args:
        log_forward: [episode] sum over steps of log P_F.
        log_backward: [episode] sum over steps of log P_B.
        best: [episode] bools, true for the non-dominated objects of the batch; at least one.
    """
    log_share = (log_forward - log_backward).log_softmax(dim=0)
    return -log_share[best].mean()


def uniform_log_backward(parents: Tensor, valid: Tensor) -> Tensor:
    """Return sum_t log P_B(s_{t-1} | s_t) [episode], for a P_B that takes each parent of a state with equal chance.

    Args:
        parents: [episode, step] number of parents of the state before each step; 0 at the start.
        valid: [episode, step] 1, behind the end of an episode 0.
    """
    return -(parents.clamp(min=1.0).log() * valid).sum(dim=1)


def log_reward(conditions: Conditions, returns: Tensor, ideal: Tensor, rule: "Scalarization", span: float) -> Tensor:
    """Return log R(x | w, beta) - log R(ideal | w, beta) [episode], at least -span.

    R is (sum_k w_k r_k)^beta, with weighted-log-sum (prod_k r_k^w_k)^beta (Jain et al. 2023). Dividing it by that of
    the ideal point divides Z: the distribution of the objects stays the same, whatever the units of the returns.

    Args:
        conditions: w and beta of each episode.
        returns: [episode, objective] r, above the reference point.
        ideal: [objective] the largest returns so far.
        rule: the name of the scalarization.
        span: how far below the ideal point's a log R counts; what pays nothing would be at minus infinity.
    """
    best = _log_scalarized(conditions.preferences, ideal.clamp(min=SMALLEST), rule)
    found = _log_scalarized(conditions.preferences, returns.clamp(min=0.0), rule)
    return (conditions.exponents * (found - best)).clamp(min=-span)


def _log_scalarized(preferences: Tensor, returns: Tensor, rule: "Scalarization") -> Tensor:
    """Return the logarithm [episode] of the scalarized returns [..., objective]; they must not be negative."""
    if rule == "weighted-sum":
        return (preferences * returns).sum(dim=1).log()
    return preferences.xlogy(returns).sum(dim=1)
