"""Tables and pictures of a study, in every form."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import quarter_circle
from rich.console import Console
from study_runs import SYSTEM, random_study, write_study

import morl
from morl.board.folds import bootstrap_interval, interquartile_mean
from morl.studies.curves import attainment_figure, study_figure, write_figure
from morl.studies.reading import read_results
from morl.studies.table_forms import latex_table, markdown_table
from morl.studies.tables import StudyTables, show, study_tables
from morl.tables import Column, ShownTable


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_study(tmp_path_factory.mktemp("studies") / "demo", envs=2)


def tables_of(file: Path) -> StudyTables:
    return study_tables(read_results(file))


def shown(tables: StudyTables, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(tables)
    return stream.getvalue()


def test_numbers_are_the_statistics_of_the_runs(study: Path) -> None:
    results = read_results(study)
    rows = list(csv.DictReader(io.StringIO(study_tables(results).to_csv())))
    (row,) = [
        row
        for row in rows
        if (row["table"], row["env"], row["variant"], row["quantity"])
        == ("environments", "task-1-v0", "variant-2", "share of hypervolume")
    ]
    values = results.problems[1].shares("variant-2", "hypervolume")
    low, high = bootstrap_interval(values[:, None])
    assert [float(row[end]) for end in ("value", "low", "high")] == [interquartile_mean(values), low[0], high[0]]
    assert row["runs"] == "5"
    assert {row["table"] for row in rows} == {
        "environments",
        "environment_steps",
        "wall_seconds",
        "aggregate",
        "improvement",
    }
    better = {
        (row["variant"], row["against"]): float(row["value"])
        for row in rows
        if (row["table"], row["quantity"]) == ("improvement", "hypervolume")
    }
    assert better.keys() == {("variant-0", "variant-1"), ("variant-0", "variant-2"), ("variant-1", "variant-2")}
    assert all(value < 0.5 for value in better.values())  # later variants are better


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_terminals_of_any_width_show_every_share(study: Path, width: int) -> None:
    tables = tables_of(study)
    text = shown(tables, width)
    assert max(map(len, text.splitlines())) <= width
    shares = [column for column in tables.tables[0].shown.columns if "share" in column.title]
    assert len(shares) == 2
    assert all(cell in text for column in shares for cell in column.cells)


def test_notes_say_what_is_normalized_and_counted(study: Path) -> None:
    text = shown(tables_of(study), 1_000)
    assert "shares are relative to the best front of all runs together (8 points): task-0-v0, task-1-v0" in text
    assert "reference points: task-0-v0 (0, 0); task-1-v0 (0, 0)" in text
    assert "WARNING" not in text


def test_fewer_than_five_seeds_bring_a_warning_and_one_seed_no_interval(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0], ("b", "x-v0"): [4.0, 5.0, 6.0, 7.0, 8.0]})
    tables = tables_of(file)
    text = shown(tables, 1_000)
    assert "WARNING: fewer than 5 seeds" in text
    assert "order may be chance: a on x-v0 (1)" in text
    (column,) = [column for column in tables.tables[0].shown.columns if column.title == "share of hypervolume"]
    assert column.cells[0] == "0.391"
    assert " to " in column.cells[1]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0] * 5, ("b", "x-v0"): [5.0] * 5, ("a", "y-v0"): [5.0] * 5})
    for seed in range(2):
        (tmp_path / "s" / "b" / "x-v0" / f"seed-{seed}" / "front.json").unlink()
    text = shown(tables_of(file), 1_000)
    assert "2 of 15 runs are not in these tables: 2 no front yet" in text
    assert "environments left out, because a variant has no finished run there: y-v0" in text
    assert "b on x-v0 (3)" in text


def test_runs_of_several_versions_are_said(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0] * 3, ("b", "x-v0"): [6.0] * 3})
    assert "versions of" not in shown(tables_of(file), 1_000)
    folder = tmp_path / "s" / "b" / "x-v0"
    for seed, entries in enumerate([{"commit": "def+"}, {"commit": "def+", "packages": {"numpy": "1"}}, {}]):
        (folder / f"seed-{seed}" / "system.json").write_text(json.dumps(SYSTEM | entries))
    (folder / "seed-2" / "system.json").unlink()
    notes = tables_of(file).tables[0].shown.notes
    assert (
        "runs were made by 3 versions of morl: 0.1.0 abc (3 runs), 0.1.0 def+ (2 runs), an unknown version (1 run)"
        in notes
    )
    assert "runs were made by 2 versions of numpy: 2 (4 runs), 1 (1 run)" in notes


def test_variants_of_different_steps_are_said_below_each_table_that_compares_their_ends(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0] * 2, ("b", "x-v0"): [6.0] * 2})
    for front in (tmp_path / "s" / "b").glob("**/front.json"):
        front.write_text(json.dumps(json.loads(front.read_text()) | {"training_steps": 6_000}))
    line = "x-v0: runs have different training steps; compare them at equal steps"
    told = [table.kind.name for table in tables_of(file).tables if line in table.shown.notes]
    assert told == ["environments", "improvement"]


def test_the_note_of_the_aggregates_says_how_environments_are_weighted(tmp_path: Path) -> None:
    """Runs count alike in the interquartile mean, environments in the optimality gap."""
    radii = {("a", "x-v0"): [9.0] * 6, ("a", "y-v0"): [5.0, 5.0], ("b", "x-v0"): [10.0], ("b", "y-v0"): [10.0, 20.0]}
    results = read_results(write_study(tmp_path / "s", radii))
    (table,) = [table for table in study_tables(results).tables if table.kind.name == "aggregate"]
    found = {row.variant: row.estimates for row in table.rows}
    x, y = results.strata("a", "hypervolume")
    np.testing.assert_allclose([x[0], y[0]], [0.81, 0.0625])  # areas grow with the square of the radius
    assert found["a"]["share of hypervolume"].value == pytest.approx(0.81)  # of 8 runs the middle 4
    gap = found["a"]["optimality gap"]
    assert gap.value == pytest.approx(((1 - 0.81) + (1 - 0.0625)) / 2)
    note = table.shown.notes[0]
    assert "the runs of all environments together, where each run counts alike" in note
    assert "the share of hypervolume falls short of 1 on average, where each environment counts alike" in note
    assert "a share above 1 counts as 1" in note


def test_many_variants_are_each_compared_with_the_first(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {(f"v{number}", "x-v0"): [5.0 + number] * 2 for number in range(7)})
    improvement = tables_of(file).tables[-1]
    assert [(row.variant, row.against) for row in improvement.rows] == [(f"v{k}", "v0") for k in range(1, 7)]
    assert all(float(row.estimates["hypervolume"].value) == 1.0 for row in improvement.rows)


def test_a_study_without_finished_runs_has_no_table(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0, 6.0]})
    for run in (tmp_path / "s").glob("a/x-v0/*"):
        (run / "front.json").unlink()
    with pytest.raises(ValueError, match=r"study s has no finished run yet \(2 runs: no front yet"):
        tables_of(file)


def test_text_of_others_does_no_harm_in_pages_and_papers() -> None:
    columns = (Column(title="a|b", cells=("x_1 & <b>*y*", r"50% \$"), left=True), Column(title="n", cells=("1", "2")))
    table = ShownTable(title="a #1", columns=columns, notes=("~5 {x}",))
    lines = markdown_table(table).splitlines()
    assert lines[4] == r"| x_1 & &lt;b>\*y\* | 1 |"
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines[2:6])
    paper = latex_table(table)
    assert r"x\_1 \& \textless{}b\textgreater{}*y* & 1 \\" in paper
    assert r"50\% \textbackslash{}\$ & 2 \\" in paper
    assert r"\caption{a \#1}" in paper
    assert r"\textasciitilde{}5 \{x\}\\" in paper


def test_every_form_has_every_table(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beginnings: dict[str, Callable[[str], int]] = {
        "markdown": lambda text: text.count("\n| environment |"),
        "latex": lambda text: text.count(r"\begin{tabular}"),
        "csv": lambda text: len({line.split(",")[0] for line in text.splitlines()[1:]}),
    }
    for form, count in beginnings.items():
        show(study, **{form: True})
        assert count(capsys.readouterr().out) == 5, form
    show(study)
    assert capsys.readouterr().out.count("demo: ") == 5
    assert tables_of(study)._repr_html_().count("<table>") == 5
    with pytest.raises(ValueError, match="ask for one of them"):
        show(study, latex=True, csv=True)


def test_a_picture_has_a_panel_for_each_environment_and_one_for_the_profiles(study: Path, tmp_path: Path) -> None:
    results = read_results(study)
    figure = study_figure(results)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in drawn] == ["task-0-v0", "task-1-v0", "performance profile"]
    (names,) = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
    assert names == list(results.variants)
    for axes in drawn[:2]:
        lines = [line for line in axes.lines if len(line.get_xdata())]
        assert len(lines) == 3
        for line in lines:
            assert line.get_xdata()[-1] == 2_210  # all steps
            assert (np.diff(line.get_ydata()) > 0.0).all()
    ends = [drawn[0].lines[number].get_ydata()[-1] for number in range(3)]
    shares = [interquartile_mean(results.problems[0].shares(variant, "hypervolume")) for variant in results.variants]
    np.testing.assert_allclose(ends, shares)
    for name in ("curves.png", "curves.pdf"):
        write_figure(study_figure(results), tmp_path / name)
        first = (tmp_path / name).read_bytes()
        write_figure(study_figure(results), tmp_path / name)
        assert (tmp_path / name).read_bytes() == first
    with pytest.raises(ValueError, match="must end in"):
        write_figure(figure, tmp_path / "curves.gif")


def test_curves_along_the_wall_clock_end_where_the_first_run_ends(study: Path) -> None:
    figure = study_figure(read_results(study), indicator="expected_utility", clock="wall_seconds")
    assert figure.axes[0].get_xlabel() == "seconds of the clock"
    assert figure.axes[0].lines[0].get_xdata()[-1] == 20.0


def test_fronts_are_drawn_as_attainment_surfaces(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [6.0, 8.0, 10.0], ("b", "x-v0"): [7.0]})
    figure = attainment_figure(read_results(file))
    median, alone = figure.axes[0].lines[:2]
    front = quarter_circle(8, 2, 0, 8.0)
    heights = dict(zip(median.get_xdata(), median.get_ydata(), strict=True))
    assert [heights[place] for place in front[:, 0]] == front[:, 1].tolist()  # of the second best of three seeds
    np.testing.assert_array_equal(np.column_stack(alone.get_data()), quarter_circle(8, 2, 0, 7.0))
    assert len(figure.axes[0].collections) == 1  # one seed has no band, and there is no known front
    show(file, csv=True, plot=tmp_path / "curves.svg", fronts=tmp_path / "fronts.svg")
    assert {"curves.svg", "fronts.svg"} <= {path.name for path in tmp_path.iterdir()}


def test_fronts_of_more_objectives_cannot_be_drawn(tmp_path: Path) -> None:
    names = {"objectives": ["a", "b", "c"], "reference_point": [0.0] * 3, "points": quarter_circle(5, 3)}
    file = write_study(tmp_path / "s", {("a", "x-v0"): [1.0]}, **names)
    with pytest.raises(ValueError, match="no finished run with two objectives"):
        attainment_figure(read_results(file))


STUDY = """
name = "tiny"
total_steps = 256
seeds = 1
envs = ["deep-sea-treasure-v0"]
agents = ["pd-morl"]
loggers = []
run = { evaluate_every = 128, evaluation_divisions = 4, num_envs = 4 }
"""


def test_the_commands_make_tables_of_what_a_study_trained(tmp_path: Path, morl_cli: Any) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(STUDY)
    studies = tmp_path / "studies"
    shown = morl.study(file, folder=studies, workers=1).wait(progress=False).table()
    assert isinstance(shown, StudyTables)
    arguments = ("study", "table", file, "--folder", studies)
    code, text, complaint = morl_cli(*arguments, "--csv", "--plot", tmp_path / "curves.png")
    assert (code, text) == (0, shown.to_csv()), complaint
    (row,) = [line for line in csv.DictReader(text.splitlines()) if line["quantity"] == "all steps"]
    front = json.loads((studies / "tiny/pd-morl/deep-sea-treasure-v0/seed-0/front.json").read_text())
    assert float(row["value"]) > front["training_steps"] == 256
    assert (tmp_path / "curves.png").stat().st_size > 1_000
    record = json.loads((studies / "tiny" / "study.json").read_text())
    (studies / "tiny" / "study.json").write_text(json.dumps(record | {"runs": []}))  # as another file leaves it
    code, again, complaint = morl_cli(*arguments, "--csv")
    assert (code, again) == (0, text), complaint
    code, text, complaint = morl_cli(*arguments, "--markdown")
    assert "WARNING: fewer than 5 seeds" in text
    assert "study.json was written for others (without runs of the file: 1 (pd-morl/" in text
