"""Tables of fronts and runs: what shares a row, what is said about it, and means over seeds."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import morl
from morl.experiment.comparison import runs_table, seeds_table
from morl.experiment.front import Front, distinct_rows, front_table, indicators_of
from morl.tables import ShownTable

pytestmark = pytest.mark.usefixtures("without_figures")


def a_front(points: Any, preferences: Any = None, **changes: Any) -> Front:
    points = np.asarray(points, dtype=np.float64)
    count, objectives = points.shape
    preferences = np.full(points.shape, np.nan) if preferences is None else np.asarray(preferences, dtype=np.float64)
    reference = (-1.0,) * objectives
    values: dict[str, Any] = {
        "points": points,
        "preferences": preferences,
        "policy_ids": np.arange(count),
        "indicators": indicators_of(points, reference, np.full((1, objectives), 1.0 / objectives), None),
        "objectives": tuple(f"objective-{k}" for k in range(objectives)),
        "discount": 0.99,
        "reference_point": reference,
        "known_front": None,
        "undiscounted_points": points,
        "standard_errors": np.zeros(points.shape),
        "choice_points": points,
        "indicator_errors": {},
        "violations": np.zeros(count),
        "scales": np.ones(objectives),
        "units": np.ones(objectives),
    }
    return Front(**values | changes)


def column(table: ShownTable, title: str) -> list[str]:
    return list(next(one.cells for one in table.columns if one.title == title))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> dict[str, morl.Run]:
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name, seed, changes in [("a", 0, {}), ("a", 1, {}), ("b", 0, {"learning_rate": 1e-2})]:
        config = toys.TINY | changes
        found[f"{name}{seed}"] = toys.train(folder / name / f"seed-{seed}", "toy-fork-v0", 50, seed=seed, config=config)
    found["coins"] = toys.train(folder / "coins", "toy-fork-v0", 50, agent="toys:Coins")
    return found


# --- One front --------------------------------------------------------------------------------------------------------


def test_no_column_for_preferences_that_nobody_has() -> None:
    titles = [one.title for one in front_table(a_front([[0, 1], [1, 0]])).columns]
    assert titles == ["row", "objective-0", "objective-1", "undiscounted"]


def test_a_policy_without_a_preference_among_others_is_explained() -> None:
    table = front_table(a_front([[0, 1], [1, 0]], [[0.5, 0.5], [np.nan, np.nan]]))
    assert column(table, "preference") == ["(0.5, 0.5)", "none"]
    assert any("trained for no preference" in note for note in table.notes)


def test_points_that_are_nearly_the_same_share_a_row() -> None:
    points = [[0, 10], [0.001, 9.999], [5, 5], [5.004, 4.999], [5.2, 4.9], [10, 0]]
    assert distinct_rows(np.array(points)) == [[0, 1], [2, 3], [4], [5]]
    table = front_table(a_front(points))
    assert column(table, "row") == ["0", "2", "4", "5"]
    assert column(table, "policies") == ["2", "2", "1", "1"]
    assert any(note.startswith("6 policies in 4 rows") for note in table.notes)


def test_a_front_without_duplicates_says_nothing_of_them() -> None:
    table = front_table(a_front([[0, 1], [1, 0]]))
    assert "policies" not in [one.title for one in table.columns]
    assert len(table.notes) == 1  # the indicators


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_same_rows_at_every_scale(scale: float) -> None:
    points = np.array([[0, 10], [0.001, 9.999], [5, 5], [10, 0]]) * [1.0, scale]
    assert distinct_rows(points) == [[0, 1], [2], [3]]


def test_a_front_of_one_point_and_of_none() -> None:
    assert distinct_rows(np.zeros((0, 2))) == []
    assert distinct_rows(np.array([[1.0, 2.0], [1.0, 2.0]])) == [[0, 1]]
    assert column(front_table(a_front(np.zeros((0, 2)))), "row") == []


def test_long_fronts_say_how_much_of_them_is_shown() -> None:
    points = np.column_stack([np.arange(200.0), -np.arange(200.0)])
    table = front_table(a_front(points))
    assert column(table, "row")[0] == "0"
    assert column(table, "row")[-1] == "199"
    assert "40 of 200 rows shown; front.json has all points" in table.notes


# --- Several runs -----------------------------------------------------------------------------------------------------


def test_one_row_a_run(runs: dict[str, morl.Run]) -> None:
    table = runs_table(list(runs.values()))
    assert column(table, "run") == ["a/seed-0", "a/seed-1", "b/seed-0", "coins"]
    assert column(table, "seed") == ["0", "1", "0", "0"]
    assert column(table, "agent") == ["pd-morl", "pd-morl", "pd-morl", "toys:Coins"]
    assert column(table, "steps") == ["50"] * 4
    assert "env" not in [one.title for one in table.columns]  # the same for all: it stands in the title
    assert "toy-fork-v0" in table.title


def test_means_over_seeds_of_the_same_settings(runs: dict[str, morl.Run]) -> None:
    table = seeds_table(list(runs.values()))
    assert table is not None
    assert column(table, "seeds") == ["2", "1", "1"]
    assert column(table, "settings") == ["A", "B", "-"]
    values = [runs[name].front.indicators["expected_utility"] for name in ("a0", "a1")]
    mean, deviation = (float(text.replace(",", "")) for text in column(table, "expected utility")[0].split(" ± "))
    assert mean == pytest.approx(np.mean(values), rel=1e-3)
    assert deviation == pytest.approx(np.std(values, ddof=1), rel=1e-3, abs=1e-3)
    assert "A: agent.learning_rate 0.0003" in table.notes
    assert "B: agent.learning_rate 0.01" in table.notes


def test_no_means_where_nothing_can_be_averaged(runs: dict[str, morl.Run]) -> None:
    assert seeds_table([runs["a0"], runs["b0"], runs["coins"]]) is None
    assert seeds_table([runs["a0"], runs["a0"]]) is None  # the same run twice is one seed


def test_hypervolumes_of_different_reference_points_are_not_averaged(tmp_path: Path) -> None:
    for seed in (0, 1):
        run = toys.train(tmp_path / f"seed-{seed}", "toy-fork-v0", 50, seed=seed)
        record = (run.directory / "front.json").read_text()
        (run.directory / "front.json").write_text(
            re.sub(r'"reference_point": ?\[[^\]]*\]', f'"reference_point": [-{seed + 1}.0, -1.0]', record)
        )
    pair = [morl.load(tmp_path / "seed-0"), morl.load(tmp_path / "seed-1")]
    assert pair[0].front.reference_point != pair[1].front.reference_point
    table = seeds_table(pair)
    assert table is not None
    assert column(table, "hypervolume") == ["-"]
    assert any("reference points of the seeds differ" in note for note in table.notes)
    assert any("cannot be compared" in note for note in runs_table(pair).notes)


@pytest.mark.parametrize("width", ["60", "80", "200"])
def test_front_of_several_runs_in_a_terminal(
    width: str, runs: dict[str, morl.Run], monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    folders = [run.directory for run in runs.values()]
    code, shown, _ = morl_cli("front", *folders)
    assert code == 0
    assert max(map(len, shown.splitlines())) <= int(width)
    assert "4 runs on toy-fork-v0" in shown
    assert "mean ± standard deviation over seeds" in shown
    assert shown.count("undiscounted") == 4
    assert "nan" not in shown
    assert "(-, -)" not in shown
    alone = morl_cli("front", *folders, "--summary")[1]
    assert "undiscounted" not in alone
    assert "Over seeds" in alone


def test_tables_in_files_are_as_wide_as_they_need(
    runs: dict[str, morl.Run], monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = morl_cli("front", *(run.directory for run in runs.values()))[1]
    assert "not shown" not in shown
    assert "maximum utility loss" in shown
