"""The gradient step of `morl.learning.ppo` by the compiled loops of `morl.learning.backends.numba.ppo_kernel`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.backends.numba.cache import have_compiled
from morl.learning.backends.numba.ppo_kernel import pass_back, pass_forward, surrogate_slopes

if TYPE_CHECKING:
    from morl.learning.ppo import PPO, PolicyLoss


class NumbaGradientStep:
    """The gradient step of a `PPO` as compiled loops; equal to its own to rounding."""

    backend = "numba"

    def __init__(self, ppo: "PPO") -> None:
        self.ppo = ppo
        self.buffers: dict[int, list[NDArray[np.float32]]] = {}

    def __call__(
        self, batch: Mapping[str, Tensor], learning_rates: Tensor, policy_loss: "PolicyLoss | None" = None
    ) -> Tensor:
        """Take one gradient step in place; return the probability ratios [policy, batch] before it."""
        network, optimizer, settings = self.ppo.network, self.ppo.optimizer, self.ppo.settings
        rows = self.ppo.parameters.detach().numpy()
        actor_widths, critic_widths = np.array(network.actor.widths), np.array(network.critic.widths)
        moments = (optimizer.first_moments.numpy(), optimizer.second_moments.numpy(), optimizer.steps.numpy())
        weights = (settings.value_weight, settings.entropy_weight, settings.value_clip_range, settings.max_grad_norm)
        rates = learning_rates.double().numpy()
        columns: dict[str, NDArray[Any]] = {name: column.numpy() for name, column in batch.items()}
        observations, actions = np.ascontiguousarray(columns["observation"]), columns["action"]
        size = observations.shape[1]
        new = size not in self.buffers
        if new:
            widest, units = int(max(*actor_widths, *critic_widths)), int(sum(actor_widths[1:-1]))
            shapes = (len(rows), 2, size * units), (len(rows), 2, size * widest), (rows.shape[1],)
            self.buffers[size] = [np.empty(shape, dtype=np.float32) for shape in shapes]
        hidden, outputs, gradient = self.buffers[size]
        masks = columns.get("mask")
        if masks is None:
            masks = np.ones((len(rows), size, int(actor_widths[-1]) if network.log_stds == 0 else 1), np.float32)
        given = (rows, actor_widths, critic_widths, network.log_stds, observations, actions)
        ratios = np.empty((len(rows), size), dtype=np.float32)
        forth = *given, masks, columns["log_probability"], hidden, outputs, ratios
        if new:
            have_compiled(pass_forward, *forth)
        pass_forward(*forth)
        slopes = np.empty_like(ratios)
        if policy_loss is None:
            surrogate_slopes(ratios, columns["advantage"], settings.clip_range, slopes)
        else:
            slopes = _slopes(ratios, batch, policy_loss)
        values = columns["value"], columns["target"]
        numbers = (*weights, optimizer.epsilon)
        back = *given, *values, hidden, outputs, ratios, slopes, numbers, moments, rates, gradient
        if new:
            have_compiled(pass_back, *back)
        pass_back(*back)
        return torch.from_numpy(ratios)


def _slopes(ratios: NDArray[np.float32], batch: Mapping[str, Tensor], policy_loss: "PolicyLoss") -> NDArray[np.float32]:
    """Return the gradient of the policy loss with respect to the ratios [policy, row]."""
    leaf = torch.from_numpy(ratios).requires_grad_()
    loss = policy_loss(leaf, batch).sum()
    if not loss.requires_grad:  # a loss that does not depend on the policy
        return np.zeros_like(ratios)
    (slopes,) = torch.autograd.grad(loss, leaf)
    found: NDArray[np.float32] = slopes.numpy()
    return found
