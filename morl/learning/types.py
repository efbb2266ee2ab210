"""Names of choices in learning, and what networks are described by: shapes of images, their protocol. Nothing runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Activation: TypeAlias = Literal["relu", "tanh", "silu", "elu", "gelu", "leaky-relu"]
"""Activation of hidden layers; a new one is a name here and a function in `ACTIVATIONS`."""

Normalization: TypeAlias = Literal["none", "layer"]
"""Normalization of hidden layers before their activation: none, or to mean 0 and variance 1 over the units."""

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
"""Where networks live; auto is the CPU."""

Backend: TypeAlias = Literal["eager", "numba", "cuda-graph"]
"""A backend that executes updates (`morl.learning.backends`)."""

BackendSetting: TypeAlias = Literal["auto", "eager", "numba", "cuda-graph"]
"""A setting that chooses one; auto: numba where it supports all settings and the device, else eager. cuda-graph, for
GPUs, is only chosen by name until it has been measured on one."""

EagerOrGraph: TypeAlias = Literal["auto", "eager", "cuda-graph"]
"""The setting of an update that has no compiled form; auto: eager."""

CombinerName: TypeAlias = Literal["weighted-sum", "upgrad", "mgda", "pcgrad", "cagrad", "nash-mtl", "aligned-mtl"]
"""How gradients of objectives are combined; a new method is a name here and one of `combiners.COMBINERS`."""
GradientCombiner: TypeAlias = CombinerName | Literal["ctnb"]
"""The same, and the task-novelty bisector, whose last objective is novelty and no objective of the environment."""

WeightingName: TypeAlias = Literal["preference", "nash", "maximin", "desirability", "normalized", "hypervolume"]
"""How objectives are weighed; a new rule is a name here and a function in `return_weights`."""

PolicySetForm: TypeAlias = Literal["hyper", "combination"]
"""How the parameters of a network depend on the preference: through a hypernetwork, or as a convex combination."""

Role: TypeAlias = Literal["actor", "critic"]
"""What a network is for: an actor proposes actions, a critic predicts values; networks of action values are critics."""


class ImageShape(NamedTuple):
    """The shape of an image as networks see it; stacked frames are channels."""

    channels: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Return the number of columns that the image takes."""
        return self.channels * self.height * self.width


class RowShape(NamedTuple):
    """The shape of an observation that is a matrix with one row for each choice, over which weights are shared."""

    number: int
    """Number of rows."""
    channels: int
    """Numbers in a row."""


class PolicySet(NamedTuple):
    """How the parameters of a network depend on the preference, the last columns of its inputs (`policy_sets`)."""

    form: PolicySetForm
    objectives: int
    """Columns of the preference."""
    features: int = 0
    """Outputs of a hypernetwork's perceptron, the rank of what it adds; 0 for combinations."""


class Thermometer(NamedTuple):
    """The last columns of a network's inputs that it sees in thermometer code (`morl.learning.thermometer`)."""

    columns: int
    """Number of columns, each between 0 and 1."""
    bins: int
    """Numbers that stand for one column."""


class Convolution(NamedTuple):
    """A convolution without padding, with a ReLU behind it."""

    filters: int
    size: int
    """Height and width of a filter."""
    stride: int

    def output(self, image: ImageShape) -> ImageShape:
        """Return the shape of the result for an image."""
        return ImageShape(
            channels=self.filters,
            height=(image.height - self.size) // self.stride + 1,
            width=(image.width - self.size) // self.stride + 1,
        )


class ImageLayers(NamedTuple):
    """The layers that encode one image: convolutions, then a linear layer, all with ReLU."""

    convolutions: tuple[Convolution, ...]
    features: int
    """Outputs of the linear layer."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What a user's factory builds a network for.

    Attributes:
        role: "actor" or "critic"; networks of action values are critics.
        images: shapes of the images that the network is given.
        columns: further numbers that it is given: the rest of the observation, preference, action.
        outputs: numbers that it returns.
        hidden_sizes: the setting of that name, to be used or not.
        activation: the setting of that name, to be used or not.
        normalization: the setting of that name, to be used or not.
    """

    role: Role
    images: tuple[ImageShape, ...]
    columns: int
    outputs: int
    hidden_sizes: tuple[int, ...]
    activation: Activation
    normalization: Normalization


class Network(Protocol):
    """The shape of a network of a whole population. It holds no parameters: they are a tensor [policy, n]."""

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters of one policy."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the columns of inputs, of hidden layers where they are known, and of outputs."""
        ...

    def unlike(self, activation: Activation) -> str | None:
        """Return which setting makes it another network than plain layers with this activation, as a clause, or None.

        Args:
            activation: of the hidden layers.
        """
        ...

    def count_first(self, layers: int) -> int:
        """Return the number of parameters of the first layers, encoders included; they are the first of a row."""
        ...

    def initialize(self, population: int, generator: "torch.Generator") -> "Tensor":
        """Return fresh parameters [population, num_parameters], as off-policy algorithms begin with."""
        ...

    def initialize_orthogonal(self, population: int, generator: "torch.Generator", last_gain: float) -> "Tensor":
        """Return fresh parameters [population, num_parameters], as PPO begins with; `last_gain` is the last layer's."""
        ...

    def __call__(self, parameters: "Tensor", inputs: "Tensor") -> "Tensor":
        """Return the outputs [policy, batch, output] for inputs [policy, batch, input]."""
        ...
