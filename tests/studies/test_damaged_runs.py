"""One damaged or foreign run folder hides nothing of the rest of a study: it is shown as failed, with its sentence."""

import json
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import toys
from in_process import InProcess

import morl
from morl.experiment.toml import write_table
from morl.studies.plan import STUDY, read_study
from morl.studies.reading import read_results
from morl.studies.status import study_status
from morl.studies.tables import study_tables

pytestmark = pytest.mark.usefixtures("without_figures")

TABLE: Mapping[str, Any] = {
    "name": "a",
    "total_steps": 60,
    "seeds": 3,
    "envs": ["toys:toy-walk-v0"],
    "agents": {"coins": {"agent": "toys:Coins", "config": {"members": 2}}},
    "run": {**toys.SCHEDULE, "evaluate_every": 30},
    "loggers": [],
}
RUN = "coins/toys:toy-walk-v0/seed-1"
DEEP = 100_000 * "["


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    """The folder of a study whose three runs are done."""
    folder = tmp_path_factory.mktemp("finished")
    assert morl.study(TABLE, executor=InProcess(), folder=folder).wait(progress=False).is_complete
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, with the file of the study."""
    shutil.copytree(finished, tmp_path / "copy")
    agents: Any = TABLE["agents"]
    text = write_table({key: value for key, value in TABLE.items() if key != "agents"} | {"agents": agents})
    (tmp_path / "copy" / "study.toml").write_text(text)
    return tmp_path / "copy"


def damaged_run(folder: Path) -> Path:
    return folder / "a" / "coins" / "toys.toy-walk-v0" / "seed-1"


def check_others_are_shown(folder: Path, words: str) -> None:
    """Check that two runs are done, that one has failed with these words, and that tables hold the two."""
    study = read_study(TABLE, folder, refuse_others=False)
    status = study_status(study)
    assert status.counts == {"done": 2, "running": 0, "failed": 1, "waiting": 0}
    assert list(status.failures) == [RUN]
    assert words in status.failures[RUN]
    (table,) = study_tables(read_results(study.folder / STUDY, study)).tables
    assert [row.runs for row in table.rows] == [2]
    (note,) = [note for note in table.shown.notes if "not in these tables" in note]
    assert note.startswith("1 of 3 runs are not in these tables: 1 failed: ")
    assert words in note


@pytest.mark.parametrize("setting", ["num_envs", "evaluate_every", "agent.members"])
def test_a_setting_that_was_deleted_fails_its_run_alone_and_refuses_training(
    setting: str, folder: Path, morl_cli: Any
) -> None:
    config = damaged_run(folder) / "config.toml"
    lines = config.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(f"{setting.removeprefix('agent.')} = ")]
    assert len(kept) == len(lines) - 1
    config.write_text("".join(kept))
    words = f"run folder {damaged_run(folder)} does not record {setting} in its config.toml"
    check_others_are_shown(folder, words)
    code, shown, complaint = morl_cli("study", "status", folder / "study.toml", "--folder", folder)
    assert (code, complaint) == (0, "")
    assert "study a: 2 done, 1 failed" in shown
    code, shown, complaint = morl_cli("study", "table", folder / "study.toml", "--folder", folder, "--csv")
    assert (code, complaint) == (0, "")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for arguments in ([], ["--dry-run"]):
        code, shown, complaint = morl_cli("study", folder / "study.toml", "--folder", folder, *arguments)
        assert (code, shown) == (2, "")
        assert words in complaint
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(ValueError, match=f"does not record {setting}"):
        morl.study(read_study(TABLE, folder, refuse_others=False), executor=InProcess(), folder=folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("members = 2", "members = 4", "was trained with agent.members = 4, and the study asks for 2"),
        ("total_steps = 60", "total_steps = 90", "was trained for 90 steps, and the study asks for 60"),
        ("toys:toy-walk-v0", "no_such_module:Walk-v0", "was trained with env = 'no_such_module:Walk-v0'"),
    ],
)
def test_a_run_with_other_settings_fails_alone_for_those_who_look(old: str, new: str, words: str, folder: Path) -> None:
    config = damaged_run(folder) / "config.toml"
    config.write_text(config.read_text().replace(old, new, 1))
    check_others_are_shown(folder, words)
    with pytest.raises(ValueError, match=words):
        read_study(TABLE, folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.toml", "x = [", "config.toml is damaged: "),
        ("config.toml", "", "config.toml is damaged: its total_steps is None"),
        ("config.toml", None, "config.toml is missing, so that nobody knows what the run was trained with"),
        ("front.json", "", "front.json is damaged: "),
        ("front.json", "[]", "front.json is damaged: it must be a JSON object"),
        ("front.json", DEEP, "front.json is damaged: "),
        ("front.json", '{"objectives": ["a", "b"], "points": [[1, 2, 3]]}', "front.json is damaged: "),
    ],
)
def test_a_damaged_file_fails_its_run_alone(name: str, content: str | None, words: str, folder: Path) -> None:
    file = damaged_run(folder) / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    check_others_are_shown(folder, words)


@pytest.mark.parametrize("name", ["config.toml", "front.json"])
def test_a_folder_in_place_of_a_file_fails_its_run_alone(name: str, folder: Path) -> None:
    file = damaged_run(folder) / name
    file.unlink()
    file.mkdir()
    check_others_are_shown(folder, "Is a directory")


def test_every_setting_of_a_config_may_be_damaged(folder: Path) -> None:
    """Whatever stands in the config.toml of one run, the study is read, and its other runs are done."""
    config = damaged_run(folder) / "config.toml"
    table = tomllib.loads(config.read_text())
    agent: Any = table["agent"]
    values: tuple[Any, ...] = ("x", -1, 2.5, [], [[1]], {"x": 1}, True)
    changed = [{key: value for key, value in table.items() if key != gone} for gone in table]
    changed += [table | {"agent": {key: value for key, value in agent.items() if key != gone}} for gone in agent]
    changed += [table | {key: value} for key in table for value in values]
    changed += [table | {"agent": agent | {key: value}} for key in agent for value in values]
    for entries in changed:
        config.write_text(write_table(entries))
        study = read_study(TABLE, folder, refuse_others=False)
        assert study_status(study).counts["done"] >= 2, entries
        assert study_tables(read_results(study.folder / STUDY, study)).tables[0].rows[0].runs >= 2, entries


def _lines(*entries: str) -> str:
    return "".join(f"{line}\n" for line in entries)


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "fronts.jsonl", "system.json", "failure.txt", "policies", "checkpoints"]
)
@pytest.mark.parametrize(
    "write",
    [
        lambda file: None,
        lambda file: file.mkdir(),
        lambda file: file.write_bytes(b"\xff\xfe\0"),
        lambda file: file.write_text(DEEP + "\n"),
        lambda file: file.write_text(_lines("[]", "3", "null", '{"training_steps": 1e999, "wall_seconds": 1}')),
        lambda file: file.write_text(_lines(json.dumps({"training_steps": [], "points": 3, "packages": 1}))),
        lambda file: file.write_text(_lines('{"training_steps": 60, "wall_seconds": 1e999, "packages": {"a": []}}')),
        lambda file: file.write_text(_lines('{"training_steps": 60, "wall_seconds": 1' + 400 * "0" + "}")),
    ],
)
def test_other_damage_hides_no_run(write: Callable[[Path], None], name: str, folder: Path) -> None:
    """A run with its front is done, whatever else is lost; one without it waits or has failed, and the others stand."""
    file = damaged_run(folder) / name
    shutil.rmtree(file, ignore_errors=True)
    file.unlink(missing_ok=True)
    write(file)
    check_read(folder, done=3)
    (damaged_run(folder) / "front.json").unlink()
    check_read(folder, done=2)


def check_read(folder: Path, done: int) -> None:
    """Check that so many runs are done, in the status and in the tables."""
    study = read_study(TABLE, folder, refuse_others=False)
    status = study_status(study)
    assert status.counts["done"] == done
    assert status.table().to_html()
    assert study_tables(read_results(study.folder / STUDY, study)).tables[0].rows[0].runs == done


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *(({name: None}, f"lacks {name}") for name in ("agent", "env", "training_steps")),
        ({"discount": None}, "discount"),
        *(({name: None}, f"lacks {name}") for name in ("reference_point", "preferences")),
        ({"training_steps": "many"}, "lacks training_steps"),
        ({"training_steps": -4}, "lacks training_steps"),
        ({"env": "minecart-v0"}, "is of another run, with env 'minecart-v0' instead of 'toys:toy-walk-v0'"),
        ({"agent": "pd-morl"}, "is of another run, with agent_name 'pd-morl' instead of"),
        ({"seed": 7}, "is of another run, with seed 7 instead of 1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("deleted", [False, True])
def test_a_front_that_is_incomplete_or_of_another_run_fails_its_run_alone(
    change: dict[str, Any], words: str, deleted: bool, folder: Path
) -> None:
    file = damaged_run(folder) / "front.json"
    record = json.loads(file.read_text()) | change
    if deleted:
        record = {name: value for name, value in record.items() if value is not None}
    file.write_text(json.dumps(record))
    check_others_are_shown(folder, words)
    study = morl.study(TABLE, executor=InProcess(), folder=folder)
    status = study.wait(progress=False).status()  # there is no checkpoint from which the front could be rebuilt
    assert words in status.failures[RUN]
    assert json.loads(file.read_text()) == record
