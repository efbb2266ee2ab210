"""Adam over one flat parameter tensor [policy, n], gradient clipping, and the soft update of a target network."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma and Ba 2015) with moments, step count and learning rate of its own for every policy.

    PyTorch's fused kernel, given each policy's row as a parameter of its own: a policy's update depends on nothing but
    its row, so training a population equals training its members. The functional form skips half of the time that
    `torch.optim.Adam` spends in Python.

    Args:
        parameters: [policy, n]; updated in place.
        epsilon: added to the root of the second moment.
    """

    def __init__(self, parameters: Tensor, epsilon: float = 1e-8) -> None:
        self.parameters = parameters.detach()
        self.epsilon = epsilon
        self.first_moments = torch.zeros_like(self.parameters)
        self.second_moments = torch.zeros_like(self.parameters)
        self.steps = torch.zeros(len(parameters), device=parameters.device)
        self._betas = torch.full((2, 1), 0.9, dtype=torch.float64, device=parameters.device)
        self._betas[1] = 0.999  # filled in place: a list would be copied to the device

    def step(self, gradient: Tensor, learning_rate: float | Sequence[float] | Tensor) -> None:
        """Run one step along a gradient, in place.

        Args:
            gradient: [policy, n].
            learning_rate: one rate, or one for each policy; a tensor [policy] makes the step one batched operation for
                all policies, without the fused kernel.
        """
        if isinstance(learning_rate, Tensor):
            self._batched_step(gradient, learning_rate)
        elif isinstance(learning_rate, float):
            self._fused_step(gradient, slice(None), learning_rate)
        else:
            for policy, rate in enumerate(learning_rate):
                self._fused_step(gradient, slice(policy, policy + 1), rate)

    def _fused_step(self, gradient: Tensor, policies: slice, learning_rate: float) -> None:
        adam(
            list(self.parameters[policies]),
            list(gradient[policies]),
            list(self.first_moments[policies]),
            list(self.second_moments[policies]),
            max_exp_avg_sqs=[],
            state_steps=list(self.steps[policies]),
            fused=True,
            capturable=self.parameters.is_cuda,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=0.0,
            eps=self.epsilon,
            maximize=False,
        )

    def _batched_step(self, gradient: Tensor, learning_rates: Tensor) -> None:
        self.steps += 1
        self.first_moments.lerp_(gradient, 0.1)
        self.second_moments.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        # theta -= rate * (m / c1) / (sqrt(v / c2) + epsilon), with the divisions by c1 and c2 pulled out of the rows
        first, second = (1.0 - self._betas**self.steps).unbind()  # c1 and c2 [policy], in float64
        root = second.sqrt()
        scale = (learning_rates * root / first).to(gradient.dtype).unsqueeze(1)
        denominator = self.second_moments.sqrt().add_((self.epsilon * root).to(gradient.dtype).unsqueeze(1))
        self.parameters -= (self.first_moments / denominator).mul_(scale)

    def state_dict(self) -> dict[str, Tensor]:
        """Return moments and step counts; not copied."""
        return {"first_moments": self.first_moments, "second_moments": self.second_moments, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state that `state_dict` returned, in place."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])


def clip_norms(gradient: Tensor, max_norm: float) -> Tensor:
    """Clip the rows of a gradient [policy, n] that are longer than `max_norm` to that length, in place; return it."""
    norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return gradient.mul_((max_norm / (norms + 1e-6)).clamp_(max=1.0))


@torch.no_grad()
def soft_update(target: Tensor, source: Tensor, tau: float) -> None:
    """Move a target network towards its source: target <- (1 - tau) target + tau source (Polyak averaging)."""
    target.lerp_(source, tau)
