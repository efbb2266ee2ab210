"""The policies of C-MORL as policy files hold them."""

import numpy as np
from gymnasium import spaces

from morl.agents.c_morl.archive import Snapshot
from morl.agents.c_morl.config import Config
from morl.learning.encoders import Architecture
from morl.learning.types import ImageShape
from morl.policy_files import PolicyData, PolicySpec
from morl.protocols import Problem


def policy_spec(problem: Problem, config: Config, architecture: Architecture) -> PolicySpec:
    """Return the specification of all policies: their network, spaces and encoding.

    Args:
        problem: the environment.
        config: settings.
        architecture: of their networks.
    """
    return PolicySpec(
        agent="c-morl",
        head="categorical" if isinstance(problem.action_space, spaces.Discrete) else "gaussian",
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        normalization=config.normalization,
        image_size=config.image_size if architecture.images else 0,
        image_layers=architecture.encoding_layers,
        network=config.network,
        observation_space=problem.observation_space,
        action_space=problem.action_space,
        objectives=problem.objectives,
        one_hot=config.one_hot,
        action_masks=problem.action_masks,
        memory_size=0 if config.memory == "none" else config.memory_size,
    )


def architecture_of(config: Config, images: tuple[ImageShape, ...]) -> Architecture:
    """Return what settings say about the networks.

    Args:
        config: settings.
        images: that observations begin with.
    """
    return Architecture(
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        normalization=config.normalization,
        images=images,
        network=config.network,
    )


def policy_of(snapshot: Snapshot, spec: PolicySpec, actor_parameters: int) -> PolicyData:
    """Return the part of a snapshot that acts.

    Args:
        snapshot: a policy of the archive or of a task.
        spec: of all policies.
        actor_parameters: number of parameters of the actor, the first of the snapshot's.
    """
    statistics = snapshot.state["observation_statistics"]
    return PolicyData(
        spec=spec,
        parameters=snapshot.state["parameters"][:actor_parameters],
        mean=statistics["mean"].copy(),
        scale=1.0 / np.sqrt(statistics["variance"] + 1e-8),
        preference=snapshot.preference,
    )
