"""Pictures of a study: indicators over all environment steps, one panel for each environment, and performance profiles.

Lines are interquartile means over seeds, bands their 95 % bootstrap intervals, as in the tables and on the board.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from morl.experiment.figures import GREY, PALETTE, DrawnPicture, literal, save_figure
from morl.protocols import FloatArray
from morl.studies.statistics import Estimate, estimate, performance_profile

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from morl.studies.indicators import Clock, Indicator, Problem, StudyResults

MOST_COLUMNS = 3
MOST_BANDS = 8
"""Variants up to which lines have bands; of more, bands would hide each other."""
THRESHOLDS = 101
"""Of a performance profile."""
LINES = ("-", "--", "-.", ":")
"""After a whole round of colors the lines change, so that no two of 56 variants look the same."""
CLOCKS = {"environment_steps": "environment steps, all counted", "wall_seconds": "seconds of the clock"}
SHARES: "Mapping[Indicator, str]" = {"hypervolume": "share of hypervolume", "expected_utility": "share of utility"}


def study_figure(
    results: "StudyResults", indicator: "Indicator" = "hypervolume", clock: "Clock" = "environment_steps"
) -> "Figure":
    """Return the curves of all variants, one panel for each environment, and at the end their performance profiles.

    Args:
        results: of the study, with at least one finished run.
        indicator: "hypervolume" or "expected_utility", as a share of the known or best front.
        clock: what the curves run along: "environment_steps", where all count, or "wall_seconds".

    Raises:
        ValueError: no run is finished.
    """
    from matplotlib.figure import Figure

    if not results.problems:
        raise ValueError(f"study {results.name} has no finished run yet, so that there is nothing to draw")
    with_profile = bool(results.complete_problems)
    panels = len(results.problems) + with_profile
    columns = min(MOST_COLUMNS, panels)
    rows = math.ceil(panels / columns)
    legend = 0.3 * math.ceil(len(results.variants) / _legend_columns(results, columns)) + 0.2
    figure = Figure(figsize=(4.0 * columns, 3.0 * rows + legend), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for problem, panel in zip(results.problems, axes, strict=False):
        _draw_curves(panel, results, problem, indicator, clock)
    if with_profile:
        _draw_profiles(axes[panels - 1], results, indicator)
    for empty in axes[panels:]:
        empty.set_axis_off()
    _legend(figure, axes[0], results, columns)
    return figure


def _legend(figure: "Figure", axes: "Axes", results: "StudyResults", columns: int) -> None:
    """Add the names of the variants below so many columns of panels."""
    handles = [_line(axes, results, variant) for variant in results.variants]
    places = _legend_columns(results, columns)
    figure.legend(handles=handles, loc="outside lower center", ncols=places, fontsize=9, frameon=False)


def attainment_figure(results: "StudyResults") -> "Figure":
    """Return what half of the seeds of each variant attain, one panel for each environment with two objectives.

    Lines are median attainment surfaces: at least half of the seeds have a point that is as good in both objectives.
    Bands lie between the surfaces of all seeds and of at least one; rings are the known front. Source: Grunert da
    Fonseca and Fonseca 2001.

    Args:
        results: of the study.

    Raises:
        ValueError: no finished run has two objectives.
    """
    from matplotlib.figure import Figure

    problems = [problem for problem in results.problems if len(problem.objectives) == 2]
    if not problems:
        raise ValueError(
            f"study {results.name} has no finished run with two objectives, which attainment surfaces need"
        )
    columns = min(MOST_COLUMNS, len(problems))
    rows = math.ceil(len(problems) / columns)
    figure = Figure(figsize=(4.0 * columns, 3.4 * rows + 0.4), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for problem, panel in zip(problems, axes, strict=False):
        _draw_surfaces(panel, results, problem)
    for empty in axes[len(problems) :]:
        empty.set_axis_off()
    _legend(figure, axes[0], results, columns)
    return figure


def _draw_surfaces(axes: "Axes", results: "StudyResults", problem: "Problem") -> None:
    """Draw the known front and the attainment surfaces of each variant."""
    known = problem.known_front
    if known is not None:
        axes.scatter(known[:, 0], known[:, 1], s=20, facecolors="none", edgecolors=GREY, linewidths=0.9)
    lowest = min(run.points[:, 1].min() for runs in problem.runs.values() for run in runs if len(run.points))
    for variant, runs in problem.runs.items():
        look = _look(results, variant)
        places = np.unique(np.concatenate([run.points[:, 0] for run in runs]))
        levels = (len(runs), (len(runs) + 1) // 2, 1)
        worst, median, best = (_heights(problem.attainment(variant, level), places) for level in levels)
        # A surface falls right after each of its corners.
        axes.step(places, median, where="pre", linewidth=1.8, color=look.color, linestyle=look.line)
        if look.band and len(runs) > 1:
            worst = np.where(np.isnan(worst), lowest, worst)  # what some seed does not attain at all
            axes.fill_between(places, worst, best, step="pre", color=look.color, alpha=0.16, linewidth=0.0)
    _dress(axes, problem.label, literal(problem.objectives[0], 30), literal(problem.objectives[1], 30))


def _heights(surface: FloatArray, places: FloatArray) -> FloatArray:
    """Return the second objective of a surface [corner, 2] at first objectives [n]; NaN beyond its last corner."""
    heights = np.append(surface[:, 1], np.nan)
    return heights[np.searchsorted(surface[:, 0], places, side="left")]


def write_figure(figure: "Figure", file: Path) -> None:
    """Write a picture of a study for print; the same study makes the same file.

    Args:
        figure: what `study_figure` or `attainment_figure` returned.
        file: its name ends in .png, .pdf or .svg.

    Raises:
        ValueError: it ends in something else.
        OSError: it cannot be written.
    """
    save_figure(figure, file)


def page_picture(results: "StudyResults") -> bytes:
    """Return the picture of a study as a PNG file for a page, small enough for a repository."""
    return DrawnPicture(lambda: study_figure(results)).png


def _legend_columns(results: "StudyResults", columns: int) -> int:
    """Return how many names of variants fit side by side below so many panels."""
    longest = max(map(len, results.variants))
    return max(1, min(len(results.variants), int(columns * 48 / (longest + 8))))


class _Look(NamedTuple):
    """Color and line of a variant, the same in all panels, and whether it has a band."""

    color: str
    line: str
    band: bool


def _look(results: "StudyResults", variant: str) -> _Look:
    place = results.variants.index(variant)
    return _Look(
        color=PALETTE[place % len(PALETTE)],
        line=LINES[place // len(PALETTE) % len(LINES)],
        band=len(results.variants) <= MOST_BANDS,
    )


def _line(axes: "Axes", results: "StudyResults", variant: str) -> "Artist":
    """Return an empty line as the legend shows it."""
    look = _look(results, variant)
    (line,) = axes.plot([], [], label=literal(variant), linewidth=1.8, color=look.color, linestyle=look.line)
    return line


def _draw_curves(
    axes: "Axes", results: "StudyResults", problem: "Problem", indicator: "Indicator", clock: "Clock"
) -> None:
    """Draw how an indicator grows with time on one environment."""
    for variant in problem.runs:
        curve = problem.curve(variant, indicator, clock)
        if curve is not None:
            _draw(axes, curve.times, Estimate(curve.mean, curve.low, curve.high), _look(results, variant))
    _dress(axes, problem.label, CLOCKS[clock], SHARES[indicator])
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))


def _draw_profiles(axes: "Axes", results: "StudyResults", indicator: "Indicator") -> None:
    """Draw the share of runs that reach more than each share of the best."""
    strata = {variant: results.strata(variant, indicator) for variant in results.compared}
    values = np.concatenate([stratum for of_variant in strata.values() for stratum in of_variant])
    lowest, highest = min(values.min(), 0.95), max(values.max(), 1.0)
    thresholds = np.linspace(lowest - 0.02 * (highest - lowest), highest, THRESHOLDS)
    for variant, of_variant in strata.items():
        found = estimate(of_variant, lambda resamples: performance_profile(resamples, thresholds))
        _draw(axes, thresholds, found, _look(results, variant))
    _dress(axes, "performance profile", SHARES[indicator], "share of runs above it")
    axes.set_ylim(-0.02, 1.02)


def _draw(axes: "Axes", places: FloatArray, found: Estimate, look: _Look) -> None:
    """Draw a line and its band.

    Args:
        axes: the panel.
        places: [n] along the panel.
        found: [n] value, low and high.
        look: of the line.
    """
    axes.plot(places, found.value, linewidth=1.8, color=look.color, linestyle=look.line)
    if look.band:
        axes.fill_between(places, found.low, found.high, color=look.color, alpha=0.16, linewidth=0.0)


def _dress(axes: "Axes", title: str, x_label: str, y_label: str) -> None:
    axes.set_title(literal(title, 44), fontsize=10)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(value: float) -> str:
    """Return a number of steps in few letters: 20k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
