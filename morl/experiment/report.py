"""What the command line prints of runs: tables of fronts and returns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from morl.evaluation import Returns
from morl.experiment.front import Front
from morl.experiment.messages import plain
from morl.experiment.run import Run

_CONSOLE = Console(soft_wrap=False)
ROWS_SHOWN = 40
"""Longer fronts are thinned out evenly."""


def show_run(run: Run) -> None:
    """Print the front of a run, its folder and how to look at it."""
    show_front(run.front, f"{run.agent_name} on {run.env_id}, seed {run.seed}")
    _CONSOLE.print(f"run folder   {plain(str(run.directory))}", soft_wrap=True)
    _CONSOLE.print(f"look at it   tensorboard --logdir {plain(str(run.directory))}", soft_wrap=True)
    record = (run.directory / "front.json").as_posix()
    _CONSOLE.print(f"all numbers  {plain(record)}", soft_wrap=True)


def show_front(front: Front, title: str) -> None:
    """Print a front as a table, each point beside the known optimum for its preference, and the indicators."""
    table = Table(title=plain(f"{title} (returns discounted by {front.discount})"), title_justify="left")
    table.add_column("preference", justify="right", overflow="fold")  # a narrow terminal breaks numbers, hides none
    for name in front.objectives:
        table.add_column(plain(name), justify="right", overflow="fold")
    if front.known_front is not None:
        table.add_column("known optimum", justify="right", overflow="fold")
    table.add_column("undiscounted", justify="right", style="dim", overflow="fold")
    for row in _thinned(len(front.points)):
        cells = [_numbers(front.preferences[row]), *(f"{value:.4g}" for value in front.points[row])]
        if front.known_front is not None:
            cells.append(_numbers(_optimum(front.known_front, front.points[row])))
        table.add_row(*cells, _numbers(front.undiscounted_points[row]))
    _CONSOLE.print(table)
    values = "  ".join(f"{plain(name.replace('_', ' '))} {value:.6g}" for name, value in front.indicators.items())
    reference = f"(reference point {_numbers(np.array(front.reference_point))})"
    _CONSOLE.print(f"{values}  {reference}", soft_wrap=True)
    if front.known_front is not None:
        found = len({tuple(_optimum(front.known_front, p)) for p in front.points if _is_optimal(front.known_front, p)})
        _CONSOLE.print(f"{found} of the {len(front.known_front)} points of the true front found")


def show_fronts(runs: Sequence[Run], plot: Path | None) -> None:
    """Print the front of each run; with `plot`, also draw them all in one picture.

    Raises:
        ValueError: the runs have different objectives, or the picture's format is unknown.
    """
    if plot is not None:
        from morl.experiment.figures import comparison_figure, save_figure, short_labels

        objectives = runs[0].front.objectives
        for run in runs:
            if run.front.objectives != objectives:
                raise ValueError(
                    f"run {run.directory} has the objectives {run.front.objectives}, but {runs[0].directory} has"
                    f" {objectives}: only runs with the same objectives can be compared"
                )
        labels = short_labels([run.directory for run in runs])
        fronts = {label: run.front.points for label, run in zip(labels, runs, strict=True)}
        save_figure(comparison_figure(fronts, objectives, runs[0].front.known_front), plot)
    for run in runs:
        show_front(run.front, str(run.directory))
    if plot is not None:
        _CONSOLE.print(f"picture written to {plain(str(plot))}", soft_wrap=True)


def show_returns(run: Run, row: int | None, returns: Returns) -> None:
    """Print what an evaluation of a row of the front, or of all of them, found beside what front.json promises."""
    rows = range(len(run.front.points)) if row is None else [row]
    table = Table(title=plain(f"{run.directory} (returns discounted by {run.front.discount})"), title_justify="left")
    names = ", ".join(run.front.objectives)
    for column in ("preference", names, "in front.json", "undiscounted", "steps"):
        table.add_column(plain(column), justify="right", overflow="fold")
    for position, row in enumerate(rows):
        table.add_row(
            _numbers(run.front.preferences[row]),
            _numbers(returns.discounted[position]),
            _numbers(run.front.points[row]),
            _numbers(returns.undiscounted[position]),
            f"{returns.lengths[position]:.4g}",
        )
    _CONSOLE.print(table)


def _numbers(values: NDArray[np.float64]) -> str:
    return "(" + ", ".join("-" if np.isnan(value) else f"{value:.4g}" for value in values) + ")"


def _optimum(known_front: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the point of the true front that is nearest to a point."""
    nearest: NDArray[np.float64] = known_front[np.linalg.norm(known_front - point, axis=1).argmin()]
    return nearest


def _is_optimal(known_front: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    # mo-gymnasium's rewards are float32: a return is right to about seven digits.
    return bool(np.allclose(_optimum(known_front, point), point, rtol=1e-5, atol=1e-5))


def _thinned(count: int) -> list[int]:
    chosen: list[int] = np.unique(np.linspace(0, count - 1, min(count, ROWS_SHOWN)).round().astype(int)).tolist()
    return chosen
