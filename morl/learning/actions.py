"""From the actions of policies to those of the environment."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from morl.protocols import Actions


class BoundedActions:
    """The linear map from [-1, 1] to a bounded Box.

    Args:
        space: the environment's action space.

    Raises:
        ValueError: it is no Box, or a Box without bounds.
    """

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        if not isinstance(space, spaces.Box) or not space.is_bounded():
            raise ValueError(
                f"action_space is {space}, but must be a Box with finite bounds: choose some in the environment"
            )
        self.space = space
        low = space.low.ravel().astype(np.float64)
        high = space.high.ravel().astype(np.float64)
        self.center = (high + low) / 2
        self.half_range = (high - low) / 2
        self.width = len(self.center)

    def to_environment(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return actions [env, ...] of the space for actions [env, width] in [-1, 1]."""
        scaled = np.clip(self.center + self.half_range * actions, self.space.low.ravel(), self.space.high.ravel())
        if np.issubdtype(self.space.dtype, np.integer):
            scaled = np.rint(scaled)
        reshaped: NDArray[Any] = scaled.astype(self.space.dtype).reshape((len(actions), *self.space.shape))
        return reshaped


def action_map(space: gymnasium.Space[Any]) -> Callable[[NDArray[np.float32]], Actions]:
    """Return a function that maps policy actions [env, width] to environment actions [env, ...].

    A discrete choice is counted from the space's `start`. A bounded box is [-1, 1] to the policy, whatever its units
    are, so that a fresh policy's standard deviation of 1 is half its range; actions beyond are clipped. A box without
    bounds is used in its own units.

    Raises:
        ValueError: actions are neither a Discrete choice nor a Box.
    """
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return lambda actions: actions[:, 0].astype(np.int64) + start
    if not isinstance(space, spaces.Box):
        raise ValueError(f"action_space is {space}, but must be Discrete or a Box of floats")
    if space.is_bounded():
        return BoundedActions(space).to_environment

    def clipped(actions: NDArray[np.float32]) -> Actions:
        reshaped = actions.reshape((len(actions), *space.shape)).astype(space.dtype)
        limited: Actions = np.clip(reshaped, space.low, space.high)
        return limited

    return clipped
