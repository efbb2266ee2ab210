"""The choice of a network: perceptrons, networks over images, rows or digits, and modules of the user's own.

A row of inputs begins with the pixels of all images (`morl.learning.observations`), bytes as numbers from 0 to 255; the
other columns follow: the rest of the observation, accrued rewards, the preference, the action. `Architecture.build` is
the one place that chooses a network. All networks have the interface `morl.learning.networks.Network`: parameters are
one flat tensor [policy, n], a plain list of layers for everything but the user's own modules.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Final, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from morl.learning.equivariant import EquivariantNetwork
from morl.learning.image_networks import PIXEL_SCALE, ImageEncoder, ImageGRU, ImageNetwork, default_layers
from morl.learning.networks import MultilayerPerceptron
from morl.learning.policy_sets import set_of_networks
from morl.learning.recurrent import GRU
from morl.learning.thermometer import thermometer_network
from morl.learning.types import (
    Activation,
    ImageLayers,
    ImageShape,
    Network,
    NetworkShape,
    Normalization,
    PolicySet,
    Role,
    RowShape,
    Thermometer,
)
from morl.plugins import imported

MemoryLayer: TypeAlias = GRU | ImageGRU
"""What policies with a memory begin with."""

# --- The user's own networks ------------------------------------------------------------------------------------------


NetworkFactory: TypeAlias = Callable[[NetworkShape], nn.Module]
"""The user's own network: shape -> module. The module's `forward(columns, *images)` takes columns [batch, columns] and
each image [batch, channel, row, column] between 0 and 1, all float32, and returns [batch, outputs]. It is called once
for every policy, so that each starts from parameters of its own."""

STATEFUL: Final = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RNNBase)
"""Modules with a state or random numbers of their own, which a population of parameters cannot hold."""


def find_factory(name: str) -> NetworkFactory:
    """Return the user's factory "module:factory", which is imported.

    Args:
        name: of the factory.

    Raises:
        ValueError: there is none; the message says why.
    """
    if ":" not in name:
        raise ValueError(f"network is {name!r}, but must be your own 'module:factory'")
    return cast(NetworkFactory, imported("network", name))


class ModuleNetwork:
    """A user's module, with the parameters of a population outside; satisfies `morl.learning.networks.Network`.

    A row holds the module's parameters, flattened, in the order of `named_parameters`.

    Args:
        name: of the factory, "module:factory".
        shape: what the network is for.

    Raises:
        ValueError: the factory fails, returns no module, or the module does not fit.
    """

    def __init__(self, name: str, shape: NetworkShape) -> None:
        self.name = name
        self.shape = shape
        self.factory = find_factory(name)
        self.module = self._build(0)
        self.parameter_shapes = {key: tuple(value.shape) for key, value in self.module.named_parameters()}
        self._check()

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        return sum(self._sizes())

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the columns of inputs and outputs."""
        return (sum(image.pixels for image in self.shape.images) + self.shape.columns, self.shape.outputs)

    def unlike(self, activation: Activation) -> str | None:  # noqa: ARG002
        """Return that it is the user's own."""
        return f"network is {self.name!r}"

    def count_first(self, layers: int) -> int:
        """Return 0 for no layers; others are the user's own business.

        Raises:
            ValueError: layers are to be shared.
        """
        if layers > 0:
            raise ValueError(
                f"network is {self.name!r}, but shared_layers is {layers}: the layers of your own network cannot be"
                " shared, set networks to 'separate' or 'conditioned'"
            )
        return 0

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return the parameters [population, num_parameters] of as many modules as the factory builds afresh."""
        seeds = torch.randint(2**31, (population,), generator=generator).tolist()
        modules = [self._build(seed) for seed in seeds]
        rows = [torch.cat([value.detach().flatten() for value in module.parameters()]) for module in modules]
        return torch.stack(rows).float()

    def initialize_orthogonal(
        self,
        population: int,
        generator: torch.Generator,
        last_gain: float,  # noqa: ARG002  (the module's own initialization is the user's)
    ) -> Tensor:
        """Return the parameters of fresh modules, as `initialize` does."""
        return self.initialize(population, generator)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs [policy, batch, output] for inputs [policy, batch, input] that begin with pixels."""
        parts = torch.split(parameters, self._sizes(), dim=1)
        shapes = self.parameter_shapes.items()
        named = {key: part.reshape((-1, *shape)) for (key, shape), part in zip(shapes, parts, strict=True)}
        widths = [image.pixels for image in self.shape.images]
        pixels = torch.split(inputs, [*widths, inputs.shape[2] - sum(widths)], dim=2)
        images = [
            (part * PIXEL_SCALE).reshape((len(inputs), -1, *image))
            for image, part in zip(self.shape.images, pixels[:-1], strict=True)
        ]

        def one(named: dict[str, Tensor], columns: Tensor, images: list[Tensor]) -> Tensor:
            outputs: Tensor = torch.func.functional_call(self.module, named, (columns, *images))
            return outputs

        if torch.compiler.is_exporting():  # a graph of a few policies; vmap would fix the size of the batch in it
            separate = [
                one({key: value[k] for key, value in named.items()}, pixels[-1][k], [image[k] for image in images])
                for k in range(len(parameters))
            ]
            return torch.stack(separate)
        outputs: Tensor = torch.vmap(one)(named, pixels[-1], images)
        return outputs

    def _sizes(self) -> list[int]:
        return [prod(shape) for shape in self.parameter_shapes.values()]

    def _build(self, seed: int) -> nn.Module:
        """Return a fresh module whose random numbers depend on a seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                module = self.factory(self.shape)
            except Exception as error:  # whatever a user's function may raise
                raise ValueError(
                    f"network is {self.name!r}, but for {self.shape} it raises {type(error).__name__}: {error}"
                ) from error
        if not isinstance(module, nn.Module):
            raise ValueError(f"network is {self.name!r}, but it returns {module!r:.100}, no torch.nn.Module")
        return module

    def _check(self) -> None:
        """Try the module on a batch of two.

        Raises:
            ValueError: it has no parameters or a state of its own, fails, or returns another shape.
        """
        stateful = [type(part).__name__ for part in self.module.modules() if isinstance(part, STATEFUL)]
        if stateful:
            raise ValueError(
                f"network is {self.name!r}, but it has {', '.join(stateful)}: random numbers and states of a module's"
                " own are not supported, LayerNorm and GroupNorm are"
            )
        if not self.parameter_shapes:
            raise ValueError(f"network is {self.name!r}, but its module has no parameters")
        width = self.widths[0]
        parameters = self.initialize(2, torch.Generator().manual_seed(0))
        try:
            outputs = self(parameters, torch.zeros(2, 2, width))
        except Exception as error:
            raise ValueError(
                f"network is {self.name!r}, but its module raises {type(error).__name__} on a batch of two: {error}"
            ) from error
        if tuple(outputs.shape) != (2, 2, self.shape.outputs):
            raise ValueError(
                f"network is {self.name!r}, but for a batch of 2 its module returns shape {tuple(outputs.shape[1:])}"
                f" instead of (2, {self.shape.outputs})"
            )


# --- The choice -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The settings that decide on a network.

    Attributes:
        hidden_sizes: units of each hidden layer.
        activation: of the hidden layers.
        normalization: of the hidden layers.
        images: images that a row of inputs begins with.
        image_layers: layers that encode each image; default: `default_layers` of it.
        network: the user's own network, "module:factory"; empty: a multilayer perceptron, behind encoders of images.
        rows: rows that inputs begin with, one for each choice, over which weights are shared
            (`morl.learning.equivariant`); None: there are none.
        policy_set: how parameters depend on the preference that inputs end with (`morl.learning.policy_sets`); encoders
            of images do not depend on it. None: they do not, and the preference is an input like others.
        thermometer: columns that inputs end with and that are seen in thermometer code; None: there are none.

    Raises:
        ValueError: there is no such activation or normalization, or rows, a thermometer or a policy set are combined
            with what takes their place.
    """

    hidden_sizes: tuple[int, ...]
    activation: Activation = "relu"
    normalization: Normalization = "none"
    images: tuple[ImageShape, ...] = ()
    image_layers: tuple[ImageLayers, ...] = ()
    network: str = ""
    rows: RowShape | None = None
    policy_set: PolicySet | None = None
    thermometer: Thermometer | None = None

    def __post_init__(self) -> None:
        """Refuse names that do not exist, and rows or a thermometer beside what takes their place."""
        for name, choices in (("activation", get_args(Activation)), ("normalization", get_args(Normalization))):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(choices)}")
        if self.rows is not None and (self.network or self.images):
            other = f"network is {self.network!r}" if self.network else "observations have images"
            raise ValueError(f"weights cannot be shared over rows of the observation where {other}")
        if self.policy_set is not None and (self.network or self.rows is not None):
            other = f"network is {self.network!r}" if self.network else "weights are shared over rows"
            raise ValueError(f"networks is {self.policy_set.form!r}, but {other}: only plain layers can be mixed")
        if self.thermometer is not None and (self.network or self.images or self.rows):
            raise ValueError("a thermometer code is for plain layers, not for images, rows or a network of your own")

    @property
    def encoding_layers(self) -> tuple[ImageLayers, ...]:
        """Return the layers that encode each image; empty for the user's own network, which encodes them itself."""
        if self.network:
            return ()
        return self.image_layers or tuple(default_layers(image) for image in self.images)

    @property
    def behind_memory(self) -> "Architecture":
        """Return the architecture of a network that sees the state of `build_memory` instead of the observation."""
        return replace(self, images=(), image_layers=())

    def build_memory(self, inputs: int, size: int) -> MemoryLayer:
        """Return gated recurrent units, behind encoders where observations have images.

        Args:
            inputs: columns of the inputs, pixels included.
            size: number of units.

        Raises:
            ValueError: a network of the user's own, which encodes images itself, is to be behind the units.
        """
        if not self.images:
            return GRU(inputs, size)
        if self.network:
            raise ValueError(
                f"memory is 'gru', but network is {self.network!r}, which would have to encode the images before the"
                " memory sees them: set memory 'none', or image_size 0"
            )
        encoders = self._encoders()
        features = sum(encoder.layers.features for encoder in encoders)
        return ImageGRU(encoders, GRU(inputs - sum(image.pixels for image in self.images) + features, size))

    def _encoders(self) -> tuple[ImageEncoder, ...]:
        """Return the encoder of each image.

        Raises:
            ValueError: there are layers for more or fewer images.
        """
        layers = self.encoding_layers
        if len(layers) != len(self.images):
            raise ValueError(f"image_layers is for {len(layers)} images, but there are {len(self.images)}")
        return tuple(ImageEncoder(image, each) for image, each in zip(self.images, layers, strict=True))

    def build(self, role: Role, inputs: int, outputs: int, inner_dtype: torch.dtype | None = None) -> Network:
        """Return a network.

        Args:
            role: "actor" or "critic".
            inputs: columns of its inputs, pixels included.
            outputs: columns of its outputs.
            inner_dtype: precision of the products between hidden layers; default: that of the parameters.

        Raises:
            ValueError: the user's own network does not fit.
        """
        columns = inputs - sum(image.pixels for image in self.images)
        if self.network:
            if inner_dtype is not None:
                raise ValueError(f"network is {self.network!r}, but precision 'bfloat16' is for built-in networks only")
            shape = NetworkShape(
                role=role,
                images=self.images,
                columns=columns,
                outputs=outputs,
                hidden_sizes=self.hidden_sizes,
                activation=self.activation,
                normalization=self.normalization,
            )
            return ModuleNetwork(self.network, shape)
        if self.rows is not None:
            if inner_dtype is not None:
                raise ValueError("precision is 'bfloat16', but must be another where weights are shared over rows")
            return EquivariantNetwork(
                rows=self.rows,
                columns=inputs - self.rows.number * self.rows.channels,
                hidden_sizes=self.hidden_sizes,
                outputs=outputs,
                layer_norm=self.normalization == "layer",
                activation=self.activation,
            )
        if self.thermometer is not None:
            if inner_dtype is not None:
                raise ValueError("precision is 'bfloat16', but must be another with a thermometer code")
            widths = (inputs, *self.hidden_sizes, outputs)
            return thermometer_network(
                widths, self.thermometer, self.activation, layer_norm=self.normalization == "layer"
            )
        encoders = self._encoders()
        width = columns + sum(encoder.layers.features for encoder in encoders)
        widths = (width, *self.hidden_sizes, outputs)
        base = MultilayerPerceptron(widths, self.normalization == "layer", inner_dtype, self.activation)
        head = base if self.policy_set is None else set_of_networks(base, self.policy_set)
        return ImageNetwork(encoders, head) if encoders else head
