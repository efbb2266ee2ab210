"""Type aliases that all rooms of `morl.envs` share."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""An array whose dtype depends on the environment: observations, actions, the state of a kernel."""
Observation: TypeAlias = Any
"""One observation: an array, a number, or a dict or tuple of them."""
Action: TypeAlias = Any
"""One action of the environment's action space."""
ObservationBatch: TypeAlias = Any
"""Observations of all environments: an array [env, ...], or a dict or tuple of such arrays."""
ActionBatch: TypeAlias = Any
"""Actions of all environments: an array [env, ...], or a dict or tuple of such arrays."""
Info: TypeAlias = dict[str, Any]
"""What `reset` and `step` say beside the observation, for one environment or, batched by Gymnasium, for all."""
Options: TypeAlias = dict[str, Any] | None
"""`options` of `reset`; vector environments read "reset_mask" in it."""
Seed: TypeAlias = int | Sequence[int | None] | None
"""`seed` of a vector environment's `reset`: one number s for s + index, one seed for each environment, or None."""

Env: TypeAlias = gymnasium.Env[Any, Any]
"""A single environment whose `step` returns a reward [objective]."""
Space: TypeAlias = gymnasium.Space[Any]
Step: TypeAlias = tuple[Observation, NDArray[np.float64], bool, bool, Info]
"""What `step` of a single environment returns; the reward is [objective]."""
VectorStep: TypeAlias = tuple[ObservationBatch, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]
"""What `step` of a vector environment returns: observations [env, ...], rewards [env, objective], flags [env],
infos."""

SavedState: TypeAlias = dict[str, Any]
"""What `state_dict` returns: nested dicts and lists of arrays, numbers and strings."""

BuildEnv: TypeAlias = Callable[[], Env]
"""Builds one environment."""
EnvBuilder: TypeAlias = str | Callable[..., Any]
"""What users give as an environment: a Gymnasium id, "module:Name-v0", or a callable that builds a `gymnasium.Env` or a
`gymnasium.vector.VectorEnv`."""
EnvOption: TypeAlias = Any
"""The value of one option of an environment's constructor."""

# --- Pictures ---------------------------------------------------------------------------------------------------------

Pixels: TypeAlias = NDArray[np.uint8]
"""A picture [row, column, 3]: red, green and blue."""
Color: TypeAlias = str | tuple[int, int, int]
"""A name of `morl.envs.core.drawing.COLORS`, or red, green and blue."""
Point: TypeAlias = tuple[float, float]
"""Pixels from the left and from the top."""
Anchor: TypeAlias = Literal["left", "middle", "right"]
"""Which part of a text lies at its place."""


class Sheet(Protocol):
    """What environments draw on; places and sizes are in pixels."""

    def rectangle(self, start: Point, end: Point, color: Color, outline: Color | None = None) -> None:
        """Fill a rectangle between two corners, in any order."""
        ...

    def line(self, points: Sequence[Point], color: Color, width: float = 2.0) -> None:
        """Draw a line through points."""
        ...

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        ...

    def circle(self, center: Point, radius: float, color: Color, outline: Color | None = None) -> None:
        """Fill a circle."""
        ...

    def text(self, place: Point, words: str, color: Color = "ink", size: float = 14.0, anchor: Anchor = "left") -> None:
        """Write one line, at half the height of its letters."""
        ...


@runtime_checkable
class DrawsItself(Protocol):
    """A batch kernel that draws its first environment."""

    picture_size: tuple[int, int]
    """Width and height in pixels."""

    def draw(self, sheet: Sheet, action: Action | None) -> None:
        """Draw the state; `action` is the last one of the episode, None at its start."""
        ...
