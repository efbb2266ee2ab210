"""What `reset` and `step` of every back end are given: read the same way everywhere, or refused in one sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


def lane_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return a seed per lane: seed + lane for an integer, the sequence as it is, None for None.

    Raises:
        ValueError: something else, or another number of them.
    """
    if seed is None:
        return [None] * num_envs
    if _is_seed(seed):
        return [int(seed) + lane for lane in range(num_envs)]
    listed = isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str)
    if not listed or len(seed) != num_envs or not all(one is None or _is_seed(one) for one in seed):
        raise ValueError(
            f"seed must be None, a non-negative integer, or {num_envs} of them (one for each lane), got {seed!r}"
        )
    return [None if one is None else int(one) for one in seed]


def _is_seed(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)


def reset_mask(options: Mapping[str, Any] | None, num_envs: int) -> NDArray[np.bool_]:
    """Return which lanes a reset with these options begins anew [env]: `options["reset_mask"]`, or all.

    Raises:
        ValueError: a mask that is not one boolean for each lane, at least one of them true.
    """
    if not options or "reset_mask" not in options:
        return np.ones(num_envs, dtype=np.bool_)
    mask = np.asarray(options["reset_mask"])
    if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not mask.any():
        given = options["reset_mask"]
        raise ValueError(f"options['reset_mask'] must be {num_envs} booleans, at least one of them true, got {given!r}")
    return mask


def require_begun(begun: Array | bool, mask: NDArray[np.bool_]) -> None:
    """Raise ResetNeeded where a reset leaves out lanes that have no episode yet."""
    if not (begun | mask).all():
        raise gymnasium.error.ResetNeeded("the first reset must begin all lanes, without options['reset_mask']")


class Actions:
    """Checks the actions of `num_envs` lanes; spaces made of others (Dict, Tuple) are left to the environments."""

    def __init__(self, space: gymnasium.Space[Any], num_envs: int) -> None:
        known = isinstance(
            space,
            gymnasium.spaces.Box
            | gymnasium.spaces.Discrete
            | gymnasium.spaces.MultiDiscrete
            | gymnasium.spaces.MultiBinary,
        )
        self.shape = (num_envs, *(space.shape or ())) if known else None
        self.continuous = isinstance(space, gymnasium.spaces.Box) and space.dtype.kind == "f"
        self.discrete = isinstance(space, gymnasium.spaces.Discrete)
        self.first = int(getattr(space, "start", 0)) if self.discrete else 0
        self.number = int(getattr(space, "n", 0)) if self.discrete else 0

    def __call__(self, actions: Any) -> Any:
        """Return the actions as an array [env, ...]; of another kind of space, as they are.

        Raises:
            ValueError: another shape, fractions where integers are wanted, numbers that are not finite, or an action
                outside a Discrete space. A Box may be exceeded: environments cut actions off themselves.
        """
        if self.shape is None:
            return actions
        try:
            array = np.asarray(actions)
        except ValueError:  # a ragged list
            array = np.empty(0, dtype=object)
        if array.shape != self.shape or array.dtype.kind not in ("fiu" if self.continuous else "iub"):
            wanted = f"{'numbers' if self.continuous else 'integers'} of shape {self.shape}"
            raise ValueError(f"actions must be {wanted}, got {array.dtype} of shape {array.shape}")
        if self.discrete:
            lane = first_outside(array, self.first, self.first + self.number)
            if lane >= 0:
                last = self.first + self.number - 1
                raise ValueError(f"the action of lane {lane} must be in {self.first} .. {last}, got {array[lane]}")
        elif self.continuous and array.dtype.kind == "f":
            lane = first_not_finite(array.reshape(len(array), -1))
            if lane >= 0:
                raise ValueError(f"the action of lane {lane} must be finite, got {array[lane].tolist()}")
        return array


@njit(cache=True, nogil=True)
def first_outside(actions: Array, low: int, high: int) -> int:
    """Return the first lane whose action is not in low .. high - 1, or -1."""
    for lane in range(actions.size):
        if actions[lane] < low or actions[lane] >= high:
            return lane
    return -1


@njit(cache=True, nogil=True)
def first_not_finite(rows: Array) -> int:
    """Return the first lane with an entry that is infinite or not a number, or -1."""
    for lane in range(rows.shape[0]):
        for index in range(rows.shape[1]):
            if not math.isfinite(rows[lane, index]):
                return lane
    return -1
