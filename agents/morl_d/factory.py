"""Construction of a MORL/D from its settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

import numpy as np
import torch
from torch import Tensor

from morl.agents.morl_d.actions import ActionMap, DiscreteActions, action_map
from morl.agents.morl_d.config import Config
from morl.agents.morl_d.exploration import ExplorationSchedule
from morl.agents.morl_d.policies import architecture, memory_size, policy_spec
from morl.agents.morl_d.return_bounds import ReturnBounds
from morl.agents.morl_d.settings_in_use import ON_POLICY
from morl.agents.morl_d.solvers.algorithms import AlgorithmBuilder
from morl.agents.morl_d.solvers.off_policy import OffPolicy
from morl.agents.morl_d.solvers.on_policy import OnPolicy
from morl.agents.morl_d.solvers.protocol import AnySolver, TransitionSolver
from morl.agents.morl_d.validation import check, choose_solver, num_active
from morl.learning.collector import Collector
from morl.learning.observations import ObservationEncoder, observation_encoder
from morl.learning.ppo import actor_critic
from morl.learning.rollouts import RolloutBuffer, TransitionSizes
from morl.learning.scalarization import (
    AugmentedState,
    ScaledUtility,
    UtilityFn,
    bind_utility,
    check_utility,
    scaled_utility,
)
from morl.policy_files import PolicySpec
from morl.protocols import MemoryNeed, Problem
from morl.utilities import find_utility

MASKS_READ: Final[Mapping[str, tuple[str, ...]]] = {"dqn": ("next_mask",), "discrete-sac": ("mask", "next_mask")}
"""Off-policy solver -> the action masks that its updates read: of the observation, of the next observation."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """The parts of a MORL/D.

    Attributes:
        solver_name: the solver that the settings choose.
        solver: trains the active policies on their scalar problems.
        spec: specification of all policies.
        normalized_columns: number of observation columns whose statistics `solver.members["actor"]` holds: all but
            pixels, or none.
        collector: steps the environments.
        bounds: ideal point and worst returns.
        num_active: number of policies that train side by side.
        utility: of returns, preferences, lowest and ideal returns, arrays or tensors.
        actions: from rows of actions to the environment's.
        exploration: schedule of the random actions that are mixed in; None for solvers that learn from their own
            actions only.
    """

    solver_name: str
    solver: AnySolver
    spec: PolicySpec
    normalized_columns: int
    collector: Collector
    bounds: ReturnBounds
    num_active: int
    utility: ScaledUtility
    actions: ActionMap
    exploration: ExplorationSchedule | None


@dataclass(frozen=True, kw_only=True)
class SolverInputs:
    """Everything that a solver is built from.

    Attributes:
        name: the solver that the settings choose.
        problem: the environment.
        config: settings.
        discount: of learning.
        num_envs: number of sub-environments.
        num_active: number of policies that train side by side.
        observations: encoder of the observations.
        augmented: layout of the observations.
        utility: of returns, preferences, lowest and ideal returns.
        actions: from rows of actions to the environment's.
        seed: of all random streams.
        device: where networks live.
    """

    name: str
    problem: Problem
    config: Config
    discount: float
    num_envs: int
    num_active: int
    observations: ObservationEncoder
    augmented: AugmentedState
    utility: ScaledUtility
    actions: ActionMap
    seed: int
    device: torch.device

    @property
    def masked_choices(self) -> int:
        """Return the number of choices of the environment's action masks; 0 where it gives none."""
        if self.problem.action_masks and isinstance(self.actions, DiscreteActions):
            return self.actions.count
        return 0

    @property
    def observation_width(self) -> int:
        """Return the number of columns that networks observe, accrued rewards included."""
        return self.augmented.observation_width + self.augmented.width


def build(problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> Components:
    """Return the parts of a MORL/D.

    Args:
        problem: the environment.
        config: settings.
        seed: of all random streams.
        num_envs: number of sub-environments.
        device: where networks live.

    Raises:
        ValueError: settings exclude each other, have no effect, or do not fit the environment.
    """
    check(config, problem, num_envs)
    name = choose_solver(config, problem).name
    observations = observation_encoder(problem.observation_space, config.one_hot, config.image_size)
    inputs = SolverInputs(
        name=name,
        problem=problem,
        config=config,
        discount=problem.discount if config.discount is None else config.discount,
        num_envs=num_envs,
        num_active=num_active(config, name, num_envs),
        observations=observations,
        augmented=_augmented_state(problem, config, observations.width),
        utility=_utility(problem, config),
        actions=action_map(problem.action_space),
        seed=seed,
        device=device,
    )
    if name.startswith("sb3:"):
        return _with_stable_baselines(inputs)
    solver: TransitionSolver
    exploration = None
    if name in ON_POLICY:
        solver = _on_policy(inputs)
    else:
        solver = _off_policy(inputs)
        exploration = ExplorationSchedule(config, greedy=name == "dqn")
    networks = architecture(config, name, observations.images, problem.num_objectives)
    spec = policy_spec(config, problem, name, inputs.augmented, networks)
    return _components(inputs, solver, spec, exploration)


def transition_memory(config: Config, problem: Problem, num_envs: int, total_steps: int) -> MemoryNeed:
    """Return the memory of the replay buffers of all policies, or of the rollout of those that train.

    Args:
        config: settings.
        problem: the environment.
        num_envs: number of sub-environments.
        total_steps: environment steps of the run.

    Raises:
        ValueError: the settings do not fit the environment.
    """
    solver = choose_solver(config, problem)
    encoder = observation_encoder(problem.observation_space, config.one_hot, config.image_size)
    others = action_map(problem.action_space).width + problem.num_objectives + 1
    if "buffer_size" in solver.settings:
        setting = "buffer_size"
        rings = 1 if config.replay == "shared" else config.population
    else:
        setting = "rollout_steps"
        rings = num_envs
        others += 4 * problem.num_objectives
    value: int = getattr(config, setting)
    return MemoryNeed(
        what="the replay" if setting == "buffer_size" else "the rollout",
        setting=setting,
        value=value,
        transitions=min(rings * value, total_steps),
        bytes_each=encoder.transition_bytes(others),
        copies=rings,
    )


def _components(
    inputs: SolverInputs, solver: AnySolver, spec: PolicySpec, exploration: ExplorationSchedule | None
) -> Components:
    width = inputs.observation_width - inputs.observations.pixels
    return Components(
        solver_name=inputs.name,
        solver=solver,
        spec=spec,
        normalized_columns=width if inputs.name in ON_POLICY else 0,
        collector=Collector(
            inputs.num_envs, inputs.observations.encode, inputs.augmented, inputs.discount, inputs.problem
        ),
        bounds=ReturnBounds.of(inputs.config, inputs.problem),
        num_active=inputs.num_active,
        utility=inputs.utility,
        actions=inputs.actions,
        exploration=exploration,
    )


def _augmented_state(problem: Problem, config: Config, observation_width: int) -> AugmentedState:
    """Return the layout of observations; the unit of an accrued reward is the reference point's, at least 1."""
    reference = np.zeros(problem.num_objectives) if problem.reference_point is None else problem.reference_point
    return AugmentedState(observation_width, np.maximum(1.0, np.abs(reference)), config.augmented_state)


def _utility(problem: Problem, config: Config) -> ScaledUtility:
    """Return the utility of returns, preferences, lowest and ideal returns; a user's own one is tried first."""
    utility = find_utility(config.utility)
    if ":" in config.utility:
        check_utility(config.utility, utility, problem.num_objectives)
    return scaled_utility(utility, config.scale == "range")


def _bind(utility: ScaledUtility, augmented: AugmentedState) -> Callable[[Tensor, Tensor], UtilityFn]:
    """Return the map from preferences [policy, 1 or batch, objective] and bounds [policy, 2, objective] to utility."""
    return lambda preferences, bounds: bind_utility(utility, augmented, preferences, bounds)


# --- Solvers ----------------------------------------------------------------------------------------------------------


def _off_policy(inputs: SolverInputs) -> OffPolicy:
    """Return SAC, discrete SAC, TD3 or DQN."""
    config = inputs.config
    objectives = inputs.problem.num_objectives
    width = inputs.observation_width
    pixels = inputs.observations.pixels
    masks_read = MASKS_READ.get(inputs.name, ()) if inputs.masked_choices else ()
    pixel_columns = {"pixels": pixels, "next_pixels": pixels} if pixels else {}
    algorithm = AlgorithmBuilder(
        name=inputs.name,
        config=config,
        discount=inputs.discount,
        observation_width=width + (objectives if config.conditioned else 0),
        actions=inputs.actions.count if isinstance(inputs.actions, DiscreteActions) else inputs.actions.width,
        objectives=objectives,
        images=inputs.observations.images,
        device=inputs.device,
    )
    return OffPolicy(
        build=algorithm,
        bind_utility=_bind(inputs.utility, inputs.augmented),
        columns={
            "observation": width - pixels,
            "action": inputs.actions.width,
            "reward": objectives,
            "next_observation": width - pixels,
            "terminated": 1,
        },
        config=config,
        num_active=inputs.num_active,
        seed=inputs.seed,
        device=inputs.device,
        byte_columns={**pixel_columns, **dict.fromkeys(masks_read, inputs.masked_choices)},
    )


def _on_policy(inputs: SolverInputs) -> OnPolicy:
    """Return PPO, or EUPG, whose critic predicts the utility of the return instead of the objectives."""
    expected_utility = inputs.name == "eupg"
    width = inputs.observation_width
    novelty = int(inputs.config.novelty == "ctnb")  # counts as one more objective inside the solver
    critic_outputs = 1 if expected_utility else inputs.problem.num_objectives + novelty
    network = actor_critic(
        width=width,
        action_space=inputs.problem.action_space,
        objectives=critic_outputs,
        architecture=architecture(
            inputs.config, inputs.name, inputs.observations.images, inputs.problem.num_objectives
        ),
        memory_size=memory_size(inputs.config, inputs.name),
    )
    rollout = RolloutBuffer(
        num_policies=inputs.num_active,
        envs_per_policy=inputs.num_envs // inputs.num_active,
        num_steps=inputs.config.rollout_steps,
        sizes=TransitionSizes(
            observation=width,
            action=inputs.actions.width,
            objectives=critic_outputs,
            choices=inputs.masked_choices,
            state=network.state_size,
            pixels=inputs.observations.pixels,
        ),
        discount=1.0 if expected_utility else inputs.discount,  # the utility is that of a discounted return
        sequence_steps=inputs.config.memory_steps if network.state_size else 1,
    )
    whole_episodes = AugmentedState(0, inputs.augmented.units, enabled=False)  # it evaluates returns, not values
    return OnPolicy(
        network=network,
        bind_utility=_bind(inputs.utility, whole_episodes),
        rollout=rollout,
        config=inputs.config,
        reference_point=inputs.problem.reference_point,
        expected_utility=expected_utility,
        seed=inputs.seed,
        device=inputs.device,
    )


def _with_stable_baselines(inputs: SolverInputs) -> Components:
    """Return the parts of a MORL/D whose solver is an algorithm of Stable-Baselines3, imported here and only here."""
    adapter = import_module("morl.agents.morl_d.solvers.sb3")
    solver, spec = adapter.build(
        name=inputs.name.removeprefix("sb3:"),
        problem=inputs.problem,
        config=inputs.config,
        observations=inputs.observations,
        discount=inputs.discount,
        num_envs=inputs.num_envs,
        seed=inputs.seed,
        device=inputs.device,
    )
    return _components(inputs, solver, spec, None)
