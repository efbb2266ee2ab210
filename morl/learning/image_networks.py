"""Networks that see images: convolutions, before a perceptron or before gated recurrent units.

A row of inputs begins with the pixels of all images (`morl.learning.observations`), bytes as numbers from 0 to 255; the
other columns follow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from morl.learning.networks import MultilayerPerceptron, orthogonal_weights
from morl.learning.policy_sets import PolicySetNetwork
from morl.learning.recurrent import GRU
from morl.learning.types import Activation, Convolution, ImageLayers, ImageShape

PIXEL_SCALE: Final = 1.0 / 255.0


NATURE: Final = ImageLayers((Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1)), 512)
"""For images whose sides have at least 36 pixels (Mnih et al. 2015)."""
MIDDLE: Final = ImageLayers((Convolution(16, 4, 2), Convolution(32, 3, 1)), 128)
"""For sides of 16 to 35 pixels: between the other two."""
SMALL: Final = ImageLayers((Convolution(16, 3, 1),), 128)
"""For smaller images, such as grids of 10 x 10 (Young and Tian 2019, MinAtar)."""


def default_layers(image: ImageShape) -> ImageLayers:
    """Return the layers that encode an image by default; they depend on its smaller side."""
    side = min(image.height, image.width)
    if side >= 36:
        return NATURE
    return MIDDLE if side >= 16 else SMALL


@dataclass(frozen=True)
class ImageEncoder:
    """The shape of the encoder of one image. It holds no parameters.

    A row of parameters has, for each convolution, weights [filter, channel, row, column] and biases; then weights
    [input, feature] and biases of the linear layer, whose inputs are [filter, row, column] of the last convolution.
    """

    image: ImageShape
    layers: ImageLayers

    def __post_init__(self) -> None:
        """Refuse layers that do not fit the image."""
        image = self.image
        for convolution in self.layers.convolutions:
            if min(convolution) < 1 or convolution.size > min(image.height, image.width):
                raise ValueError(
                    f"image_layers has {convolution}, but must have positive numbers and a size that fits into an image"
                    f" of {image.height} x {image.width}"
                )
            image = convolution.output(image)

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self.sizes())

    def sizes(self) -> list[int]:
        """Return the number of weights, then of biases, of each layer."""
        return [size for inputs, outputs in self._layers() for size in (inputs * outputs, outputs)]

    def _layers(self) -> Iterator[tuple[int, int]]:
        """Yield the inputs and outputs of each layer; the inputs of a convolution are those of one filter."""
        image = self.image
        for convolution in self.layers.convolutions:
            yield image.channels * convolution.size**2, convolution.filters
            image = convolution.output(image)
        yield image.pixels, self.layers.features

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: normal weights for ReLU, zero biases (He et al. 2015).

        Args:
            population: number of policies.
            generator: random stream.
        """
        parts = []
        for inputs, outputs in self._layers():
            parts.append(torch.randn(population, inputs * outputs, generator=generator) * sqrt(2.0 / inputs))
            parts.append(torch.zeros(population, outputs))
        return torch.cat(parts, dim=1)

    def initialize_orthogonal(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]: orthogonal weights of gain sqrt(2), zero biases.

        Args:
            population: number of policies.
            generator: random stream.
        """
        parts = []
        for inputs, outputs in self._layers():
            parts.append(orthogonal_weights(population, inputs, outputs, generator) * sqrt(2.0))
            parts.append(torch.zeros(population, outputs))
        return torch.cat(parts, dim=1)

    def __call__(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return the features [policy, batch, feature] of images.

        Args:
            parameters: [policy, num_parameters].
            pixels: [policy, batch, channel * row * column] from 0 to 255.
        """
        parts = iter(torch.split(parameters, self.sizes(), dim=1))
        hidden = (pixels * PIXEL_SCALE).view((len(pixels), -1, *self.image))
        for convolution in self.layers.convolutions:
            shape = (-1, convolution.filters, hidden.shape[2], convolution.size, convolution.size)
            weights = next(parts).view(shape)
            hidden = convolve(hidden, weights, next(parts), convolution.stride).relu_()
        weights = next(parts).view(len(parameters), -1, self.layers.features)
        return torch.baddbmm(next(parts).unsqueeze(1), hidden.flatten(2), weights).relu_()


def convolve(images: Tensor, weights: Tensor, biases: Tensor, stride: int) -> Tensor:
    """Return the convolutions [policy, batch, filter, row, column] of images, each policy's with its own weights.

    On a GPU this is one grouped convolution. On a CPU one convolution after the other is up to 2.4 times as fast as a
    grouped one, and never slower (docs/guide/networks_and_spaces.md).

    Args:
        images: [policy, batch, channel, row, column].
        weights: [policy, filter, channel, row, column].
        biases: [policy, filter].
        stride: of both axes.
    """
    if images.is_cuda:
        return convolve_grouped(images, weights, biases, stride)
    policies = zip(images, weights, biases, strict=True)
    return torch.stack([conv2d(image, weight, bias, stride) for image, weight, bias in policies])


def convolve_grouped(images: Tensor, weights: Tensor, biases: Tensor, stride: int) -> Tensor:
    """Return what `convolve` does, by one convolution with a group for each policy.

    Args:
        images: [policy, batch, channel, row, column].
        weights: [policy, filter, channel, row, column].
        biases: [policy, filter].
        stride: of both axes.
    """
    policies, batch = images.shape[:2]
    grouped = images.transpose(0, 1).flatten(1, 2)  # [batch, policy * channel, row, column]
    found = conv2d(grouped, weights.flatten(0, 1), biases.flatten(), stride, groups=policies)
    return found.view((batch, policies, -1, *found.shape[2:])).transpose(0, 1)


@dataclass(frozen=True)
class ImageNetwork:
    """Encoders of images, and a network over their features and the other columns.

    A row of parameters has the encoders' in the order of the images, then the head's.
    """

    encoders: tuple[ImageEncoder, ...]
    head: MultilayerPerceptron | PolicySetNetwork
    """Its inputs are the features of all images, then the columns that are no pixels."""

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self._sizes())

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the columns of inputs, hidden layers and outputs."""
        features = sum(encoder.layers.features for encoder in self.encoders)
        pixels = sum(encoder.image.pixels for encoder in self.encoders)
        return (self.head.widths[0] - features + pixels, *self.head.widths[1:])

    def unlike(self, activation: Activation) -> str | None:  # noqa: ARG002
        """Return that observations have images."""
        return "observations have images"

    def count_first(self, layers: int) -> int:
        """Return the number of parameters of the encoders and the first hidden layers; they are the first of a row."""
        return sum(self._sizes()[:-1]) + self.head.count_first(layers)

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters]."""
        encoders = [encoder.initialize(population, generator) for encoder in self.encoders]
        return torch.cat([*encoders, self.head.initialize(population, generator)], dim=1)

    def initialize_orthogonal(self, population: int, generator: torch.Generator, last_gain: float) -> Tensor:
        """Return fresh parameters [population, num_parameters]; `last_gain` is the gain of the last layer."""
        encoders = [encoder.initialize_orthogonal(population, generator) for encoder in self.encoders]
        return torch.cat([*encoders, self.head.initialize_orthogonal(population, generator, last_gain)], dim=1)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs [policy, batch, output] for inputs [policy, batch, input] that begin with pixels."""
        *encoders, head = torch.split(parameters, self._sizes(), dim=1)
        return self.head(head, with_features(self.encoders, encoders, inputs))

    def _sizes(self) -> list[int]:
        return [*(encoder.num_parameters for encoder in self.encoders), self.head.num_parameters]


def with_features(encoders: Sequence[ImageEncoder], parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return the features of all images, then the columns that are no pixels [policy, batch, column].

    Args:
        encoders: of the images.
        parameters: [policy, n] of each encoder.
        inputs: [policy, batch, input], which begin with the pixels of all images.
    """
    widths = [encoder.image.pixels for encoder in encoders]
    *images, columns = torch.split(inputs, [*widths, inputs.shape[2] - sum(widths)], dim=2)
    features = [encoder(own, pixels) for encoder, own, pixels in zip(encoders, parameters, images, strict=True)]
    return torch.cat([*features, columns], dim=2)


@dataclass(frozen=True)
class ImageGRU:
    """Encoders of images, and gated recurrent units that see their features and the other columns.

    A row of parameters has the encoders' in the order of the images, then the units'.
    """

    encoders: tuple[ImageEncoder, ...]
    units: GRU

    @property
    def size(self) -> int:
        """Return the number of units."""
        return self.units.size

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self._sizes())

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh parameters [population, num_parameters], orthogonal.

        Args:
            population: number of policies.
            generator: random stream.
        """
        encoders = [encoder.initialize_orthogonal(population, generator) for encoder in self.encoders]
        return torch.cat([*encoders, self.units.initialize(population, generator)], dim=1)

    def __call__(self, parameters: Tensor, inputs: Tensor, states: Tensor, starts: Tensor) -> Tensor:
        """Return the states [policy, sequence * step, size] after every step of the sequences.

        Args:
            parameters: [policy, num_parameters].
            inputs: [policy, sequence * step, input] that begin with pixels, the steps of a sequence one after another.
            states: [policy, sequence, size] before the first step of each sequence.
            starts: [policy, sequence * step, 1] 1 where the state is forgotten before the step: an episode starts.
        """
        *encoders, units = torch.split(parameters, self._sizes(), dim=1)
        return self.units(units, with_features(self.encoders, encoders, inputs), states, starts)

    def step(self, parameters: Tensor, inputs: Tensor, states: Tensor) -> Tensor:
        """Return the states [policy, sequence, size] after one step.

        Args:
            parameters: [policy, num_parameters].
            inputs: [policy, sequence, input] that begin with pixels.
            states: [policy, sequence, size] before the step.
        """
        *encoders, units = torch.split(parameters, self._sizes(), dim=1)
        return self.units.step(units, with_features(self.encoders, encoders, inputs), states)

    def _sizes(self) -> list[int]:
        return [*(encoder.num_parameters for encoder in self.encoders), self.units.num_parameters]
