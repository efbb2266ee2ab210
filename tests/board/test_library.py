"""Run folders: which are found, what they hold, and how their history is read as it grows."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from board_runs import add_evaluation, decoded, library_of, quarter_circle, runs_by_name, write_run

import morl
from morl.board import answers
from morl.board.evaluations import FRONTS_KEPT, NUMBERS_KEPT, Evaluations
from morl.board.library import find_runs
from morl.board.page import page_data


def test_runs_are_found_and_named_after_their_place(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "seed-0")
    write_run(tmp_path / "b")
    (tmp_path / "b" / "tensorboard").mkdir()
    (tmp_path / "b" / "tensorboard" / "events.out.tfevents.1").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "events.out.tfevents.1").touch()
    found = find_runs(tmp_path)
    assert sorted(found.runs) == ["a/seed-0", "b"]
    assert found.notes == {"other": "event files of another tool, without fronts"}
    assert list(find_runs(tmp_path / "b").runs) == ["b"]  # --logdir may name a run itself


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    write_run(tmp_path / "outside" / "run")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside")
    write_run(inside / "run")
    (inside / "run" / "front.json").unlink()
    (inside / "run" / "front.json").symlink_to(tmp_path / "outside" / "run" / "front.json")
    library = library_of(inside)
    assert list(library.folders) == ["run"]
    assert "link" in library.notes
    assert not library.folders["run"].loadable


def test_two_hundred_runs_are_listed_within_two_seconds(tmp_path: Path) -> None:
    for number in range(200):
        write_run(
            tmp_path / f"setting-{number % 10}" / f"seed-{number // 10}",
            seed=number // 10,
            config={"rate": number % 10},
        )
    library = library_of(tmp_path)
    start = time.process_time()
    listing = answers.listing(library)
    assert len(listing["runs"]) == 200
    assert len(listing["settings"]) == 10
    assert len(answers.fronts(library, list(library.folders))) == 200
    assert time.process_time() - start < 2.0
    start = time.process_time()
    library.refresh(least_seconds=0.0)  # nothing has changed: nothing is read again
    assert time.process_time() - start < 1.0


def test_answers_equal_what_morl_load_returns(tmp_path: Path, without_figures: None) -> None:
    run = toys.train(tmp_path / "walk", "toy-walk-v0", 300, seed=3, evaluate_every=100)
    library = library_of(tmp_path)
    said = answers.fronts(library, ["walk"])["walk"]
    np.testing.assert_array_equal(decoded(said["points"]), run.front.points)
    np.testing.assert_array_equal(decoded(said["preferences"]), run.front.preferences)
    np.testing.assert_array_equal(decoded(said["policy_ids"]), run.front.policy_ids)
    listed = runs_by_name(library)["walk"]
    assert listed["indicators"] == run.front.indicators
    assert listed["notes"] == []
    assert (listed["agent"], listed["seed"], listed["loadable"]) == (run.agent_name, 3, True)
    history = answers.histories(library, ["walk"])["walk"]
    lines = toys.lines(run.directory / "fronts.jsonl")
    assert history["steps"] == [line["training_steps"] for line in lines]
    for line, front in zip(lines, history["fronts"], strict=True):
        np.testing.assert_allclose(decoded(front), line["points"], rtol=1e-6)
    curve = answers.curves(library, ["walk"])["runs"]["walk"]
    assert curve["indicators"]["hypervolume"] == [line["indicators"]["hypervolume"] for line in lines]
    record = toys.front(run.directory)
    buckets = ("training_steps", "pretraining_steps", "evaluation_steps")
    assert curve["environment_steps"][-1] == sum(record[name] for name in buckets)
    assert 0 < curve["wall_seconds"][0] < curve["wall_seconds"][-1]


def test_a_row_of_the_front_selects_its_policy(tmp_path: Path, without_figures: None, morl_cli: Any) -> None:
    run = toys.train(tmp_path / "run", "toy-walk-v0", 200, agent="toys:Coins", seed=4)
    for row in range(len(run.front.points)):
        assert run.policy(row=row).policy_id == run.front.policy_ids[row]
        np.testing.assert_allclose(run.evaluate(row=row, episodes=2).discounted.shape, (1, 2))
    with pytest.raises(ValueError, match="row is 99"):
        run.policy(row=99)
    with pytest.raises(ValueError, match="one of preference and row"):
        run.policy()
    with pytest.raises(ValueError, match="one of preference and row"):
        run.policy([0.5, 0.5], row=0)
    code, printed, _ = morl_cli("evaluate", run.directory, "--row", 0, "--episodes", 1)
    assert code == 0
    assert printed.count("\n") < 10
    assert morl_cli("evaluate", run.directory, "--row", 99)[0] == 2


def test_new_evaluations_are_read_as_they_come(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=[100])
    library = library_of(tmp_path)
    before = runs_by_name(library)["run"]
    assert answers.histories(library, ["run"])["run"]["steps"] == [100]
    add_evaluation(run, 200, quarter_circle(5), [-1.0, -1.0])
    with (run / "fronts.jsonl").open("a") as file:
        file.write('{"training_steps": 300, "poi')  # half written
    publish(run, 200)
    library.refresh(least_seconds=0.0)
    assert answers.histories(library, ["run"])["run"]["steps"] == [100, 200]
    after = runs_by_name(library)["run"]
    assert before["history_version"] != after["history_version"]
    assert before["version"] != after["version"]
    assert after["notes"] == []
    record = json.loads((run / "front.json").read_text())
    (run / "front.json").write_text(
        json.dumps(
            {
                **record,
                "points": [[1.0, 1.0]],
                "preferences": [[0.5, 0.5]],
                "policy_ids": [7],
                "undiscounted_points": [[1.0, 1.0]],
            }
        )
    )
    library.refresh(least_seconds=0.0)
    assert decoded(answers.fronts(library, ["run"])["run"]["policy_ids"]).tolist() == [7]


def publish(run: Path, training_steps: int) -> None:
    """Write front.json anew, as a run does after each evaluation: the best front, with the counts as they are now."""
    record = json.loads((run / "front.json").read_text())
    (run / "front.json").write_text(json.dumps({**record, "training_steps": training_steps}))


def test_evaluations_are_shown_once_they_are_published(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=[100], reference_point=[-1.0, -1.0])
    write_run(tmp_path / "other", steps=[100], reference_point=[-2.0, -1.0])  # volumes are computed anew
    library = library_of(tmp_path)
    before = answers.histories(library, ["run"])["run"]
    add_evaluation(run, 200, quarter_circle(5), [-1.0, -1.0])
    library.refresh(least_seconds=0.0)
    recorded = answers.histories(library, ["run"])["run"]
    assert recorded["steps"] == [100]
    assert answers.curves(library, ["run"])["runs"]["run"]["training_steps"] == [100]
    (fold,) = answers.folds(library, ["run"], 250).values()
    assert len(decoded(fold["surfaces"]["best"])) == 8
    publish(run, 200)  # fronts.jsonl stays as it is, and is shown further all the same
    library.refresh(least_seconds=0.0)
    assert runs_by_name(library)["run"]["history_version"] not in (before["version"], recorded["version"])
    assert answers.histories(library, ["run"])["run"]["steps"] == [100, 200]
    curve = answers.curves(library, ["run"])["runs"]["run"]
    assert curve["training_steps"] == [100, 200]
    assert None not in curve["indicators"]["hypervolume"]
    (fold,) = answers.folds(library, ["run"], 250).values()
    assert len(decoded(fold["surfaces"]["best"])) == 5


@pytest.mark.parametrize(("scale", "offset"), [(1e160, 0.0), (1.0, 1e12), (1e-60, 0.0), (3.0, -7.0)])
def test_histories_keep_numbers_of_any_size(scale: float, offset: float, tmp_path: Path) -> None:
    points = quarter_circle(20, 2) * scale + offset
    write_run(tmp_path / "run", points=points, steps=[10])
    (said,) = answers.histories(library_of(tmp_path), ["run"])["run"]["fronts"]
    np.testing.assert_allclose(decoded(said), points, atol=2e-3 * np.ptp(points, axis=0).min(), rtol=0.0)
    assert ("float32" in said) == (scale == 3.0)  # half the bytes where that shows no difference


def test_answers_say_what_policies_are_chosen_by(tmp_path: Path) -> None:
    points = quarter_circle(6, 2)
    plain = {"standard_errors": [[None, None]] * 6, "choice_points": points.tolist(), "units": [1.0, 1.0]}
    write_run(tmp_path / "plain", points=points, **plain)
    constraints = {"energy": {"bound": ">= 3", "violations": [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]}}
    noisy = {
        "standard_errors": (points / 10).tolist(), "choice_points": (points[::-1] + 0.5).tolist(),
        "units": [1.0, 100.0], "scales": [2.0, 9_000.0], "constraints": constraints,
        "indicator_errors": {"hypervolume": 0.25, "gone": 1.0},
    }  # fmt: skip
    write_run(tmp_path / "noisy", points=points, reference_point=[-1.0, -1.0], **noisy)
    library = library_of(tmp_path)
    said = answers.fronts(library, ["plain", "noisy"])
    for name in ("standard_errors", "choice_points", "violations"):
        assert said["plain"][name] is None
    assert not said["plain"]["scales_given"]
    assert said["noisy"]["scales_given"]
    np.testing.assert_array_equal(decoded(said["plain"]["scales"]), morl.load(tmp_path / "plain").front.scales)
    front = morl.load(tmp_path / "noisy").front
    for name in ("standard_errors", "choice_points", "violations", "units", "scales"):
        np.testing.assert_array_equal(decoded(said["noisy"][name]), getattr(front, name))
    assert runs_by_name(library)["noisy"]["indicator_errors"] == {"hypervolume": 0.25}
    write_run(tmp_path / "lower", points=points, reference_point=[-5.0, -5.0])  # another hypervolume than the measured
    assert runs_by_name(library_of(tmp_path))["noisy"]["indicator_errors"] == {}


def test_a_long_history_is_read_in_pieces_to_its_end(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=[1])
    publish(run, 40)
    padding = "x" * 2**20
    with (run / "fronts.jsonl").open("a") as file:
        for step in range(2, 41):  # 39 MB; 32 are read at once
            file.write(json.dumps({"training_steps": step, "points": [[1.0, 2.0]], "padding": padding}) + "\n")
    page = page_data(library_of(tmp_path))  # nobody will ask it again
    assert page["histories"]["run"]["steps"] == list(range(1, 41))
    assert page["runs"]["runs"][0]["notes"] == []
    library = library_of(tmp_path)
    first = answers.histories(library, ["run"])["run"]
    assert 1 < len(first["steps"]) < 40
    listed = runs_by_name(library)["run"]
    assert "still to be read" in listed["notes"][0]
    assert first["version"] != listed["history_version"]  # the page will ask again
    second = answers.histories(library, ["run"])["run"]
    assert second["steps"] == list(range(1, 41))
    listed = runs_by_name(library)["run"]
    assert listed["notes"] == []
    assert second["version"] == listed["history_version"]


def test_history_stays_within_its_bounds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", points=quarter_circle(300), steps=[1])
    for step in range(2, 400):
        add_evaluation(run, step, quarter_circle(300, seed=step), [-1.0, -1.0])
    evaluations = Evaluations(run)
    evaluations.refresh()
    assert len(evaluations.fronts) <= FRONTS_KEPT
    assert sum(front.size for front in evaluations.fronts.values()) <= NUMBERS_KEPT
    steps = np.array(list(evaluations.fronts))
    assert len(set(np.diff(steps))) == 1  # evenly thinned
    assert steps[0] == 1
    assert steps[-1] > 390 - 16
    library = library_of(tmp_path)
    assert (
        sum(np.prod(front["shape"]) for front in answers.histories(library, ["run"], 5_000)["run"]["fronts"]) <= 5_600
    )
