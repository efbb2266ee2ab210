"""What run folders of a study say: indicators, shares of the known or best front, equal steps."""

import json
from pathlib import Path

import numpy as np
import pytest
from board_runs import add_evaluation, quarter_circle, write_run
from study_runs import listed, planned_study, write_record, write_study

import morl
from morl.pareto import expected_utility, hypervolume, non_dominated
from morl.preferences import finest_lattice
from morl.studies.curves import study_figure
from morl.studies.reading import read_results
from morl.studies.tables import study_tables

GRID = finest_lattice(2, 250)


def test_indicators_are_shares_of_the_best_front_of_all_runs(tmp_path: Path) -> None:
    results = read_results(write_study(tmp_path / "s", {("a", "x-v0"): [6.0, 8.0], ("b", "x-v0"): [10.0]}))
    (problem,) = results.problems
    assert (results.name, results.file, results.variants, problem.label) == ("s", "s.toml", ("a", "b"), "x-v0")
    best = quarter_circle(8, 2, 0, 10.0)
    assert problem.normalization.source == "the best front of all runs together (8 points)"
    assert problem.normalization.best["hypervolume"] == pytest.approx(hypervolume(best, (0.0, 0.0)))
    assert problem.normalization.best["expected_utility"] == pytest.approx(expected_utility(best, GRID))
    np.testing.assert_allclose(problem.shares("a", "hypervolume"), [0.36, 0.64])  # volumes grow with the square
    np.testing.assert_allclose(problem.shares("a", "expected_utility"), [0.6, 0.8])
    np.testing.assert_allclose(problem.shares("b", "hypervolume"), [1.0])
    assert not len(problem.shares("c", "hypervolume"))


def test_the_best_front_is_made_of_all_runs_and_may_be_better_than_each(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for seed, points in enumerate([[[9.0, 1.0]], [[1.0, 9.0]]]):
        write_run(root / f"seed-{seed}", points=points, seed=seed, reference_point=[0.0, 0.0])
    runs = [listed("a", "board-test-v0", seed, Path(f"seed-{seed}")) for seed in range(2)]
    (problem,) = read_results(write_record(root, runs)).problems
    np.testing.assert_allclose(problem.shares("a", "hypervolume"), [9.0 / 17.0] * 2)


def test_known_fronts_come_first_and_the_lowest_utility_is_that_of_the_reference_point(tmp_path: Path) -> None:
    names = {"objectives": ["treasure", "time"], "reference_point": [0.0, -19.0]}
    known = morl.envs.specs["deep-sea-treasure-v0"].known_front(0.99)
    file = write_study(tmp_path / "s", {("a", "deep-sea-treasure-v0"): [1.0]}, points=known[::2], **names)
    (problem,) = read_results(file).problems
    assert problem.normalization.source == f"the known front ({len(known)} points)"
    assert problem.normalization.best["hypervolume"] == pytest.approx(241.733, abs=1e-3)
    lowest = float((GRID @ np.array([0.0, -19.0])).mean())
    reached, best = expected_utility(known[::2], GRID), expected_utility(known, GRID)
    assert problem.shares("a", "expected_utility")[0] == pytest.approx((reached - lowest) / (best - lowest))
    assert 0.0 < problem.shares("a", "hypervolume")[0] < 1.0


def test_reference_points_become_common(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for seed, reference in enumerate([[0.0, 0.0], [-1.0, -1.0]]):
        write_run(root / f"seed-{seed}", points=[[9.0, 9.0]], seed=seed, reference_point=reference)
    runs = [listed("a", "board-test-v0", seed, Path(f"seed-{seed}")) for seed in range(2)]
    (problem,) = read_results(write_record(root, runs)).problems
    assert [run.values["hypervolume"] for run in problem.runs["a"]] == [100.0, 100.0]
    assert problem.reference == (-1.0, -1.0)
    assert "seed 0: its reference point differs" in " ".join(problem.notes)


def test_all_steps_count_and_equal_steps_are_those_that_every_run_has_reached(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [10.0, 10.0]}, steps=[1_000, 2_000])
    run_dir = tmp_path / "s" / "a" / "x-v0" / "seed-1"
    add_evaluation(run_dir, 3_000, 2.0 * quarter_circle(8), [0.0, 0.0])
    front = json.loads((run_dir / "front.json").read_text()) | {"training_steps": 3_000}
    (run_dir / "front.json").write_text(json.dumps(front))
    (problem,) = read_results(file).problems
    first, second = problem.runs["a"]
    assert first.environment_steps == 2_000 + 10 + 100  # training, pre-training, evaluation, as front.json counts them
    assert (first.last("environment_steps"), second.last("environment_steps")) == (2_000 + 10 + 200, 3_000 + 10 + 300)
    assert problem.common_time("environment_steps") == 2_210
    assert problem.common_time("wall_seconds") == 20.0
    at = [run.value_at("hypervolume", "environment_steps", 2_210) for run in (first, second)]
    assert at == [first.values["hypervolume"]] * 2  # not what seed 1 reached later
    assert first.value_at("hypervolume", "environment_steps", 2_209) == pytest.approx(at[0] / 4.0)  # half the front
    assert np.isnan(first.value_at("hypervolume", "environment_steps", 1_000))  # the first evaluation ends at 1,110
    assert "seeds have different numbers of training steps" in problem.notes[0]


def test_without_clocks_nothing_is_compared_at_equal_steps(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0, 6.0], ("b", "x-v0"): [7.0]})
    (tmp_path / "s" / "a" / "x-v0" / "seed-1" / "metrics.jsonl").unlink()
    (problem,) = read_results(file).problems
    assert np.isnan(problem.common_time("environment_steps"))
    assert not len(problem.shares_at("b", "hypervolume", "environment_steps", problem.common_time("wall_seconds")))
    assert not len(problem.shares_at("a", "hypervolume", "wall_seconds", 20.0))  # seed 0 alone would be a selection
    assert len(problem.shares_at("b", "hypervolume", "wall_seconds", 20.0)) == 1
    assert problem.curve("a", "hypervolume", "environment_steps") is None
    shown = study_tables(read_results(file)).tables[1].shown
    assert shown.columns[-1].cells == ("-", "-")
    assert shown.notes[1:] == ("no value, because the evaluations of a run are missing or damaged: x-v0",)


def test_no_value_is_of_those_runs_alone_that_were_evaluated_early(tmp_path: Path) -> None:
    root = tmp_path / "s"
    runs = []
    for variant, schedules in {"a": [[500, 2_000], [2_000], [2_000]], "b": [[500, 1_000]] * 3}.items():
        for seed, steps in enumerate(schedules):
            folder = Path(variant) / "x-v0" / f"seed-{seed}"
            write_run(root / folder, env="x-v0", seed=seed, steps=steps, points=quarter_circle(8))
            runs.append(listed(variant, "x-v0", seed, folder) | {"total_steps": steps[-1]})
    by_kind = {table.kind.name: table for table in study_tables(read_results(write_record(root, runs))).tables}
    for kind in ("environment_steps", "wall_seconds"):
        table = by_kind[kind]
        assert [(row.variant, row.runs) for row in table.rows] == [("a", 3), ("b", 3)]
        assert list(table.rows[0].estimates.values()) == [None, None], kind
        assert None not in table.rows[1].estimates.values()
        assert [column.cells[0] for column in table.shown.columns if "share" in column.title] == ["-", "-"]
        assert table.shown.notes[1:] == (
            "no value, because not all runs have one: 2 of 3 runs of a on x-v0 had no evaluation by then",
        )


def test_runs_that_are_not_finished_are_left_out_with_a_reason(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0, 6.0, 7.0, 8.0]})
    root = tmp_path / "s" / "a" / "x-v0"
    record = json.loads(file.read_text())
    record["runs"].append(listed("a", "x-v0", 4, Path("a/x-v0/seed-4")))
    file.write_text(json.dumps(record))
    (root / "seed-0" / "front.json").unlink()
    (root / "seed-1" / "front.json").unlink()
    (root / "seed-1" / "failure.txt").write_text("the disk is full\n")
    front = json.loads((root / "seed-2" / "front.json").read_text()) | {"training_steps": 1_999}
    (root / "seed-2" / "front.json").write_text(json.dumps(front))
    results = read_results(file)
    reasons = {run.seed: reason for run, reason in results.unfinished.items()}
    assert reasons == {
        0: "no front yet",
        1: "failed: the disk is full",
        2: "1,999 of 2,000 steps",
        4: "not run",
    }
    assert [run.listed.seed for run in results.problems[0].runs["a"]] == [3]


def test_the_runs_are_those_of_the_file_and_a_line_says_how_study_json_differs(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [5.0, 6.0, 7.0], ("b", "x-v0"): [8.0]})
    runs = [*json.loads(file.read_text())["runs"][:3], listed("a", "x-v0", 3, Path("a/x-v0/seed-3"))]
    planned = planned_study(tmp_path / "s", runs)
    few = json.loads(file.read_text())
    few["runs"] = [few["runs"][0] | {"total_steps": 1_000}, few["runs"][3]]  # of a file with one seed and b
    file.write_text(json.dumps(few))
    results = read_results(file, planned)
    (problem,) = results.problems
    assert [run.listed.seed for run in problem.runs["a"]] == [0, 1, 2]
    assert [(run.seed, reason) for run, reason in results.unfinished.items()] == [(3, "not run")]
    assert results.notes == (
        "these are the runs of the study's file; study.json was written for others (runs that the file does not plan: 1"
        " (b/x-v0/seed-0); without runs of the file: 3 (a/x-v0/seed-1, ...); other steps: 1 (a/x-v0/seed-0))",
    )
    assert results.notes[0] in study_tables(results).tables[0].shown.notes
    file.write_text(json.dumps(planned.to_json()))
    assert read_results(file, planned).notes == ()
    file.write_text("{")
    assert "study.json is damaged" in read_results(file, planned).notes[0]
    file.unlink()
    assert read_results(file, planned).notes == ()


def test_runs_without_a_setting_that_others_of_their_cell_have_are_said(tmp_path: Path) -> None:
    """A version that had no such setting may have done something else than its default."""
    root = tmp_path / "s"
    for seed in range(3):
        config = {"num_envs": 4} if seed else {"num_envs": 4, "novel": 1}
        write_run(root / f"seed-{seed}", env="x-v0", seed=seed, config=config)
    runs = [listed("a", "x-v0", seed, Path(f"seed-{seed}")) for seed in range(3)]
    assert read_results(write_record(root, runs)).notes == (
        "2 of 3 runs of a on x-v0 were made before there was a setting novel, which the others have: they may have done"
        " something else",
    )


def test_runs_without_a_setting_that_is_none_in_others_are_said(tmp_path: Path) -> None:
    """A run that names no setting as None was made by a version that did not write that down."""
    root = tmp_path / "s"
    comments = (
        "# discount: not set\n# novel: not set\n",
        "# discount: not set\nnovel = 1\n",
        "# discount: not set\n",
        "",
    )
    for seed, lines in enumerate(comments):
        config = write_run(root / f"seed-{seed}", env="x-v0", seed=seed) / "config.toml"
        config.write_text(config.read_text() + lines)
    runs = [listed("a", "x-v0", seed, Path(f"seed-{seed}")) for seed in range(4)]
    assert read_results(write_record(root, runs)).notes == (
        "2 of 4 runs of a on x-v0 were made before there was a setting novel, which the others have: they may have done"
        " something else",
    )
    del runs[1]
    assert read_results(write_record(root, runs)).notes == (
        "1 of 3 runs of a on x-v0 were made before there was a setting novel, which the others have: they may have done"
        " something else",
    )


def test_runs_of_other_steps_are_a_group_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "s"
    file = write_study(root, {(variant, env): [6.0, 8.0] for env in ("x-v0", "y-v0") for variant in "ab"})
    alone = study_tables(read_results(file))
    record = json.loads(file.read_text())
    for seed in (2, 3):
        folder = Path("a") / "x-v0" / f"seed-{seed}"
        points = quarter_circle(8, 2, 0, 8.0)
        write_run(root / folder, env="x-v0", seed=seed, reference_point=[0.0, 0.0], steps=[1_000, 6_000], points=points)
        record["runs"].append(listed("a", "x-v0", seed, folder) | {"total_steps": 6_000})
    file.write_text(json.dumps(record))
    results = read_results(file)
    assert (results.variants, results.compared) == (("a", "b", "a, 6,000 steps"), ("a", "b"))
    tables = {table.kind.name: table for table in study_tables(results).tables}
    for name in ("environments", "environment_steps", "wall_seconds"):
        rows = [(row.env, row.variant, row.runs) for row in tables[name].rows]
        assert rows == [
            ("x-v0", "a", 2),
            ("x-v0", "b", 2),
            ("x-v0", "a, 6,000 steps", 2),
            ("y-v0", "a", 2),
            ("y-v0", "b", 2),
        ], name
    before = {table.kind.name: table for table in alone.tables}
    for name in ("aggregate", "improvement"):
        assert tables[name].rows == before[name].rows
        note = "runs left out, because an extra row trains them for other steps: a, 6,000 steps"
        assert note in tables[name].shown.notes
    assert not any("seeds have different numbers" in note for problem in results.problems for note in problem.notes)
    drawn = [axes.get_title() for axes in study_figure(results).axes if axes.axison]
    assert drawn == ["x-v0", "y-v0", "performance profile"]


def test_one_environment_with_two_discounts_is_two_problems(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for variant, discount in (("a", 0.9), ("b", 0.99)):
        write_run(root / variant, discount=discount, env="x-v0")
    runs = [listed(variant, "x-v0", 0, Path(variant)) for variant in "ab"]
    results = read_results(write_record(root, runs))
    assert [problem.label for problem in results.problems] == ["x-v0, discount 0.9", "x-v0, discount 0.99"]
    assert results.complete_problems == []


def test_different_preferences_are_replaced_by_common_ones(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for variant, divisions in (("a", 3), ("b", 500)):
        write_run(root / variant, config={"evaluation_divisions": divisions}, points=quarter_circle(5))
    runs = [listed(variant, "x-v0", 0, Path(variant)) for variant in "ab"]
    (problem,) = read_results(write_record(root, runs)).problems
    utilities = [problem.runs[variant][0].values["expected_utility"] for variant in "ab"]
    assert utilities == [expected_utility(quarter_circle(5), GRID)] * 2
    assert "different preferences" in problem.notes[0]


def test_large_fronts_of_many_objectives_are_measured_by_the_best_run(tmp_path: Path) -> None:
    root = tmp_path / "s"
    names = {"objectives": [f"o{number}" for number in range(6)], "reference_point": [0.0] * 6}
    points = quarter_circle(200, 6)
    assert non_dominated(points).all()
    volume = {"hypervolume": 3.0, "expected_utility": 1.0}
    for seed in range(2):
        write_run(root / f"seed-{seed}", points=points[:20], seed=seed, **names)
        front = json.loads((root / f"seed-{seed}" / "front.json").read_text())
        front |= {"points": (points * (1.0 + seed)).tolist(), "indicators": volume, "policy_ids": [], "preferences": []}
        front |= {"undiscounted_points": []}
        front["indicators"]["hypervolume"] += seed
        (root / f"seed-{seed}" / "front.json").write_text(json.dumps(front))
    runs = [listed("a", "x-v0", seed, Path(f"seed-{seed}")) for seed in range(2)]
    (problem,) = read_results(write_record(root, runs)).problems
    assert problem.normalization.source == "the best run"
    np.testing.assert_allclose(problem.shares("a", "hypervolume"), [0.75, 1.0])


def test_the_conditioned_utility_is_that_of_the_evaluation_that_selected(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s", {("a", "x-v0"): [10.0, 10.0]}, selected_at_step=1_000)
    runs = tmp_path / "s" / "a" / "x-v0"
    for seed in range(2):
        metrics = runs / f"seed-{seed}" / "metrics.jsonl"
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        for line in lines:
            if "selection/hypervolume" in line:
                line["conditioned_utility"] = line["training_steps"] / 500.0
        metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    front = json.loads((runs / "seed-1" / "front.json").read_text()) | {"units": [1.0, 3.0]}
    (runs / "seed-1" / "front.json").write_text(json.dumps(front))
    (problem,) = read_results(file).problems
    first, other_units = problem.runs["a"]
    assert (first.conditioned_utility, np.isnan(other_units.conditioned_utility)) == (2.0, True)
    best = expected_utility(quarter_circle(8, 2, 0, 10.0), GRID)
    np.testing.assert_allclose(problem.conditioned_shares("a"), [2.0 / best])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory; run the study first"),
        ("{", "is damaged"),
        ('{"format": 2}', "format is 2, but this version reads 1"),
        ('{"format": 1, "name": "s", "file": "s.toml", "runs": [{"variant": "a"}]}', "a run has no 'env'"),
        ("[]", "is damaged"),
    ],
)
def test_a_damaged_record_is_one_sentence(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=r"study\.json") as caught:
        read_results(tmp_path / "study.json")
    assert words in str(caught.value)
