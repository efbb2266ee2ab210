"""Loggers that send a run to Weights & Biases or MLflow; their packages are imported when a run is opened.

Resuming continues the same W&B or MLflow run: its id is kept in loggers.json. Neither can take back what was recorded
after the checkpoint that a run is resumed from. The resumed run records the same again, bit for bit, so it is left out.
"""

import html
import io
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from morl.experiment.loggers import LoggedFront, LoggedRun, Logger, Picture, Repeated, Video
from morl.experiment.tags import indicator_tags, tagged
from morl.output_files import checked_path

MLFLOW_BATCH = 100
"""Settings that MLflow takes in one call."""
MLFLOW_LONGEST = 500
"""Characters of a setting's value that every version of MLflow takes."""
FILE_STORE = "MLFLOW_ALLOW_FILE_STORE"
"""Environment variable without which MLflow 3 refuses a folder as its store."""


# --- Weights & Biases -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WandB:
    """Logs to Weights & Biases (`pip install morl-suite[wandb]`); None: W&B's environment variables apply."""

    project: str | None = None
    """The project; default: WANDB_PROJECT, or morl."""
    entity: str | None = None
    """User or team; default: WANDB_ENTITY, or the user's own."""
    name: str | None = None
    """Name of the run; default: agent, environment and seed."""
    group: str | None = None
    """Runs that belong together; default: agent and environment."""
    tags: tuple[str, ...] = ()
    """Words to find the run by."""
    mode: Literal["online", "offline", "disabled"] | None = None
    """offline writes into the run folder alone, `wandb sync` sends it later; default: WANDB_MODE, or online."""
    id: str | None = None
    """Id of an existing W&B run that is continued; default: a new one, or that of the run that is resumed."""

    def __call__(self, run: LoggedRun) -> "WandBWriter":
        """Return the open logger of a run.

        Raises:
            ValueError: the package is missing, or `id` is none.
        """
        if self.id is not None and not re.fullmatch(r"[\w-]{1,64}", self.id):
            raise ValueError(f"id of the W&B run is {self.id!r}, but must be letters, digits and hyphens, at most 64")
        if self.id is None:
            return WandBWriter(replace(self, id=uuid.uuid4().hex[:12]), replace(run, repeated=None))
        return WandBWriter(self, run)


class WandBWriter(Logger):
    """One W&B run.

    Args:
        options: its settings, with an id.
        run: the run.
    """

    def __init__(self, options: WandB, run: LoggedRun) -> None:
        self._wandb: Any = imported("wandb", "wandb")
        self._options = options
        self._objectives = run.objectives
        self._unrepeated = Unrepeated(run.repeated)
        self._run = self._wandb.init(
            project=options.project or os.environ.get("WANDB_PROJECT", "morl"),
            entity=options.entity,
            name=options.name or run.name,
            group=options.group or run.group,
            tags=list(options.tags) or None,
            mode=options.mode,
            id=options.id,
            resume="allow",
            reinit="create_new",  # several seeds of one process are several runs
            dir=str(run.directory),
            config=dict(run.settings),
            allow_val_change=True,  # a run may be resumed with more steps
            settings=self._wandb.Settings(console="off"),  # else it reads the progress bar along
        )
        self._run.define_metric("training_steps", hidden=True)
        self._run.define_metric("*", step_metric="training_steps")
        self._run.define_metric("rollout/pretraining/*", step_metric="pretraining_steps")

    @property
    def settings_to_reopen(self) -> dict[str, Any]:
        """Return the settings that continue this W&B run."""
        return asdict(self._options)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers under their tags."""
        if self._unrepeated.scalars(step):
            found = tagged(step, values)
            self._log(step, {**found.values, **({} if found.step == step else {"pretraining_steps": found.step})})

    def front(self, step: int, front: LoggedFront) -> None:
        """Log the indicators, and the points as a table."""
        if self._unrepeated.front(step):
            table = self._wandb.Table(columns=list(self._objectives), data=front.points.tolist())
            self._log(step, {**indicator_tags(front.indicators), "front/points": table})

    def figure(self, step: int, name: str, picture: Picture) -> None:
        """Log a picture."""
        from PIL import Image

        self._log(step, {name: self._wandb.Image(Image.open(io.BytesIO(picture.png)))})

    def video(self, step: int, name: str, video: Video) -> None:
        """Log a video."""
        self._log(step, {name: self._wandb.Video(io.BytesIO(video.gif), format="gif")})

    def text(self, step: int, name: str, text: str) -> None:
        """Log a text as it is."""
        self._log(step, {name: self._wandb.Html(f"<pre>{html.escape(text)}</pre>")})

    def close(self, complete: bool) -> None:
        """Send what is held back; a run that is not complete may be resumed, and did not fail."""
        self._run.summary["complete"] = complete
        self._run.finish()

    def _log(self, step: int, values: Mapping[str, object]) -> None:
        self._run.log({"training_steps": step, **values})


# --- MLflow -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MLflow:
    """Logs to MLflow (`pip install morl-suite[mlflow]`); None: MLflow's environment variables apply."""

    tracking_uri: str | None = None
    """A server, a data base or a folder ("file:mlruns"); default: MLFLOW_TRACKING_URI, or MLflow's own."""
    experiment: str | None = None
    """The experiment, made where it is missing; default: MLFLOW_EXPERIMENT_NAME, or morl."""
    name: str | None = None
    """Name of the run; default: agent, environment and seed."""
    run_id: str | None = None
    """Id of an existing MLflow run that is continued; default: a new one, or that of the run that is resumed."""

    def __call__(self, run: LoggedRun) -> "MLflowWriter":
        """Return the open logger of a run.

        Raises:
            ValueError: the package is missing, or `run_id` is none.
        """
        if self.run_id is not None and not re.fullmatch(r"\w{1,64}", self.run_id):
            raise ValueError(f"run_id of the MLflow run is {self.run_id!r}, but must be letters and digits, at most 64")
        return MLflowWriter(self, run)


class MLflowWriter(Logger):
    """One MLflow run.

    Args:
        options: its settings.
        run: the run.
    """

    def __init__(self, options: MLflow, run: LoggedRun) -> None:
        mlflow: Any = imported("mlflow", "mlflow")
        uri = _absolute(options.tracking_uri or mlflow.get_tracking_uri())
        if is_folder(uri):
            os.environ.setdefault(FILE_STORE, "true")  # the user has named a folder
        self._entities: Any = import_module("mlflow.entities")
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._unrepeated = Unrepeated(None if options.run_id is None else run.repeated)
        if options.run_id is None:
            self._run_id: str = self._created(options, run)
            self._log_settings(run)
        else:
            self._run_id = options.run_id
            self._client.update_run(self._run_id, status="RUNNING")
        self._options = replace(options, tracking_uri=uri, run_id=self._run_id)

    @property
    def settings_to_reopen(self) -> dict[str, Any]:
        """Return the settings that continue this MLflow run."""
        return asdict(self._options)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers under their tags."""
        if self._unrepeated.scalars(step):
            found = tagged(step, values)
            self._log(found.step, found.values)

    def front(self, step: int, front: LoggedFront) -> None:
        """Log the indicators, and the front as a file of JSON."""
        if self._unrepeated.front(step):
            self._log(step, indicator_tags(front.indicators))
            self._client.log_text(self._run_id, front.to_line().decode(), f"fronts/{step}.json")

    def figure(self, step: int, name: str, picture: Picture) -> None:
        """Log a picture as a file."""
        self._log_file(f"{_allowed(name)}/{step}.png", picture.png)

    def video(self, step: int, name: str, video: Video) -> None:
        """Log a video as a file."""
        self._log_file(f"{_allowed(name)}/{step}.gif", video.gif)

    def text(self, step: int, name: str, text: str) -> None:
        """Log a text as a file."""
        self._client.log_text(self._run_id, text, f"{_allowed(name)}/{step}.md")

    def close(self, complete: bool) -> None:
        """End the MLflow run: FINISHED, or KILLED where the run stopped before its last step."""
        self._client.set_terminated(self._run_id, status="FINISHED" if complete else "KILLED")

    def _created(self, options: MLflow, run: LoggedRun) -> str:
        """Return the id of a new run in the experiment."""
        name = options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "morl")
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        tags = {"run_dir": str(run.directory.absolute())}
        run_id: str = self._client.create_run(experiment_id, run_name=options.name or run.name, tags=tags).info.run_id
        return run_id

    def _log_settings(self, run: LoggedRun) -> None:
        settings = [
            self._entities.Param(_allowed(name), str(value)[:MLFLOW_LONGEST]) for name, value in run.settings.items()
        ]
        for start in range(0, len(settings), MLFLOW_BATCH):
            self._client.log_batch(self._run_id, params=settings[start : start + MLFLOW_BATCH])

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(_allowed(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _log_file(self, name: str, content: bytes) -> None:
        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / file
            path.write_bytes(content)
            self._client.log_artifact(self._run_id, str(path), folder)


def is_folder(uri: str) -> bool:
    """Return whether an MLflow tracking URI names a folder of this machine."""
    if uri.startswith("file:"):
        return re.match("file://[^/]", uri) is None
    return "://" not in uri and not uri.startswith("databricks")


def configured_tracking_uri() -> str | None:
    """Return the tracking URI that the user's own configuration names; None where MLflow is not installed."""
    try:
        return str(import_module("mlflow").get_tracking_uri())
    except ImportError:
        return None


def _absolute(uri: str) -> str:
    """Return a tracking URI that means the same folder wherever the run is resumed from."""
    if not is_folder(uri):
        return uri
    path = uri.removeprefix("file:")
    return uri if path.startswith("//") else f"file:{checked_path('tracking_uri', path).absolute()}"


def _allowed(name: str) -> str:
    """Return a name with characters alone that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name)


# --- Both -------------------------------------------------------------------------------------------------------------


class Unrepeated:
    """Tells calls that record something new from those that an earlier process made before.

    Args:
        repeated: the calls that come again; None for a new run.
    """

    def __init__(self, repeated: Repeated | None) -> None:
        self._repeated = repeated or Repeated(0, 0, -1)
        self._scalars = 0
        self._fronts = 0

    def scalars(self, step: int) -> bool:
        """Return whether this call of `scalars` is a new one.

        Args:
            step: environment steps of training.
        """
        self._scalars += 1
        return self._scalars > self._repeated.scalars or step > self._repeated.last_step

    def front(self, step: int) -> bool:
        """Return whether this call of `front` is a new one.

        Args:
            step: environment steps of training.
        """
        self._fronts += 1
        return self._fronts > self._repeated.fronts or step > self._repeated.last_step


def imported(module: str, extra: str, importer: Callable[[str], Any] = import_module) -> Any:
    """Return a module of a package that is optional.

    Args:
        module: its name.
        extra: the extra of this package that installs it.
        importer: imports it.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importer(module)
    except ImportError as error:
        raise ValueError(
            f"the logger {extra} needs the package {module}, which is not installed ({error}): pip install"
            f" morl-suite[{extra}]"
        ) from error
