"""Actions in [-1, 1], as networks make them, and those of a bounded environment."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


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
        low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
        self.centre, self.half_range = (high + low) / 2, (high - low) / 2
        self.width = len(self.centre)

    def to_environment(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return actions [env, ...] of the space for actions [env, width] in [-1, 1]."""
        scaled = np.clip(self.centre + self.half_range * actions, self.space.low.ravel(), self.space.high.ravel())
        if np.issubdtype(self.space.dtype, np.integer):
            scaled = np.rint(scaled)
        reshaped: NDArray[Any] = scaled.astype(self.space.dtype).reshape(len(actions), *self.space.shape)
        return reshaped
