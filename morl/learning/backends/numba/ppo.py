"""Executes the gradient step of `morl.learning.ppo` by the compiled loops of `ppo_kernel`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from morl.learning.backends.numba.cache import compile_in_subprocess
from morl.learning.backends.numba.gemm import Array
from morl.learning.backends.numba.mlp import Moments
from morl.learning.backends.numba.ppo_kernel import (
    ActorCriticShape,
    Minibatch,
    PPOKernelConfig,
    PPOOptimizer,
    PPOWorkspace,
    ppo_backward,
    ppo_forward,
    surrogate_gradient,
)
from morl.learning.ppo import PPO, PolicyLoss


class NumbaGradientStep:
    """Executes the gradient step of a `PPO`, in place; equal to its own to rounding.

    Args:
        ppo: whose parameters change.
    """

    backend = "numba"

    def __init__(self, ppo: PPO) -> None:
        self.ppo = ppo
        self.parameters: Array = ppo.parameters.detach().numpy()
        self.shape = ActorCriticShape(
            actor_widths=np.array(ppo.network.actor.widths),
            critic_widths=np.array(ppo.network.critic.widths),
            log_stds=ppo.network.log_stds,
        )
        self.config = PPOKernelConfig(
            value_weight=float(ppo.settings.value_weight),
            entropy_weight=float(ppo.settings.entropy_weight),
            value_clip_range=float(ppo.settings.value_clip_range),
            max_grad_norm=float(ppo.settings.max_grad_norm),
            epsilon=ppo.optimizer.epsilon,
        )
        self.workspaces: dict[int, PPOWorkspace] = {}

    def __call__(
        self, batch: Mapping[str, Tensor], learning_rates: Tensor, policy_loss: PolicyLoss | None = None
    ) -> Tensor:
        """Run one gradient step in place; return the probability ratios [policy, batch] before it."""
        samples = self._minibatch(batch)
        size = samples.observation.shape[1]
        new = size not in self.workspaces
        if new:
            self.workspaces[size] = self._workspace(size)
        workspace = self.workspaces[size]
        if new:
            compile_in_subprocess(ppo_forward, self.parameters, self.shape, samples, workspace)
        ppo_forward(self.parameters, self.shape, samples, workspace)
        ratios = torch.from_numpy(workspace.ratios.copy())
        if policy_loss is None:
            advantages = batch["advantage"].numpy()
            surrogate_gradient(workspace.ratios, advantages, self.ppo.settings.clip_range, workspace.ratio_gradient)
        else:
            workspace.ratio_gradient[:] = _ratio_gradient(ratios, batch, policy_loss)
        optimizer = self._optimizer(learning_rates)
        if new:
            compile_in_subprocess(ppo_backward, self.parameters, self.shape, samples, workspace, self.config, optimizer)
        ppo_backward(self.parameters, self.shape, samples, workspace, self.config, optimizer)
        return ratios

    def _minibatch(self, batch: Mapping[str, Tensor]) -> Minibatch:
        """Return a minibatch as compiled loops take it."""
        policies, size, _ = batch["observation"].shape
        choices = int(self.shape.actor_widths[-1]) if self.shape.log_stds == 0 else 1
        mask = batch["mask"].numpy() if "mask" in batch else np.ones((policies, size, choices), np.float32)
        return Minibatch(
            observation=np.ascontiguousarray(batch["observation"].numpy()),
            action=batch["action"].numpy(),
            mask=mask,
            log_probability=batch["log_probability"].numpy(),
            value=batch["value"].numpy(),
            target=batch["target"].numpy(),
        )

    def _workspace(self, size: int) -> PPOWorkspace:
        """Return buffers for minibatches of this size."""
        policies, parameters = self.parameters.shape
        units = int(max(self.shape.actor_widths[1:-1].sum(), self.shape.critic_widths[1:-1].sum()))
        widest = int(max(self.shape.actor_widths.max(), self.shape.critic_widths.max()))
        dtype = self.parameters.dtype
        return PPOWorkspace(
            hidden=np.empty((policies, 2, size * units), dtype),
            outputs=np.empty((policies, 2, size * widest), dtype),
            ratios=np.empty((policies, size), dtype),
            ratio_gradient=np.empty((policies, size), dtype),
            gradient=np.empty(parameters, dtype),
        )

    def _optimizer(self, learning_rates: Tensor) -> PPOOptimizer:
        optimizer = self.ppo.optimizer
        return PPOOptimizer(
            moments=Moments(optimizer.first_moments.numpy(), optimizer.second_moments.numpy()),
            steps=optimizer.steps.numpy(),
            learning_rates=learning_rates.double().numpy(),
        )


def _ratio_gradient(ratios: Tensor, batch: Mapping[str, Tensor], policy_loss: PolicyLoss) -> Array:
    """Return the gradient of the policy loss with respect to the ratios [policy, row]."""
    leaf = ratios.clone().requires_grad_()
    loss = policy_loss(leaf, batch).sum()
    if not loss.requires_grad:  # a loss that does not depend on the policy
        return np.zeros_like(ratios.numpy())
    (gradient,) = torch.autograd.grad(loss, leaf)
    found: Array = gradient.numpy()
    return found
