"""Networks whose weights are shared over the rows of an observation: one row for each choice, such as each server.

Deep Sets (Zaheer et al. 2017, lemma 3): a layer adds to what a row says of itself what the mean of all rows says,

    h_i' = activation(h_i W + mean_j(h_j) U + b),

so that permuting the rows permutes the outputs in the same way, and the number of parameters does not depend on the
number of rows. In the first layer, the columns that belong to no row (a preference) take the place of the mean. A row
that is -1 everywhere stands for a choice that does not exist: it is left out of the means.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from morl.learning.networks import ACTIVATIONS, orthogonal_weights
from morl.learning.types import Activation, RowShape

ABSENT = -1.0
"""All numbers of a row that stands for a choice that does not exist."""


@dataclass(frozen=True)
class EquivariantNetwork:
    """The shape of a network over rows. It holds no parameters.

    A row of inputs has the rows of the observation one behind the other, then the other columns; outputs are those of
    the first row, of the second, and so on. A row of parameters has, for each layer, W [input, output], U [input,
    output] (in the first layer [column, output]) and b [output].
    """

    rows: RowShape
    """Number of rows and of channels of each."""
    columns: int
    """Inputs that belong to no row."""
    hidden_sizes: tuple[int, ...]
    """Units of the hidden layers, for each row."""
    outputs: int
    """Of all rows together."""
    layer_norm: bool = False
    """Normalize every hidden layer to mean 0 and variance 1 over its units before its activation."""
    activation: Activation = "relu"
    """Activation of the hidden layers."""

    def __post_init__(self) -> None:
        """Refuse outputs that rows cannot share.

        Raises:
            ValueError: the outputs are no multiple of the rows.
        """
        if self.outputs % self.rows.number:
            raise ValueError(f"outputs is {self.outputs}, but must be a multiple of the {self.rows.number} rows")

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self._sizes())

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the columns of inputs, the units of each hidden layer for each row, and the columns of outputs."""
        return (self.rows.number * self.rows.channels + self.columns, *self.hidden_sizes, self.outputs)

    def unlike(self, activation: Activation) -> str | None:  # noqa: ARG002
        """Return that weights are shared over rows."""
        return "weights are shared over the rows of the observation"

    def count_first(self, layers: int) -> int:
        """Return the number of parameters of the first layers; they are the first of a row."""
        return sum(self._sizes()[: 3 * layers])

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: Xavier-normal weights, zero biases."""
        parts = []
        for own, context, outputs in self._layers():
            deviation = sqrt(2.0 / (own + context + outputs))
            parts.append(torch.randn(population, (own + context) * outputs, generator=generator) * deviation)
            parts.append(torch.zeros(population, outputs))
        return torch.cat(parts, dim=1)

    def initialize_orthogonal(self, population: int, generator: torch.Generator, last_gain: float) -> Tensor:
        """Return fresh parameters [population, num_parameters]: orthogonal weights, zero biases.

        Args:
            population: number of policies.
            generator: random stream.
            last_gain: gain of the last layer; hidden layers have gain 1.
        """
        parts = []
        layers = self._layers()
        for layer, (own, context, outputs) in enumerate(layers):
            weights = orthogonal_weights(population, own + context, outputs, generator)
            parts.append(weights * (last_gain if layer == len(layers) - 1 else 1.0))
            parts.append(torch.zeros(population, outputs))
        return torch.cat(parts, dim=1)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs [policy, batch, output] for inputs [policy, batch, rows * channels + columns]."""
        count, channels = self.rows
        parts = iter(torch.split(parameters, self._sizes(), dim=1))
        cells, columns = torch.split(inputs, [count * channels, self.columns], dim=2)
        cells = torch.unflatten(cells, 2, (count, channels))
        present = (cells.amax(dim=3, keepdim=True) > ABSENT).to(cells.dtype)
        share = present / present.sum(dim=2, keepdim=True).clamp(min=1.0)  # [policy, batch, row, 1] of the mean
        hidden = cells
        layers = self._layers()
        for layer, (own, context, outputs) in enumerate(layers):
            shared = columns if layer == 0 else (hidden * share).sum(dim=2)
            weights = next(parts).view(-1, own, outputs)
            context_weights = next(parts).view(-1, context, outputs)
            biases = next(parts).unsqueeze(1)
            of_rows = torch.bmm(hidden.flatten(1, 2), weights)
            of_all = torch.baddbmm(biases, shared, context_weights)
            hidden = torch.unflatten(of_rows, 1, (-1, count)) + of_all.unsqueeze(2)
            if layer < len(layers) - 1:
                if self.layer_norm:
                    hidden = layer_norm(hidden, (outputs,))
                hidden = ACTIVATIONS[self.activation](hidden)
        return hidden.flatten(2)

    def _layers(self) -> list[tuple[int, int, int]]:
        """Return for each layer the inputs of a row, the inputs that all rows share, and the outputs of a row."""
        widths = (self.rows.channels, *self.hidden_sizes, self.outputs // self.rows.number)
        layers = [(inputs, inputs, outputs) for inputs, outputs in pairwise(widths)]
        own, _, outputs = layers[0]
        return [(own, self.columns, outputs), *layers[1:]]

    def _sizes(self) -> list[int]:
        return [size for own, context, out in self._layers() for size in (own * out, context * out, out)]
