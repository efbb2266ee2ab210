"""Fronts as figures: pure functions from points to a matplotlib `Figure`; pictures and videos for loggers.

Two objectives are one scatter plot with the staircase that bounds what is dominated; three and more are one panel per
pair of objectives. Nothing here touches pyplot or the global backend, and matplotlib is imported on first use only.
The colours are Okabe and Ito's ("Color Universal Design", 2008), which readers with any colour vision can tell apart;
every front has a marker of its own too.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morl.board.text import printable
from morl.output_files import PICTURE_SUFFIXES, check_output_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#4B2BFF", "#00B800", "#FF0FD2", "#7B2D8E", "#7A1A00", "#F00069", "#6E6E00"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#9A9A9A"


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One set of points and how it is drawn; layers are drawn first to last."""

    points: NDArray[np.float64]  # [point, objective]
    label: str | None
    color: str
    marker: str = "o"
    size: float = 28.0
    opacity: float = 1.0
    hollow: bool = False
    staircase: bool = False


def front_figure(
    points: ArrayLike,
    objectives: Sequence[str],
    known_front: ArrayLike | None = None,
    history: Sequence[ArrayLike] = (),
    title: str = "",
) -> "Figure":
    """Return a figure of one front, over its own past and the known front.

    Args:
        points: [point, objective], the front now; may be empty.
        objectives: the names on the axes, at least two.
        known_front: [point, objective], the true front, drawn behind everything as hollow grey rings.
        history: earlier fronts, oldest first, each [point, objective]; the older, the paler.
        title: the heading; empty for none.

    Raises:
        ValueError: if `objectives` has fewer than two names or a set of points is not [point, objective].
    """
    layers = _known(known_front, objectives)
    for age, earlier in enumerate(history):
        layers.append(
            _Layer(
                points=_checked(earlier, objectives, "history"),
                label="earlier fronts" if age == len(history) - 1 else None,
                color=PALETTE[5],
                size=14.0,
                opacity=0.15 + 0.55 * (age + 1) / len(history),
            )
        )
    current = _checked(points, objectives, "points")
    layers.append(_Layer(points=current, label=f"front ({len(current)})", color=PALETTE[0], staircase=True))
    return _draw(layers, objectives, title)


def comparison_figure(
    fronts: Mapping[str, ArrayLike],
    objectives: Sequence[str],
    known_front: ArrayLike | None = None,
    title: str = "",
) -> "Figure":
    """Return a figure of several fronts, one colour and one marker each, before the known front.

    Args:
        fronts: label -> points [point, objective]. Colours repeat after seven fronts, but not with the same marker.
        objectives: the names on the axes, at least two.
        known_front: [point, objective], the true front, drawn behind everything as hollow grey rings.
        title: the heading; empty for none.

    Raises:
        ValueError: if `objectives` has fewer than two names or a set of points is not [point, objective].
    """
    layers = _known(known_front, objectives)
    for number, (label, points) in enumerate(fronts.items()):
        # After a whole round of colours the markers move on by one, so no two of 49 fronts look the same.
        marker = MARKERS[(number + number // len(MARKERS)) % len(MARKERS)]
        color = PALETTE[number % len(PALETTE)]
        checked = _checked(points, objectives, f"fronts[{label!r}]")
        layers.append(_Layer(points=checked, label=label, color=color, marker=marker, opacity=0.85, staircase=True))
    return _draw(layers, objectives, title)


def save_figure(figure: "Figure", file: str | Path) -> None:
    """Write a figure for print: 300 dots per inch, TrueType fonts in PDF, text as text in SVG, no date in the file.

    The same figure makes the same file, so that a paper's repository sees only real changes.

    Raises:
        ValueError: the file's name does not end in .png, .pdf or .svg, or nothing can be written there.
        OSError: it cannot be written.
    """
    from matplotlib import rc_context

    undated: dict[str, dict[str, Any]] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    path = check_output_file("file", file, PICTURE_SUFFIXES)
    with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "morl"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a box is drawn instead
        figure.savefig(path, dpi=300, metadata=undated[path.suffix.lower()])


def _checked(points: ArrayLike, objectives: Sequence[str], name: str) -> NDArray[np.float64]:
    """Return `points` as float64 [point, objective]; an empty list becomes [0, objective]."""
    if len(objectives) < 2:
        raise ValueError(f"objectives must name at least two objectives to draw a front, not {list(objectives)}")
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        return np.empty((0, len(objectives)))
    if array.ndim != 2 or array.shape[1] != len(objectives):
        raise ValueError(f"{name} must have shape [point, {len(objectives)}], not {list(array.shape)}")
    return array


def _known(known_front: ArrayLike | None, objectives: Sequence[str]) -> list[_Layer]:
    """Return the layer of the known front, if there is one."""
    if known_front is None:
        return []
    points = _checked(known_front, objectives, "known_front")
    # Rings larger than the points: a front that reaches the known one sits inside them. Many rings would be a smear.
    size = 90.0 if len(points) <= 100 else 22.0
    return [_Layer(points=points, label=f"known front ({len(points)})", color=GREY, size=size, hollow=True)]


def _draw(layers: Sequence[_Layer], objectives: Sequence[str], title: str) -> "Figure":
    return _draw_plane(layers, objectives, title) if len(objectives) == 2 else _draw_pairs(layers, objectives, title)


def _draw_plane(layers: Sequence[_Layer], objectives: Sequence[str], title: str) -> "Figure":
    """Return the figure of two objectives: one scatter plot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    for layer in layers:
        _scatter(axes, layer, 0, 1)
        if layer.staircase and len(layer.points):
            corners = _staircase(layer.points)
            axes.step(corners[:, 0], corners[:, 1], where="pre", color=layer.color, linewidth=1.0, alpha=0.5, zorder=1)
    _dress(axes, objectives[0], objectives[1], size=11)
    if title:
        axes.set_title(literal(title), fontsize=12)
    longest = max((len(layer.label or "") for layer in layers), default=0)
    # Below the axes, where it can never cover a point.
    figure.legend(loc="outside lower center", ncols=4 if longest <= 20 else 1, fontsize=9, frameon=False)
    return figure


def _draw_pairs(layers: Sequence[_Layer], objectives: Sequence[str], title: str) -> "Figure":
    """Return the figure of three and more objectives: the lower triangle of all pairs, legend in the corner."""
    from matplotlib.figure import Figure

    side = len(objectives) - 1
    panel = 2.6 if side <= 3 else 1.9  # inches
    width, height = panel * side + 1.15, panel * side + 1.1
    figure = Figure(figsize=(width, height), dpi=110)
    # Fixed margins in inches: the automatic layout takes seconds on 15 and more panels.
    margins = {"left": 1.0 / width, "right": 1 - 0.15 / width, "bottom": 0.7 / height, "top": 1 - 0.4 / height}
    grid = figure.add_gridspec(side, side, wspace=0.12, hspace=0.12, **margins)
    for row in range(side):
        for column in range(row + 1):
            axes = figure.add_subplot(grid[row, column])
            for layer in layers:
                _scatter(axes, layer, column, row + 1, scale=0.6)
            _dress(axes, objectives[column], objectives[row + 1], size=10 if side <= 3 else 9)
            # All panels of a column draw the same numbers on the same scale, so it is labelled once; and so is a row.
            axes.label_outer()
            if column == 0:  # the names in one line, whatever the width of the numbers
                axes.yaxis.set_label_coords(-0.55 / panel, 0.5)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    # Every pair is drawn once, so the upper right corner is free (there are at least two rows).
    corner = (margins["right"], margins["top"])
    figure.legend(
        handles, labels, loc="upper right", bbox_to_anchor=corner, fontsize=9, frameon=False, borderaxespad=0.0
    )
    if title:
        figure.suptitle(literal(title), fontsize=12, y=1 - 0.1 / height, verticalalignment="top")
    return figure


def _scatter(axes: "Axes", layer: _Layer, x: int, y: int, scale: float = 1.0) -> None:
    """Draw the objectives `x` and `y` of one layer."""
    looks: dict[str, Any] = (
        {"facecolors": "none", "edgecolors": layer.color, "linewidths": 1.2}
        if layer.hollow
        else {"color": layer.color, "linewidths": 0.0}
    )
    axes.scatter(
        layer.points[:, x],
        layer.points[:, y],
        s=layer.size * scale,
        marker=layer.marker,
        alpha=layer.opacity,
        label=literal(layer.label) if layer.label else "_nolegend_",
        zorder=2,
        **looks,
    )


def literal(text: str, width: int | None = None) -> str:
    """Return a name of somebody else's as matplotlib shows it letter by letter.

    Two dollars would make a formula of what is between them, and a leading underscore hides a label from the legend.

    Args:
        text: the name.
        width: characters of a line; default: one line.
    """
    shown = printable(text)
    lines = shown if width is None else fill(shown, width)
    escaped = lines.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def _dress(axes: "Axes", x_label: str, y_label: str, size: int) -> None:
    """Set labels, a light grid and few ticks, so that numbers do not run into each other."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(literal(x_label, 24), fontsize=size)
    axes.set_ylabel(literal(y_label, 24), fontsize=size)
    axes.tick_params(labelsize=size - 2)
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _staircase(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the non-dominated rows of `points` [point, 2] from left to right: the corners of what they dominate.

    Not `morl.pareto.non_dominated`: in the plane it is one running maximum, and a figure need not wait for Numba.
    """
    ordered = points[np.lexsort((-points[:, 1], -points[:, 0]))]  # from the right, ties from the top
    best_so_far = np.maximum.accumulate(ordered[:, 1])
    rises = np.concatenate([[True], best_so_far[1:] > best_so_far[:-1]])
    corners: NDArray[np.float64] = ordered[rises][::-1]
    return corners


# --- For loggers ------------------------------------------------------------------------------------------------------


class DrawnPicture:
    """A figure that is drawn when it is first looked at.

    Args:
        draw: returns the figure.
    """

    def __init__(self, draw: Callable[[], "Figure"]) -> None:
        self._draw = draw

    @cached_property
    def figure(self) -> "Figure":
        """Return the matplotlib figure."""
        return self._draw()

    @cached_property
    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        picture = io.BytesIO()
        self.figure.savefig(picture, format="png", dpi=self.figure.dpi)
        return picture.getvalue()

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the PNG in pixels."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])  # where every PNG file has them


class Frames:
    """A video.

    Args:
        frames: uint8 [frame, height, width, 3] red, green and blue.
        fps: frames per second.

    Raises:
        ValueError: the frames have another type or shape, or there is none.
    """

    def __init__(self, frames: NDArray[np.uint8], fps: float = 30.0) -> None:
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise ValueError(f"frames must be uint8 [frame, height, width, 3], got {frames.dtype} {list(frames.shape)}")
        if not fps > 0.0:
            raise ValueError(f"fps is {fps}, but must be greater than 0")
        self.frames = frames
        self.fps = fps

    @cached_property
    def gif(self) -> bytes:
        """Return the video as an animated GIF file, which needs no other program to be written or shown."""
        from PIL import Image

        images = [Image.fromarray(frame) for frame in self.frames]
        file = io.BytesIO()
        images[0].save(
            file, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 / self.fps), loop=0
        )
        return file.getvalue()
