"""The estimators of MO-TSIVR-PG: returns, importance weights and policy gradients of whole trajectories.

Shapes are [policy, episode, step, ...]; behind the end of an episode, rewards and log-probabilities are 0.
"""

import torch
from torch import Tensor


def importance_weights(old: Tensor, new: Tensor) -> Tensor:
    """Return omega_t = prod_{s <= t} pi_old(a_s | s_s) / pi_new(a_s | s_s) [policy, episode, step].

    Trajectories of the new policy, weighted by omega, have the distribution of the old one.

    Args:
        old: [policy, episode, step] log-probabilities of the actions under the old policy, theta_{j-1}.
        new: [policy, episode, step] the same under the policy that acted, theta_j.
    """
    return (old - new).cumsum(dim=2).clamp(max=50.0).exp()


def discounts(rewards: Tensor, discount: float) -> Tensor:
    """Return gamma^t [step].

    Args:
        rewards: [policy, episode, step, objective], for their length, type and device.
        discount: gamma.
    """
    steps = torch.arange(rewards.shape[2], device=rewards.device)
    return torch.full_like(steps, discount, dtype=rewards.dtype) ** steps


def mean_returns(rewards: Tensor, factors: Tensor) -> Tensor:
    """Return the estimate of J, mean_i sum_t gamma^t omega_t r_t [policy, objective].

    Args:
        rewards: [policy, episode, step, objective] r.
        factors: gamma^t, or gamma^t omega_t, broadcast to [policy, episode, step].
    """
    return (factors.unsqueeze(-1) * rewards).sum(dim=2).mean(dim=1)


def remaining_returns(rewards: Tensor, factors: Tensor) -> Tensor:
    """Return sum_{t >= s} gamma^t r_t of every step s [policy, episode, step, objective].

    Args:
        rewards: [policy, episode, step, objective] r.
        factors: [step] gamma^t.
    """
    return (factors.unsqueeze(-1) * rewards).flip(2).cumsum(dim=2).flip(2)


def without_own(values: Tensor) -> Tensor:
    """Return the mean over all other episodes [policy, episode, ...]: a baseline that does not depend on the own one.

    Args:
        values: [policy, episode, ...]; of a single episode there is no mean of others, which counts as 0.
    """
    count = values.shape[1]
    return (values.sum(dim=1, keepdim=True) - values) / max(count - 1, 1)


def policy_gradient(
    parameters: Tensor, log_probabilities: Tensor, utilities: Tensor, baselines: Tensor | None = None
) -> Tensor:
    """Return mean_i sum_s (sum_{t >= s} u_t - b_s) grad log pi(a_s | s_s) [policy, n]: REINFORCE with rewards to go.

    Args:
        parameters: [policy, n] of the policies, leaf of `log_probabilities`.
        log_probabilities: [policy, episode, step] of the actions.
        utilities: [policy, episode, step] u_t = gamma^t omega_t sum_k w_k r_tk, without a gradient.
        baselines: [policy, episode, step] omega_s times what step s is expected to bring, whatever the action; it
            changes no mean. None: 0.
    """
    to_go = utilities.flip(2).cumsum(dim=2).flip(2)
    if baselines is not None:
        to_go = to_go - baselines
    surrogate = (to_go * log_probabilities).sum(dim=2).mean(dim=1)
    return torch.autograd.grad(surrogate.sum(), parameters)[0]


def truncate(step: Tensor, largest: float) -> Tensor:
    """Return a step [policy, n], every row shortened to the norm `largest` where it is longer.

    The norm of a step whose squares overflow is infinite, and is not that of a step of length zero.
    """
    norms = torch.linalg.vector_norm(step.double(), dim=1, keepdim=True)
    shortened: Tensor = step * (largest / norms.clamp(min=largest)).to(step.dtype)
    return shortened
