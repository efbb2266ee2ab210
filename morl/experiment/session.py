"""The parts of one run, wired together: agent, environments, evaluation, records, checkpoints."""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import morl
from morl.agents import find_agent
from morl.envs import make_vec
from morl.envs.core.registry import EnvBuilder, problem
from morl.envs.core.state import StateNotCapturable
from morl.evaluation import Evaluator, Returns
from morl.experiment import checkpoint
from morl.experiment.front import Front, evaluation_preferences, front_record, indicators_of, read_front, sorted_front
from morl.experiment.recording import Recorder
from morl.experiment.settings import Settings, to_toml
from morl.learning.processor import resolve_device
from morl.protocols import Agent, Problem
from morl.seeding import derived_seed

EVALUATION_LANES = {"kernel": 4096, "mujoco-batch": 256}
"""Lanes of an evaluation by back end; 64 for the others, which build one Python environment per lane."""
HORIZON_WITHOUT_LIMIT = 10_000
"""Evaluation episodes that do not end by themselves are cut after this many steps."""


def build_evaluator(
    env: EnvBuilder, env_options: Mapping[str, Any], discount: float, backend: str | None = None
) -> Evaluator:
    """Return an evaluator over environments of its own, as wide as their back end likes."""
    probe = make_vec(env, 1, backend=None if backend == "processes" else backend, **env_options)
    lanes = EVALUATION_LANES.get(str(probe.metadata.get("backend")), 64)
    limit = getattr(probe.spec, "max_episode_steps", None) or HORIZON_WITHOUT_LIMIT
    probe.close()
    return Evaluator(lambda count: make_vec(env, count, backend=backend, **env_options), discount, lanes, limit)


@dataclass(frozen=True)
class Best:
    """The best evaluation so far: its front as front.json spells it, and the policies behind it.

    `score` is minus the agent's violation (0 where it has no constraints), then the expected utility of the front; for
    equal ones the hypervolume, which concave parts of a front add to, and then what each preference itself is served.
    """

    score: tuple[float, ...]
    step: int
    front: dict[str, Any]
    policies: dict[int, dict[str, Any]]


def stated_problem(env: EnvBuilder, settings: Settings[Any]) -> Problem:
    """Return the environment's problem with the discount and reference point of the settings.

    Raises:
        ValueError: the environment or the reference point is wrong.
    """
    stated = problem(env, **settings.env_options)
    discount = stated.discount if settings.discount is None else settings.discount
    reference_point = settings.reference_point or stated.reference_point
    if reference_point is not None and len(reference_point) != stated.num_objectives:
        raise ValueError(
            f"reference_point is {reference_point}, but must have {stated.num_objectives} numbers, one each for"
            f" {', '.join(stated.objectives)}"
        )
    if not np.isfinite(reference_point or ()).all():
        raise ValueError(f"reference_point is {reference_point}, but must have finite numbers")
    return replace(stated, discount=discount, reference_point=reference_point)


def build_agent(algorithm: str, stated: Problem, settings: Settings[Any], seed: int | tuple[int, ...]) -> Any:
    """Return the agent for a problem, with one learner, or with one for each of several seeds."""
    agent_class = find_agent(algorithm, stated.action_space)
    return agent_class(stated, settings.agent, seed, settings.num_envs, resolve_device(settings.device))


class Session:
    """Everything that a run is made of. Building one checks all input and writes nothing.

    Args:
        algorithm: name of the agent.
        env: the environment, as it was given.
        settings: all other settings.
        run_dir: the run folder.
        agent: one learner of several that train together; built here where not given.
    """

    def __init__(
        self, algorithm: str, env: EnvBuilder, settings: Settings[Any], run_dir: Path, agent: Any = None
    ) -> None:
        self.algorithm, self.env, self.settings, self.run_dir = algorithm, env, settings, run_dir
        self.problem = stated_problem(env, settings)
        self.discount, self.reference_point = self.problem.discount, self.problem.reference_point
        self.known_front = None if self.problem.known_front is None else self.problem.known_front(self.discount)
        self.preferences = evaluation_preferences(self.problem.num_objectives, settings.evaluation_divisions)
        self.agent: Agent = agent or build_agent(algorithm, self.problem, settings, settings.seed)
        options: dict[str, Any] = dict(settings.env_options)
        self.envs = make_vec(env, settings.num_envs, backend=settings.backend, **options)
        self.evaluator = build_evaluator(env, settings.env_options, self.discount, settings.backend)
        # Objectives that the user has bounded are not optimized.
        self.free: list[int] = getattr(self.agent, "free", list(range(self.problem.num_objectives)))
        self.recorder: Recorder | None = None
        self.wall_seconds, self._since = 0.0, time.monotonic()
        self.best: Best | None = None

    # --- Files --------------------------------------------------------------------------------------------------------

    def create_files(self, environment: str, command: str) -> None:
        """Write what is known before training: config.toml, command.txt, system.json."""
        config = to_toml(self.settings, self.algorithm, environment)
        checkpoint.write_text(self.run_dir / "config.toml", config)
        checkpoint.write_text(self.run_dir / "command.txt", command + "\n")
        checkpoint.write_text(self.run_dir / "system.json", json.dumps(_system(self), indent=2) + "\n")
        self.recorder = Recorder(self.run_dir, self.problem.objectives, self.known_front)
        self.recorder.text("config", f"```toml\n{config}```")
        self.recorder.text("command", f"`{command}`")

    def save(self) -> None:
        """Save all that resuming needs as the newest checkpoint."""
        try:
            environment: dict[str, Any] | None = self.envs.state_dict()
        except StateNotCapturable as reason:
            environment = None
            self._note_lost_episodes(str(reason))
        counters = {
            "evaluation_steps": self.evaluator.steps,
            "wall_seconds": self._seconds(),
            "reference_point": self.reference_point,
            "best": None if self.best is None else asdict(self.best),
        }
        states = {"agent": self.agent.state_dict(), "environment": environment, "counters": counters}
        folder = self.run_dir / "checkpoints" / f"step-{self.agent.steps:012d}"
        checkpoint.save(folder, {**self._identity(), "step": self.agent.steps, "version": morl.__version__}, states)
        checkpoint.rotate(self.run_dir)

    def restore(self, folder: Path) -> None:
        """Take over a checkpoint; nothing is written.

        Raises:
            ValueError: it is damaged, or belongs to another run.
        """
        states = checkpoint.load(folder, self._identity())
        missing = {"agent", "environment", "counters"} - states.keys()
        if missing:
            raise ValueError(f"checkpoint {folder} is damaged: its manifest.json lacks {', '.join(sorted(missing))}")
        try:
            self.agent.load_state_dict(states["agent"])
            if states["environment"] is None:
                self.agent.reset_episodes()
            else:
                self.envs.load_state_dict(states["environment"])
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"checkpoint {folder} is foreign: it does not fit config.toml ({error})") from error
        counters = states["counters"]
        self.evaluator.steps = counters["evaluation_steps"]
        self.wall_seconds = counters["wall_seconds"]
        self.reference_point = counters["reference_point"]
        if counters["best"] is not None:
            self.best = Best(**counters["best"])

    def continue_records(self) -> None:
        """Cut the records and what is published back to the checkpoint that was restored, and go on from there."""
        if self.best is not None:
            self._save_policies(self.best)
            self._publish(self.best)
        self.recorder = Recorder(self.run_dir, self.problem.objectives, self.known_front, self.agent.steps)

    def published_steps(self) -> int:
        """Return at how many training steps front.json was written; -1 where there is none."""
        try:
            return int(json.loads((self.run_dir / "front.json").read_text())["training_steps"])
        except (OSError, ValueError, LookupError):
            return -1

    def close(self) -> None:
        """Close files and environments."""
        if self.recorder is not None:
            self.recorder.close()
        self.envs.close()
        self.evaluator.close()

    def _identity(self) -> dict[str, Any]:
        spaces = f"{self.problem.observation_space} {self.problem.action_space}"
        return {"agent": self.algorithm, "env": self.problem.id, "spaces": spaces, "num_envs": self.settings.num_envs}

    def _seconds(self) -> float:
        return self.wall_seconds + time.monotonic() - self._since

    def _note_lost_episodes(self, reason: str) -> None:
        note = f"{reason}\nA run resumed from a checkpoint of this environment begins new episodes.\n"
        checkpoint.write_text(self.run_dir / "resume-note.txt", note)

    # --- Records ------------------------------------------------------------------------------------------------------

    def log(self) -> None:
        """Record how learning goes."""
        assert self.recorder is not None
        seconds = self._seconds()
        values = {**self.agent.metrics(), **self._counts(), "wall_seconds": seconds}
        values["steps_per_second"] = self.agent.steps / seconds
        self.recorder.metrics(self.agent.steps, values)

    def _counts(self) -> dict[str, int]:
        return {
            "pretraining_steps": self.agent.pretraining_steps,
            "evaluation_steps": self.evaluator.steps,
            "updates": self.agent.updates,
        }

    def evaluate_keys(
        self, preferences: NDArray[np.float64], episodes: int, policies: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Return the mean returns of the agent's policies (0 by default) that it asks about while learning."""
        policies = np.zeros(len(preferences), dtype=np.int64) if policies is None else policies
        seed = derived_seed(self.settings.seed, "keys", self.agent.steps)
        return self.evaluator(self.agent.act, policies, preferences, episodes, seed).discounted

    def evaluate(self, scheduled: bool) -> Front:
        """Evaluate the agent, record its front, and publish it in front.json if it is the best so far.

        Rows are selected as non-dominated in one evaluation and reported from another on fresh seeds, because the best
        of many noisy returns is not what these policies will reach again. For the same reason the best evaluation is
        chosen by the first, and reported from the second.

        Args:
            scheduled: whether this evaluation belongs to the schedule. The one at the end of a run that stops between
                two scheduled ones does not: were it remembered, resuming would differ from never having stopped.
        """
        assert self.recorder is not None
        policies, preferences = self.agent.policies(self.preferences)
        selection = self._returns(policies, preferences, "selection")
        reference_point = self.reference_point or _reference_below(selection.discounted)
        self.reference_point = reference_point if scheduled else self.reference_point
        rows = self._selected(selection.discounted)
        chosen = indicators_of(selection.discounted[rows], reference_point, self.preferences, self.known_front)
        fresh = self._returns(policies[rows], preferences[rows], "report")
        kept = sorted_front(fresh.discounted, self.free, self._violations(fresh.discounted))
        points, rows = fresh.discounted[kept], rows[kept]
        front = Front(
            points=points,
            preferences=preferences[rows],
            policy_ids=policies[rows],
            indicators=indicators_of(points, reference_point, self.preferences, self.known_front),
            objectives=self.problem.objectives,
            discount=self.discount,
            reference_point=reference_point,
            known_front=self.known_front,
            undiscounted_points=fresh.undiscounted[kept],
            violations=self._violations(points),
        )
        self.recorder.front(self.agent.steps, points, front.preferences, front.policy_ids, front.indicators)
        own = _own_utilities(selection.discounted, preferences, self.known_front)
        self._record_selection(chosen, own)
        worth = (0.0, chosen["expected_utility"], chosen["hypervolume"])
        if len(self.free) < self.problem.num_objectives:
            worth = self._worth(selection.discounted[rows], reference_point)
        score = (*worth, own.get("conditioned_utility", 0.0))
        if self.best is None or score >= self.best.score:
            record = front_record(front)
            if hasattr(self.agent, "front_metadata"):  # such as which constraints its points break
                record |= self.agent.front_metadata(front.points)
            best = Best(score, self.agent.steps, record, dict(self.agent.export_policies()))  # type: ignore[arg-type]
            self.best = best if scheduled else self.best
            self._save_policies(best)
        else:
            best = self.best  # its policies are in the run folder already
        self._publish(best)
        return front

    def _selected(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the rows of returns [n, objective] that make a front: only those that keep the constraints, if any."""
        broken = self._violations(points)
        rows = sorted_front(points, self.free, broken)
        return rows[broken[rows] == 0.0] if (broken[rows] == 0.0).any() else rows

    def _worth(self, points: NDArray[np.float64], reference_point: tuple[float, ...]) -> tuple[float, float, float]:
        """Return what makes one front better than another in bounds: minus violation, expected utility, hypervolume.

        What breaks the user's constraints may well be worth more, and so may a constrained objective be that is more
        than kept: they are no better for that.
        """
        broken, bounded = self._violations(points), np.delete(np.arange(points.shape[1]), self.free)
        best = points[broken == broken.min()][:, self.free]
        weights = self.preferences[(self.preferences[:, bounded] == 0.0).all(axis=1)][:, self.free]
        reference = tuple(reference_point[objective] for objective in self.free)
        indicators = indicators_of(best, reference, weights, None)
        return -float(broken.min()), indicators["expected_utility"], indicators["hypervolume"]

    def _violations(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much returns [n, objective] break the user's constraints [n]; 0 for an agent without any."""
        return self.agent.violations(points) if hasattr(self.agent, "violations") else np.zeros(len(points))

    def finish(self) -> None:
        """Record what only the end of a run can say: one row of hyper-parameters for each policy."""
        assert self.recorder is not None
        front = read_front(self.run_dir / "front.json", self.known_front)
        settings = {"agent": self.algorithm, "seed": self.settings.seed, "training_steps": self.agent.steps}
        self.recorder.finish(front.points, front.preferences, front.policy_ids, settings)

    def _returns(self, policies: NDArray[np.int64], preferences: NDArray[np.float64], purpose: str) -> Returns:
        seed = derived_seed(self.settings.seed, purpose)
        return self.evaluator(self.agent.act, policies, preferences, self.settings.evaluation_episodes, seed)

    def _save_policies(self, best: Best) -> None:
        """Write the policies behind a front that is to be published."""
        (self.run_dir / "policies").mkdir(exist_ok=True)
        for number, parameters in best.policies.items():
            checkpoint.save_file(self.run_dir / "policies" / f"{number}.pt", parameters)

    def _publish(self, best: Best) -> None:
        """Write front.json: the best front, and the counts as they are now."""
        record = {
            "agent": self.algorithm,
            "env": self.problem.id,
            "env_options": self.settings.env_options,
            "seed": self.settings.seed,
            **best.front,
            "selected_at_step": best.step,
            "training_steps": self.agent.steps,
            **self._counts(),
            "wall_seconds": self._seconds(),
        }
        checkpoint.write_text(self.run_dir / "front.json", json.dumps(record, indent=1, allow_nan=False) + "\n")

    def _record_selection(self, chosen: Mapping[str, float], own: Mapping[str, float]) -> None:
        """Record the indicators of the evaluation that selected, and what each preference itself is served."""
        assert self.recorder is not None
        values = {f"selection/{name}": value for name, value in chosen.items()} | dict(own)
        counts = {"wall_seconds": self._seconds(), **self._counts()}
        self.recorder.metrics(self.agent.steps, values | counts)


def _own_utilities(
    returns: NDArray[np.float64], preferences: NDArray[np.float64], known_front: NDArray[np.float64] | None
) -> dict[str, float]:
    """Return the mean utility that rows reach for the very preference they were given, and its regret.

    Nothing where rows have no preferences.
    """
    if not np.isfinite(preferences).all():
        return {}
    own = (preferences * returns).sum(axis=1)
    values = {"conditioned_utility": float(own.mean())}
    if known_front is not None:
        values["utility_regret"] = float(((preferences @ known_front.T).max(axis=1) - own).mean())
    return values


def _reference_below(returns: NDArray[np.float64]) -> tuple[float, ...]:
    """Return a reference point a tenth of the range below the worst of the first evaluation: none was given."""
    worst, best = returns.min(axis=0), returns.max(axis=0)
    margin = np.where(best > worst, 0.1 * (best - worst), np.maximum(1.0, 0.1 * np.abs(worst)))
    return tuple((worst - margin).tolist())


def _system(session: Session) -> dict[str, Any]:
    packages = ("gymnasium", "mo-gymnasium", "mujoco", "numpy", "numba", "torch", "stable-baselines3")
    return {
        "morl": morl.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "device": str(resolve_device(session.settings.device)),
        "backend": session.envs.metadata.get("backend"),
        "packages": {name: version(name) for name in packages},
    }
