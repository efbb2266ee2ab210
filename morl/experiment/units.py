"""Reward units: an agent sees rewards of about the same size in every objective, whatever the environment pays.

Rewards are divided by the unit of their objective before an agent sees them, and so are the returns of the evaluations
that it asks for and its reference point. Multiplying an objective by a constant therefore changes nothing in what an
agent does (`tests/experiment/test_units.py`), and constants such as a learning rate or the width of Huber's loss mean
the same everywhere. All that is reported stays in the environment's own units.

The unit of an objective is the root mean square of the rewards that random actions earn. Where these earn nothing, it
is the size of the reference point, or of the known front; where those say nothing either, it is the root mean square of
all rewards up to the first that is not zero: those before it are zeros in any unit.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from morl.action_masks import random_choices
from morl.envs import MultiObjectiveVectorEnv
from morl.envs.core.contract import MultiObjectiveVectorWrapper
from morl.envs.core.types import ActionBatch, VectorStep
from morl.experiment.divergence import refuse_diverged_actions
from morl.protocols import Actions, Evaluate, FloatArray, IndexArray, KnownFront, Problem
from morl.seeding import derived_seed

LARGEST_OFFSET = 10.0
"""Mean reward, in standard deviations, from which an objective is said to pay a constant."""
_LOGGER = logging.getLogger("morl")
MEASURED_STEPS = 1_024
"""Environment steps in which units are measured."""


class RewardUnits:
    """The unit of each objective.

    Args:
        values: [objective]; NaN for an objective that has paid nothing so far.
        steps: environment steps that were taken to measure them.

    Attributes:
        values: [objective], NaN as long as it is open.
        steps: environment steps that were taken to measure them.
    """

    def __init__(self, values: FloatArray, steps: int = 0) -> None:
        self.values = values
        self.steps = steps
        self._zeros = 0
        """Rewards of the open objectives so far, all of them zero."""

    @staticmethod
    def none(num_objectives: int) -> "RewardUnits":
        """Return units of 1: rewards as the environment pays them."""
        return RewardUnits(np.ones(num_objectives))

    def copy(self) -> "RewardUnits":
        """Return the same units for another learner."""
        return RewardUnits(self.values.copy(), self.steps)

    @property
    def known(self) -> FloatArray:
        """Return the units [objective]; 1 for an objective that has paid nothing so far."""
        return np.where(np.isnan(self.values), 1.0, self.values)

    def close(self, objectives: Sequence[int]) -> None:
        """Leave the units of some objectives at 1 where they are open: the agent was built with bounds on them."""
        for objective in objectives:
            self.values[objective] = self.known[objective]

    def observe(self, rewards: FloatArray) -> None:
        """Fix the unit of objectives that are still open, where they pay for the first time.

        Args:
            rewards: [env, objective] of one step.
        """
        opened = np.isnan(self.values)
        if not opened.any():
            return
        self._zeros += len(rewards)
        found = root_mean_square(rewards)
        share = np.sqrt(len(rewards) / self._zeros)
        self.values = np.where(opened & (found > 0.0), found * share, self.values)

    def problem(self, problem: Problem) -> Problem:
        """Return the problem as the agent sees it: reference point and known front in these units.

        Args:
            problem: in the environment's units.
        """
        reference_point = problem.reference_point
        if reference_point is not None:
            reference_point = tuple((np.array(reference_point) / self.known).tolist())
        return replace(
            problem,
            reference_point=reference_point,
            known_front=None if problem.known_front is None else _divided(problem.known_front, self.known),
            units=tuple(self.known.tolist()),
        )

    def evaluate(self, evaluate: Evaluate) -> Evaluate:
        """Return an evaluation that reports returns in these units."""

        def in_units(preferences: FloatArray, episodes: int, policies: IndexArray | None = None) -> FloatArray:
            returns: FloatArray = evaluate(preferences, episodes, policies) / self.known
            return returns

        return in_units

    def act(self, act: Callable[..., Actions]) -> Callable[..., Actions]:
        """Return an agent's `act` that takes the accrued reward in the environment's units."""

        def in_units(*args: Any, **extras: Any) -> Actions:
            if "accrued" in extras:
                extras["accrued"] = extras["accrued"] / np.append(self.known, 1.0)
            actions = act(*args, **extras)
            refuse_diverged_actions(actions)
            return actions

        return in_units

    def state_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {"values": self.values, "steps": self.steps, "zeros": self._zeros}

    @staticmethod
    def of_state_dict(state: Mapping[str, Any]) -> "RewardUnits":
        """Return what `state_dict` wrote down."""
        units = RewardUnits(np.array(state["values"], dtype=np.float64), int(state["steps"]))
        units._zeros = int(state["zeros"])
        return units


def _divided(known_front: KnownFront, units: FloatArray) -> KnownFront:
    return lambda discount: known_front(discount) / units


def root_mean_square(rewards: FloatArray) -> FloatArray:
    """Return sqrt(mean(r^2)) [objective] of rewards [n, objective], without overflow."""
    largest = np.abs(rewards).max(axis=0)
    shares = rewards / np.where(largest > 0.0, largest, 1.0)
    sizes: FloatArray = largest * np.sqrt(np.square(shares).mean(axis=0))
    return sizes


def measure_units(build_envs: Callable[[int], MultiObjectiveVectorEnv], num_envs: int, problem: Problem) -> RewardUnits:
    """Return the units of an environment's rewards, from episodes of random actions.

    They do not depend on the run's seed, so that all seeds of a comparison learn in the same units.

    Args:
        build_envs: number of environments -> vector environment.
        num_envs: number of environments to build: one, where that is possible.
        problem: in the environment's units.
    """
    envs = build_envs(num_envs)
    try:
        rewards = _random_rewards(envs)
    finally:
        envs.close()
    units = root_mean_square(rewards)
    _warn_of_offsets(rewards, problem.objectives)
    for sizes in _hints(problem):
        units = np.where(units > 0.0, units, sizes)
    return RewardUnits(np.where(units > 0.0, units, np.nan), len(rewards))


def _warn_of_offsets(rewards: FloatArray, objectives: Sequence[str]) -> None:
    """Name objectives that pay nearly the same in every step: what differs between policies is small beside it."""
    sizes = np.abs(rewards).max(axis=0)
    sizes = np.where(sizes > 0.0, sizes, 1.0)  # squares of very large rewards would overflow
    means = (rewards / sizes).mean(axis=0) * sizes
    deviations = (rewards / sizes).std(axis=0) * sizes
    for name, mean, deviation in zip(objectives, means.tolist(), deviations.tolist(), strict=True):
        if 0.0 < LARGEST_OFFSET * deviation < abs(mean):
            _LOGGER.warning(
                "%s pays %.4g in every random step, give or take %.2g: agents learn more from rewards without such a"
                " constant, where episodes have a fixed length",
                name,
                mean,
                deviation,
            )


def _random_rewards(envs: MultiObjectiveVectorEnv) -> FloatArray:
    """Return the rewards [step * env, objective] of random actions."""
    random = np.random.default_rng(derived_seed(0, "units"))
    envs.action_space.seed(derived_seed(0, "units"))
    _, infos = envs.reset(seed=derived_seed(0, "units", 1))
    rewards = []
    for _ in range(math.ceil(MEASURED_STEPS / envs.num_envs)):
        actions = envs.action_space.sample()
        if "action_mask" in infos:
            masks = np.asarray(infos["action_mask"]) > 0
            first = int(getattr(envs.single_action_space, "start", 0))
            actions = random_choices(random.random(envs.num_envs), masks.shape[1], masks) + first
        _, reward, _, _, infos = envs.step(actions)
        rewards.append(reward)
    return np.concatenate(rewards)


def _hints(problem: Problem) -> list[FloatArray]:
    """Return sizes of returns [objective] that are known before training; 0 where nothing is."""
    hints = []
    if problem.reference_point is not None:
        hints.append(np.abs(np.array(problem.reference_point, dtype=np.float64)))
    if problem.known_front is not None:
        hints.append(np.abs(problem.known_front(problem.discount)).max(axis=0))
    return hints


class UnitRewards(MultiObjectiveVectorWrapper):
    """Environments whose rewards are divided by their units, which are saved with the run.

    Args:
        env: pays in the environment's units.
        units: of the rewards.
    """

    def __init__(self, env: MultiObjectiveVectorEnv, units: RewardUnits) -> None:
        super().__init__(env)
        self.units = units

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step all environments."""
        refuse_diverged_actions(actions)
        observations, rewards, terminated, truncated, infos = self.inner.step(actions)
        self.units.observe(rewards)
        return observations, rewards / self.units.known, terminated, truncated, infos
