"""Spaces in torch: observations as rows that networks see, and actions of policies as those of an environment.

Acting does both in NumPy (`morl.learning.observations`, `morl.learning.actions`), an exported policy in torch, as a
part of its graph; tests compare the two. A new kind of space needs a case in `leaf_tensors` and `_encoded_part`; what
is unknown is refused with its name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.observations import ImageLayout, has_few_joint_states, image_layout, space_parts
from morl.protocols import Observations


class TensorSpec(NamedTuple):
    """An input or an output of a network that is exported; its first axis is the batch."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    """Without the batch."""
    meaning: str
    """In words, for the metadata."""

    @property
    def numpy_dtype(self) -> str:
        """Return the dtype as NumPy calls it, such as "float32"."""
        return str(self.dtype).removeprefix("torch.")

    def record(self) -> dict[str, object]:
        """Return plain data for the metadata."""
        return {"name": self.name, "dtype": self.numpy_dtype, "shape": ["batch", *self.shape], "meaning": self.meaning}


def leaf_tensors(space: gymnasium.Space[Any], path: str) -> Iterator[TensorSpec]:
    """Yield the leaves of an observation space that hold anything; names are paths such as observation.camera."""
    match space:
        case spaces.Dict():
            for key, part in space.spaces.items():
                yield from leaf_tensors(part, f"{path}.{key}")
        case spaces.Tuple():
            for index, part in enumerate(space.spaces):
                yield from leaf_tensors(part, f"{path}.{index}")
        case spaces.Discrete():
            yield TensorSpec(path, torch.int64, (), _described(space))
        case spaces.Box() | spaces.MultiDiscrete() | spaces.MultiBinary():
            if 0 not in space.shape:
                yield TensorSpec(path, _observation_dtype(space), tuple(space.shape), _described(space))
        case _:
            raise ValueError(f"{path} is {space}, and observations of this kind cannot be exported as a graph yet")


def leaf_values(space: gymnasium.Space[Any], batch: Observations) -> Iterator[NDArray[Any]]:
    """Yield the arrays of a batch of observations, in the order of `leaf_tensors`.

    Args:
        space: of one observation.
        batch: as a vector environment returns it.
    """
    match space:
        case spaces.Dict():
            for key, part in space.spaces.items():
                yield from leaf_values(part, batch[key])
        case spaces.Tuple():
            for index, part in enumerate(space.spaces):
                yield from leaf_values(part, batch[index])
        case _ if _holds(space):
            yield np.asarray(batch)


def _described(space: gymnasium.Space[Any]) -> str:
    """Return what a leaf of an observation space, or an action space, holds, in words."""
    match space:
        case spaces.Discrete():
            return f"a whole number from {int(space.start)} to {int(space.start + space.n) - 1}"
        case spaces.Box() if space.low.size > 0:
            numbers = "whole numbers" if np.dtype(space.dtype).kind in "iu" else "numbers"
            return f"{numbers} from {space.low.min()} to {space.high.max()}, as the environment has them"
        case spaces.MultiBinary():
            return "zeros and ones"
        case _:
            return f"whole numbers of the space {space}"


DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "bool": torch.bool,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.int32,  # torch stores larger unsigned integers, but does not compute with them
    "uint32": torch.int64,
    "uint64": torch.int64,
}
"""dtype of a space -> dtype of its tensors in a graph."""


def _observation_dtype(space: gymnasium.Space[Any]) -> torch.dtype:
    """Return float32 for all floats, as networks see them, else the dtype of the space."""
    dtype = np.dtype(space.dtype)
    return torch.float32 if dtype.kind == "f" else DTYPES[dtype.name]


def encoded(space: gymnasium.Space[Any], one_hot: bool, image_size: int, tensors: Sequence[Tensor]) -> Tensor:
    """Return observations as rows [batch, width] of float32, as `morl.learning.observations.observation_encoder` does.

    Args:
        space: of one observation.
        one_hot: whether bounded integers become one-hot.
        image_size: largest side of an image in pixels; 0: pixels are numbers like others.
        tensors: those of the leaves, in order.
    """
    pixels = []
    columns = []
    parts = [part for _, part in space_parts(space, ()) if _holds(part)]
    for part, tensor in zip(parts, tensors, strict=True):
        layout = image_layout(part, image_size) if image_size > 0 else None
        if layout is None:
            columns.append(_encoded_part(part, one_hot, tensor))
        else:
            pixels.append(_pixels(layout, tensor))
    return torch.cat([*pixels, *columns], dim=1)


def _encoded_part(space: gymnasium.Space[Any], one_hot: bool, tensor: Tensor) -> Tensor:
    """Return the columns [batch, width] of a part of an observation that is no image."""
    match space:
        case spaces.Discrete():
            return _one_hot(tensor.reshape(-1, 1), np.array([space.start]), np.array([space.n]))
        case spaces.MultiDiscrete():
            counts = space.nvec.ravel()
            return _one_hot(tensor.reshape(-1, len(counts)), space.start.ravel(), counts)
        case spaces.Box() if one_hot and np.issubdtype(space.dtype, np.integer):
            low = space.low.ravel().astype(np.int64)
            counts = space.high.ravel().astype(np.int64) - low + 1
            values = tensor.reshape(-1, len(counts))
            if not has_few_joint_states(counts.tolist()):
                return _one_hot(values, low, counts)
            strides = np.append(np.cumprod(counts[:0:-1])[::-1], 1)
            states = ((values.long() - torch.as_tensor(low)) * torch.as_tensor(strides)).sum(dim=1, keepdim=True)
            return _one_hot(states, np.array([0]), np.array([counts.prod()]))
        case _:
            return tensor.float().reshape(-1, int(np.prod(space.shape or ())))


def _pixels(layout: ImageLayout, tensor: Tensor) -> Tensor:
    """Return the pixels [batch, channel * row * column] of images, from 0 to 255, as `ImageLayout.rows` does.

    Args:
        layout: of the images.
        tensor: [batch, ...] as the environment has them.
    """
    channels, height, width = layout.shape
    images = tensor.int().permute((0, *(axis + 1 for axis in layout.axes)))
    images = images.reshape((-1, channels, images.shape[-2], images.shape[-1]))
    if layout.factor > 1:
        factor = layout.factor
        rows = torch.arange(height * factor).clamp(max=images.shape[2] - 1)  # the last ones fill incomplete blocks
        columns = torch.arange(width * factor).clamp(max=images.shape[3] - 1)
        whole = images.index_select(2, rows).index_select(3, columns)
        sums = whole.reshape(-1, channels, height, factor, width, factor).sum(dim=(3, 5))
        images = torch.div(sums + factor**2 // 2, factor**2, rounding_mode="floor")
    return images.float().reshape(-1, layout.shape.pixels)


def _holds(space: gymnasium.Space[Any]) -> bool:
    """Return whether an observation space has any leaf that holds something."""
    return any(True for _ in leaf_tensors(space, ""))


def _one_hot(values: Tensor, start: NDArray[Any], counts: NDArray[Any]) -> Tensor:
    """Return the categories [batch, n], counted from `start` [n], as one-hot columns [batch, sum of counts]."""
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]) - start
    columns = values.long() + torch.as_tensor(offsets.astype(np.int64))
    return (columns.unsqueeze(-1) == torch.arange(int(counts.sum()))).float().sum(dim=1)


def action_tensor(space: gymnasium.Space[Any]) -> TensorSpec:
    """Return what the actions of a Discrete or Box space are."""
    return TensorSpec("action", _action_dtype(space), tuple(space.shape or ()), _described(space))


def _action_dtype(space: gymnasium.Space[Any]) -> torch.dtype:
    """Return the dtype of actions, which `PolicyBank.act` has too; choices are int64."""
    return DTYPES[np.dtype(space.dtype).name] if isinstance(space, spaces.Box) else torch.int64


def environment_action(space: gymnasium.Space[Any], actions: Tensor) -> Tensor:
    """Return actions [batch, ...] of the environment for those of a policy, as `morl.learning.actions` does.

    Args:
        space: of one action.
        actions: [batch, width]: a number of a choice, or numbers in [-1, 1] where the space is bounded.
    """
    if isinstance(space, spaces.Discrete):
        return actions[:, 0].long() + int(space.start)
    assert isinstance(space, spaces.Box)
    dtype = np.dtype(space.dtype)
    precision = torch.float32 if dtype == np.float32 else torch.float64  # others are rounded as NumPy rounds them
    low = torch.as_tensor(space.low.ravel().astype(np.float64))
    high = torch.as_tensor(space.high.ravel().astype(np.float64))
    scaled = actions.to(precision)
    if space.is_bounded():
        scaled = ((high + low) / 2).to(precision) + ((high - low) / 2).to(precision) * scaled
    scaled = torch.minimum(torch.maximum(scaled, low.to(precision)), high.to(precision))
    if dtype.kind in "iu":
        scaled = scaled.round()
    return scaled.to(_action_dtype(space)).reshape((-1, *space.shape))
