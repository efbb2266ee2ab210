"""Run folders that are damaged, of an older format, huge or hostile: each is noted and hides no other."""

import json
from pathlib import Path

import numpy as np
import pytest
from board_runs import decoded, library_of, quarter_circle, runs_by_name, write_run

from morl.board import answers

DAMAGE: dict[str, tuple[str, str | bytes | None, str]] = {
    "no front yet": ("front.json", None, "front.json is missing; shown is the last evaluation"),
    "half a front": ("front.json", '{"agent": "pd', "front.json is damaged"),
    "not an object": ("front.json", "[]", "front.json is damaged"),
    "no points": ("front.json", '{"objectives": ["a", "b"]}', "does not say 'points'"),
    "ragged points": ("front.json", '{"objectives": ["a", "b"], "points": [[1, 2], [3]]}', "front.json is damaged"),
    "NaN": ("front.json", '{"objectives": ["a", "b"], "points": [[1, NaN]]}', "finite"),
    "one objective": ("front.json", '{"objectives": ["a"], "points": [[1], [2]]}', "has one objective, a, and"),
    "known front": (
        "front.json",
        '{"objectives": ["a", "b"], "points": [[1, 2]], "known_front": [[1, 2, 3]]}',
        "known_front must be rows of 2 numbers",
    ),
    "many objectives": ("front.json", json.dumps({"objectives": ["a"] * 99, "points": []}), "must be 2 to 32 names"),
    "deep": ("front.json", "[" * 100_000, "front.json is damaged"),
    "binary": ("front.json", bytes(range(256)), "front.json is damaged"),
    "no config": ("config.toml", None, "config.toml is missing"),
    "bad config": ("config.toml", "= 3", "config.toml is damaged"),
    "bad line": ("fronts.jsonl", 'what?\n{"training_steps": 1, "points": [[1, 2]]}\n', "1 damaged lines"),
    "wrong objectives": ("fronts.jsonl", '{"training_steps": 1, "points": [[1, 2, 3]]}\n', "1 damaged lines"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noted_beside_that_run(name: str, tmp_path: Path) -> None:
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


def test_no_module_named_in_a_run_folder_is_imported(tmp_path: Path) -> None:
    write_run(tmp_path / "run", env="antigravity:evil-v0", env_options={"depth": 40})
    write_run(tmp_path / "tree", env="fruit-tree-v0", env_options={"depth": 40}, objectives=list("abcdef"))
    problems = answers.listing(library_of(tmp_path))["problems"]
    assert [problem["known_front"] for problem in problems] == [None, None]
