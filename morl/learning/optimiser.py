"""Adam over one flat parameter tensor [policy, n], and the soft update of a target network."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma & Ba 2015) with moments, step count and learning rate of its own for every policy.

    PyTorch's fused kernel, given each policy's row as a parameter of its own: a policy's update depends on nothing but
    its row, so training a population equals training its members. The functional form skips half of the time that
    `torch.optim.Adam` spends in Python.
    """

    def __init__(self, parameters: Tensor) -> None:
        self.parameters = parameters.detach()
        self.first_moments = torch.zeros_like(self.parameters)
        self.second_moments = torch.zeros_like(self.parameters)
        self.steps = torch.zeros(len(parameters), device=parameters.device)

    def step(self, gradient: Tensor, learning_rate: float | Sequence[float]) -> None:
        """Move the parameters along `gradient` [policy, n], in place, with one rate or one for each policy."""
        state = (self.parameters, gradient, self.first_moments, self.second_moments, self.steps)
        if isinstance(learning_rate, float):
            _fused_step([list(rows) for rows in state], learning_rate)
            return
        for policy, rate in enumerate(learning_rate):
            _fused_step([[rows[policy]] for rows in state], rate)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments and step counts."""
        return {name: getattr(self, name) for name in ("first_moments", "second_moments", "steps")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state that `state_dict` returned, in place."""
        for name, value in state.items():
            getattr(self, name).copy_(value)


def _fused_step(state: list[list[Tensor]], learning_rate: float) -> None:
    parameters, gradients, first_moments, second_moments, steps = state
    adam(
        parameters,
        gradients,
        first_moments,
        second_moments,
        max_exp_avg_sqs=[],
        state_steps=steps,
        fused=True,
        capturable=parameters[0].is_cuda,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=learning_rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )


@torch.no_grad()
def soft_update(target: Tensor, source: Tensor, rate: float) -> None:
    """Move the target network towards the source: target <- (1 - rate) target + rate source (Polyak averaging)."""
    target.lerp_(source, rate)
