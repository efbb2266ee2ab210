"""Observations as the policies of Stable-Baselines3 take them: MlpPolicy, CnnPolicy or MultiInputPolicy.

Rows of numbers for MlpPolicy, one image for CnnPolicy, a Dict of images and numbers for MultiInputPolicy: all encoded
as for the solvers of this package, so that their policies are saved and act alike. A Box that is no image stays as it
is.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from morl.learning.image_networks import default_layers
from morl.learning.observations import ObservationEncoder
from morl.learning.types import ImageLayers, ImageShape
from morl.protocols import Observations

SMALLEST_SIDE = 36
"""Images with a shorter side do not pass through the convolutions of Stable-Baselines3."""
NUMBERS = "numbers"


@dataclass(frozen=True)
class Presentation:
    """How observations are shown to an algorithm of Stable-Baselines3.

    Attributes:
        encoder: of the observations.
        space: of the observations as the algorithm sees them.
        policy: the policy that belongs to the space.
        unchanged: whether the environment's observations are shown as they are.
    """

    encoder: ObservationEncoder
    space: gymnasium.Space[Any]
    policy: str
    unchanged: bool

    @staticmethod
    def of(space: gymnasium.Space[Any], encoder: ObservationEncoder) -> "Presentation":
        """Return the presentation of an environment's observations.

        Args:
            space: the environment's.
            encoder: of the space.

        Raises:
            ValueError: an image has more channels than Stable-Baselines3 can tell from rows.
        """
        numbers = spaces.Box(-np.inf, np.inf, (encoder.columns,), np.float32)
        if not encoder.images:
            plain = isinstance(space, spaces.Box) and space.shape != ()
            return Presentation(encoder, space if plain else numbers, "MlpPolicy", plain)
        for image in encoder.images:
            if image.channels > min(image.height, image.width):
                raise ValueError(
                    f"an image has {image.channels} channels of {image.height} x {image.width} pixels, and"
                    " Stable-Baselines3 would take the channels for rows: take a solver without 'sb3:', or image_size 0"
                )
        images = [spaces.Box(0, 255, tuple(image), np.uint8) for image in encoder.images]
        if len(images) == 1 and encoder.columns == 0:
            return Presentation(encoder, images[0], "CnnPolicy", False)
        parts: dict[str, spaces.Space[Any]] = {f"image {index:03d}": image for index, image in enumerate(images)}
        if encoder.columns:
            parts[NUMBERS] = numbers
        return Presentation(encoder, spaces.Dict(parts), "MultiInputPolicy", False)

    def show(self, observations: Observations) -> Observations:
        """Return a batch of the environment's observations as the algorithm sees them.

        Args:
            observations: a batch [env, ...].
        """
        if self.unchanged:
            return observations
        rows = self.encoder.encode(observations)
        if not self.encoder.images:
            return rows
        widths = [image.pixels for image in self.encoder.images]
        *pixels, numbers = np.split(rows, np.cumsum(widths), axis=1)
        images = [
            part.reshape((len(rows), *image)).astype(np.uint8)
            for image, part in zip(self.encoder.images, pixels, strict=True)
        ]
        if not isinstance(self.space, spaces.Dict):
            return images[0]
        shown = {f"image {index:03d}": image for index, image in enumerate(images)}
        return {**shown, NUMBERS: numbers} if NUMBERS in self.space.spaces else shown

    def show_one(self, observation: Observations) -> Observations:
        """Return a single observation as the algorithm sees it."""
        if self.unchanged:
            return observation
        shown = self.show(_with_first_axis(observation))
        return {key: part[0] for key, part in shown.items()} if isinstance(shown, dict) else shown[0]

    @property
    def policy_kwargs(self) -> dict[str, Any]:
        """Return the arguments of the policy: convolutions of this package for images that are too small for theirs."""
        sides = [min(image.height, image.width) for image in self.encoder.images]
        return {"features_extractor_class": ImageFeatures} if min(sides, default=SMALLEST_SIDE) < SMALLEST_SIDE else {}


def _with_first_axis(observation: Observations) -> Observations:
    match observation:
        case dict():
            return {key: _with_first_axis(part) for key, part in observation.items()}
        case tuple():
            return tuple(_with_first_axis(part) for part in observation)
        case _:
            return np.asarray(observation)[None]


class _ImageEncoder(nn.Module):
    """The layers of one image, named as in Stable-Baselines3's NatureCNN."""

    def __init__(self, image: ImageShape, layers: ImageLayers) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for convolution in layers.convolutions:
            parts.append(nn.Conv2d(image.channels, convolution.filters, convolution.size, convolution.stride))
            parts.append(nn.ReLU())
            image = convolution.output(image)
        parts.append(nn.Flatten())
        self.cnn = nn.Sequential(OrderedDict((str(number), part) for number, part in enumerate(parts)))
        self.linear = nn.Sequential(nn.Linear(image.pixels, layers.features), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Return the features [batch, feature] of images [batch, channel, row, column]."""
        features: Tensor = self.linear(self.cnn(images))
        return features


class ImageFeatures(BaseFeaturesExtractor):
    """Images of any size by the layers of `morl.learning.encoders.default_layers`, then the numbers.

    Args:
        observation_space: an image, or a Dict of images and numbers.
    """

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        several = isinstance(observation_space, spaces.Dict)
        parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
        images = {key: ImageShape._make(part.shape or ()) for key, part in parts.items() if key != NUMBERS}
        layers = {key: default_layers(image) for key, image in images.items()}
        numbers = int(np.prod(parts[NUMBERS].shape or ())) if NUMBERS in parts else 0
        super().__init__(observation_space, sum(each.features for each in layers.values()) + numbers)
        self.several = several
        self.keys = list(images)
        self.encoders = nn.ModuleList(_ImageEncoder(images[key], layers[key]) for key in self.keys)

    def forward(self, observations: Any) -> Tensor:
        """Return the features [batch, feature] of a batch of images, or of a dict of batches."""
        if not self.several:
            features: Tensor = self.encoders[0](observations)
            return features
        parts = [encoder(observations[key]) for key, encoder in zip(self.keys, self.encoders, strict=True)]
        return torch.cat([*parts, *([observations[NUMBERS]] if NUMBERS in observations else [])], dim=1)
