"""Networks that see their last columns, such as a preference, in thermometer code instead of as plain numbers.

Source: Jain et al. 2023 (multi-objective GFlowNets), after Buckman et al. 2018: a number between 0 and 1 becomes as
many numbers as there are bins, and bin i fills while the number moves from i / bins to (i + 1) / bins. A small change
of a preference then is a large change of one input.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from morl.learning.networks import MultilayerPerceptron
from morl.learning.types import Activation, Thermometer


def thermometer(values: Tensor, bins: int) -> Tensor:
    """Return numbers [..., n] in thermometer code [..., n * bins]: bin i of x is clip(bins x - i, 0, 1).

    Args:
        values: [..., n] between 0 and 1.
        bins: bins of each number.
    """
    filled = values.unsqueeze(-1) * bins - torch.arange(bins, device=values.device, dtype=values.dtype)
    return filled.clamp(0.0, 1.0).flatten(-2)


def thermometer_network(
    widths: tuple[int, ...], encoded: Thermometer, activation: Activation, *, layer_norm: bool = False
) -> "ThermometerNetwork":
    """Return a multilayer perceptron whose last columns are encoded first.

    Args:
        widths: columns of inputs, before they are encoded, of hidden layers, and of outputs.
        encoded: the columns that are encoded.
        activation: of the hidden layers.
        layer_norm: normalize every hidden layer before its activation.
    """
    first, *others = widths
    wide = first + encoded.columns * (encoded.bins - 1)
    return ThermometerNetwork(MultilayerPerceptron((wide, *others), layer_norm, activation=activation), encoded)


@dataclass(frozen=True)
class ThermometerNetwork:
    """A multilayer perceptron whose last columns are encoded first. It holds no parameters.

    Attributes:
        inner: the perceptron over the other columns, then the encoded ones.
        encoded: the columns that are encoded.
    """

    inner: MultilayerPerceptron
    encoded: Thermometer

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return self.inner.num_parameters

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the columns of inputs, before they are encoded, of hidden layers, and of outputs."""
        first, *others = self.inner.widths
        return (first - self.encoded.columns * (self.encoded.bins - 1), *others)

    def unlike(self, activation: Activation) -> str | None:  # noqa: ARG002
        """Return that inputs are encoded."""
        return "preferences are in thermometer code"

    def count_first(self, layers: int) -> int:
        """Return the number of parameters of the first layers; they are the first of a row."""
        return self.inner.count_first(layers)

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: Xavier-normal weights, zero biases."""
        return self.inner.initialize(population, generator)

    def initialize_orthogonal(self, population: int, generator: torch.Generator, last_gain: float) -> Tensor:
        """Return fresh parameters [population, num_parameters]; `last_gain` is the gain of the last layer."""
        return self.inner.initialize_orthogonal(population, generator, last_gain)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs [policy, batch, output] for inputs [policy, batch, input]."""
        count = self.encoded.columns
        plain, numbers = torch.split(inputs, [inputs.shape[2] - count, count], dim=2)
        return self.inner(parameters, torch.cat([plain, thermometer(numbers, self.encoded.bins)], dim=2))

    def with_constants(self, parameters: Tensor, constants: Tensor) -> Tensor:
        """Return parameters [policy, m] of the network without its last encoded columns, which are constant.

        What they add to the first layer becomes part of its biases.

        Args:
            parameters: [policy, num_parameters].
            constants: [n] values of the last n columns.
        """
        width, hidden = self.inner.widths[:2]
        coded = thermometer(constants, self.encoded.bins)
        kept = (width - len(coded)) * hidden
        sizes = [kept, len(coded) * hidden, hidden, self.num_parameters - (width + 1) * hidden]
        first, of_constants, biases, rest = torch.split(parameters, sizes, dim=1)
        shift = coded @ torch.unflatten(of_constants, 1, (len(coded), hidden))
        return torch.cat([first, biases + shift, rest], dim=1)
