"""Run folders: which are found, what they hold, and how their history is read as it grows."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from board_runs import add_evaluation, decoded, library_of, quarter_circle, runs_by_name, write_run

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
    assert found.notes == {"other": "event files of another tool: no fronts in it"}
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
    assert answers.histories(library, ["run"])["run"]["steps"] == [100, 200]
    after = runs_by_name(library)["run"]
    assert before["history_version"] != after["history_version"]
    assert before["version"] == after["version"]
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


def test_a_long_history_is_read_in_pieces_to_its_end(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=[1])
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
