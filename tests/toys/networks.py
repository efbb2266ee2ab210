"""Networks of a user's own, for `network = "networks:..."`."""

import torch
from torch import Tensor, nn

from morl.learning.types import NetworkShape


class Joined(nn.Module):
    """A linear layer over every image, flattened, and the other columns; then a hidden layer."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        width = shape.columns + sum(image.pixels for image in shape.images)
        self.hidden = nn.Linear(width, 7)
        self.output = nn.Linear(7, shape.outputs)

    def forward(self, columns: Tensor, *images: Tensor) -> Tensor:
        flat = torch.cat([columns, *(image.flatten(1) for image in images)], dim=1)
        outputs: Tensor = self.output(torch.tanh(self.hidden(flat)))
        return outputs


def small(shape: NetworkShape) -> nn.Module:
    return Joined(shape)


class Convolutional(nn.Module):
    """A convolution over the first image, and the other columns; then one layer."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        image = shape.images[0]
        self.convolution = nn.Conv2d(image.channels, 4, 3)
        features = 4 * (image.height - 2) * (image.width - 2)
        self.normalization = nn.GroupNorm(2, 4)
        self.output = nn.Linear(features + shape.columns, shape.outputs)

    def forward(self, columns: Tensor, *images: Tensor) -> Tensor:
        features = self.normalization(self.convolution(images[0])).relu().flatten(1)
        outputs: Tensor = self.output(torch.cat([features, columns], dim=1))
        return outputs


def convolutional(shape: NetworkShape) -> nn.Module:
    return Convolutional(shape)


def with_batch_norm(shape: NetworkShape) -> nn.Module:
    return nn.Sequential(nn.Linear(shape.columns, shape.outputs), nn.BatchNorm1d(shape.outputs))


def too_narrow(shape: NetworkShape) -> nn.Module:
    return nn.Linear(shape.columns, shape.outputs - 1)


def no_module(shape: NetworkShape) -> object:
    return shape


def failing(shape: NetworkShape) -> nn.Module:
    raise RuntimeError(f"no idea how to make {shape.outputs} outputs")


not_a_function = 3
