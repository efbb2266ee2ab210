"""Gated recurrent units of a whole population: memory for environments that their observations do not describe fully.

Cho et al. 2014 (arXiv 1406.1078, eq. 5 to 8), x_t the observation, h_t the state, . element by element:

    r_t = sigmoid(W_r x_t + b_r + U_r h_{t-1})          reset gate
    z_t = sigmoid(W_z x_t + b_z + U_z h_{t-1})          update gate
    c_t = tanh(W_c x_t + b_c + r_t . U_c h_{t-1})       candidate
    h_t = z_t . h_{t-1} + (1 - z_t) . c_t

with one deviation, that of cuDNN and PyTorch: the reset gate multiplies U_c h instead of h, so that a step of all
policies is one batched product. A state of zeros is the start of an episode.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from morl.learning.networks import orthogonal_weights


def gru_cell(projected: Tensor, states: Tensor, recurrent: Tensor) -> Tensor:
    """Return h_t [policy, sequence, size] of every policy and sequence.

    Args:
        projected: [policy, sequence, 3 size] W x_t + b of the reset gate, the update gate and the candidate.
        states: [policy, sequence, size] h_{t-1}.
        recurrent: [policy, size, 3 size] U of the same three.
    """
    size = states.shape[-1]
    recalled = torch.bmm(states, recurrent)
    reset, update = (projected[..., : 2 * size] + recalled[..., : 2 * size]).sigmoid().chunk(2, dim=-1)
    candidate = (projected[..., 2 * size :] + reset * recalled[..., 2 * size :]).tanh()
    return candidate + update * (states - candidate)


@dataclass(frozen=True)
class GRU:
    """The shape of a layer of gated recurrent units. It holds neither parameters nor states.

    A row of parameters, one policy's, is: W [inputs, 3 size], b [3 size], U [size, 3 size].
    """

    inputs: int
    """Elements of an observation."""
    size: int
    """Number of units: elements of a state."""

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self._sizes())

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: orthogonal weights of each gate, zero biases.

        Args:
            population: number of policies.
            generator: random stream.
        """

        def of_three_gates(inputs: int) -> Tensor:
            gates = [orthogonal_weights(population, inputs, self.size, generator) for _ in range(3)]
            return torch.cat([gate.view(population, inputs, self.size) for gate in gates], dim=2).flatten(1)

        weights = of_three_gates(self.inputs)
        return torch.cat([weights, torch.zeros(population, 3 * self.size), of_three_gates(self.size)], dim=1)

    def __call__(self, parameters: Tensor, inputs: Tensor, states: Tensor, starts: Tensor) -> Tensor:
        """Return the states [policy, sequence * step, size] after every step of the sequences.

        Args:
            parameters: [policy, num_parameters].
            inputs: [policy, sequence * step, inputs], the steps of a sequence one after another.
            states: [policy, sequence, size] h before the first step of each sequence.
            starts: [policy, sequence * step, 1] 1 where h is forgotten before the step: an episode starts; else 0.
        """
        projected, recurrent = self._project(parameters, inputs)  # one product; only U h follows the steps
        num_policies, num_sequences, _ = states.shape
        by_step = projected.view(num_policies, num_sequences, -1, 3 * self.size).unbind(2)
        kept = (1.0 - starts).view(num_policies, num_sequences, -1, 1).unbind(2)
        after = []
        for of_step, keep in zip(by_step, kept, strict=True):
            states = gru_cell(of_step, states * keep, recurrent)
            after.append(states)
        return torch.stack(after, dim=2).view(num_policies, -1, self.size)

    def step(self, parameters: Tensor, inputs: Tensor, states: Tensor) -> Tensor:
        """Return the states [policy, sequence, size] after one step.

        Args:
            parameters: [policy, num_parameters].
            inputs: [policy, sequence, inputs].
            states: [policy, sequence, size] before the step.
        """
        projected, recurrent = self._project(parameters, inputs)
        return gru_cell(projected, states, recurrent)

    def _project(self, parameters: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return W x + b [policy, sample, 3 size] of all samples, and U [policy, size, 3 size]."""
        weights, biases, recurrent = torch.split(parameters, self._sizes(), dim=1)
        weights = weights.view(-1, self.inputs, 3 * self.size)
        projected = torch.baddbmm(biases.unsqueeze(1), inputs, weights)
        return projected, recurrent.view(-1, self.size, 3 * self.size)

    def _sizes(self) -> list[int]:
        return [self.inputs * 3 * self.size, 3 * self.size, self.size * 3 * self.size]
