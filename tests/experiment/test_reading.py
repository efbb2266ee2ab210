"""Run folders that are none, are damaged, or were replaced: one sentence, said once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from board_runs import write_run

import morl


@pytest.mark.parametrize("command", ["evaluate", "choose", "export", "watch", "front", "resume"])
def test_a_file_in_place_of_a_run_folder_is_named(command: str, tmp_path: Path, morl_cli: Any) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("nothing")
    code, _, complaint = morl_cli(command, file)
    assert code == 2
    assert complaint == f"morl: {file} is not a run folder, but a file\n"


def test_a_file_of_a_run_folder_hints_at_the_folder(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"front.json is not a run folder, but a file: did you mean .*run\?$"):
        morl.load(run / "front.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"points": 3}', ""])
def test_a_damaged_front_is_said_once(content: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "front.json").write_text(content)
    with pytest.raises(ValueError) as caught:
        morl.load(run)
    said = str(caught.value)
    assert said.startswith(f"{run / 'front.json'} ")
    assert said.count("front.json") == 1
    (run / "config.toml").write_text("= 3")
    with pytest.raises(ValueError) as caught:
        morl.load(run)
    assert str(caught.value).startswith(f"{run / 'config.toml'} is damaged: ")
    assert str(caught.value).count("config.toml") == 1


@pytest.mark.parametrize("names", [[1, 2], ["speed", None], [["speed"], "energy"]])
def test_objectives_are_names(names: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    record = json.loads((run / "front.json").read_text())
    (run / "front.json").write_text(json.dumps(record | {"objectives": names}))
    with pytest.raises(ValueError, match="is damaged: objectives must be a list of names, not "):
        morl.load(run)


def test_metrics_of_another_run_in_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = morl.load(write_run(folder, config={"num_envs": 4}))
    (folder / "metrics.jsonl").write_text('{"training_steps": 10}\n')
    assert run.metrics()["training_steps"].tolist() == [10.0]
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("total_steps = 2000", "total_steps = 4000"))
    assert run.metrics()["training_steps"].tolist() == [10.0]  # it was resumed
    shutil.rmtree(folder)
    write_run(folder, seed=1, config={"num_envs": 4})
    (folder / "metrics.jsonl").write_text('{"training_steps": 99}\n')
    for use in (run.metrics, lambda: run.experiment):
        with pytest.raises(ValueError, match=r"holds another run than when it was read.*: morl.load\('.*'\) reads it"):
            use()
    assert morl.load(folder).metrics()["training_steps"].tolist() == [99.0]


def test_a_page_is_written_of_runs_that_have_a_front(tmp_path: Path, morl_cli: Any) -> None:
    lost = write_run(tmp_path / "lost")
    (lost / "front.json").unlink()
    page = tmp_path / "front.html"
    code, output, complaint = morl_cli("front", lost, "--html", page)
    assert (code, output) == (2, "")
    assert complaint == f"morl: run {lost} has lost its front.json: morl resume {lost} writes it again\n"
    assert not page.exists()
    code, output, complaint = morl_cli("front", lost, write_run(tmp_path / "whole"), "--html", page)
    assert code == 2
    assert "page written to" in output
    assert "has lost its front.json" in complaint
    assert page.exists()


def test_the_usage_of_watch_says_what_a_video_needs(morl_cli: Any) -> None:
    code, output, _ = morl_cli("watch", "--help")
    assert code == 0
    usage = " ".join(output.split("\n\n")[0].split())
    assert usage == (
        "usage: morl watch RUN [--preference W... | --row N | --all N] [--video FILE | --record] [options]"
    )
    assert "instead of opening a window; needs a preference or a row." in " ".join(output.split())
    code, output, _ = morl_cli("--help")
    assert "--video FILE.mp4 | --record" in output
