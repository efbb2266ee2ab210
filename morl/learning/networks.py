"""Multilayer perceptrons of a whole population: parameters are one flat tensor [policy, n], layers are baddbmm."""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class MultilayerPerceptron:
    """The shape of a network: layer widths from input to output, ReLU between. It holds no parameters.

    Parameters stay outside, as one tensor [policy, num_parameters], so that a population is one network call, an
    optimiser step is one operation and a target network is one `lerp_`.
    """

    widths: tuple[int, ...]

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self._sizes())

    def initialise(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: Xavier-normal weights, zero biases (PD-MORL's)."""
        parts = []
        for inputs, outputs in pairwise(self.widths):
            deviation = sqrt(2.0 / (inputs + outputs))
            parts.append(torch.randn(population, inputs * outputs, generator=generator) * deviation)
            parts.append(torch.zeros(population, outputs))
        return torch.cat(parts, dim=1)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs [policy, batch, widths[-1]] for inputs [policy, batch, widths[0]]."""
        # One split has one backward (a concatenation); slicing layer by layer would build a full gradient per slice.
        parts = iter(torch.split(parameters, self._sizes(), dim=1))
        hidden, last = inputs, len(self.widths) - 2
        for layer, (wide_in, wide_out) in enumerate(pairwise(self.widths)):
            weights, biases = next(parts).view(-1, wide_in, wide_out), next(parts).unsqueeze(1)
            hidden = torch.baddbmm(biases, hidden, weights)
            if layer < last:
                hidden = hidden.relu_()
        return hidden

    def _sizes(self) -> list[int]:
        return [size for inputs, outputs in pairwise(self.widths) for size in (inputs * outputs, outputs)]
