"""Observations of any space as rows of float32, the input of a network: pixels of images first, then numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from morl.learning.types import ImageShape, RowShape
from morl.protocols import IndexArray, Infos, Observations

Encoder: TypeAlias = Callable[[Observations], NDArray[np.float32]]
"""A batch of observations, as a vector environment returns it -> [env, width]."""

MAX_JOINT_STATES = 256
"""Largest number of joint states that are encoded as one-hot."""
MAX_ONE_HOT_WIDTH = 1_000_000
"""Largest width of a one-hot encoding: more inputs than any network here should have."""


LARGEST: Final = float(np.finfo(np.float32).max)
"""Networks compute in float32: a larger number is infinite there."""
IMAGE_SIZE: Final = 84
"""Default of the setting `image_size`: largest height and width of an image in pixels (Mnih et al. 2015)."""
SMALLEST_SIDE: Final = 3
"""A box of bytes with a shorter side is a table of numbers, not an image."""
SMALLEST_GRAY_SIDE: Final = 8
"""The same for boxes of two axes, which are often no images."""


@dataclass(frozen=True)
class ObservationEncoder:
    """How observations of a space become rows.

    Attributes:
        encode: a batch of observations -> rows [env, width], the pixels of all images first, from 0 to 255.
        width: columns of a row.
        images: shapes of the images; empty where there are none, or they count as numbers.
    """

    encode: Encoder
    width: int
    images: tuple[ImageShape, ...] = ()

    @property
    def pixels(self) -> int:
        """Return the number of columns that hold pixels; they are the first."""
        return sum(image.pixels for image in self.images)

    @property
    def columns(self) -> int:
        """Return the number of other columns."""
        return self.width - self.pixels

    def transition_bytes(self, numbers: int) -> int:
        """Return the bytes of a transition: two observations, their pixels a byte each, and further numbers.

        Args:
            numbers: action, reward, preference and flags, four bytes each.
        """
        return 2 * (4 * self.columns + self.pixels) + 4 * numbers


def observation_encoder(
    space: gymnasium.Space[Any], one_hot: bool = False, image_size: int = IMAGE_SIZE
) -> ObservationEncoder:
    """Return the encoder of a space whose images are kept as such; everything else is encoded as `encoder` says.

    An image is a Box of uint8 with two axes (both of at least `SMALLEST_GRAY_SIDE`), three, the channels last or
    first, whichever is the shorter axis, or four, the first of which counts stacked frames. Channels of stacked frames
    are stacked. Images of the parts of a Dict or Tuple stand in the order of the parts.

    Args:
        space: of one observation.
        one_hot: whether bounded integers become one-hot; images stay images.
        image_size: a larger image is shrunk by a whole factor, to the means of blocks, until no side exceeds this; 0:
            pixels are numbers like others.

    Raises:
        ValueError: the space is of another kind, has no entries, or has too many categories for a one-hot encoding; or
            `image_size` differs from its default, but there are no images.
    """
    parts = [] if image_size == 0 else list(space_parts(space, ()))
    images = [(path, layout) for path, part in parts if (layout := image_layout(part, image_size)) is not None]
    if not images:
        encode, width = encoder(space, one_hot)
        if image_size not in (0, IMAGE_SIZE):
            raise ValueError(f"image_size is {image_size}, but has no effect: there are no images in {space}")
        return ObservationEncoder(encode, width)
    image_paths = {path for path, _ in images}
    others = [(path, _encoder(part, one_hot)) for path, part in parts if path not in image_paths]

    def encode_all(batch: Observations) -> NDArray[np.float32]:
        pixels = [layout.rows(_at(batch, path)) for path, layout in images]
        return np.concatenate([*pixels, *(encode(_at(batch, path)) for path, (encode, _) in others)], axis=1)

    shapes = tuple(layout.shape for _, layout in images)
    width = sum(shape.pixels for shape in shapes) + sum(width for _, (_, width) in others)
    return ObservationEncoder(encode_all, width, shapes)


class ImageLayout(NamedTuple):
    """How an array of an image space becomes channels, rows and columns."""

    axes: tuple[int, ...]
    """Axes of the array, without the batch, in the order frame, channel, row, column; what is missing is left out."""
    factor: int
    """Blocks of so many rows and columns become one pixel."""
    shape: ImageShape
    """The result."""

    def rows(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the pixels [env, channel * row * column] of a batch of images."""
        array = np.asarray(batch).transpose((0, *(axis + 1 for axis in self.axes)))
        array = array.reshape((len(array), self.shape.channels, *array.shape[-2:]))
        if self.factor > 1:
            array = shrink(array, self.factor)
        return array.reshape(len(array), self.shape.pixels).astype(np.float32)


def image_layout(space: gymnasium.Space[Any], image_size: int = IMAGE_SIZE) -> ImageLayout | None:
    """Return the layout of an image space; None where it is none.

    Args:
        space: of one observation, or of one part of it.
        image_size: largest height and width.
    """
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return None
    shape = space.shape
    match len(shape):
        case 2:
            axes: tuple[int, ...] = (0, 1)
            gray_levels = bool((space.low == 0).all() and (space.high == 255).all())
            smallest = SMALLEST_GRAY_SIDE if gray_levels else max(shape) + 1
        case 3 | 4:
            first = len(shape) - 3
            channels_first = shape[first] < shape[-1]
            inner = (first, first + 1, first + 2) if channels_first else (first + 2, first, first + 1)
            axes = (*range(first), *inner)
            smallest = SMALLEST_SIDE
        case _:
            return None
    height = shape[axes[-2]]
    width = shape[axes[-1]]
    if min(height, width) < smallest:
        return None
    factor = -(-max(height, width) // image_size)
    channels = int(np.prod([shape[axis] for axis in axes[:-2]]))
    return ImageLayout(axes, factor, ImageShape(channels, -(-height // factor), -(-width // factor)))


def row_shape(space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> RowShape | None:
    """Return the rows of observations that have one row of numbers for each choice; None where they are others.

    Args:
        space: of one observation.
        action_space: of the choices.
    """
    if not isinstance(space, spaces.Box) or not isinstance(action_space, spaces.Discrete):
        return None
    if len(space.shape) != 2 or space.shape[0] != action_space.n or space.dtype.kind != "f":
        return None
    number, channels = space.shape
    return RowShape(number, channels)


def shrink(images: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return images [env, channel, row, column] of which each block of `factor` x `factor` pixels is its mean, rounded.

    Blocks at the lower and right edge that are not whole are filled up with the last row and column. Sums keep the
    order of the pixels in memory (`astype` does), rows come first: both are long runs for the processor.
    """
    height, width = images.shape[-2:]
    missing = ((0, 0), (0, 0), (0, -height % factor), (0, -width % factor))
    if height % factor or width % factor:
        images = np.pad(images, missing, mode="edge")
    rows = images[:, :, ::factor].astype(np.uint32)
    for row in range(1, factor):
        rows += images[:, :, row::factor]
    sums = rows[:, :, :, ::factor].copy("K")
    for column in range(1, factor):
        sums += rows[:, :, :, column::factor]
    return ((sums + factor**2 // 2) // factor**2).astype(np.uint8)


def space_parts(space: gymnasium.Space[Any], path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the parts of a Dict or Tuple that are none themselves, with the keys that lead to them."""
    match space:
        case spaces.Dict():
            for key, part in space.spaces.items():
                yield from space_parts(part, (*path, key))
        case spaces.Tuple():
            for index, part in enumerate(space.spaces):
                yield from space_parts(part, (*path, index))
        case _:
            yield path, space


def _at(batch: Observations, path: tuple[Any, ...]) -> Observations:
    """Return the part of a batch of observations that keys lead to."""
    for key in path:
        batch = batch[key]
    return batch


def encoder(space: gymnasium.Space[Any], one_hot: bool = False) -> tuple[Encoder, int]:
    """Return a function that encodes a batch of observations as rows [env, width], and that width; images are numbers.

    A Box is flattened, a Discrete or MultiDiscrete becomes one-hot, a Dict or Tuple is the concatenation of its parts.
    With `one_hot`, a Box of bounded integers becomes one-hot too: of the joint state where there are at most
    `MAX_JOINT_STATES`, so that no two states share an input; else component by component.

    Args:
        space: of one observation.
        one_hot: whether bounded integers become one-hot.

    Raises:
        ValueError: the space is of another kind (Text, Graph, Sequence), has no entries, or has too many categories for
            a one-hot encoding.
    """
    encode, width = _encoder(space, one_hot)
    if width == 0:
        raise ValueError(f"observation_space must have at least one entry, got {space}")
    return encode, width


def _encoder(space: gymnasium.Space[Any], one_hot: bool) -> tuple[Encoder, int]:
    match space:
        case spaces.Dict():
            return _joined({key: _encoder(part, one_hot) for key, part in space.spaces.items()})
        case spaces.Tuple():
            return _joined({index: _encoder(part, one_hot) for index, part in enumerate(space.spaces)})
        case spaces.Discrete():
            _require_few_categories(space, [int(space.n)])
            return _categories(np.array([space.start]), np.array([space.n]))
        case spaces.MultiDiscrete():
            _require_few_categories(space, space.nvec.ravel().tolist())
            return _categories(space.start.ravel(), space.nvec.ravel())
        case spaces.Box() if one_hot and np.issubdtype(space.dtype, np.integer) and space.low.size > 0:
            bounds = zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True)
            numbers = [high - low + 1 for low, high in bounds]  # of any size, unlike 64-bit integers
            few = has_few_joint_states(numbers)
            if not few:
                _require_few_categories(space, numbers, "; set one_hot to false")
            low = space.low.ravel().astype(np.int64)
            counts = np.array(numbers, dtype=np.int64)
            return _joint(low, counts) if few else _categories(low, counts)
        case spaces.Box() | spaces.MultiBinary():
            width = int(np.prod(space.shape))
            return lambda batch: np.asarray(batch, dtype=np.float32).reshape(len(batch), width), width
        case _:
            raise ValueError(f"observation_space is {space}, but must be a Box, (Multi)Discrete, Dict or Tuple of them")


def final_observations(infos: Infos, env_indices: IndexArray) -> Observations:
    """Return the last observations of episodes that ended, batched as a vector environment would.

    Args:
        infos: of the step in which the episodes ended.
        env_indices: environments whose episode ended.
    """
    return _stacked([infos["final_obs"][index] for index in env_indices])


def _stacked(observations: Sequence[Any]) -> Observations:
    match observations[0]:
        case dict() as first:
            return {key: _stacked([observation[key] for observation in observations]) for key in first}
        case tuple():
            return tuple(_stacked(part) for part in zip(*observations, strict=True))
        case _:
            return np.stack(observations)


def has_few_joint_states(counts: Sequence[int]) -> bool:
    """Return whether there are at most `MAX_JOINT_STATES` combinations, without multiplying further than that."""
    states = 1
    for count in counts:
        states *= count
        if states > MAX_JOINT_STATES:
            return False
    return True


def _require_few_categories(space: gymnasium.Space[Any], counts: Sequence[int], remedy: str = "") -> None:
    """Raise ValueError where a one-hot encoding would be too wide."""
    if sum(counts) > MAX_ONE_HOT_WIDTH:
        limit = f"at most {MAX_ONE_HOT_WIDTH} categories for a one-hot encoding"
        raise ValueError(f"observation_space must have {limit}, got {sum(counts)} in {space}{remedy}")


def _categories(start: NDArray[Any], counts: NDArray[Any]) -> tuple[Encoder, int]:
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]) - start
    width = int(counts.sum())

    def encode(batch: Observations) -> NDArray[np.float32]:
        categories = np.asarray(batch, dtype=np.int64).reshape(-1, len(counts)) + offsets
        rows = np.zeros((len(categories), width), dtype=np.float32)
        rows[np.arange(len(rows))[:, None], categories] = 1.0
        return rows

    return encode, width


def _joint(start: NDArray[Any], counts: NDArray[Any]) -> tuple[Encoder, int]:
    states = int(counts.prod())
    encode_number, width = _categories(np.array([0]), np.array([states]))
    strides = np.append(np.cumprod(counts[:0:-1])[::-1], 1)  # of a row-major array of all states

    def encode(batch: Observations) -> NDArray[np.float32]:
        components = np.asarray(batch, dtype=np.int64).reshape(-1, len(counts)) - start
        return encode_number(components @ strides)

    return encode, width


def _joined(parts: Mapping[Any, tuple[Encoder, int]]) -> tuple[Encoder, int]:
    def encode(batch: Observations) -> NDArray[np.float32]:
        return np.concatenate([part(batch[key]) for key, (part, _) in parts.items()], axis=1)

    return encode, sum(width for _, width in parts.values())


def as_arrays(values: Observations, path: str) -> Observations:
    """Return numbers that a user gives with arrays in place of tensors, wherever these are and whatever gradient.

    Args:
        values: anything; mappings, tuples and lists are looked into.
        path: how messages name the values.

    Raises:
        ValueError: a tensor has no array, such as a sparse one, or one of the device meta.
    """
    if isinstance(values, torch.Tensor):
        return _tensor_array(values, path)
    if isinstance(values, Mapping):
        return {key: as_arrays(value, f"{path}[{key!r}]") for key, value in values.items()}
    if isinstance(values, tuple):
        return tuple(as_arrays(value, f"{path}[{index}]") for index, value in enumerate(values))
    if isinstance(values, list):
        return [as_arrays(value, f"{path}[{index}]") for index, value in enumerate(values)]
    return values


def _tensor_array(values: torch.Tensor, path: str) -> NDArray[Any]:
    """Return a user's tensor as an array; arguments and errors as for `as_arrays`."""
    if values.is_meta:
        raise ValueError(f"{path} is a tensor of the device meta, which holds no numbers: give a tensor with numbers")
    if values.layout is not torch.strided:
        raise ValueError(f"{path} is a sparse tensor ({values.layout}), but must be a dense one: {path}.to_dense()")
    try:
        tensor = values.detach().cpu().resolve_conj().resolve_neg()
        numpy_has_none = tensor.is_floating_point() and tensor.dtype not in (
            torch.float16,
            torch.float32,
            torch.float64,
        )
        array: NDArray[Any] = (tensor.float() if numpy_has_none else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        kind = type(values).__name__
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is a tensor of type {kind} that gives no array: {reason:.200}") from error
    return array


def batch_size(space: gymnasium.Space[Any], observation: Observations, path: str = "observation") -> int | None:
    """Return the number of observations in a batch, or None for a single observation.

    Args:
        space: of a single observation.
        observation: one observation of the space, or a batch of them along a first axis.
        path: how messages name the observation.

    Raises:
        ValueError: it is neither, in the first leaf that does not fit.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, Mapping) or set(observation) != set(space.spaces):
            raise ValueError(f"{path} is {observation!r:.100}, but must have the keys {list(space.spaces)}")
        sizes = {batch_size(part, observation[key], f"{path}[{key!r}]") for key, part in space.spaces.items()}
    elif isinstance(space, spaces.Tuple):
        if not isinstance(observation, Sequence) or len(observation) != len(space.spaces):
            raise ValueError(f"{path} is {observation!r:.100}, but must be a tuple of {len(space.spaces)} parts")
        parts = enumerate(zip(space.spaces, observation, strict=True))
        sizes = {batch_size(part, value, f"{path}[{index}]") for index, (part, value) in parts}
    else:
        return _leaf_batch_size(space, observation, path)
    if len(sizes) != 1:
        raise ValueError(f"{path} has parts of different batch sizes, {sorted(sizes, key=str)}")
    return sizes.pop()


def _leaf_batch_size(space: gymnasium.Space[Any], value: Observations, path: str) -> int | None:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    expected = space.shape or ()
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} is {value!r:.100}, but must be numbers of the space {space}")
    batched = array.shape[1:] == expected and array.ndim == len(expected) + 1
    if array.shape != expected and not batched:
        raise ValueError(f"{path} has shape {array.shape}, but must be {expected}, or a batch (n, ...) of that shape")
    wide = array.astype(np.float32) if array.dtype == np.float16 else array  # float16 does not hold the limit
    if array.dtype.kind == "f" and not (np.abs(wide) <= LARGEST).all():
        raise ValueError(f"{path} is {value!r:.100}, but must be finite numbers in float32, in which networks compute")
    limits = _integer_limits(space)
    if limits is not None:
        lowest, highest = limits
        if ((array < lowest) | (array > highest)).any():
            raise ValueError(f"{path} is {value!r:.100}, but must lie between {_text(lowest)} and {_text(highest)}")
        if array.dtype.kind == "f" and (array != np.rint(array)).any():
            raise ValueError(f"{path} is {value!r:.100}, but must be whole numbers of the space {space}")
    return len(array) if batched else None


def _integer_limits(space: gymnasium.Space[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the lowest and the highest numbers of a space of integers; None for a space of floats.

    Environments often leave the bounds of a Box of floats a little, and train policies on what they return there; no
    integer beyond its bounds is an observation.
    """
    match space:
        case spaces.Discrete() | spaces.MultiDiscrete():
            lowest = np.asarray(space.start)
            return lowest, lowest + (space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
        case spaces.MultiBinary():
            return np.asarray(0), np.asarray(1)
        case spaces.Box() if space.low.dtype.kind in "iub":
            return space.low, space.high
    return None


def _text(limit: NDArray[Any]) -> str:
    """Return the limits of some numbers as text: one number where all of a large array have the same."""
    if limit.size > 12 and (limit == limit.flat[0]).all():
        return str(limit.flat[0])
    return f"{limit.tolist()}"[:200]


def with_first_axis(space: gymnasium.Space[Any], observation: Observations) -> Observations:
    """Return a batch of one observation of the space."""
    match space:
        case spaces.Dict():
            return {key: with_first_axis(part, observation[key]) for key, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(with_first_axis(part, value) for part, value in zip(space.spaces, observation, strict=True))
        case _:
            return np.asarray(observation)[None]
