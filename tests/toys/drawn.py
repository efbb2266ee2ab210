"""A toy environment that draws pictures."""

from typing import Any

import numpy as np
import toys


class DrawnWalk(toys.Walk):
    """The walk with pictures: quick to draw, their color is the place."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - Gymnasium's form

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> Any:
        picture = np.zeros((31, 45, 3), dtype=np.uint8)
        picture[:, :, 0] = int(40 * self.place) % 256
        return picture
