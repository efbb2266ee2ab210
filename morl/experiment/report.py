"""What the command line prints of runs: tables of fronts and returns."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morl.experiment.comparison import runs_table, seeds_table
from morl.experiment.front import front_table
from morl.tables import Column, ShownTable, number, short_labels, stdout_console, vector, visible

if TYPE_CHECKING:
    from morl.evaluation import Returns
    from morl.experiment.run import Run


def show_trained(runs: "Sequence[Run]") -> None:
    """Print the fronts of runs that have just been trained, their summary, their folders and how to look at them."""
    for run in runs:
        _show_front(run, f"{run.agent_name} on {run.env_id}, seed {run.seed}")
    if len(runs) > 1:
        _show_summary(runs)
    folders = [run.directory for run in runs]
    shared = folders[0] if len(runs) == 1 else Path(os.path.commonpath(folders))
    say(f"run folder   {' '.join(map(str, folders))}")
    say(f"look at it   morl board {shlex.quote(str(shared))}")
    say(f"all numbers  {' '.join((folder / 'front.json').as_posix() for folder in folders)}")


def show_fronts(runs: "Sequence[Run]", plot: Path | None, summary_only: bool = False) -> None:
    """Print the front of each run and, of several, a summary; with `plot`, also draw them all in one picture.

    Args:
        runs: at least one.
        plot: the picture.
        summary_only: leave the fronts out, where there are several.

    Raises:
        ValueError: the runs have different objectives, or the picture's format is unknown.
    """
    if plot is not None:
        _draw(runs, plot)
    if not summary_only or len(runs) == 1:
        for run in runs:
            _show_front(run, f"{run.directory}: {run.agent_name} on {run.env_id}, seed {run.seed}")
    if len(runs) > 1:
        _show_summary(runs)
    if summary_only and len(runs) > 1:
        for run in runs:
            _say_what_is_wrong(run, f"{run.directory}: ")
    if plot is not None:
        say(f"figure written to {plot}")


def show_returns(run: "Run", row: int | None, returns: "Returns") -> None:
    """Print what an evaluation of a row of the front, or of all of them, found beside what front.json promises."""
    rows = range(len(run.front.points)) if row is None else [row]
    shown = list(enumerate(rows))
    columns = [Column(title="row", cells=tuple(str(row) for row in rows), key=True)]
    for objective, name in enumerate(run.front.objectives):
        values = tuple(number(returns.discounted[position, objective]) for position, _ in shown)
        columns.append(Column(title=name, cells=values))
    promised = tuple(vector(run.front.points[row]) for row in rows)
    columns.append(Column(title="in front.json", cells=promised, dropped=1))
    undiscounted = tuple(vector(returns.undiscounted[position]) for position, _ in shown)
    columns.append(Column(title="undiscounted", cells=undiscounted, dropped=3))
    columns.append(
        Column(title="steps", cells=tuple(number(returns.lengths[position]) for position, _ in shown), dropped=2)
    )
    title = f"{run.directory} (returns discounted by {run.front.discount:g})"
    show(ShownTable(title=title, columns=tuple(columns)))


def _show_front(run: "Run", title: str) -> None:
    show(front_table(run.front, title))
    _say_what_is_wrong(run)


def _say_what_is_wrong(run: "Run", before: str = "") -> None:
    """Print which bounds the front breaks, and that the run has diverged after the front was measured."""
    if run.broken_bounds:
        say(f"{before}{run.broken_bounds}")
    if run.divergence:
        say(f"{before}{run.divergence}; the front was measured before")


def _show_summary(runs: "Sequence[Run]") -> None:
    show(runs_table(runs))
    seeds = seeds_table(runs)
    if seeds is not None:
        show(seeds)


def _draw(runs: "Sequence[Run]", plot: Path) -> None:
    from morl.experiment.figures import comparison_figure, save_figure

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


def show(table: object) -> None:
    """Print a table, or something else that rich shows."""
    stdout_console().print(table)


def say(line: str) -> None:
    """Print a line as it is."""
    stdout_console().print(visible(line), markup=False, highlight=False, soft_wrap=True)
