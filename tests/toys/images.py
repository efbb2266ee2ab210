"""Walks that are seen as images, alone or beside numbers; registered as toy-...-walk-v0."""

from typing import Any

import gymnasium
import numpy as np
import toys
from gymnasium import spaces

import morl.envs

SIDE = 5
NUMBERS = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def image(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


SPACES: dict[str, spaces.Space[Any]] = {
    "image": image(SIDE, SIDE, 3),
    "first": image(2, SIDE, SIDE),
    "stacked": image(4, SIDE, SIDE, 1),
    "gray": image(8, 9),
    "large": image(100, 90, 1),
    "image-dict": spaces.Dict({"eye": image(SIDE, SIDE, 3), "where": NUMBERS, "parity": spaces.Discrete(2, start=3)}),
    "image-tuple": spaces.Tuple((NUMBERS, spaces.Dict({"eye": image(SIDE, SIDE, 3)}), image(1, SIDE, SIDE))),
}
"""Name of a walk -> its observations."""


class ImageWalk(toys.Walk):
    """The walk, drawn: the brightness of every pixel depends on place and clock."""

    def __init__(self, name: str = "image", continuous: bool = False) -> None:
        super().__init__()
        self.observation_space = SPACES[name]
        if continuous:
            self.action_space = spaces.Box(-2.0, 1.0, (1,), np.float32)

    def _observe(self) -> Any:
        return self._show(self.observation_space)

    def _show(self, space: spaces.Space[Any]) -> Any:
        match space:
            case spaces.Dict():
                return {key: self._show(part) for key, part in space.spaces.items()}
            case spaces.Tuple():
                return tuple(self._show(part) for part in space.spaces)
            case spaces.Discrete():
                return np.int64(3 + self.clock % 2)
        if space.dtype != np.uint8:
            return np.array([self.place, self.clock / 12], dtype=np.float32)
        shade = 128.0 + 30.0 * self.place + np.arange(np.prod(space.shape)).reshape(space.shape) % (5 + self.clock)
        return np.clip(shade, 0, 255).astype(np.uint8)


def env_id(name: str, continuous: bool = False) -> str:
    return f"toy-{'continuous-' if continuous else ''}{name}-walk-v0"


if env_id("image") not in gymnasium.registry:
    for name in SPACES:
        for continuous in (False, True):
            kwargs = {"name": name, "continuous": continuous}
            morl.envs.register(env_id(name, continuous), ImageWalk, objectives=("place", "rest"), kwargs=kwargs)
