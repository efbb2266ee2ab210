"""Rows of actions as networks compute them, and the actions of the environment."""

from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from morl.learning.actions import BoundedActions
from morl.protocols import Actions, BoolArray


class DiscreteActions:
    """Actions as rows [env, 1] of indices from zero, and the environment's, from the start of its space.

    Args:
        space: action space of the environment.
    """

    def __init__(self, space: spaces.Discrete) -> None:
        self.width = 1
        self.count = int(space.n)
        self.start = int(space.start)

    def to_environment(self, actions: NDArray[Any]) -> Actions:
        """Return actions [env] of the space for rows [env, 1]."""
        environment_actions: Actions = actions[:, 0].astype(np.int64) + self.start
        return environment_actions

    def random(self, count: int, random: np.random.Generator, masks: BoolArray | None = None) -> NDArray[Any]:
        """Return uniformly random rows [count, 1].

        Args:
            count: number of rows.
            random: random stream.
            masks: [count, choice] allowed choices; None: all are.
        """
        if masks is not None:
            chances = np.where(masks, random.random(masks.shape), -1.0)
            return np.asarray(chances.argmax(axis=1))[:, None]
        return random.integers(self.count, size=(count, 1))


class ContinuousActions(BoundedActions):
    """Actions as rows [env, width] in [-1, 1], and the environment's, in its bounded box."""

    def random(
        self,
        count: int,
        random: np.random.Generator,
        masks: BoolArray | None = None,  # noqa: ARG002  (there are no choices)
    ) -> NDArray[Any]:
        """Return uniformly random rows [count, width]."""
        return random.uniform(-1.0, 1.0, (count, self.width))


ActionMap: TypeAlias = DiscreteActions | ContinuousActions


def action_map(space: gymnasium.Space[Any]) -> ActionMap:
    """Return the map from rows of actions to the actions of a Discrete or bounded Box space."""
    return DiscreteActions(space) if isinstance(space, spaces.Discrete) else ContinuousActions(space)
