"""Plain pictures of environments: a few shapes and words on a white sheet, for `render_mode="rgb_array"`."""

from collections.abc import Sequence
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels: TypeAlias = NDArray[np.uint8]
"""[row, column, 3] red, green and blue."""
Color: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
"""Pixels from the left and from the top."""
Anchor: TypeAlias = Literal["left", "middle", "right"]

WHITE: Color = (255, 255, 255)
INK: Color = (33, 33, 33)
FAINT: Color = (120, 120, 120)
LIGHT: Color = (224, 224, 224)
BLUE: Color = (0, 114, 178)
ORANGE: Color = (213, 94, 0)
GREEN: Color = (0, 158, 115)
YELLOW: Color = (230, 159, 0)
PINK: Color = (204, 121, 167)
SERIES = (BLUE, ORANGE, GREEN, PINK, YELLOW, (86, 180, 233), INK)
"""Okabe and Ito's colors, which readers with any color vision can tell apart."""

_SHARPNESS = 2  # drawn at twice the size, then averaged: smooth edges


class Drawing:
    """A sheet to draw on; places and sizes are in pixels.

    Args:
        width: of the picture.
        height: of the picture.
        background: its color.
    """

    def __init__(self, width: int, height: int, background: Color = WHITE) -> None:
        self.width = width
        self.height = height
        self._image = Image.new("RGB", (width * _SHARPNESS, height * _SHARPNESS), background)
        self._draw = ImageDraw.Draw(self._image)

    def rectangle(self, start: Point, end: Point, color: Color, outline: Color | None = None) -> None:
        """Fill a rectangle between two corners, in any order."""
        (left, right), (top, bottom) = sorted((start[0], end[0])), sorted((start[1], end[1]))
        self._draw.rectangle(
            [*_enlarged([(left, top), (right, bottom)])], fill=color, outline=outline, width=_SHARPNESS
        )

    def line(self, points: Sequence[Point], color: Color, width: float = 2.0) -> None:
        """Draw a line through points."""
        self._draw.line(_enlarged(points), fill=color, width=round(width * _SHARPNESS), joint="curve")

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        self._draw.polygon(_enlarged(points), fill=color)

    def circle(self, center: Point, radius: float, color: Color, outline: Color | None = None) -> None:
        """Fill a circle."""
        corners = [(center[0] - radius, center[1] - radius), (center[0] + radius, center[1] + radius)]
        self._draw.ellipse(_enlarged(corners), fill=color, outline=outline, width=2 * _SHARPNESS)

    def text(self, place: Point, words: str, color: Color = INK, size: float = 14.0, anchor: Anchor = "left") -> None:
        """Write one line, whose left end, middle or right end lies at `place`, at half the height of its letters."""
        letters = {"left": "lm", "middle": "mm", "right": "rm"}[anchor]
        font = _font(size * _SHARPNESS)
        self._draw.text(_enlarged([place])[0], words, fill=color, font=font, anchor=letters)

    def pixels(self) -> Pixels:
        """Return the picture."""
        small = self._image.resize((self.width, self.height), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.uint8)


def _enlarged(points: Sequence[Point]) -> list[Point]:
    return [(float(x) * _SHARPNESS, float(y) * _SHARPNESS) for x, y in points]


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def text_width(words: str, size: float) -> float:
    """Return the width in pixels of a line of text whose letters have a size."""
    return float(_font(size * _SHARPNESS).getlength(words)) / _SHARPNESS


def blend(low: Color, high: Color, share: float) -> Color:
    """Return the color between two others: `low` at 0, `high` at 1 and beyond."""
    part = min(max(float(share), 0.0), 1.0)
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(low, high, strict=True))
    return red, green, blue
