"""Loggers: what they are told, what own ones need, and that one which fails does not end a run."""

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from kills import kill_at
from matplotlib.figure import Figure
from noted import CALLS, Failing, Lazy, Noisy, Noted, Unopened, told
from outcomes import assert_same, outcome
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

import morl
from morl.experiment import checkpoint, file_loggers
from morl.experiment.events import EventFile
from morl.experiment.figures import Frames
from morl.experiment.logger_choice import BY_NAME, named_loggers
from morl.experiment.tags import tagged

pytestmark = pytest.mark.filterwarnings("ignore:pd-morl at step")

SCHEDULE = toys.SCHEDULE | {"evaluate_every": 12, "log_every": 8, "num_envs": 4, "evaluation_divisions": 2, "seed": 3}
STEPS = 24


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures that cost nothing: test_recording tests the real ones."""
    monkeypatch.setattr("morl.experiment.recording.front_figure", lambda *_: Figure(figsize=(1, 1), dpi=10))


def train(run_dir: Path, **changes: Any) -> morl.Run:
    return morl.train("toys:Coins", "toy-walk-v0", total_steps=STEPS, run_dir=run_dir, **SCHEDULE | changes)


def show(progress: morl.Progress) -> None:
    if progress.new_front and progress.step == 12:
        progress.log_video("clip", np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3), fps=10)
        progress.log_text("note", "**loud**")


def test_a_logger_of_your_own_is_told_everything(tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=[Noted], on_step=show)
    ((_, run),) = told("open")
    assert run.directory == tmp_path / "run"
    assert run.objectives == ("place", "rest")
    assert (run.settings["agent_name"], run.settings["seed"], run.settings["agent.members"]) == ("toys:Coins", 3, 3)
    assert (run.name, run.group) == ("toys:Coins-toy-walk-v0-seed-3", "toys:Coins-toy-walk-v0")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scalars = told("scalars")
    assert [step for step, _ in scalars] == [record.pop("training_steps") for record in records]
    assert [list(values) for _, values in scalars] == [list(record) for record in records]
    assert [step for step, _ in told("front")] == [12, 24]
    (_, first), *_ = told("front")
    assert first.points.tolist() == toys.lines(tmp_path / "run" / "fronts.jsonl")[0]["points"]
    assert [name for _, (name, _) in told("figure")] == ["front/figure"] * len(told("figure"))
    assert told("figure")[-1][0] == 24  # the last front is drawn in any case
    assert told("figure")[-1][1][1].png.startswith(b"\x89PNG")
    assert [(step, name) for step, (name, _) in told("text")] == [(0, "config"), (0, "command"), (12, "custom/note")]
    assert [(step, name) for step, (name, _) in told("video")] == [(12, "custom/clip")]
    assert told("close") == [(0, True)]
    assert not (tmp_path / "run" / "tensorboard").exists()  # the list replaces the default
    assert morl.load(tmp_path / "run").metrics()["updates"].tolist() == [2, 3, 4, 6, 6]


def test_figures_are_drawn_for_those_who_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("morl.experiment.recording.front_figure", lambda *_: drawn.append(1))
    train(tmp_path / "run", loggers=[Lazy, "csv"])
    assert drawn == []


def test_a_run_that_stops_is_not_complete(tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=[Noted], on_step=lambda progress: progress.step == 12)
    assert told("close") == [(0, False)]
    morl.resume(tmp_path / "run")  # this module is imported already, so that resuming opens its class again
    ((first_step, run),) = told("open")
    assert (first_step, run.resumed, run.repeated) == (13, True, (0, 0, -1))
    assert told("close") == [(0, True)]


def test_what_comes_again_after_a_crash_is_announced(tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=[Noted], on_step=lambda progress: progress.step == 12)
    shutil.copytree(tmp_path / "run" / "checkpoints", tmp_path / "kept")
    morl.resume(tmp_path / "run")
    lost = [step for step, _ in told("scalars")]
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "kept").rename(tmp_path / "run" / "checkpoints")
    morl.resume(tmp_path / "run")
    ((_, run),) = told("open")
    assert run.repeated == (len(lost), 1, 24)
    assert [step for step, _ in told("scalars")] == lost


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["scalars", "front", "figure", "text", "video", "close"])
def test_a_logger_that_fails_does_not_end_the_run(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "method", method)
    train(tmp_path / "without", loggers=["tensorboard"], on_step=show)
    train(tmp_path / "with", loggers=[Failing, "tensorboard"], on_step=show)
    without = outcome(tmp_path / "without") | {"checkpoints": None}  # saved by the clock
    assert_same(outcome(tmp_path / "with") | {"checkpoints": None}, without, method)
    (record,) = caplog.records
    step = {"scalars": "8", "front": "12", "figure": "12", "text": "0", "video": "12", "close": "24"}[method]
    assert record.getMessage() == (
        f"{tmp_path / 'with'}: the logger noted:Failing failed at step {step} and records nothing more of this"
        " run: ConnectionError: the server is gone"
    )


def test_a_full_disk_under_tensorboard_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: EventFile, step: int, *_: Any) -> None:
        if step >= 12:
            raise OSError(28, "No space left on device", str(self.path))

    with monkeypatch.context() as patch:
        patch.setattr(EventFile, "scalars", full)
        train(tmp_path / "run", on_step=lambda progress: progress.step == 20)
    assert "the logger tensorboard failed at step 12" in caplog.text
    assert "No space left on device" in caplog.text
    morl.resume(tmp_path / "run")
    assert not (tmp_path / "run" / "resume-note.txt").exists()
    assert [step for step, _ in toys.scalars(tmp_path / "run")["front/hypervolume"]] == [24]


def test_a_logger_that_cannot_be_opened_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logger noted:Noisy cannot be opened: RuntimeError: too loud"):
        train(tmp_path / "run", loggers=["csv", Noisy])
    with pytest.raises(OSError, match="no server for"):
        train(tmp_path / "run", loggers=["csv", Unopened])
    with pytest.raises(ValueError, match="is NoneType for a run, which lacks scalars, front, figure, video, text, clo"):
        train(tmp_path / "run", loggers=["csv", lambda run: None])
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_goes_on_without_a_logger_that_can_no_longer_be_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "run", on_step=lambda progress: progress.step == 12)
    file = tmp_path / "run" / "loggers.json"
    file.write_text(json.dumps({"noted:Noisy": {"open": True, "settings": {}}}))
    morl.resume(tmp_path / "run")
    assert "the logger noted:Noisy cannot be opened and records nothing: RuntimeError: too loud" in caplog.text
    assert json.loads(file.read_text())["noted:Noisy"]["open"]


# --- Choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        (["tensorbord"], "logger is 'tensorbord', but must be one of .*; did you mean tensorboard"),
        (["csv", "csv"], "loggers has csv twice"),
        ([morl.CSV(), "csv"], "loggers has csv twice"),
        ("csv", r"loggers is 'csv', but must be a list of loggers"),
        (["no_such_module:Logger"], "logger is 'no_such_module:Logger', but it cannot be imported"),
        (["toys:NoLogger"], "logger is 'toys:NoLogger', but it cannot be imported"),
        (["toys:STEPS"], "logger is 'toys:STEPS', but that is neither a class nor a function"),
        ([3], "loggers has 3, but must have names"),
    ],
)
def test_wrong_loggers_are_refused_before_anything_is_written(loggers: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", loggers=loggers)
    assert list(tmp_path.iterdir()) == []


def test_names_classes_and_objects_are_the_same() -> None:
    for name, kind in BY_NAME.items():
        if name != "jsonlines":
            found = [named_loggers([one])[0] for one in (name, kind, kind())]
            assert {one.name for one in found} == {name}
    assert named_loggers([morl.JSONLines(), "csv"])[0].name == "csv"  # every run has its JSON lines


@pytest.mark.parametrize("loggers", [[], ["jsonlines"], [morl.JSONLines()]])
def test_json_lines_are_always_written(loggers: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=loggers)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"metrics.jsonl", "fronts.jsonl"} <= names
    assert not names & {"tensorboard", "metrics.csv"}
    morl.resume(tmp_path / "run", 2 * STEPS)
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    assert toys.lines(tmp_path / "run" / "fronts.jsonl")[-1]["training_steps"] == 2 * STEPS


def test_a_resumed_run_has_the_loggers_that_it_had_or_those_that_are_listed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, loggers=["csv"])
    morl.resume(run, 2 * STEPS)
    assert not (run / "tensorboard").exists()
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + len(toys.lines(run / "metrics.jsonl"))
    rows = (run / "metrics.csv").read_text()
    morl.resume(run, 3 * STEPS, loggers=["tensorboard"])
    assert (run / "metrics.csv").read_text() == rows
    record = json.loads((run / "loggers.json").read_text())
    assert {name: one["open"] for name, one in record.items()} == {"csv": False, "tensorboard": True}


def test_a_folder_without_loggers_json_has_the_default(tmp_path: Path) -> None:
    train(tmp_path / "run")
    (tmp_path / "run" / "loggers.json").unlink()
    morl.resume(tmp_path / "run", 2 * STEPS)
    assert [step for step, _ in toys.scalars(tmp_path / "run")["front/hypervolume"]][-1] == 2 * STEPS


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[]", r"it must be a table of loggers, got \[\]"),
        ("{", "Expecting property name"),
        ('{"csv": {}}', r"'csv' must be \{'open': true or false, 'settings': a table or null\}, got \{\}"),
        ('{"csv": {"open": true, "settings": 3}}', "'csv' must be"),
        ('{"csv": {"open": true}}', "'csv' must be"),
        ('{"csv": {"open": 7, "settings": null}}', "'csv' must be"),
        ('{"csv": 1}', "'csv' must be .* got 1"),
    ],
)
def test_a_damaged_loggers_json_is_named(content: str, fault: str, tmp_path: Path) -> None:
    train(tmp_path / "run")
    (tmp_path / "run" / "loggers.json").write_text(content)
    with pytest.raises(ValueError, match=rf"loggers\.json is damaged: {fault}.*; delete it, and name .*\(loggers=\)$"):
        morl.resume(tmp_path / "run", 2 * STEPS)


def test_what_a_folder_names_is_not_imported_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "stranger.py").write_text("import noted\nclass Logger(noted.Noted): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    train(run)
    record = {"open": True, "settings": {}}
    (run / "loggers.json").write_text(json.dumps({"stranger:Logger": record, "unknown": record}))
    CALLS.clear()
    morl.resume(run, 2 * STEPS)
    assert CALLS == []
    assert "the logger stranger:Logger is left out, because its module is not imported because a file names it" in (
        caplog.text
    )
    assert "loggers= or trust=True continues it" in caplog.text
    assert "the logger unknown is left out, because there is none of this name" in caplog.text
    morl.resume(run, 3 * STEPS, trust=True)
    assert [step for step, _ in told("front")] == [60, 72]


def test_an_object_that_no_name_leads_to_has_to_be_given_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "run", loggers=[lambda run: Noted(run)])
    morl.resume(tmp_path / "run", 2 * STEPS)
    assert "is left out, because it was given as an object that no name leads to" in caplog.text


def test_several_seeds_have_loggers_of_their_own(tmp_path: Path) -> None:
    settings = {name: value for name, value in SCHEDULE.items() if name != "seed"}
    runs = morl.train_seeds(
        "pd-morl",
        "toy-walk-v0",
        [1, 2],
        total_steps=STEPS,
        run_dir=tmp_path,
        config=toys.TINY,
        loggers=["csv"],
        **settings,
    )
    tables = [(run.directory / "fronts.csv").read_text() for run in runs]
    assert tables[0] != tables[1]


def test_the_command_line_names_loggers(tmp_path: Path, morl_cli: Any) -> None:
    options = ["--total-steps", "24", "--evaluate-every", "12", "--evaluation-episodes", "1", "--num-envs", "4"]
    run = tmp_path / "run"
    code, _, error = morl_cli(
        "train", "toys:Coins", "toy-walk-v0", "--run-dir", run, "--log", "csv", "noted:Noted", *options
    )
    assert code == 0, error
    assert (run / "metrics.csv").exists()
    assert not (run / "tensorboard").exists()
    assert told("close") == [(0, True)]
    code, _, error = morl_cli("resume", run, "--total-steps", "48", "--log", "tensorboard")
    assert code == 0, error
    assert (run / "tensorboard").exists()
    code, _, error = morl_cli("train", "toys:Coins", "toy-walk-v0", "--run-dir", tmp_path / "no", "--log", "cvs")
    assert code == 2
    assert "did you mean csv?" in error


# --- Files ------------------------------------------------------------------------------------------------------------


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def assert_tables_say_what_the_lines_say(run: Path) -> None:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = table(run / "metrics.csv")
    assert len(rows) == len(records)
    for row, record in zip(rows, records, strict=True):
        assert {name: float(value) for name, value in row.items() if value} == {
            name: value for name, value in record.items() if value is not None
        }
    points = [
        {"training_steps": line["training_steps"], "policy_id": policy, "place": point[0], "rest": point[1]}
        for line in toys.lines(run / "fronts.jsonl")
        for policy, point in zip(line["policy_ids"], line["points"], strict=True)
    ]
    found = [{name: float(value) for name, value in row.items() if value} for row in table(run / "fronts.csv")]
    assert found == points  # members of the population have no preferences: these cells are empty
    assert list(table(run / "fronts.csv")[0])[-2:] == ["preference/place", "preference/rest"]


def test_csv_says_what_the_lines_say_also_after_a_resume(tmp_path: Path) -> None:
    def log(progress: morl.Progress) -> None:
        if progress.step in (8, 20):
            progress.log({f"at {progress.step}": float(progress.step)})  # a new column in the middle

    run = tmp_path / "run"
    train(run, loggers=["csv"], on_step=lambda progress: log(progress) or progress.step == 12)
    assert_tables_say_what_the_lines_say(run)
    (run / "metrics.csv").write_text("nonsense")
    morl.resume(run, on_step=log)
    assert_tables_say_what_the_lines_say(run)
    assert {"custom/at 8", "custom/at 20"} <= table(run / "metrics.csv")[0].keys()


def test_a_run_that_is_killed_at_any_operation_ends_with_the_same_tables(tmp_path: Path) -> None:
    options: dict[str, Any] = {"loggers": ["csv"], "checkpoint_minutes": 1e-9}
    with kill_at(None) as operations:
        train(tmp_path / "whole", **options)
    whole = (tmp_path / "whole" / "fronts.csv").read_text()
    for moment in range(3, len(operations), 29):
        run = tmp_path / f"run-{moment}"
        with kill_at(moment, torn=moment % 2 == 0):
            train(run, **options)
        if not run.exists() or checkpoint.newest(run) is None:
            train(run, overwrite=True, **options)
        else:
            with contextlib.suppress(ValueError):  # it has all its steps
                morl.resume(run)
        assert_tables_say_what_the_lines_say(run)
        assert (run / "fronts.csv").read_text() == whole


def test_tensorboard_shows_videos_and_texts(tmp_path: Path) -> None:
    train(tmp_path / "run", on_step=show)
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    (clip,) = read.Tensors("custom/clip")
    width, height, gif = tensor_util.make_ndarray(clip.tensor_proto)
    assert (int(width), int(height)) == (4, 3)
    with Image.open(io.BytesIO(gif)) as image:
        assert (image.format, image.n_frames, image.size, image.info["duration"]) == ("GIF", 2, (4, 3), 100)
    (note,) = read.Tensors("custom/note")
    assert tensor_util.make_ndarray(note.tensor_proto).tolist() == [b"**loud**"]


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4, 3)), np.zeros((0, 3, 4, 3), np.uint8)]
)
def test_wrong_frames_are_refused(frames: Any) -> None:
    with pytest.raises(ValueError, match=r"frames must be uint8 \[frame, height, width, 3\]"):
        Frames(frames)
    with pytest.raises(ValueError, match="fps is 0"):
        Frames(np.zeros((1, 2, 2, 3), np.uint8), 0)


def test_pretraining_has_an_axis_of_its_own() -> None:
    values = {"rollout/pretraining/episodes": 3.0, "pretraining_steps": 500, "updates": 2}
    assert tagged(0, values) == (500, {"rollout/pretraining/episodes": 3.0})
    assert tagged(7, {"loss": 1.0, "updates": 2, "custom/x": 3}) == (
        7,
        {"losses/loss": 1.0, "time/updates": 2, "custom/x": 3},
    )


def test_the_first_logger_that_cannot_be_opened_closes_the_others(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no server for"):
        train(tmp_path / "run", loggers=[Noted, Unopened])
    assert told("close") == [(0, False)]


def test_point_clouds_lie_in_the_unit_cube() -> None:
    places, colors = file_loggers.point_cloud(np.array([[1.0, 2.0, 3.0]]), None)
    assert places.tolist() == [[0.0, 0.0, 0.0]]
    assert colors.tolist() == [list(file_loggers.FRONT_COLOR)]
