"""Multilayer perceptrons of a whole population: parameters are one flat tensor [policy, n], layers are baddbmm."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import elu, gelu, layer_norm, leaky_relu, silu

from morl.learning.types import Activation

ACTIVATIONS: Final[dict[Activation, Callable[[Tensor], Tensor]]] = {
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "silu": silu,
    "elu": elu,
    "gelu": gelu,
    "leaky-relu": leaky_relu,
}
"""Name -> function of a hidden layer's sums, which may be overwritten."""


@dataclass(frozen=True)
class MultilayerPerceptron:
    """The shape of a network: layer widths from input to output, activations between. It holds no parameters.

    Parameters stay outside, as one tensor [policy, num_parameters], so that a population is one network call, an
    optimizer step is one operation and a target network is one `lerp_`.
    """

    widths: tuple[int, ...]
    layer_norm: bool = False
    """Normalize every hidden layer to mean 0 and variance 1 before its activation (without parameters of its own)."""
    inner_dtype: torch.dtype | None = None
    """Precision of the products between hidden layers, nearly all of the arithmetic; default: of the parameters."""
    activation: Activation = "relu"
    """Activation of the hidden layers."""

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self.sizes())

    def unlike(self, activation: Activation) -> str | None:
        """Return which setting makes it another network than plain layers with this activation, as a clause, or None.

        Args:
            activation: of the hidden layers.
        """
        if self.activation != activation:
            return f"activation is {self.activation!r}"
        return "normalization is 'layer'" if self.layer_norm else None

    def count_first(self, layers: int) -> int:
        """Return the number of parameters of the first layers; they are the first of a row."""
        return sum(self.sizes()[: 2 * layers])

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: Xavier-normal weights, zero biases (PD-MORL)."""
        parts = []
        for inputs, outputs in pairwise(self.widths):
            deviation = sqrt(2.0 / (inputs + outputs))
            parts.append(torch.randn(population, inputs * outputs, generator=generator) * deviation)
            parts.append(torch.zeros(population, outputs))
        return torch.cat(parts, dim=1)

    def initialize_orthogonal(self, population: int, generator: torch.Generator, last_gain: float) -> Tensor:
        """Return fresh parameters [population, num_parameters]: orthogonal weights, zero biases (customary in PPO).

        Args:
            population: number of policies.
            generator: random stream.
            last_gain: gain of the last layer; hidden layers have gain 1.
        """
        parts = []
        last = len(self.widths) - 2
        for layer, (inputs, outputs) in enumerate(pairwise(self.widths)):
            weights = orthogonal_weights(population, inputs, outputs, generator)
            parts.append(weights * (last_gain if layer == last else 1.0))
            parts.append(torch.zeros(population, outputs))
        return torch.cat(parts, dim=1)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs [policy, batch, widths[-1]] for inputs [policy, batch, widths[0]]."""
        # One split has one backward (a concatenation); slicing layer by layer would build a full gradient per slice.
        parts = iter(torch.split(parameters, self.sizes(), dim=1))
        hidden = inputs
        last = len(self.widths) - 2
        for layer, (wide_in, wide_out) in enumerate(pairwise(self.widths)):
            weights = next(parts).view(-1, wide_in, wide_out)
            biases = next(parts).unsqueeze(1)
            if 0 < layer < last and self.inner_dtype is not None:
                products = torch.bmm(hidden.to(self.inner_dtype), weights.to(self.inner_dtype))
                hidden = products.to(biases.dtype) + biases
            else:
                hidden = torch.baddbmm(biases, hidden, weights)
            if layer < last:
                if self.layer_norm:
                    hidden = layer_norm(hidden, (wide_out,))
                hidden = ACTIVATIONS[self.activation](hidden)
        return hidden

    def sizes(self) -> list[int]:
        """Return the number of weights and of biases of each layer, in the order of a row of parameters."""
        return [size for inputs, outputs in pairwise(self.widths) for size in (inputs * outputs, outputs)]


def orthogonal_weights(population: int, inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    """Return random orthogonal matrices, flat: [population, inputs * outputs].

    Args:
        population: number of matrices.
        inputs: rows of a matrix.
        outputs: columns of a matrix.
        generator: random stream.
    """
    normal = torch.randn(population, max(inputs, outputs), min(inputs, outputs), generator=generator)
    orthogonal, triangle = torch.linalg.qr(normal)
    orthogonal = orthogonal * triangle.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)  # uniform over rotations
    weights: Tensor = orthogonal if inputs >= outputs else orthogonal.transpose(1, 2)
    return weights.reshape(population, inputs * outputs)
