"""Validation of the arguments of `reset` and `step`, the same in every backend."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import gymnasium
import numpy as np
from numba import njit
from numpy.typing import NDArray

from morl.envs.core.types import ActionBatch, Array, Space


def env_seeds(seed: object, num_envs: int) -> list[int | None]:
    """Return a seed for each environment: seed + index for an integer, the sequence as it is, None for None.

    Raises:
        ValueError: something else, or another number of them.
    """
    if seed is None:
        return [None] * num_envs
    if _is_seed(seed):
        return [int(seed) + index for index in range(num_envs)]
    listed = list(seed) if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str) else []
    if len(listed) != num_envs or not all(one is None or _is_seed(one) for one in listed):
        raise ValueError(
            f"seed must be None, a non-negative integer, or {num_envs} of them (one for each environment), got {seed!r}"
        )
    return [None if one is None else int(one) for one in listed]


def _is_seed(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)


def reset_mask(options: Mapping[str, Any] | None, num_envs: int) -> NDArray[np.bool_]:
    """Return which environments a reset with these options resets [env]: `options["reset_mask"]`, or all.

    Raises:
        ValueError: a mask that is not one boolean for each environment, at least one of them true.
    """
    if not options or "reset_mask" not in options:
        return np.ones(num_envs, dtype=np.bool_)
    mask = np.asarray(options["reset_mask"])
    if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not mask.any():
        given = options["reset_mask"]
        raise ValueError(f"options['reset_mask'] must be {num_envs} booleans, at least one of them true, got {given!r}")
    return mask


def require_reset(was_reset: Array | bool, mask: NDArray[np.bool_]) -> None:
    """Raise ResetNeeded where a reset leaves out environments that have never been reset.

    Args:
        was_reset: [env] whether each has been reset before, or one answer for all.
        mask: [env] which are reset now.
    """
    if not (was_reset | mask).all():
        raise gymnasium.error.ResetNeeded("the first reset must reset all environments, without options['reset_mask']")


class ActionCheck:
    """Checks a batch of actions; spaces made of others (Dict, Tuple) are left to the environments.

    Args:
        space: action space of one environment.
        num_envs: number of environments.
    """

    def __init__(self, space: Space, num_envs: int) -> None:
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

    def __call__(self, actions: ActionBatch) -> ActionBatch:
        """Return the actions as an array [env, ...]; of another kind of space, as they are.

        Raises:
            ValueError: another shape, fractions where integers are wanted, numbers that are not finite, or an action
                outside a Discrete space. A Box may be exceeded: environments clip actions themselves.
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
            index = first_outside(array, self.first, self.first + self.number)
            if index >= 0:
                last = self.first + self.number - 1
                allowed = f"{self.first} .. {last}"
                raise ValueError(f"the action of environment {index} must be in {allowed}, got {array[index]}")
        elif self.continuous and array.dtype.kind == "f":
            index = first_not_finite(array.reshape(len(array), -1))
            if index >= 0:
                raise ValueError(f"the action of environment {index} must be finite, got {array[index].tolist()}")
        return array


@njit(cache=True, nogil=True)
def first_outside(actions: Array, low: int, high: int) -> int:
    """Return the first index [env] whose action is not in low .. high - 1, or -1."""
    for env in range(actions.size):
        if actions[env] < low or actions[env] >= high:
            return env
    return -1


@njit(cache=True, nogil=True)
def first_not_finite(rows: Array) -> int:
    """Return the first row [env, entry] with an entry that is infinite or not a number, or -1."""
    for env in range(rows.shape[0]):
        for entry in range(rows.shape[1]):
            if not math.isfinite(rows[env, entry]):
                return env
    return -1
