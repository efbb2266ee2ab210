"""Plain pictures of environments: a few shapes and words on a white sheet, for `render_mode="rgb_array"`."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from morl.envs.core.types import Anchor, Color, Pixels, Point

COLORS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "ink": (33, 33, 33),
    "faint": (120, 120, 120),
    "light": (224, 224, 224),
    "water": (120, 180, 225),
    "blue": (0, 114, 178),
    "orange": (213, 94, 0),
    "green": (0, 158, 115),
    "yellow": (230, 159, 0),
}
"""Colors by name; the saturated ones are Okabe and Ito's, which readers with any color vision can tell apart."""

_SHARPNESS = 2  # drawn at twice the size, then averaged: smooth edges


class Drawing:
    """A sheet to draw on; places and sizes are in pixels.

    Args:
        width: of the picture.
        height: of the picture.
        background: its color.
    """

    def __init__(self, width: int, height: int, background: Color = "white") -> None:
        self.width = width
        self.height = height
        self._image = Image.new("RGB", (width * _SHARPNESS, height * _SHARPNESS), _rgb(background))
        self._draw = ImageDraw.Draw(self._image)

    def rectangle(self, start: Point, end: Point, color: Color, outline: Color | None = None) -> None:
        """Fill a rectangle between two corners, in any order."""
        left, right = sorted((start[0], end[0]))
        top, bottom = sorted((start[1], end[1]))
        self._draw.rectangle(
            _enlarged([(left, top), (right, bottom)]),
            fill=_rgb(color),
            outline=None if outline is None else _rgb(outline),
            width=_SHARPNESS,
        )

    def line(self, points: Sequence[Point], color: Color, width: float = 2.0) -> None:
        """Draw a line through points."""
        self._draw.line(_enlarged(points), fill=_rgb(color), width=round(width * _SHARPNESS), joint="curve")

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        self._draw.polygon(_enlarged(points), fill=_rgb(color))

    def circle(self, center: Point, radius: float, color: Color, outline: Color | None = None) -> None:
        """Fill a circle."""
        corners = [(center[0] - radius, center[1] - radius), (center[0] + radius, center[1] + radius)]
        self._draw.ellipse(
            _enlarged(corners),
            fill=_rgb(color),
            outline=None if outline is None else _rgb(outline),
            width=2 * _SHARPNESS,
        )

    def text(self, place: Point, words: str, color: Color = "ink", size: float = 14.0, anchor: Anchor = "left") -> None:
        """Write one line, whose left end, middle or right end lies at `place`, at half the height of its letters."""
        letters = {"left": "lm", "middle": "mm", "right": "rm"}[anchor]
        font = _font(size * _SHARPNESS)
        self._draw.text(_enlarged([place])[0], words, fill=_rgb(color), font=font, anchor=letters)

    def pixels(self) -> Pixels:
        """Return the picture."""
        small = self._image.resize((self.width, self.height), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.uint8)


def _rgb(color: Color) -> tuple[int, int, int]:
    return COLORS[color] if isinstance(color, str) else color


def _enlarged(points: Sequence[Point]) -> list[Point]:
    return [(float(x) * _SHARPNESS, float(y) * _SHARPNESS) for x, y in points]


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def text_width(words: str, size: float) -> float:
    """Return the width in pixels of a line of text whose letters have a size."""
    return float(_font(size * _SHARPNESS).getlength(words)) / _SHARPNESS
