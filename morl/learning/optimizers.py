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

    def __init__(self, parameters: Tensor, epsilon: float = 1e-8) -> None:
        self.parameters = parameters.detach()
        self.epsilon = epsilon
        self.first_moments = torch.zeros_like(self.parameters)
        self.second_moments = torch.zeros_like(self.parameters)
        self.steps = torch.zeros(len(parameters), device=parameters.device)

    def step(self, gradient: Tensor, learning_rate: float | Sequence[float] | Tensor) -> None:
        """Move the parameters along `gradient` [policy, n], in place, with one rate or one for each policy.

        Rates in a tensor [policy] make it one batched operation for all policies, without the fused kernel.
        """
        if isinstance(learning_rate, Tensor):
            self._batched_step(gradient, learning_rate)
            return
        state = (self.parameters, gradient, self.first_moments, self.second_moments, self.steps)
        if isinstance(learning_rate, float):
            _fused_step([list(rows) for rows in state], learning_rate, self.epsilon)
            return
        for policy, rate in enumerate(learning_rate):
            _fused_step([[rows[policy]] for rows in state], rate, self.epsilon)

    def _batched_step(self, gradient: Tensor, learning_rates: Tensor) -> None:
        self.steps += 1
        self.first_moments.lerp_(gradient, 0.1)
        self.second_moments.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        # theta -= rate * (m / c1) / (sqrt(v / c2) + epsilon), with the divisions by c1 and c2 pulled out of the rows
        steps = self.steps.double()
        root = (1.0 - 0.999**steps).sqrt()
        scale = (learning_rates * root / (1.0 - 0.9**steps)).to(gradient.dtype).unsqueeze(1)
        denominator = self.second_moments.sqrt().add_((self.epsilon * root).to(gradient.dtype).unsqueeze(1))
        self.parameters -= (self.first_moments / denominator).mul_(scale)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments and step counts."""
        return {name: getattr(self, name) for name in ("first_moments", "second_moments", "steps")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state that `state_dict` returned, in place."""
        for name, value in state.items():
            getattr(self, name).copy_(value)


def _fused_step(state: list[list[Tensor]], learning_rate: float, epsilon: float) -> None:
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
        eps=epsilon,
        maximize=False,
    )


def clip_norms(gradient: Tensor, largest: float) -> Tensor:
    """Return the gradient [policy, n] with the rows that are longer than `largest` cut to that length, in place."""
    lengths = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return gradient.mul_((largest / (lengths + 1e-6)).clamp_(max=1.0))


@torch.no_grad()
def soft_update(target: Tensor, source: Tensor, rate: float) -> None:
    """Move the target network towards the source: target <- (1 - rate) target + rate source (Polyak averaging)."""
    target.lerp_(source, rate)
