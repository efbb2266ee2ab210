"""Policies of MORL/D as plain data (`morl.policy_files`): their specification, and the arrays of one of them."""

from typing import Final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from morl.agents.morl_d.config import Config
from morl.learning.encoders import Architecture
from morl.learning.scalarization import AugmentedState
from morl.learning.types import ImageShape
from morl.policy_files import Head, PolicyData, PolicySpec
from morl.protocols import FloatArray, Problem

HEADS: Final[dict[str, Head]] = {
    "sac": "squashed-gaussian",
    "td3": "deterministic",
    "discrete-sac": "categorical",
    "dqn": "action-values",
}
"""Off-policy solver -> the meaning of its network's outputs; that of an on-policy solver depends on the actions."""


def architecture(config: Config, solver_name: str, images: tuple[ImageShape, ...], objectives: int) -> Architecture:
    """Return what the settings say about the networks that act, of a solver of this package.

    Args:
        config: settings.
        solver_name: sac, discrete-sac, td3, dqn, ppo or eupg.
        images: that observations begin with.
        objectives: length of a weight vector.
    """
    return Architecture(
        hidden_sizes=config.hidden_sizes,
        activation=config.activation or ("relu" if solver_name in HEADS else "tanh"),
        normalization=config.normalization,
        images=images,
        network=config.network,
        policy_set=config.policy_set(objectives),
    )


def policy_spec(
    config: Config, problem: Problem, solver_name: str, augmented: AugmentedState, networks: Architecture
) -> PolicySpec:
    """Return the specification of the policies that a solver of this package trains.

    Args:
        config: settings.
        problem: the environment.
        solver_name: sac, discrete-sac, td3, dqn, ppo or eupg.
        augmented: layout of the observations.
        networks: architecture of the networks.
    """
    discrete = isinstance(problem.action_space, spaces.Discrete)
    on_policy_head: Head = "categorical" if discrete else "gaussian"
    return PolicySpec(
        agent="morl-d",
        head=HEADS.get(solver_name, on_policy_head),
        hidden_sizes=config.hidden_sizes,
        activation=networks.activation,
        normalization=networks.normalization,
        image_size=config.image_size if networks.images else 0,
        image_layers=networks.encoding_layers,
        network=networks.network,
        policy_set=networks.policy_set,
        observation_space=problem.observation_space,
        action_space=problem.action_space,
        objectives=problem.objectives,
        one_hot=config.one_hot,
        conditioned=config.conditioned,
        augmented_units=tuple(augmented.units.tolist()) if augmented.enabled else None,
        utility=config.utility,
        utility_of_shares=config.scale == "range",
        action_masks=problem.action_masks,
        memory_size=memory_size(config, solver_name),
    )


def memory_size(config: Config, solver_name: str) -> int:
    """Return the elements of what a policy remembers; 0: it has no memory.

    Args:
        config: settings.
        solver_name: the solver that they choose.
    """
    return config.memory_size if config.memory == "gru" and solver_name == "ppo" else 0


def policy_data(
    spec: PolicySpec, actor: Tensor, normalized: int, preference: FloatArray, bounds: FloatArray
) -> PolicyData:
    """Return one policy.

    Args:
        spec: specification of all policies.
        actor: a row [n] of a solver's `members["actor"]`: the parameters; for normalized observations then their mean
            and 1 / standard deviation.
        normalized: number of observation columns that are normalized: all but pixels, or none.
        preference: weights that the policy acts for [objective].
        bounds: lowest and ideal return of its utility [2, objective].
    """
    parameters, mean, scale = torch.split(actor, [len(actor) - 2 * normalized, normalized, normalized])
    return PolicyData(
        spec=spec,
        parameters=parameters,
        mean=mean.cpu().numpy().copy() if normalized else None,
        scale=scale.cpu().numpy().copy() if normalized else None,
        preference=preference.copy(),
        bounds=np.array(bounds),
    )
