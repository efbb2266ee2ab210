"""Adam over one flat parameter tensor [policy, n], and the soft update of a target network."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Adam:
    """Adam (Kingma & Ba 2015) with moments, step count and learning rate of its own for every policy.

    PyTorch's fused Adam, given each policy's row as a parameter of its own: a policy's update depends on nothing but
    its row, so training a population equals training its members.
    """

    def __init__(self, parameters: Tensor) -> None:
        self.rows = list(parameters.detach())
        groups = [{"params": [row]} for row in self.rows]
        self.optimiser = torch.optim.Adam(groups, fused=True, capturable=parameters.is_cuda)

    def step(self, gradient: Tensor, learning_rate: float | Sequence[float]) -> None:
        """Move the parameters along `gradient` [policy, n], in place, with one rate or one for each policy."""
        rates = [learning_rate] * len(self.rows) if isinstance(learning_rate, float) else learning_rate
        for group, row, row_gradient, rate in zip(self.optimiser.param_groups, self.rows, gradient, rates, strict=True):
            group["lr"] = rate
            row.grad = row_gradient
        self.optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the moments and step counts."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.optimiser.load_state_dict(state)


@torch.no_grad()
def soft_update(target: Tensor, source: Tensor, rate: float) -> None:
    """Move the target network towards the source: target <- (1 - rate) target + rate source (Polyak averaging)."""
    target.lerp_(source, rate)
