"""One run in the making: agent, environments, reports and checkpoints, wired together."""

import logging
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from morl.experiment.checkpointing import Checkpointing
from morl.experiment.components import Experiment, backend_of
from morl.experiment.episodes import RecordEpisodes
from morl.experiment.files import write_text
from morl.experiment.loggers import LoggedRun, LoggerChoice
from morl.experiment.recording import Recorder
from morl.experiment.reporting import Reporter
from morl.experiment.settings import hyper_parameters
from morl.experiment.units import RewardUnits, UnitRewards
from morl.protocols import Agent, Constrained, DescribesMetrics
from morl.run_folder import COMMAND, CONFIG, DIVERGENCE, RESUME_NOTE, SYSTEM, SystemRecord, json_text
from morl.version import VERSION, source_commit

if TYPE_CHECKING:
    from morl.experiment.divergence import Diverged
    from morl.experiment.ownership import OwnedFolder
    from morl.experiment.records import RecordMarks

PACKAGES = ("gymnasium", "mo-gymnasium", "mujoco", "numpy", "numba", "torch", "stable-baselines3")
"""Whose versions system.json names."""


class Session:
    """Everything that trains one run. Building one checks all input and writes nothing.

    Args:
        experiment: the experiment.
        run_dir: the run folder.
        agent: one learner of several that train together; default: a new agent.
        units: of the agent's rewards; default: they are measured.
        loggers: default: TensorBoard.

    Attributes:
        agent: the agent, or one learner of it.
        units: of the agent's rewards.
        envs: the training environments, which pay in these units.
        episodes: the same in the environment's own units; records what the agent earns.
        reporter: log lines, evaluations and the best front.
        checkpointing: saves and restores the run.
    """

    def __init__(
        self,
        experiment: Experiment,
        run_dir: Path,
        agent: Agent | None = None,
        units: RewardUnits | None = None,
        loggers: LoggerChoice | None = None,
    ) -> None:
        self.experiment = experiment
        self._loggers = loggers
        self.run_dir = run_dir
        self.units = experiment.measure_units() if units is None else units
        self.agent: Agent = experiment.build_agent(self.units) if agent is None else agent
        if isinstance(self.agent, Constrained):
            self.units.close([k for k in range(len(self.units.values)) if k not in self.agent.free_objectives])
        envs, self.evaluator = experiment.build_training_and_evaluation()
        self.episodes = RecordEpisodes(envs, experiment.problem.objectives)
        self.envs = UnitRewards(self.episodes, self.units)
        self.reporter = Reporter(experiment, self.agent, self.evaluator, self.units, self.episodes, run_dir)
        self.checkpointing = Checkpointing(experiment, self.agent, self.envs, self.reporter, run_dir)
        self._folder: OwnedFolder | None = None
        self._config = experiment.to_toml()  # before anything is written: it may be that TOML cannot hold a setting

    def create_files(self, folder: "OwnedFolder", command: str) -> None:
        """Write what is known before training: config.toml, command.txt, system.json.

        Args:
            folder: the run folder, new or empty.
            command: the command line.
        """
        self._folder = folder
        write_text(self.run_dir / CONFIG, self._config)
        write_text(self.run_dir / COMMAND, command + "\n")
        write_text(self.run_dir / SYSTEM, json_text(dict(self._system())))
        recorder = self._recorder(None)
        self.reporter.recorder = recorder
        recorder.text("config", f"```toml\n{self._config}```")
        recorder.text("command", f"`{command}`")

    def continue_records(self, marks: "RecordMarks", moved: bool = False) -> None:
        """Write config.toml again, and cut the records back to the checkpoint that was restored.

        Args:
            marks: how far they had been written when the checkpoint was saved.
            moved: whether the run continues on another device, so that system.json is written again.
        """
        write_text(self.run_dir / CONFIG, self._config)
        if moved:
            write_text(self.run_dir / SYSTEM, json_text(dict(self._system())))
        recorder = self._recorder(marks)
        self.reporter.recorder = recorder
        notes = [*self.checkpointing.notes, *recorder.notes]
        for note in notes:
            logging.getLogger("morl").warning("%s: %s", self.run_dir, note)
        if notes:
            write_text(self.run_dir / RESUME_NOTE, "".join(f"{note}.\n" for note in notes))

    def commit(self) -> None:
        """Let go of the run that this one replaces, if it does: called when there is a front."""
        if self._folder is not None:
            self._folder.commit()

    def record_divergence(self, error: "Diverged") -> str:
        """Write into the run folder that the agent has diverged; return what becomes of the folder.

        Args:
            error: what diverged.
        """
        where = f"at step {self.agent.steps:,}"
        if self.agent.steps == 0 and self.agent.pretraining_steps > 0:
            where = f"at step {self.agent.pretraining_steps:,} of pre-training"
        with suppress(OSError):  # the disk may be full; the error is raised in any case
            write_text(self.run_dir / DIVERGENCE, f"learning has diverged {where}: {error.finding}\n")
        if self._folder is not None and self._folder.replaces:  # and is withdrawn
            return f"{self.run_dir} holds the run that it held before"
        return f"{self.run_dir} keeps what was recorded, and cannot be resumed"

    def close(self) -> None:
        """Close files and environments."""
        if self.reporter.recorder is not None:
            self.reporter.recorder.close()
        self.envs.close()
        self.evaluator.close()

    def _recorder(self, resume: "RecordMarks | None") -> Recorder:
        """Return what writes the records."""
        one = self.experiment
        run = LoggedRun(
            directory=self.run_dir,
            objectives=one.problem.objectives,
            known_front=one.known_front,
            descriptions=self.agent.metric_descriptions if isinstance(self.agent, DescribesMetrics) else {},
            settings=hyper_parameters(one.settings, one.agent_name, one.problem.id),
        )
        return Recorder(run, self._loggers, resume)

    def _system(self) -> SystemRecord:
        backend = self.envs.metadata.get("backend")
        return {
            "morl": VERSION,
            "commit": source_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": _processor_name(),
            "cores": os.cpu_count(),
            "device": self.experiment.settings.device,
            "gpu": self.experiment.gpu,
            "update_backend": backend_of(self.agent),
            "env_backend": None if backend is None else str(backend),
            "packages": dict(_package_versions()),
        }


@cache
def _package_versions() -> Mapping[str, str]:
    """Return the versions of `PACKAGES`; their files are read once in a process, whose packages stay what they are."""
    return {name: version(name) for name in PACKAGES}


def _processor_name() -> str:
    """Return the processor's model where Linux tells it, else its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
