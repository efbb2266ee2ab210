"""Saving and restoring a run: agent, environments, and what has been reported so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morl.envs import MultiObjectiveVectorEnv, StateNotCapturable
from morl.experiment import checkpoint
from morl.experiment.files import write_text
from morl.experiment.records import RecordMarks
from morl.experiment.units import RewardUnits
from morl.protocols import Agent
from morl.run_folder import CHECKPOINTS, RESUME_NOTE
from morl.version import VERSION

if TYPE_CHECKING:
    from morl.experiment.components import Experiment
    from morl.experiment.reporting import Reporter

STATES = ("agent", "environment", "counters")
"""What a checkpoint holds, one file each."""


class Checkpointing:
    """Saves a run and restores it.

    Args:
        experiment: the experiment.
        agent: the agent, or one learner of it.
        envs: the training environments.
        reporter: counts, the best front, and the records.
        run_dir: the run folder.

    Attributes:
        notes: what the user should know of the restored state, one sentence each.
        moved: whether the restored state was saved on another device.
    """

    def __init__(
        self, experiment: "Experiment", agent: Agent, envs: MultiObjectiveVectorEnv, reporter: "Reporter", run_dir: Path
    ) -> None:
        self.experiment = experiment
        self.agent = agent
        self.envs = envs
        self.reporter = reporter
        self.run_dir = run_dir
        self.notes: list[str] = []
        self.moved = False
        self._start: tuple[dict[str, Any], RecordMarks] | None = None

    def save(self) -> None:
        """Save everything that resuming needs as the newest checkpoint."""
        states = {
            "agent": self.agent.state_dict(),
            "environment": self._environment_state(),
            "counters": self.reporter.state_dict(),
        }
        self._write(states, self._marks())

    def remember_start(self) -> None:
        """Remember what `save_start` will save of a run that has not begun."""
        self._start = (self.reporter.state_dict(), self._marks())

    def save_start(self) -> None:
        """Save the start of the run where it has no checkpoint: what has happened since then is not consistent.

        A new agent is in the state that this one had; it begins new episodes, as this one did.
        """
        if self._start is None or checkpoint.newest(self.run_dir) is not None:
            return
        counters, marks = self._start
        agent: Agent = self.experiment.build_agent(RewardUnits.of_state_dict(counters["units"]))
        self._write({"agent": agent.state_dict(), "environment": None, "counters": counters}, marks)

    def newest_step(self) -> int | None:
        """Return the training step of the newest checkpoint; None where there is none."""
        newest = checkpoint.newest(self.run_dir)
        return None if newest is None else int(newest.name.rpartition("-")[2])

    def _marks(self) -> RecordMarks:
        """Return how far the records have been written."""
        recorder = self.reporter.recorder
        assert recorder is not None
        return RecordMarks(self.agent.steps, recorder.marks)

    def _write(self, states: Mapping[str, object], marks: RecordMarks) -> None:
        manifest = {
            **self.identity(),
            "device": self.experiment.settings.device,
            "step": marks.step,
            "version": VERSION,
            "records": marks.to_json(),
        }
        checkpoint.save(self.run_dir / CHECKPOINTS / f"step-{marks.step:012d}", manifest, states)
        checkpoint.rotate(self.run_dir)

    def restore(self, folder: Path) -> RecordMarks:
        """Restore a checkpoint and return how far the records had been written; nothing is written.

        Args:
            folder: the checkpoint.

        Raises:
            ValueError: it is damaged, or belongs to another run.
        """
        states = checkpoint.load(folder, self.identity())
        missing = [f"{name}.pt" for name in STATES if name not in states]
        if missing:
            raise ValueError(
                f"checkpoint {folder} is damaged: its manifest.json names no {', '.join(missing)};"
                f" {checkpoint.remedy(folder)}"
            )
        try:
            self.agent.load_state_dict(states["agent"])
            if not self._restore_environment(states["environment"]):
                self.agent.reset_episodes()
            self.reporter.load_state_dict(states["counters"])
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            lacks = "it lacks " if isinstance(error, KeyError) else ""
            raise ValueError(
                f"checkpoint {folder} is foreign: it does not fit config.toml, or another version of morl wrote it"
                f" ({lacks}{error}); {checkpoint.remedy(folder)}"
            ) from error
        manifest = checkpoint.read_manifest(folder)
        records = manifest.get("records")
        before = manifest.get("device", self.experiment.settings.device)
        self.moved = before != self.experiment.settings.device
        if self.moved:
            self.notes.append(
                f"the run was trained on {before} up to step {self.agent.steps:,} and continues on"
                f" {self.experiment.settings.device}: random numbers and roundings are not those of a run on one device"
            )
        pretraining_steps = self.agent.pretraining_steps
        if pretraining_steps > 0:  # only then there are events on an axis of such steps, and all of them count there
            pretraining_steps += self.reporter.units.steps
        return RecordMarks.of_json(self.agent.steps, records, pretraining_steps)

    def _restore_environment(self, state: dict[str, Any] | None) -> bool:
        """Restore the state of the environments; return False where that cannot be done, which is noted."""
        if state is None:
            return False
        try:
            self.envs.load_state_dict(state)
        except StateNotCapturable as reason:
            self.notes.append(f"the environments begin new episodes, because their state cannot be restored: {reason}")
            return False
        return True

    def identity(self) -> Mapping[str, object]:
        """Return what a checkpoint must share with the run that it is restored into."""
        problem = self.experiment.problem
        spaces = f"{problem.observation_space} {problem.action_space}"
        num_envs = self.experiment.settings.num_envs
        return {"agent": self.experiment.agent_name, "env": problem.id, "spaces": spaces, "num_envs": num_envs}

    def _environment_state(self) -> dict[str, Any] | None:
        """Return the state of the environments; None where they cannot be saved, which is noted."""
        try:
            return dict(self.envs.state_dict())
        except StateNotCapturable as reason:
            note = f"{reason}\nA run resumed from a checkpoint of this environment begins new episodes.\n"
            write_text(self.run_dir / RESUME_NOTE, note)
            return None


def saved_units(folder: Path) -> RewardUnits:
    """Return the reward units of the run that a checkpoint is of.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    state = checkpoint.load_state(folder, "counters")
    try:
        return RewardUnits.of_state_dict(state["units"])
    except (LookupError, TypeError, ValueError) as error:
        fault = f"its counters.pt has no reward units ({error})"
        raise ValueError(f"checkpoint {folder} is damaged: {fault}; {checkpoint.remedy(folder)}") from error
