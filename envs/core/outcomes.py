"""Validation of what environments return: observations, rewards and action masks, the same in every backend."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from gymnasium import spaces
from numba import njit
from numpy.typing import NDArray

from morl.action_masks import KEY, mask_array, num_choices
from morl.envs.core.types import Array, Info, Observation, Space

LARGEST = float(np.finfo(np.float32).max)
"""Networks compute in float32: a larger number is infinite there."""


class InvalidOutcome(ValueError):
    """An environment returned something that breaks the contract; the message is one sentence with the value."""


class Fault(Exception):
    """Half a sentence: what must be, and what was got. Guards add where it happened."""


LeafCheck: TypeAlias = Callable[[Observation], Observation]
"""Returns a copy of a valid leaf; raises Fault for others."""


def observation_check(space: Space, path: str = "") -> LeafCheck:
    """Return a function that copies observations of a space, and raises Fault for those that do not fit.

    Every leaf must have the shape of its space. Numbers must be finite in float32, categories must be in their range.
    Bounds of a Box are not checked: environments exceed them by rounding. Leaves of other spaces (Text, Graph) are
    passed on as they are.

    Args:
        space: observation space of one environment.
        path: of the leaf inside the observation, for messages, such as "['camera']".
    """
    match space:
        case spaces.Dict():
            return _dict_check({key: observation_check(part, f"{path}[{key!r}]") for key, part in space.items()}, path)
        case spaces.Tuple():
            return _tuple_check([observation_check(part, f"{path}[{i}]") for i, part in enumerate(space.spaces)], path)
        case spaces.Discrete():
            return _category_check(int(space.start), int(space.start + space.n), path)
        case spaces.Box() | spaces.MultiBinary() | spaces.MultiDiscrete():
            return _array_check(space, path)
    return _unchanged


def _unchanged(observation: Observation) -> Observation:
    return observation


def _dict_check(parts: dict[str, LeafCheck], path: str) -> LeafCheck:
    def check(observation: Observation) -> Observation:
        if not isinstance(observation, dict) or not parts.keys() <= observation.keys():
            raise Fault(f"observation{path} must be a dict with {', '.join(map(repr, parts))}, got {observation!r}")
        return {key: part(observation[key]) for key, part in parts.items()}

    return check


def _tuple_check(parts: list[LeafCheck], path: str) -> LeafCheck:
    def check(observation: Observation) -> Observation:
        if not isinstance(observation, tuple | list) or len(observation) != len(parts):
            raise Fault(f"observation{path} must be a tuple of {len(parts)}, got {observation!r}")
        return tuple(part(item) for part, item in zip(parts, observation, strict=True))

    return check


def _category_check(low: int, end: int, path: str) -> LeafCheck:
    def check(observation: Observation) -> Observation:
        number = np.asarray(observation)
        whole = number.shape == () and number.dtype.kind in "iub"
        if not whole or not low <= int(number) < end:
            raise Fault(f"observation{path} must be an integer in {low} .. {end - 1}, got {observation!r}")
        return observation.copy() if isinstance(observation, np.ndarray) else observation

    return check


def _array_check(space: spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete, path: str) -> LeafCheck:
    shape = space.shape
    bounds = _integer_bounds(space)
    bytes_of_any_value = isinstance(space, spaces.Box) and space.dtype == np.uint8 and _is_full(space)

    def check(observation: Observation) -> Observation:
        try:
            array = np.array(observation)
        except ValueError:  # a ragged list
            raise Fault(f"observation{path} must be an array of shape {shape}, got {observation!r}") from None
        if array.shape != shape or array.dtype.kind not in "fiub":
            raise Fault(f"observation{path} must be numbers of shape {shape}, got {array.dtype} of shape {array.shape}")
        if array.dtype.kind == "f" and not is_finite(array):
            raise Fault(f"observation{path} must be finite in float32, got {excerpt(array)}")
        if bounds is None or (bytes_of_any_value and array.dtype == np.uint8):
            return array
        outside = (array < bounds[0]) | (array > bounds[1])
        if array.dtype.kind == "f":
            outside |= array != np.rint(array)
        if outside.any():
            raise Fault(f"observation{path} must lie in {space}, got {excerpt(array, outside)}")
        return array

    return check


def _integer_bounds(space: spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete) -> tuple[Array, Array] | None:
    """Return the lowest and the highest numbers of a space of integers; None for floats."""
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return np.array(0), np.array(1)
    return None if space.low.dtype.kind == "f" else (space.low, space.high)


def _is_full(space: spaces.Box) -> bool:
    """Return whether a Box of bytes holds every value of a byte, as images do: then nothing is compared."""
    return bool((space.low == 0).all() and (space.high == 255).all())


def is_finite(array: Array) -> bool:
    """Return whether all numbers of an array are finite in float32."""
    return bool(np.isfinite(array).all() and (array.dtype.itemsize <= 4 or np.abs(array).max(initial=0.0) <= LARGEST))


@njit(cache=True, nogil=True)
def first_not_finite_in_float32(rows: Array) -> int:
    """Return the first row [env, entry] with an entry that float32 cannot hold, or -1."""
    for env in range(rows.shape[0]):
        for entry in range(rows.shape[1]):
            if not abs(rows[env, entry]) <= LARGEST:
                return env
    return -1


def excerpt(array: Array, wrong: NDArray[np.bool_] | None = None) -> str:
    """Return the numbers of a small array, some wrong ones of a large one, as text.

    Args:
        array: of any shape.
        wrong: of the same shape, true where a number is wrong; default: where it is not finite in float32.
    """
    if array.size <= 12:
        return str(array.tolist())
    shown = array[~(np.abs(array) <= LARGEST) if wrong is None else wrong]
    return f"{shown[:3].tolist()} among {array.size} numbers"


def reward_fault(reward: NDArray[np.float64], num_objectives: int) -> str:
    """Return what is wrong with a reward vector, or an empty string."""
    if reward.shape == (num_objectives,) and np.isfinite(reward).all():
        return ""
    return f"must be {num_objectives} finite numbers, got {reward.tolist()}"


class MaskCheck:
    """Checks and converts `info["action_mask"]` of one environment with a Discrete action space.

    An environment that gives a mask with its first reset must give one with every reset and step, but for the step that
    terminates an episode: without it, every action would count as allowed.

    Args:
        space: action space; masks of spaces other than Discrete are not checked.
    """

    def __init__(self, space: Space) -> None:
        self.choices = num_choices(space)
        self.masked: bool | None = None

    def __call__(self, info: Info, terminated: bool = False) -> Info:
        """Return the info with its mask as an array; raise Fault for one that is missing, wrong, or allows nothing."""
        if not self.choices:
            return info
        given = KEY in info
        if self.masked is None:
            self.masked = given
        if given != self.masked and not terminated:
            first = "has one" if self.masked else "has none"
            got = "one" if given else "none"
            raise Fault(f"info['{KEY}'] must be in every info or in none: the first reset {first}, got {got}")
        if not given:
            return info
        try:
            mask = mask_array(info[KEY], (self.choices,))
        except ValueError as error:
            raise Fault(f"info['{KEY}'] {error}") from None
        if not mask.any() and not terminated:
            raise Fault(f"info['{KEY}'] must allow at least one action, got zeros only")
        return info if mask is info[KEY] else {**info, KEY: mask}
