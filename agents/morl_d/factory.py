"""The parts of a MORL/D, built from its settings; impossible combinations are refused here, with the reason."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from morl.agents.morl_d.config import Config
from morl.agents.morl_d.experience import Lanes
from morl.agents.morl_d.exploration import Rate, exploration_rate
from morl.agents.morl_d.scalarization import (
    Accrual,
    Bounds,
    check_utility,
    find_utility,
    scaled_utility,
    worth_of,
)
from morl.agents.morl_d.solvers.off_policy import Judge, OffPolicy
from morl.agents.morl_d.solvers.on_policy import OnPolicy
from morl.agents.morl_d.solvers.td3 import TD3Learner
from morl.agents.morl_d.validation import ON_POLICY, check
from morl.learning.actions import BoundedActions
from morl.learning.actor_critic import actor_critic
from morl.learning.discrete_sac import DiscreteSAC
from morl.learning.dqn import DQN
from morl.learning.observations import encoder
from morl.learning.off_policy import Hyperparameters, Learner
from morl.learning.sac import SAC
from morl.protocols import Problem


class Choices:
    """Discrete actions: rows [env, 1] of numbers from zero, and the environment's, from wherever those begin."""

    def __init__(self, space: spaces.Discrete) -> None:
        self.width, self.count, self.first = 1, int(space.n), int(space.start)

    def to_environment(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return actions [env] of the space."""
        return actions[:, 0].astype(np.int64) + self.first

    def random(self, count: int, random: np.random.Generator) -> NDArray[Any]:
        """Return uniformly random rows [count, 1]."""
        return random.integers(self.count, size=(count, 1))


class Ranges(BoundedActions):
    """Continuous actions: rows [env, width] in [-1, 1], and the environment's."""

    def random(self, count: int, random: np.random.Generator) -> NDArray[Any]:
        """Return uniformly random rows [count, width]."""
        return random.uniform(-1.0, 1.0, (count, self.width))


@dataclass(frozen=True)
class Components:
    """What a MORL/D is made of.

    Attributes:
        name: of the solver.
        solver: what solves the scalar problems.
        lanes: what policies see.
        bounds: ideal point and worst returns.
        slots: policies that train side by side.
        utility: (returns, preferences, lowest, ideal) -> values, of arrays and tensors.
        actions: rows of actions as networks make them, and the environment's.
        epsilon_mixing: whether random actions are mixed in while collecting.
        exploration: how many, by what is known.
        steps_envs: whether the solver steps the environments itself.
    """

    name: str
    solver: Any
    lanes: Lanes
    bounds: Bounds
    slots: int
    utility: Any
    actions: Choices | Ranges
    epsilon_mixing: bool
    exploration: Rate
    steps_envs: bool = False


LEARNERS: dict[str, Any] = {"sac": SAC, "discrete-sac": DiscreteSAC, "dqn": DQN, "td3": TD3Learner}


def build(problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> Components:
    """Return the parts for resolved settings.

    Raises:
        ValueError: settings exclude each other, or do not fit the environment or the number of lanes.
    """
    slots, name = check(config, problem, num_envs)
    discount = problem.discount if config.discount is None else config.discount
    encode, width = encoder(problem.observation_space, config.one_hot)
    reference = np.zeros(problem.num_objectives) if problem.reference_point is None else problem.reference_point
    accrual = Accrual(width, np.maximum(1.0, np.abs(reference)), config.condition == "accrued")
    ideal = None if config.reference == "running" else np.array(config.ideal)
    lowest = None if problem.reference_point is None else np.array(problem.reference_point)
    bounds = Bounds(problem.num_objectives, ideal, config.ideal_margin, lowest)
    chosen = find_utility(config.utility or "")
    if ":" in (config.utility or ""):
        check_utility(config.utility or "", chosen, problem.num_objectives)
    utility = scaled_utility(chosen, config.scale == "range")
    space = problem.action_space
    actions = Choices(space) if isinstance(space, spaces.Discrete) else Ranges(space)
    widths = {"observation": width + accrual.width, "action": actions.width, "objective": problem.num_objectives}
    solver: Any
    parts = (Lanes(num_envs, encode, accrual, discount), bounds, slots, utility, actions)
    rate = exploration_rate(config, greedy=name == "dqn")
    if name.startswith("sb3:"):
        adapter: Any = import_module("morl.agents.morl_d.solvers.sb3")  # nobody else waits for Stable-Baselines3
        algorithm = name.removeprefix("sb3:")
        solver = adapter.StableBaselines(algorithm, problem, config, discount, num_envs, seed, device)
        return Components(name, solver, *parts, epsilon_mixing=False, exploration=rate, steps_envs=True)
    if name in ON_POLICY:
        if name == "eupg":
            widths["objective"] = 1  # its critic predicts the utility
        network = actor_critic(widths["observation"], space, widths["objective"], config.hidden_sizes)
        whole = Accrual(0, accrual.units, enabled=False)  # judges returns of whole episodes
        lanes = num_envs // slots
        solver = OnPolicy(name, network, _judge(utility, whole), widths, config, discount, slots, lanes, seed, device)
        return Components(name, solver, *parts, epsilon_mixing=False, exploration=rate)
    learner = _learner(name, widths, config, discount, actions, device)
    columns = {"observation": widths["observation"], "action": actions.width, "reward": problem.num_objectives}
    columns |= {"next_observation": widths["observation"], "terminated": 1}
    solver = OffPolicy(learner, _judge(utility, accrual), columns, config, slots, seed, device)
    return Components(name, solver, *parts, epsilon_mixing=True, exploration=rate)


def _judge(utility: Any, accrual: Accrual) -> Judge:
    return lambda preferences, limits: worth_of(utility, accrual, preferences, limits)


def _learner(
    name: str,
    widths: Mapping[str, int],
    config: Config,
    discount: float,
    actions: Choices | Ranges,
    device: torch.device,
) -> Callable[[int, torch.Generator], Learner]:
    """Return what builds off-policy learners of any number of policies."""
    objectives = widths["objective"]
    inputs = widths["observation"] + (objectives if config.networks == "conditioned" else 0)
    outputs = actions.count if isinstance(actions, Choices) else actions.width
    numbers = hyperparameters(config, discount, outputs, isinstance(actions, Choices))
    kind: Any = LEARNERS[name]
    return lambda population, generator: kind(inputs, outputs, objectives, population, numbers, generator, device)


def hyperparameters(config: Config, discount: float, actions: int, discrete: bool) -> Hyperparameters:
    """Return the numbers of an off-policy learner with `actions` choices or dimensions."""
    if discrete:
        entropy = math.log(actions) * (0.3 if config.target_entropy_scale is None else config.target_entropy_scale)
    else:
        entropy = -actions * (1.0 if config.target_entropy_scale is None else config.target_entropy_scale)
    return Hyperparameters(
        discount=discount,
        hidden_sizes=config.hidden_sizes,
        actor_learning_rate=config.actor_learning_rate,
        critic_learning_rate=config.critic_learning_rate,
        tau=config.tau,
        policy_delay=config.policy_delay,
        temperature=config.temperature,
        target_entropy=entropy,
        precision=torch.bfloat16 if config.precision == "bfloat16" else torch.float32,
        shared_layers=config.shared_layers if config.networks == "shared-layers" else 0,
    )
