"""The results of a study as tables: for a terminal, a notebook, a page, a paper, and other programs."""

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from morl.protocols import FloatArray
from morl.studies import curves
from morl.studies.indicators import INDICATORS, Clock, Indicator, StudyResults
from morl.studies.reading import read_results
from morl.studies.statistics import Estimate, estimate, estimated_improvement, optimality_gap
from morl.studies.table_forms import latex_table, markdown_table
from morl.studies.table_notes import CONDITIONED, aggregate_notes, environment_notes, notes_at
from morl.tables import Column, ShownTable, number, stdout_console

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from morl.studies.plan import Study

MOST_PAIRS = 5
"""Up to so many variants are compared in all pairs; more, each with the first one."""
TITLES: Mapping[Indicator, str] = {"hypervolume": "hypervolume", "expected_utility": "expected utility"}


class Comparison(NamedTuple):
    """Which of the five tables, with its title and what its numbers are."""

    name: str
    title: str
    note: str


ENVIRONMENTS = Comparison(
    "environments",
    "each environment, at the end of each run",
    "interquartile mean over seeds (95 % bootstrap interval) of the reported fronts; steps and minutes are means,"
    " minutes by the clock: a busy machine takes longer",
)
EQUAL_STEPS = Comparison(
    "environment_steps",
    "at equal environment steps",
    "values of the latest evaluation by that step, counting steps of training, pre-training and evaluation",
)
EQUAL_SECONDS = Comparison(
    "wall_seconds",
    "at equal wall clock",
    "values of the latest evaluation by that time; comparable only if each run had the same machine to itself",
)
AGGREGATE = Comparison(
    "aggregate",
    "all environments together",
    "interquartile mean over the runs of all environments together, where each run counts alike (95 % stratified"
    " bootstrap interval); optimality gap: by how much the share of hypervolume falls short of 1 on average, where each"
    " environment counts alike, however many runs it has, and a share above 1 counts as 1",
)
IMPROVEMENT = Comparison(
    "improvement",
    "probability of improvement",
    "the probability that a run of the first variant is better than a run of the second, averaged over environments",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Estimates of one line of a table.

    Attributes:
        env: name of the environment; of several, how many.
        variant: name of the variant.
        against: the variant that it is compared with.
        runs: how many runs were used.
        estimates: title of a column -> the estimate; None where there is no value.
        facts: title of a column -> another number.
    """

    env: str
    variant: str
    against: str = ""
    runs: int
    estimates: Mapping[str, Estimate | None]
    facts: Mapping[str, float] = field(default_factory=dict)


class TableOfRows(NamedTuple):
    """A table as numbers and as text."""

    kind: Comparison
    rows: Sequence[Row]
    shown: ShownTable


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study; rich prints them, notebooks show them.

    Attributes:
        tables: those that there are results for.
    """

    tables: tuple[TableOfRows, ...]

    def to_markdown(self) -> str:
        """Return the tables for a page."""
        return "\n".join(markdown_table(table.shown) for table in self.tables)

    def to_latex(self) -> str:
        """Return the tables for a paper, with the commands of the package booktabs."""
        return "\n".join(latex_table(table.shown) for table in self.tables)

    def to_csv(self) -> str:
        """Return one line for each number: table, env, variant, against, runs, quantity, value, low, high."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["table", "env", "variant", "against", "runs", "quantity", "value", "low", "high"])
        for table in self.tables:
            for row in table.rows:
                start = [table.kind.name, row.env, row.variant, row.against, row.runs]
                writer.writerows([[*start, name, repr(float(fact)), "", ""] for name, fact in row.facts.items()])
                known = {name: one for name, one in row.estimates.items() if one is not None}
                writer.writerows([[*start, name, *(repr(float(end)) for end in one)] for name, one in known.items()])
        return text.getvalue()

    def _repr_html_(self) -> str:
        """Return the tables for a notebook."""
        return "".join(table.shown.to_html() for table in self.tables)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Yield what rich prints in a terminal of the given width."""
        for table in self.tables:
            yield table.shown


def show(
    study_json: Path,
    latex: bool = False,
    csv: bool = False,
    markdown: bool = False,
    plot: Path | None = None,
    fronts: Path | None = None,
    planned: "Study | None" = None,
) -> None:
    """Print the tables of a study; with `plot` and `fronts`, also write pictures.

    Args:
        study_json: the study.json of the study.
        latex: print LaTeX.
        csv: print numbers, separated by commas.
        markdown: print Markdown.
        plot: a picture of its curves, .png, .pdf or .svg.
        fronts: a picture of the attainment surfaces of its fronts.
        planned: the study as its file has it now; default: what study.json lists.

    Raises:
        ValueError: study.json is missing or damaged, no run is finished, or more than one form is asked for.
    """
    if latex + csv + markdown > 1:
        raise ValueError("latex, csv and markdown are different forms of the tables: ask for one of them")
    results = read_results(study_json, planned)
    tables = study_tables(results)
    if plot is not None:
        curves.write_figure(curves.study_figure(results), plot)
    if fronts is not None:
        curves.write_figure(curves.attainment_figure(results), fronts)
    if latex or csv or markdown:
        sys.stdout.write(tables.to_latex() if latex else tables.to_csv() if csv else tables.to_markdown())
    else:
        stdout_console().print(tables)


def table(study_json: Path, planned: "Study | None" = None) -> StudyTables:
    """Return the tables of a study; rich prints them, notebooks show them.

    Args:
        study_json: the study.json of the study.
        planned: as in `read_results`.

    Raises:
        ValueError: study.json is missing or damaged, or no run is finished.
    """
    return study_tables(read_results(study_json, planned))


def study_tables(results: StudyResults) -> StudyTables:
    """Return the tables of a study: each environment, at equal steps and time, all environments, and improvements.

    Args:
        results: of its finished runs.

    Raises:
        ValueError: no run is finished.
    """
    if not results.problems:
        counts = Counter(results.unfinished.values())
        reasons = ", ".join(f"{count} run{'s' * (count > 1)}: {reason}" for reason, count in counts.items())
        raise ValueError(f"study {results.name} has no finished run yet ({reasons or 'it lists none'})")
    tables = [_table(results, ENVIRONMENTS, _environment_rows(results), environment_notes(results))]
    if len(results.variants) > 1:
        tables += [
            _table_at(results, EQUAL_STEPS, "environment_steps", "environment steps"),
            _table_at(results, EQUAL_SECONDS, "wall_seconds", "seconds"),
        ]
    if len(results.problems) > 1:
        tables.append(_table(results, AGGREGATE, _aggregate_rows(results), aggregate_notes(results)))
    if len(results.compared) > 1:
        tables.append(_table(results, IMPROVEMENT, _improvement_rows(results), aggregate_notes(results)))
    return StudyTables(tuple(table for table in tables if table.rows))


# --- Numbers ----------------------------------------------------------------------------------------------------------


def _environment_rows(results: StudyResults) -> list[Row]:
    rows = []
    for problem, variant in results.cells():
        runs = problem.runs[variant]
        estimates: dict[str, Estimate | None] = {}
        for name in INDICATORS:
            values = np.array([run.values[name] for run in runs])
            estimates[TITLES[name]] = _estimate([values[np.isfinite(values)]])
            estimates[curves.SHARES[name]] = _estimate([problem.shares(variant, name)])
        if any(len(one.conditioned_shares(name)) for one, name in results.cells()):
            estimates[CONDITIONED] = _estimate([problem.conditioned_shares(variant)])
        facts = {
            "training steps": _mean([run.training_steps for run in runs]),
            "all steps": _mean([run.environment_steps for run in runs]),
            "minutes": _mean([run.wall_seconds / 60.0 for run in runs]),
        }
        rows.append(Row(env=problem.label, variant=variant, runs=len(runs), estimates=estimates, facts=facts))
    return rows


def _table_at(results: StudyResults, kind: Comparison, clock: Clock, title: str) -> TableOfRows:
    return _table(results, kind, _rows_at(results, clock, title), notes_at(results, clock))


def _rows_at(results: StudyResults, clock: Clock, title: str) -> list[Row]:
    rows = []
    for problem, variant in results.cells():
        time = problem.common_time(clock)
        shares = {name: problem.shares_at(variant, name, clock, time) for name in INDICATORS}
        estimates = {curves.SHARES[name]: _estimate([values]) for name, values in shares.items()}
        runs = len(problem.runs[variant])
        if len(problem.runs) > 1:
            rows.append(Row(env=problem.label, variant=variant, runs=runs, estimates=estimates, facts={title: time}))
    return rows


def _aggregate_rows(results: StudyResults) -> list[Row]:
    problems = results.complete_problems
    rows = []
    for variant in results.compared if problems else ():
        strata = {name: results.strata(variant, name) for name in INDICATORS}
        estimates: dict[str, Estimate | None] = {
            curves.SHARES[name]: estimate(values) for name, values in strata.items()
        }
        estimates["optimality gap"] = estimate(strata["hypervolume"], optimality_gap)
        runs = sum(map(len, strata["hypervolume"]))
        rows.append(Row(env=f"{len(problems)} environments", variant=variant, runs=runs, estimates=estimates))
    return rows


def _improvement_rows(results: StudyResults) -> list[Row]:
    problems = results.complete_problems
    rows = []
    for first, second in _pairs(results.compared) if problems else ():
        estimates = {}
        runs = 0
        for name in INDICATORS:
            better = results.strata(first, name)
            worse = results.strata(second, name)
            estimates[TITLES[name]] = estimated_improvement(better, worse)
            runs = sum(map(len, better)) + sum(map(len, worse))
        env = f"{len(problems)} environments" if len(problems) > 1 else problems[0].label
        rows.append(Row(env=env, variant=first, against=second, runs=runs, estimates=estimates))
    return rows


def _pairs(variants: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of variants that are compared: all pairs of few, each with the first one of many."""
    if len(variants) > MOST_PAIRS:
        yield from ((variant, variants[0]) for variant in variants[1:])
        return
    for place, first in enumerate(variants):
        yield from ((first, second) for second in variants[place + 1 :])


def _estimate(strata: Sequence[FloatArray]) -> Estimate | None:
    return estimate(strata) if all(map(len, strata)) else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


# --- Text -------------------------------------------------------------------------------------------------------------


def _table(results: StudyResults, kind: Comparison, rows: Sequence[Row], notes: Sequence[str] = ()) -> TableOfRows:
    """Return a table as numbers and as text; columns of least interest are dropped first where a terminal is narrow."""
    columns = [
        Column(
            title="environment", cells=tuple(row.env for row in rows), key=len({row.env for row in rows}) > 1, left=True
        ),
        Column(title="variant", cells=tuple(row.variant for row in rows), key=True, left=True),
    ]
    if kind is IMPROVEMENT:
        columns.append(Column(title="better than", cells=tuple(row.against for row in rows), key=True, left=True))
    columns.append(Column(title="runs" if kind in (AGGREGATE, IMPROVEMENT) else "seeds", cells=_runs(rows)))
    for name in rows[0].estimates if rows else ():
        own_units = kind is ENVIRONMENTS and name in TITLES.values()
        cells = tuple(estimate_text(row.estimates[name], row.runs, number if own_units else _share) for row in rows)
        columns.append(Column(title=name, cells=cells, dropped=5 if own_units else 1 if name == CONDITIONED else 0))
    for place, name in enumerate(rows[0].facts if rows else (), start=2):
        columns.append(Column(title=name, cells=tuple(number(row.facts[name]) for row in rows), dropped=place))
    title = f"{results.name}: {kind.title}"
    return TableOfRows(kind, rows, ShownTable(title=title, columns=tuple(columns), notes=(kind.note, *notes)))


def _runs(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(str(row.runs) for row in rows)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def estimate_text(found: Estimate | None, runs: int, words: Callable[[float], str] = _share) -> str:
    """Return an estimate as text, "0.953 (0.941 to 0.962)"; of a single run the value, and "-" where there is none.

    Args:
        found: the estimate.
        runs: of how many runs.
        words: a number -> text.
    """
    if found is None:
        return "-"
    value = words(float(found.value))
    return value if runs < 2 else f"{value} ({words(float(found.low))} to {words(float(found.high))})"
