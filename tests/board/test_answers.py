"""The board's Python part: run folders that grow, are damaged, huge or foreign; the right numbers; nothing outside."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys
from board_runs import add_evaluation, quarter_circle, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from werkzeug.test import Client

import morl
from morl.board import answers
from morl.board.evaluations import FRONTS_KEPT, NUMBERS_KEPT, Evaluations
from morl.board.files import GrowingLines, open_regular, read_whole
from morl.board.folds import attainment_surface, best_of, bootstrap_interval, interquartile_mean
from morl.board.library import Library, find_runs
from morl.board.page import page_data, self_contained_page, write_page
from morl.board.plugin import ParetoPlugin, front_end_files
from morl.experiment.figures import PALETTE, comparison_figure, save_figure, short_labels
from morl.pareto import hypervolume, non_dominated


def decoded(array: dict[str, Any]) -> Any:
    kind = next(name for name in ("float64", "float32", "int32") if name in array)
    return np.frombuffer(base64.b64decode(array[kind]), dtype=f"<{np.dtype(kind).str[1:]}").reshape(array["shape"])


def library_of(root: Path) -> Library:
    library = Library(root)
    library.refresh(least_seconds=0.0)
    return library


def runs_by_name(library: Library) -> dict[str, Any]:
    return {run["name"]: run for run in answers.listing(library)["runs"]}


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client of the plugin as TensorBoard would serve it, over the folder `tmp_path`."""
    plugin = ParetoPlugin(SimpleNamespace(logdir=str(tmp_path)))
    applications = plugin.get_plugin_apps()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] not in applications:
            start_response("404 NOT FOUND", [])
            return [b""]
        plugin.library._searched = -float("inf")
        return applications[environ["PATH_INFO"]](environ, start_response)

    return Client(application)


# --- Files that grow --------------------------------------------------------------------------------------------------


def test_each_line_is_read_once_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntw")
    lines = GrowingLines(path)
    assert lines.read().lines == [b"one"]
    assert lines.read().lines == []
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert lines.read().lines == [b"two", b"three"]


@pytest.mark.parametrize("how", ["replaced", "cut", "rewritten"])
def test_a_file_that_was_cut_back_is_read_anew(how: str, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nthree\n")
    lines = GrowingLines(path)
    lines.read()
    if how == "replaced":  # what morl resume does
        (tmp_path / "new").write_bytes(b"one\nfour\nfive\nsix\n")
        os.replace(tmp_path / "new", path)
    elif how == "cut":
        path.write_bytes(b"one\n")
    else:
        path.write_bytes(b"one\nfour\nfive\nsix\n")
    new = lines.read()
    assert new.restarted
    assert new.lines[0] == b"one"
    assert not lines.read().restarted


@given(content=st.lists(st.binary(max_size=40), max_size=12), cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(deadline=None, max_examples=60)
def test_lines_do_not_depend_on_how_the_file_grew(
    content: list[bytes], cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = b"".join(line.replace(b"\n", b"") + b"\n" for line in content)
    path = tmp_path_factory.mktemp("grow") / "lines"
    path.write_bytes(b"")
    lines, found = GrowingLines(path, read_limit=64, line_limit=64), []
    start = 0
    for cut in [*sorted(cuts), len(whole)]:
        with path.open("ab") as file:
            file.write(whole[start : max(start, cut)])
        start = max(start, cut)
        for _ in range(len(whole) // 32 + 2):
            found += lines.read().lines
    assert found == [line for line in whole.split(b"\n") if line]


def test_a_line_without_end_is_left_out_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 1_000 + b"\nshort\n")
    lines = GrowingLines(path, read_limit=100, line_limit=50)
    read = [lines.read() for _ in range(15)]
    assert [line for new in read for line in new.lines] == [b"short"]
    assert sum(new.left_out for new in read) == 1
    assert read[0].unread > 0
    assert read[-1].unread == 0


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "missing"):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)
    with pytest.raises(OSError, match="more than"):
        read_whole(tmp_path / "secret", limit=3)


# --- Finding runs -----------------------------------------------------------------------------------------------------


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


def test_two_hundred_runs(tmp_path: Path) -> None:
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


# --- What a run says --------------------------------------------------------------------------------------------------


def test_the_page_is_told_what_morl_load_says(tmp_path: Path, without_figures: None) -> None:
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


def test_the_policy_of_a_row(tmp_path: Path, without_figures: None, morl_cli: Any) -> None:
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
        json.dumps({**record, "points": [[1.0, 1.0]], "preferences": [[0.5, 0.5]], "policy_ids": [7]})
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


# --- Damage, older formats, foreign files -----------------------------------------------------------------------------


DAMAGE: dict[str, tuple[str, str | bytes | None, str]] = {
    "no front yet": ("front.json", None, "front.json is missing; shown is the last evaluation"),
    "half a front": ("front.json", '{"agent": "pd', "front.json is damaged"),
    "not an object": ("front.json", "[]", "front.json is damaged"),
    "no points": ("front.json", '{"objectives": ["a", "b"]}', "does not say 'points'"),
    "ragged points": ("front.json", '{"objectives": ["a", "b"], "points": [[1, 2], [3]]}', "front.json is damaged"),
    "NaN": ("front.json", '{"objectives": ["a", "b"], "points": [[1, NaN]]}', "finite"),
    "one objective": ("front.json", '{"objectives": ["a"], "points": [[1], [2]]}', "must be 2 to 32 names"),
    "many objectives": ("front.json", json.dumps({"objectives": ["a"] * 99, "points": []}), "must be 2 to 32 names"),
    "deep": ("front.json", "[" * 100_000, "front.json is damaged"),
    "binary": ("front.json", bytes(range(256)), "front.json is damaged"),
    "no config": ("config.toml", None, "config.toml is missing"),
    "bad config": ("config.toml", "= 3", "config.toml is damaged"),
    "bad line": ("fronts.jsonl", 'what?\n{"training_steps": 1, "points": [[1, 2]]}\n', "1 damaged lines"),
    "wrong objectives": ("fronts.jsonl", '{"training_steps": 1, "points": [[1, 2, 3]]}\n', "1 damaged lines"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_a_note_beside_that_run(name: str, tmp_path: Path) -> None:
    file, content, note = DAMAGE[name]
    write_run(tmp_path / "good")
    path = write_run(tmp_path / "bad") / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    library = library_of(tmp_path)
    for compute in (answers.fronts, answers.histories, answers.curves, answers.folds):
        assert json.dumps(compute(library, ["good", "bad", "no such run"]), allow_nan=False)
    listing = answers.listing(library)
    json.dumps(listing, allow_nan=False)
    noted = {entry["name"]: entry["notes"] for entry in [*listing["runs"], *listing["others"]]}
    assert noted["good"] == []
    assert len(noted["bad"]) == 1
    assert note in noted["bad"][0]


def test_a_run_without_any_evaluation_is_listed_apart(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text('agent_name = "pd-morl"\nenv = "deep-sea-treasure-v0"\n')
    (tmp_path / "run" / "system.json").write_text("{}")
    listing = answers.listing(library_of(tmp_path))
    assert listing["runs"] == []
    assert listing["others"] == [{"name": "run", "notes": ["no evaluation yet"]}]


def test_an_older_format_is_shown_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "front.json").write_text('{"objectives": ["a", "b"], "points": [[1, 2]]}')
    library = library_of(tmp_path)
    run = runs_by_name(library)["old"]
    assert run["notes"] == [
        "config.toml is missing",
        "front.json is of another format: it lacks preferences and policy_ids",
    ]
    assert np.isnan(decoded(answers.fronts(library, ["old"])["old"]["preferences"])).all()


def test_files_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with (run / "front.json").open("wb") as file:
        file.truncate(5 * 2**30)  # five gigabytes of nothing
    library = library_of(tmp_path)
    assert "not read" in runs_by_name(library)["run"]["notes"][0]
    write_run(tmp_path / "many", points=quarter_circle(20_000))
    library.refresh(least_seconds=0.0)
    assert answers.fronts(library, ["many"])["many"]["points"]["shape"] == [5_000, 2]
    assert "20,000 points" in runs_by_name(library)["many"]["notes"][0]


def test_nothing_that_a_run_folder_says_is_imported(tmp_path: Path) -> None:
    write_run(tmp_path / "run", env="antigravity:evil-v0", env_options={"depth": 40})
    write_run(tmp_path / "tree", env="fruit-tree-v0", env_options={"depth": 40}, objectives=list("abcdef"))
    problems = answers.listing(library_of(tmp_path))["problems"]
    assert [problem["known_front"] for problem in problems] == [None, None]


# --- Numbers ----------------------------------------------------------------------------------------------------------


def test_known_front_and_settings(tmp_path: Path) -> None:
    names = {"objectives": ["treasure", "time"], "env": "deep-sea-treasure-v0"}
    for seed in range(3):
        write_run(tmp_path / f"slow-{seed}", seed=seed, config={"learning_rate": 0.1}, **names)
        write_run(tmp_path / f"fast-{seed}", seed=seed, config={"learning_rate": 0.2}, **names)
    listing = answers.listing(library_of(tmp_path))
    (problem,) = listing["problems"]
    expected = morl.envs.specs["deep-sea-treasure-v0"].known_front
    assert expected is not None
    np.testing.assert_array_equal(decoded(problem["known_front"]), expected(0.99))
    labels = {setting["label"]: setting["runs"] for setting in listing["settings"]}
    assert labels == {
        "pd-morl, learning rate 0.2": ["fast-0", "fast-1", "fast-2"],
        "pd-morl, learning rate 0.1": ["slow-0", "slow-1", "slow-2"],
    }


def test_hypervolumes_share_one_reference_point(tmp_path: Path) -> None:
    write_run(tmp_path / "a", reference_point=[-1.0, -2.0], seed=1)
    write_run(tmp_path / "b", reference_point=[-3.0, -1.0], seed=2)
    library = library_of(tmp_path)
    runs = runs_by_name(library)
    assert answers.listing(library)["problems"][0]["reference_point"] == (-3.0, -2.0)
    for name, seed in (("a", 1), ("b", 2)):
        assert runs[name]["indicators"]["hypervolume"] == hypervolume(quarter_circle(8, 2, seed), [-3.0, -2.0])
        assert "its reference point is another" in runs[name]["notes"][0]
    curve = answers.curves(library, ["a"])["runs"]["a"]
    assert curve["indicators"]["hypervolume"][-1] == pytest.approx(runs["a"]["indicators"]["hypervolume"])


def test_problems_are_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", discount=1.0)
    write_run(tmp_path / "c", env_options={"depth": 3})
    write_run(tmp_path / "d", objectives=["speed", "cost"])
    assert len(answers.listing(library_of(tmp_path))["problems"]) == 4


FRONTS = st.lists(
    arrays(np.float64, st.tuples(st.integers(0, 6), st.just(2)), elements=st.integers(0, 8)), min_size=1, max_size=5
)


@given(fronts=FRONTS, level=st.integers(1, 5))
@settings(deadline=None)
def test_attainment_is_what_so_many_fronts_dominate(fronts: list[Any], level: int) -> None:
    level = min(level, len(fronts))
    surface = attainment_surface(fronts, level)
    for target in np.stack(np.meshgrid(np.arange(-1, 10), np.arange(-1, 10)), axis=-1).reshape(-1, 2):
        attained_by = sum(bool((front >= target).all(axis=1).any()) for front in fronts)
        assert bool((surface >= target).all(axis=1).any()) == (attained_by >= level)
    assert (np.diff(surface[:, 0]) > 0).all()
    assert (np.diff(surface[:, 1]) < 0).all()


def test_wrong_level() -> None:
    for level in (0, 3):
        with pytest.raises(ValueError, match="level is"):
            attainment_surface([np.zeros((1, 2))] * 2, level)


def test_interquartile_mean_and_interval() -> None:
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 1_000.0])) == 1.5
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0
    values = np.random.default_rng(0).normal(size=(400, 2)) + np.array([0.0, 5.0])
    low, high = bootstrap_interval(values)
    assert (low < interquartile_mean(values)).all()
    assert (interquartile_mean(values) < high).all()
    np.testing.assert_allclose(
        high - low, 2 * 1.96 * 1.09 / 20, rtol=0.2
    )  # standard error of the mean of the middle half
    same = np.full((3, 1), 7.0)
    assert bootstrap_interval(same) == (7.0, 7.0)


def test_seeds_fold_into_one(tmp_path: Path) -> None:
    points = [quarter_circle(6, 2, seed) for seed in range(5)]
    for seed in range(5):
        steps = [100, 200 + 100 * (seed % 2)]
        config = {"total_steps": 300}
        write_run(tmp_path / f"seed-{seed}", seed=seed, points=points[seed], steps=steps, config=config)
    library = library_of(tmp_path)
    names = list(library.folders)
    (fold,) = answers.folds(library, names).values()
    assert fold["runs"] == names
    for name, level in (("best", 1), ("median", 3), ("worst", 5)):
        np.testing.assert_array_equal(decoded(fold["surfaces"][name]), attainment_surface(points, level))
    volumes = [run["indicators"]["hypervolume"] for run in runs_by_name(library).values()]
    folded = fold["indicators"]["hypervolume"]
    assert folded["mean"] == pytest.approx(interquartile_mean(np.array(volumes)))
    assert min(volumes) <= folded["low"] <= folded["mean"] <= folded["high"] <= max(volumes)
    (earlier,) = answers.folds(library, names, step=150).values()
    np.testing.assert_allclose(
        decoded(earlier["surfaces"]["best"]), attainment_surface([front / 2 for front in points], 1)
    )
    curves = answers.curves(library, names)
    (curve,) = curves["settings"].values()
    assert curve["training_steps"] == [100, 200]  # where every seed has an evaluation
    assert curve["environment_steps"][0] == 120
    mean = curve["indicators"]["hypervolume"]["mean"][0]
    assert mean == pytest.approx(
        np.sort([curves["runs"][name]["indicators"]["hypervolume"][0] for name in names])[1:4].mean()
    )


def test_three_objectives_fold_into_their_best_points(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"seed-{seed}", seed=seed, objectives=["a", "b", "c"])
    (fold,) = answers.folds(library_of(tmp_path), [f"seed-{seed}" for seed in range(3)]).values()
    together = np.concatenate([quarter_circle(8, 3, seed) for seed in range(3)])
    np.testing.assert_array_equal(decoded(fold["surfaces"]["best"]), together[non_dominated(together)])
    np.testing.assert_array_equal(best_of([together]), together[non_dominated(together)])


# --- The plugin -------------------------------------------------------------------------------------------------------


def test_addresses(client: Client, tmp_path: Path) -> None:
    write_run(tmp_path / "<b>run</b>")
    listing = client.get("/runs").json
    assert [run["name"] for run in listing["runs"]] == ["<b>run</b>"]
    for address in ("/fronts", "/histories", "/curves", "/folds"):
        response = client.post(address, json={"runs": ["<b>run</b>"]})
        assert response.status_code == 200, response.data
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert list(client.post("/fronts", json={"runs": ["<b>run</b>"]}).json) == ["<b>run</b>"]
    for name in front_end_files():
        first = client.get(f"/{name}")
        assert first.status_code == 200
        again = client.get(f"/{name}", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "run/../../secret", "%2e%2e/secret", "", "run\x00"])
def test_paths_lead_nowhere(name: str, client: Client, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    write_run(tmp_path.parent / f"{tmp_path.name}-secret" / "secret")
    for address in ("/fronts", "/histories"):
        assert client.post(address, json={"runs": [name]}).json == {}
    for address in (f"/{name}", f"/front/{name}", f"/index.js/../{name}"):
        assert b"root:" not in client.get(address).data


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({"data": b"no json"}, "JSON"),
        ({"json": [1]}, "list"),
        ({"json": {"runs": "run"}}, "runs"),
        ({"json": {"runs": [{}]}}, "runs"),
        ({"json": {"runs": [], "step": "x"}}, "step"),
        ({"json": {"runs": [], "step": True}}, "step"),
        ({"data": b"[" * 1_000_000}, "JSON"),
        ({"data": b" " * (2**20 + 1)}, "1 MB"),
    ],
)
def test_wrong_questions_are_answered(request_: dict[str, Any], word: str, client: Client) -> None:
    response = client.post("/folds", **request_)
    assert response.status_code == 400
    assert word in response.json["error"]


def test_a_plugin_without_a_folder(tmp_path: Path) -> None:
    for logdir in ("", str(tmp_path / "missing")):
        plugin = ParetoPlugin(SimpleNamespace(logdir=logdir))
        assert not plugin.is_active()
        assert answers.listing(plugin.library)["runs"] == []
    write_run(tmp_path / "run")
    assert ParetoPlugin(SimpleNamespace(logdir=str(tmp_path))).is_active()


# --- One file to share ------------------------------------------------------------------------------------------------


def test_the_page_holds_everything(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    runs = [write_run(tmp_path / f"seed-{seed}", seed=seed, objectives=["speed", name]) for seed in range(2)]
    write_page(runs, tmp_path / "front.html")
    page = (tmp_path / "front.html").read_text()
    assert name not in page
    assert page.count("<script") == page.count("</script>") == 4
    for loads in ("src=", "href="):
        assert loads not in page.split("<script")[0]
    assert "default-src &#x27;none&#x27;" in page
    start = page.index('id="morl-data">') + len('id="morl-data">')
    data = json.loads(page[start : page.index("</script>", start)])
    library = Library(runs={run.as_posix(): run for run in runs})
    assert data == json.loads(json.dumps(page_data(library)))
    assert set(data["folds"]) == {"published", "1000", "2000"}


def test_wrong_pages(tmp_path: Path, morl_cli: Any) -> None:
    write_run(tmp_path / "run")
    for run, page, word in (
        ("run", "front.txt", ".html"),
        ("missing", "front.html", "no front"),
        ("run", "no/front.html", "no"),
    ):
        code, _, complaint = morl_cli("front", tmp_path / run, "--html", tmp_path / page)
        assert (code, complaint.count("\n")) == (2, 1)
        assert word in complaint
    assert not list(tmp_path.glob("*.html"))
    assert morl_cli("board", tmp_path / "missing")[0] == 2


def test_a_board_that_cannot_start(tmp_path: Path, morl_cli: Any) -> None:
    (tmp_path / "file").touch()
    for words, word in (
        ([tmp_path / "file"], "logdir is"),
        ([tmp_path, "--port", -5], "port is -5"),
        ([tmp_path, "--port", 70_000], "port is 70000"),
        ([tmp_path, "--host", "256.0.0.1"], "host is '256.0.0.1'"),
    ):
        code, _, complaint = morl_cli("board", *words)
        assert (code, complaint.count("\n")) == (2, 1)
        assert word in complaint
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        number = taken.getsockname()[1]
        command = [sys.executable, "-c", "from morl.experiment.cli import main; main()", "board", str(tmp_path)]
        done = subprocess.run([*command, "--port", str(number)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"port {number}" in done.stderr.splitlines()[-1]


def test_figures_and_page_share_one_palette() -> None:
    theme = front_end_files()["theme.js"].read_text()
    assert ", ".join(f'"{colour}"' for colour in PALETTE) in theme


def test_every_module_of_the_page_is_there() -> None:
    page = self_contained_page(Library(runs={}))
    for name in front_end_files():
        if name.endswith(".js") and name != "plotly.min.js":
            assert f'"board/{name}"' in page


# --- A picture for print ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_picture_for_print_is_the_same_file_every_time(suffix: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fronts = {"a": quarter_circle(5), "b": quarter_circle(5, seed=1)}
        save_figure(comparison_figure(fronts, ["speed", "energy"]), tmp_path / f"{name}{suffix}")
    content = (tmp_path / f"one{suffix}").read_bytes()
    assert content == (tmp_path / f"two{suffix}").read_bytes()
    if suffix == ".pdf":
        assert b"/Type3" not in content  # journals refuse these fonts
    if suffix == ".svg":
        assert b">energy</text>" in content
    with pytest.raises(ValueError, match="must end in"):
        save_figure(comparison_figure({"a": [[1.0, 2.0]]}, ["a", "b"]), tmp_path / "front.bmp")


def test_labels_leave_out_what_all_share() -> None:
    folders = [Path("/home/me/runs/a/seed-0"), Path("/home/me/runs/b/seed-0")]
    assert short_labels(folders) == ["a/seed-0", "b/seed-0"]
    assert short_labels(folders[:1]) == ["/home/me/runs/a/seed-0"]
    assert short_labels([Path("x"), Path("y")]) == ["x", "y"]
    assert short_labels([Path("runs/x"), Path("runs/x")]) == ["x", "x"]
