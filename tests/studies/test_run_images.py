"""Images of run folders, as they travel to the driver of a study on Ray: whole or not at all, wherever a kill falls."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from morl.studies.executors import Report
from morl.studies.ray_executor import ray_executor
from morl.studies.ray_worker import Folders, pack, recover, sees_token, token_file, unpack


def make(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_an_image_holds_all_files(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", config="a", checkpoints__0001__agent="b", policies__0="c")
    unpack(pack(folder), tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(folder)


def test_an_actor_reads_and_replaces_run_folders(tmp_path: Path) -> None:
    folders = Folders()
    run_dir = tmp_path / "home" / "seed-0"
    run_dir.parent.mkdir()
    assert folders.read(str(run_dir)) is None
    for text in ("first", "second"):
        folders.write(str(run_dir), pack(make(tmp_path / text, config=text)))
        assert contents(run_dir) == {"config": text}
        assert [path.name for path in run_dir.parent.iterdir()] == ["seed-0"]
    image = folders.read(str(run_dir))
    assert image is not None
    unpack(image, tmp_path / "back")
    assert contents(tmp_path / "back") == {"config": "second"}
    report = Report(300, {"hypervolume": 1.5})
    assert folders.ask("x", report) is None
    assert folders.ask("x", report) is None  # asked again
    assert folders.asked() == [("x", report)]
    folders.answer("x", report, True)
    assert folders.asked() == []
    assert folders.ask("x", report) is True  # by a run that has lost its node and reports again
    assert folders.ask("y", report) is None
    folders.begin("x")
    assert folders.begun() == {"x"}


@pytest.mark.parametrize("moment", range(5))
def test_a_kill_leaves_the_old_folder_or_the_new_one(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operations of `write` are stopped before each of them: two clean-ups, two renames, one more clean-up."""
    run_dir = make(tmp_path / "home" / "seed-0", config="old")
    image = pack(make(tmp_path / "new", config="new"))
    left = moment

    def stopped(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stopped(shutil.rmtree))
        patch.setattr(os, "replace", stopped(os.replace))
        with pytest.raises(KeyboardInterrupt):
            Folders().write(str(run_dir), image)
    recover(run_dir)
    assert contents(run_dir) == {"config": "new" if moment == 4 else "old"}
    Folders().write(str(run_dir), image)
    assert contents(run_dir) == {"config": "new"}
    assert [path.name for path in run_dir.parent.iterdir()] == ["seed-0"]


def test_a_node_knows_the_folder_of_the_driver(tmp_path: Path) -> None:
    run_dir = tmp_path / "seed-0"
    assert not sees_token(run_dir, "mine")
    token_file(run_dir).write_text("another")
    assert not sees_token(run_dir, "mine")
    token_file(run_dir).write_text("mine")
    assert sees_token(run_dir, "mine")


def test_wrong_addresses_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl.studies.ray_executor.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs Ray, which is not installed"):
        ray_executor()
    monkeypatch.setattr("morl.studies.ray_executor.find_spec", lambda name: name)
    with pytest.raises(ValueError, match="workers is 0"):
        ray_executor(workers=0)
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        ray_executor("ray://head:10001")
    with pytest.raises(ValueError, match="ray is 'head', but must be auto, local, or HOST:PORT"):
        ray_executor("head")


def test_processes_of_ray_import_no_torch() -> None:
    code = "import sys, morl.studies.ray_worker; print([name for name in ('torch', 'numba') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
