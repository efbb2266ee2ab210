"""Observations of any space as rows of float32, the input of a network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from morl.protocols import IndexArray, Infos, Observations

Encoder: TypeAlias = Callable[[Observations], NDArray[np.float32]]
"""A batch of observations, as a vector environment returns it -> [env, width]."""

MAX_JOINT_STATES = 256
"""Largest number of joint states that are encoded as one-hot."""
MAX_ONE_HOT_WIDTH = 1_000_000
"""Largest width of a one-hot encoding: more inputs than any network here should have."""


def encoder(space: gymnasium.Space[Any], one_hot: bool = False) -> tuple[Encoder, int]:
    """Return a function that encodes a batch of observations as rows [env, width], and that width.

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
    array = np.asarray(value)
    expected = space.shape or ()
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} is {value!r:.100}, but must be numbers of the space {space}")
    batched = array.shape[1:] == expected and array.ndim == len(expected) + 1
    if array.shape != expected and not batched:
        raise ValueError(f"{path} has shape {array.shape}, but must be {expected}, or a batch (n, ...) of that shape")
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        lowest = np.asarray(space.start)
        highest = lowest + (space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
        if ((array < lowest) | (array > highest)).any():
            raise ValueError(f"{path} is {value!r:.100}, but must lie between {lowest} and {highest}")
    return len(array) if batched else None


def with_first_axis(space: gymnasium.Space[Any], observation: Observations) -> Observations:
    """Return a batch of one observation of the space."""
    match space:
        case spaces.Dict():
            return {key: with_first_axis(part, observation[key]) for key, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(with_first_axis(part, value) for part, value in zip(space.spaces, observation, strict=True))
        case _:
            return np.asarray(observation)[None]
