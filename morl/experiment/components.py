"""What a run is made of, found once: the environment's problem, the agent's class and the settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb
from typing import Any, NamedTuple, get_args

import numpy as np
from gymnasium import spaces

from morl.agents import check_agent_name, find_agent
from morl.envs import MultiObjectiveVectorEnv, make_vec
from morl.envs.backends.suspendable import SuspendableVectorEnv
from morl.envs.core.registry import EnvBuilder, env_name, problem
from morl.evaluation import ActInputs, Evaluator
from morl.experiment.front import evaluation_preferences
from morl.experiment.novelty import absolute, novel_envs
from morl.experiment.schedules import fit_schedules
from morl.experiment.settings import Resolved, Settings, to_toml, whole
from morl.experiment.units import RewardUnits, measure_units
from morl.learning.memory import check_memory
from morl.learning.processor import gpu_facts, resolve_device
from morl.learning.types import Device
from morl.protocols import Agent, AgentClass, ExecutesUpdates, FloatArray, Problem, StatesMemory
from morl.seeding import derived_seed

EVALUATION_NUM_ENVS = {"kernel": 4096, "mujoco-batch": 256}
"""Number of environments of an evaluation by backend."""
EVALUATION_PYTHON_ENVS = 64
"""The same for backends that hold one Python object for each environment."""
MOST_PREFERENCES = 1_000_000
"""Largest number of preferences in an evaluation grid."""
HORIZON_WITHOUT_LIMIT = 10_000
"""Evaluation episodes that do not end by themselves are cut after this many steps."""


@dataclass(frozen=True)
class Experiment:
    """An agent, an environment and all settings: everything that determines a run.

    Attributes:
        agent_name: the agent's name, or "module:Class".
        env: the environment's id, or what builds it.
        agent_class: the agent.
        problem: the environment as the agent sees it, with the discount and reference point of the settings.
        settings: the resolved settings.
        preset: the preset that the agent's settings began with; None for the defaults.
    """

    agent_name: str
    env: EnvBuilder
    agent_class: AgentClass
    problem: Problem
    settings: Settings[Any]
    preset: str | None = None

    @cached_property
    def known_front(self) -> FloatArray | None:
        """Return the true front [n, objective] under the evaluation discount, if it is known."""
        return None if self.problem.known_front is None else self.problem.known_front(self.problem.discount)

    @cached_property
    def evaluation_preferences(self) -> FloatArray:
        """Return the evaluation grid of preferences [n, objective]."""
        return evaluation_preferences(self.problem.num_objectives, self.settings.evaluation_divisions)

    @property
    def env_text(self) -> str:
        """Return how config.toml names the environment: its id with its module, or a callable's name."""
        return self.env if isinstance(self.env, str) else env_name(self.env)

    def to_toml(self) -> str:
        """Return config.toml: all settings, resolved.

        Raises:
            ValueError: TOML cannot hold a setting.
        """
        return to_toml(self.settings, self.agent_name, self.env_text, self.preset)

    def check_agent(self) -> None:
        """Build an agent, and forget it: its settings are checked against the environment.

        Raises:
            ValueError: as for `build_agent`.
        """
        self.build_agent(RewardUnits.none(self.problem.num_objectives))

    def with_seed(self, seed: int) -> "Experiment":
        """Return the same experiment with another seed."""
        return replace(self, settings=replace(self.settings, seed=seed))

    def with_total_steps(self, total_steps: float) -> "Experiment":
        """Return the same experiment of another length.

        Args:
            total_steps: a whole number, also as a float.

        Raises:
            ValueError: the number is not whole, or not positive.
        """
        return replace(self, settings=replace(self.settings, total_steps=whole("total_steps", total_steps, 1)))

    @property
    def gpu(self) -> dict[str, str | None] | None:
        """Return the card that the run uses, its driver and the version of CUDA; None on a CPU."""
        return gpu_facts() if self.settings.device == "cuda" else None

    def with_device(self, device: Device) -> "Experiment":
        """Return the same experiment on another device.

        Args:
            device: "auto", "cpu" or "cuda".

        Raises:
            ValueError: it is none of these.
        """
        if device not in get_args(Device):
            raise ValueError(f"device is {device!r}, but must be one of {', '.join(get_args(Device))}")
        return replace(self, settings=replace(self.settings, device="cpu" if device == "auto" else device))

    def measure_units(self) -> RewardUnits:
        """Return the units of the agent's rewards."""
        if self.settings.reward_units == "environment":
            return RewardUnits.none(self.problem.num_objectives)
        num_envs = self.settings.num_envs if callable(self.env) else 1  # a callable may build one number only
        return measure_units(self.build_envs, num_envs, self.problem)

    def build_agent(self, units: RewardUnits, seed: int | tuple[int, ...] | None = None) -> Any:
        """Return a new agent, with one learner, or with one for each of several seeds.

        Args:
            units: of its rewards.
            seed: default: the settings' seed.

        Raises:
            ValueError: settings do not fit the environment, transitions do not fit into the memory, or the environment
                gives action masks and the agent takes none.
        """
        chosen: Any = self.settings.seed if seed is None else seed
        device = resolve_device(self.settings.device)
        if isinstance(self.agent_class, StatesMemory):
            learners = 1 if isinstance(chosen, int) else len(chosen)
            settings = self.settings
            need = self.agent_class.memory(settings.agent, self.problem, settings.num_envs, settings.total_steps)
            every = need._replace(transitions=learners * need.transitions, copies=learners * need.copies)
            check_memory(every, device)
        agent = self.agent_class(
            units.problem(self.problem), self.settings.agent, chosen, self.settings.num_envs, device
        )
        if self.problem.action_masks and not ActInputs.of(agent).masks:
            raise ValueError(
                f"{self.problem.id} gives action masks, but {self.agent_name} takes none for actions"
                f" {self.problem.action_space}: it would choose what info['action_mask'] forbids"
            )
        return agent

    def build_envs(self, num_envs: int) -> MultiObjectiveVectorEnv:
        """Return a new vector environment."""
        options: dict[str, Any] = dict(self.settings.env_options)
        verify_states = self.settings.max_envs is None
        return make_vec(self.env, num_envs, backend=self.settings.env_backend, verify_states=verify_states, **options)

    def build_training_envs(self) -> MultiObjectiveVectorEnv:
        """Return the vector environment that the agent learns from, whose episodes end where it is not novel.

        Raises:
            ValueError: a reference cannot be read, or does not fit the environment.
        """
        envs = self.build_envs(self.settings.num_envs)
        files = self.settings.novelty_references
        return novel_envs(envs, files, self.settings.novelty_bound, self.problem) if files else envs

    def build_training_and_evaluation(self) -> "TrainingAndEvaluation":
        """Return the training environments, and an evaluator over environments of its own.

        The evaluator takes as many at once as suit their backend, or as `max_envs` leaves beside those of training;
        where it leaves none, the training environments are suspended while others are alive.

        Raises:
            ValueError: they would have to be suspended, but their state cannot be saved.
        """
        num_envs = self.settings.num_envs
        max_envs = self.settings.max_envs
        if max_envs is None or max_envs > num_envs:
            envs = self.build_training_envs()
            beside = None if max_envs is None else max_envs - num_envs
            return TrainingAndEvaluation(envs, evaluator_like(envs, self.build_envs, self.problem.discount, beside))

        def close_others() -> None:
            evaluator.close()

        def build_others(count: int) -> MultiObjectiveVectorEnv:
            suspendable.suspend()
            return self.build_envs(count)

        suspendable = SuspendableVectorEnv(self.build_training_envs, close_others)
        evaluator = evaluator_like(suspendable, build_others, self.problem.discount, max_envs)
        reason = suspendable.reason_against_suspending()
        if reason is not None:
            raise ValueError(
                f"max_envs is {max_envs}, but must be at least {num_envs + 1}, one more than num_envs: the training"
                f" environments cannot be closed during evaluations ({reason})"
            )
        return TrainingAndEvaluation(suspendable, evaluator)


class TrainingAndEvaluation(NamedTuple):
    """The environments of a run."""

    envs: MultiObjectiveVectorEnv
    """Those that the agent learns from."""
    evaluator: Evaluator
    """Evaluates policies in others."""


def evaluator_like(
    like: MultiObjectiveVectorEnv,
    build_envs: Callable[[int], MultiObjectiveVectorEnv],
    discount: float,
    max_envs: int | None = None,
) -> Evaluator:
    """Return an evaluator over environments of its own.

    Args:
        like: an environment of the same kind: it shows the backend and the time limit.
        build_envs: number of environments -> vector environment.
        discount: of the returns.
        max_envs: the most environments of the evaluator; default: as many as suit the backend.
    """
    width = EVALUATION_NUM_ENVS.get(str(like.metadata.get("backend")), EVALUATION_PYTHON_ENVS)
    limit = getattr(like.spec, "max_episode_steps", None) or HORIZON_WITHOUT_LIMIT
    return Evaluator(build_envs, discount, width if max_envs is None else min(width, max_envs), limit)


def user_evaluation_seed(seed: int) -> int:
    """Return the seed that an evaluator takes where a user asks for returns; training shares no stream with it."""
    return derived_seed(seed, "user evaluation")


def build_evaluator(
    env: EnvBuilder, env_options: Mapping[str, Any], discount: float, max_envs: int | None = None
) -> Evaluator:
    """Return an evaluator for an environment of which none is at hand; arguments as for `evaluator_like`."""
    like = make_vec(env, 1, **env_options)
    like.close()
    return evaluator_like(like, lambda count: make_vec(env, count, **env_options), discount, max_envs)


@dataclass(frozen=True)
class Task:
    """An agent and an environment, before the settings are resolved.

    Attributes:
        agent_name: the agent's name, or "module:Class".
        env: the environment's id, or what builds it.
        agent_class: the agent.
        problem: the environment as it describes itself.
    """

    agent_name: str
    env: EnvBuilder
    agent_class: AgentClass
    problem: Problem

    def experiment(self, resolved: Resolved) -> Experiment:
        """Return the experiment with these settings.

        Raises:
            ValueError: the reference point does not fit the objectives.
        """
        settings = resolved.settings
        discount = self.problem.discount if settings.discount is None else settings.discount
        reference_point = settings.reference_point or self.problem.reference_point
        if reference_point is not None and len(reference_point) != self.problem.num_objectives:
            raise ValueError(
                f"reference_point is {reference_point}, but must have {self.problem.num_objectives} numbers, one each"
                f" for {', '.join(self.problem.objectives)}"
            )
        if not np.isfinite(reference_point or ()).all():
            raise ValueError(f"reference_point is {reference_point}, but must have finite numbers")
        check_divisions(settings.evaluation_divisions, self.problem.num_objectives)
        if self.problem.action_masks and not isinstance(self.problem.action_space, spaces.Discrete):
            raise ValueError(
                f"{self.problem.id} gives action masks, but its actions are {self.problem.action_space}: only the"
                " choices of a Discrete space can be masked"
            )
        novelty = getattr(settings.agent, "novelty", "none")  # of agents that follow its gradient
        if novelty != "none" and not settings.novelty_references:
            raise ValueError(f"novelty is {novelty!r}, but has no effect: it needs novelty_references")
        stated = replace(self.problem, discount=discount, reference_point=reference_point)
        agent = fit_schedules(self.agent_class, settings.agent, stated, settings.total_steps, resolved.chosen)
        fitted = replace(settings, agent=agent, novelty_references=absolute(settings.novelty_references))
        return Experiment(self.agent_name, self.env, self.agent_class, stated, fitted, resolved.preset)


def check_divisions(divisions: int | None, objectives: int) -> None:
    """Check that an evaluation grid is one that can be evaluated.

    Args:
        divisions: its resolution; None for the default.
        objectives: number of objectives.

    Raises:
        ValueError: it has more than `MOST_PREFERENCES` preferences.
    """
    count = 0 if divisions is None else comb(divisions + objectives - 1, objectives - 1)
    if count > MOST_PREFERENCES:
        raise ValueError(
            f"evaluation_divisions is {divisions}, but that makes {count:.3g} preferences of {objectives} objectives,"
            f" and at most {MOST_PREFERENCES:,} can be evaluated"
        )


def find_task(agent_name: str, env: EnvBuilder, env_options: Mapping[str, object]) -> Task:
    """Return the agent and the problem; the one place where an environment is built only to be looked at.

    Args:
        agent_name: name of an agent, or "module:Class".
        env: the environment.
        env_options: arguments of the environment's constructor.

    Raises:
        ValueError: there is no such agent or environment, or its options are wrong.
    """
    check_agent_name(agent_name)
    refuse_windows(env_options)
    options: dict[str, Any] = dict(env_options)
    stated = problem(env, **options)
    if isinstance(stated.action_space, spaces.Box) and 0 in stated.action_space.shape:
        raise ValueError(f"{stated.id} has the action space {stated.action_space}, but must have at least one number")
    return Task(agent_name, env, find_agent(agent_name, stated.action_space), stated)


def refuse_windows(env_options: Mapping[str, object]) -> None:
    """Check that the options of an environment do not make each of many environments open a window.

    Args:
        env_options: arguments of the environment's constructor.

    Raises:
        ValueError: render_mode is "human".
    """
    if env_options.get("render_mode") == "human":
        raise ValueError(
            "render_mode is 'human', but every one of many environments would open a window: leave it out;"
            " morl watch RUN, in Python run.watch(), shows policies"
        )


def without_chance(evaluator: Evaluator) -> bool:
    """Return whether the environments of an evaluator are known to have drawn no random number in their episodes."""
    alive = evaluator.environments
    return bool(alive) and all(isinstance(each, MultiObjectiveVectorEnv) and each.drew_nothing() for each in alive)


def backend_of(agent: Agent) -> str | None:
    """Return the name of the backend that executes an agent's updates, if the agent says."""
    return agent.backend if isinstance(agent, ExecutesUpdates) else None
