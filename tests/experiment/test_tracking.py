"""Weights & Biases and MLflow: what their clients are told, that resuming continues a run, and the real packages."""

import importlib.util
import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys
from matplotlib.figure import Figure

import morl
from morl.experiment.logger_choice import loggers_to_resume
from morl.experiment.tracking import configured_tracking_uri, is_folder

SCHEDULE = toys.SCHEDULE | {"evaluate_every": 12, "log_every": 8, "num_envs": 4, "evaluation_divisions": 2, "seed": 3}
STEPS = 24


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl.experiment.recording.front_figure", lambda *_: Figure(figsize=(1, 1), dpi=10))


def train(run_dir: Path, **changes: Any) -> morl.Run:
    return morl.train("toys:Coins", "toy-walk-v0", total_steps=STEPS, run_dir=run_dir, **SCHEDULE | changes)


def show(progress: morl.Progress) -> bool:
    """Log a video and a text once, and end the run at step 16."""
    if progress.new_front and progress.step == 12:
        progress.log_video("clip", np.zeros((2, 4, 4, 3), dtype=np.uint8))
        progress.log_text("note", "<loud>")
    return progress.step == 16


def resume_after_a_crash(run: Path, **arguments: Any) -> None:
    """Resume a run, which was ended at step 16, to its end, and then once more from step 16: as after a crash."""
    shutil.copytree(run / "checkpoints", run.with_name("kept"))
    morl.resume(run, **arguments)
    shutil.rmtree(run / "checkpoints")
    run.with_name("kept").rename(run / "checkpoints")
    morl.resume(run, **arguments)


def settings_of(run: Path, name: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((run / "loggers.json").read_text())[name]["settings"]
    return settings


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ValueError, match=rf"the logger {name} needs the package {name}, .*: pip install morl-suite\[{name}\]"
    ):
        train(tmp_path / "run", loggers=[name])
    assert list(tmp_path.iterdir()) == []


# --- Weights & Biases -------------------------------------------------------------------------------------------------


class FakeWandB:
    """Stands for the module wandb, and notes what it is told."""

    def __init__(self) -> None:
        self.runs: list[Any] = []

    def init(self, **arguments: Any) -> Any:
        run = SimpleNamespace(arguments=arguments, logged=[], metrics=[], summary={}, finished=0)
        run.log = run.logged.append
        run.define_metric = lambda *names, **options: run.metrics.append((*names, options))
        run.finish = lambda: setattr(run, "finished", run.finished + 1)
        self.runs.append(run)
        return run

    def Settings(self, **arguments: Any) -> Any:
        return arguments

    def Table(self, columns: list[str], data: list[Any]) -> Any:
        return {"columns": columns, "data": data}

    def Image(self, image: Any) -> Any:
        return image.size

    def Video(self, file: Any, format: str) -> Any:  # noqa: A002
        return (format, file.getvalue()[:3])

    def Html(self, text: str) -> str:
        return text


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandB:
    fake = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return fake


def test_wandb_is_told_of_the_run_and_everything_in_it(wandb: FakeWandB, tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=[morl.WandB(entity="us", tags=("a", "b"), mode="offline")], on_step=show)
    (run,) = wandb.runs
    given = run.arguments
    assert given["project"] == "morl"
    assert (given["entity"], given["tags"], given["mode"], given["resume"]) == ("us", ["a", "b"], "offline", "allow")
    assert (given["name"], given["group"]) == ("toys:Coins-toy-walk-v0-seed-3", "toys:Coins-toy-walk-v0")
    assert given["dir"] == str(tmp_path / "run")
    assert given["id"] == settings_of(tmp_path / "run", "wandb")["id"]
    assert (given["config"]["seed"], given["config"]["agent.members"], given["config"]["discount"]) == (3, 3, "None")
    assert ("*", {"step_metric": "training_steps"}) in run.metrics
    named = {name: (line["training_steps"], line[name]) for line in run.logged for name in line}
    assert named["time/updates"] == (16, 4.0)
    assert named["front/points"][1]["columns"] == ["place", "rest"]
    assert np.shape(named["front/points"][1]["data"])[1] == 2
    assert named["front/hypervolume"][0] == 12
    assert named["front/figure"] == (12, (10, 10))
    assert named["custom/clip"] == (12, ("gif", b"GIF"))
    assert named["custom/note"] == (12, "<pre>&lt;loud&gt;</pre>")
    assert "config" in named
    assert run.summary == {"complete": False}
    assert run.finished == 1


@pytest.mark.parametrize("listed", [False, True])
def test_resuming_continues_the_same_wandb_run_and_repeats_nothing(
    listed: bool, wandb: FakeWandB, tmp_path: Path
) -> None:
    arguments = {"loggers": [morl.WandB(project="boats")]} if listed else {}
    train(tmp_path / "whole", loggers=[morl.WandB(project="boats")])
    train(tmp_path / "run", loggers=[morl.WandB(project="boats")], on_step=lambda progress: progress.step == 16)
    resume_after_a_crash(tmp_path / "run", **arguments)
    whole, *parts = wandb.runs
    assert len(parts) == 3
    assert len({part.arguments["id"] for part in parts}) == 1
    assert {part.arguments["project"] for part in parts} == {"boats"}
    assert whole.arguments["id"] != parts[0].arguments["id"]
    assert [part.summary["complete"] for part in parts] == [False, True, True]

    def scalars(lines: Any) -> list[Any]:
        return [
            {name: value for name, value in line.items() if isinstance(value, float | int) and "second" not in name}
            for line in lines
            if "time/updates" in line or "front/hypervolume" in line
        ]

    logged = scalars([line for part in parts for line in part.logged])
    assert toys.difference(logged, scalars(whole.logged)) == ""


def test_a_logger_that_is_added_later_logs_what_comes(wandb: FakeWandB, tmp_path: Path) -> None:
    """Nothing that comes again was logged there before."""
    run = tmp_path / "run"
    train(run, on_step=lambda progress: progress.step == 16)
    shutil.copytree(run / "checkpoints", tmp_path / "kept")
    morl.resume(run)
    shutil.rmtree(run / "checkpoints")
    (tmp_path / "kept").rename(run / "checkpoints")
    morl.resume(run, loggers=["wandb"])
    (added,) = wandb.runs
    assert [line["training_steps"] for line in added.logged if "time/updates" in line] == [24, 24]


def test_two_seeds_are_two_wandb_runs(wandb: FakeWandB, tmp_path: Path) -> None:
    settings = {name: value for name, value in SCHEDULE.items() if name != "seed"}
    morl.train_seeds(
        "toys:Coins", "toy-walk-v0", [1, 2], total_steps=STEPS, run_dir=tmp_path, loggers=["wandb"], **settings
    )
    assert len({run.arguments["id"] for run in wandb.runs}) == 2
    assert len({run.arguments["group"] for run in wandb.runs}) == 1
    assert all(run.arguments["reinit"] == "create_new" for run in wandb.runs)


@pytest.mark.parametrize("logger", [morl.WandB(id="../x"), morl.MLflow(run_id="../x")])
def test_an_id_that_is_none_is_refused(logger: Any, wandb: FakeWandB, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run is '\.\./x', but must be letters"):
        train(tmp_path / "run", loggers=[logger])


# --- MLflow -----------------------------------------------------------------------------------------------------------


class FakeMLflow:
    """Stands for the module mlflow and its client, and notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.experiments: dict[str, str] = {}

    def get_tracking_uri(self) -> str:
        return "https://mine.example"

    def MlflowClient(self, tracking_uri: str) -> Any:
        self.calls.append(("client", tracking_uri))
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        known = self.experiments.get(name)
        return None if known is None else SimpleNamespace(experiment_id=known)

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = f"e{len(self.experiments)}"
        return self.experiments[name]

    def create_run(self, experiment_id: str, run_name: str, tags: Any) -> Any:
        self.calls.append(("create_run", (experiment_id, run_name, tags)))
        return SimpleNamespace(info=SimpleNamespace(run_id="f00d"))

    def update_run(self, run_id: str, status: str) -> None:
        self.calls.append(("update_run", (run_id, status)))

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        assert run_id == "f00d"
        assert len(params) <= 100
        self.calls += [("param", one) for one in params]
        self.calls += [("metric", one) for one in metrics]

    def log_text(self, run_id: str, text: str, file: str) -> None:
        self.calls.append(("text", (file, text)))

    def log_artifact(self, run_id: str, path: str, folder: str) -> None:
        self.calls.append(("file", (f"{folder}/{Path(path).name}", Path(path).read_bytes()[:3])))

    def set_terminated(self, run_id: str, status: str) -> None:
        self.calls.append(("end", status))

    def told(self, kind: str) -> list[Any]:
        return [what for name, what in self.calls if name == kind]


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMLflow:
    fake = FakeMLflow()
    entities = SimpleNamespace(
        Param=lambda name, value: (name, value), Metric=lambda name, value, time, step: (name, value, step)
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)  # type: ignore[arg-type]
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return fake


def test_mlflow_is_told_of_the_run_and_everything_in_it(mlflow: FakeMLflow, tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=["mlflow"], on_step=show)
    assert mlflow.told("client") == ["https://mine.example"]
    tags = {"run_dir": str(tmp_path / "run")}
    assert mlflow.told("create_run") == [("e0", "toys:Coins-toy-walk-v0-seed-3", tags)]
    assert mlflow.experiments == {"morl": "e0"}
    assert ("agent.members", "3") in mlflow.told("param")
    metrics = mlflow.told("metric")
    assert ("time/updates", 4.0, 16) in metrics
    assert [step for name, _, step in metrics if name == "front/hypervolume"] == [12]
    assert [name for name, _ in mlflow.told("text")] == [
        "config/0.md",
        "command/0.md",
        "fronts/12.json",
        "custom/note/12.md",
    ]
    assert mlflow.told("file") == [("front/figure/12.png", b"\x89PN"), ("custom/clip/12.gif", b"GIF")]
    assert mlflow.told("end") == ["KILLED"]
    front = json.loads(dict(mlflow.told("text"))["fronts/12.json"])
    assert front["points"] == toys.lines(tmp_path / "run" / "fronts.jsonl")[0]["points"]


def test_resuming_continues_the_same_mlflow_run_and_repeats_nothing(mlflow: FakeMLflow, tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=["mlflow"], on_step=lambda progress: progress.step == 16)
    resume_after_a_crash(tmp_path / "run")
    assert len(mlflow.told("create_run")) == 1
    assert mlflow.told("update_run") == [("f00d", "RUNNING")] * 2
    assert mlflow.told("end") == ["KILLED", "FINISHED", "FINISHED"]
    metrics = mlflow.told("metric")
    assert [step for name, _, step in metrics if name == "front/hypervolume"] == [12, 24]
    assert [step for name, _, step in metrics if name == "losses/luck"] == [8, 16, 24]


def test_names_that_mlflow_does_not_allow_are_spelled_otherwise(mlflow: FakeMLflow, tmp_path: Path) -> None:
    train(tmp_path / "run", loggers=["mlflow"], on_step=lambda progress: progress.log({"time (s)": 1.0}))
    assert "custom/time _s_" in {name for name, _, _ in mlflow.told("metric")}


def test_a_server_that_only_the_folder_names_is_left_out(
    mlflow: FakeMLflow, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    train(run, loggers=[morl.MLflow(tracking_uri="https://theirs.example")], on_step=lambda p: p.step == 16)
    assert [one.name for one in loggers_to_resume(run, None, trust=True).loggers] == ["mlflow"]
    assert loggers_to_resume(run, None, trust=False).loggers == []
    assert "the file names the server 'https://theirs.example', and your configuration does not" in caplog.text
    (listed,) = loggers_to_resume(run, ["mlflow"], trust=False).loggers
    assert listed.settings is not None
    assert listed.settings["run_id"] == "f00d"
    assert listed.settings["tracking_uri"] == "https://theirs.example"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mlruns", True),
        ("file:mlruns", True),
        ("file:///data/mlruns", True),
        ("file://host/mlruns", False),
        ("https://host", False),
        ("sqlite:///mlflow.db", False),
        ("databricks", False),
    ],
)
def test_folders_are_told_from_servers(uri: str, expected: bool) -> None:
    assert is_folder(uri) == expected


# --- The real packages ------------------------------------------------------------------------------------------------


def needs(package: str) -> Any:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed (pip install morl-suite[{package}])")


def wandb_records(file: Path) -> Iterator[bytes]:
    """Yield the records of a .wandb file, which has the format of a LevelDB log after seven bytes."""
    content = file.read_bytes()
    block = 2**15
    position = 7
    record = b""
    while position + 7 <= len(content):
        left = block - position % block
        _, size, kind = struct.unpack("<IHB", content[position : position + 7])
        if left < 7 or kind == 0:  # the rest of the block is empty
            position += left
            continue
        record += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb_history(run: Path) -> tuple[set[str], list[dict[str, Any]]]:
    """Return the ids of a run's offline W&B runs, and all that was logged, in its order."""
    from wandb.proto import wandb_internal_pb2  # type: ignore[import-not-found, unused-ignore]

    ids = set()
    history = []
    for file in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        for content in wandb_records(file):
            record = wandb_internal_pb2.Record.FromString(content)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add(record.run.run_id)
            elif kind == "history":
                items = record.history.item
                history.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return ids, history


@needs("wandb")
@pytest.mark.filterwarnings("ignore")  # of W&B and the packages below it
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = tmp_path / "run"
    train(run, loggers=[morl.WandB(mode="offline", project="boats")], on_step=show)
    resume_after_a_crash(run)
    ids, history = wandb_history(run)
    assert ids == {settings_of(run, "wandb")["id"]}
    assert [line["training_steps"] for line in history if "front/hypervolume" in line] == [12, 24]
    assert [line["training_steps"] for line in history if "losses/luck" in line] == [8, 16, 24]
    media = {path.suffix for path in (run / "wandb").rglob("media/**/*") if path.is_file()}
    assert {".png", ".gif", ".html", ".json"} <= media
    train(run, overwrite=True)  # W&B's folder belongs to the run


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")  # of MLflow and the packages below it
def test_mlflow_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient  # type: ignore[import-not-found, unused-ignore]

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    train(run, loggers=[morl.MLflow(tracking_uri="file:mlruns", experiment="boats")], on_step=show)
    monkeypatch.chdir("/")
    settings = settings_of(run, "mlflow")
    assert settings["tracking_uri"] == f"file:{tmp_path / 'mlruns'}"
    client = MlflowClient(tracking_uri=settings["tracking_uri"])
    assert client.get_run(settings["run_id"]).info.status == "KILLED"
    resume_after_a_crash(run)
    experiment = client.get_experiment_by_name("boats")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_id, found.info.status) == (settings["run_id"], "FINISHED")
    assert found.data.params["agent.members"] == "3"
    steps = [metric.step for metric in client.get_metric_history(settings["run_id"], "front/hypervolume")]
    assert steps == [12, 24]
    assert {file.path for file in client.list_artifacts(settings["run_id"], "fronts")} == {
        "fronts/12.json",
        "fronts/24.json",
    }
    assert configured_tracking_uri() is not None
