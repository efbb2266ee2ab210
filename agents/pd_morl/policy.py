"""The one policy of PD-MORL: its network is conditioned on the preference, so it acts for every one."""

import numpy as np
import torch
from torch import Tensor

from morl.acting import PolicyBank
from morl.agents.pd_morl.config import PresetConfig
from morl.learning.encoders import Architecture
from morl.learning.types import ImageShape, PolicySet
from morl.policy_files import Head, PolicyData, PolicySpec
from morl.protocols import Actions, BoolArray, FloatArray, Observations, Problem


def architecture_of(config: PresetConfig, images: tuple[ImageShape, ...], objectives: int) -> Architecture:
    """Return what settings say about the network that acts.

    Args:
        config: settings.
        images: that observations begin with.
        objectives: length of the preference.
    """
    return Architecture(
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        normalization=config.normalization,
        images=images,
        network=config.network,
        policy_set=policy_set_of(config, objectives),
    )


def policy_set_of(config: PresetConfig, objectives: int) -> PolicySet | None:
    """Return how the parameters of the network that acts depend on the preference; None: they do not.

    Args:
        config: settings.
        objectives: length of the preference.
    """
    if config.networks == "conditioned":
        return None
    return PolicySet(config.networks, objectives, config.hyper_features if config.networks == "hyper" else 0)


class ConditionedPolicy:
    """Acts with the networks of a learner as saved policy files do, so that what is evaluated is what is saved.

    Args:
        problem: spaces and objectives of the environment.
        head: meaning of the network's outputs.
        config: settings of the network.
        architecture: of the network.
        device: where it acts.
        ensemble: number of networks whose mean action values count.
    """

    def __init__(
        self,
        problem: Problem,
        head: Head,
        config: PresetConfig,
        architecture: Architecture,
        device: torch.device,
        ensemble: int = 1,
    ) -> None:
        self.spec = PolicySpec(
            agent="pd-morl",
            head=head,
            hidden_sizes=architecture.hidden_sizes,
            activation=architecture.activation,
            normalization=architecture.normalization,
            image_size=config.image_size if architecture.images else 0,
            image_layers=architecture.encoding_layers,
            network=architecture.network,
            policy_set=architecture.policy_set,
            observation_space=problem.observation_space,
            action_space=problem.action_space,
            objectives=problem.objectives,
            one_hot=config.one_hot,
            conditioned=True,
            ensemble=ensemble,
            action_masks=problem.action_masks,
        )
        self._bank = PolicyBank(self.spec, device)
        self._version: object = None

    def data(self, parameters: Tensor) -> PolicyData:
        """Return the policy as plain data; it has no preference of its own.

        Args:
            parameters: [n] of the network; they are copied.
        """
        no_preference = np.full(len(self.spec.objectives), np.nan)
        return PolicyData(spec=self.spec, parameters=parameters.detach().clone(), preference=no_preference)

    def act(
        self,
        parameters: Tensor,
        version: object,
        observations: Observations,
        preferences: FloatArray,
        masks: BoolArray | None = None,
    ) -> Actions:
        """Return the deterministic actions [env, ...].

        Args:
            parameters: [n] of the network.
            version: changes whenever the parameters do; they are copied only then.
            observations: [env, ...] of the environment's observation space.
            preferences: [env, objective] w.
            masks: [env, choice] allowed choices; required where the environment gives masks.
        """
        if version != self._version:
            self._bank.add(0, self.data(parameters))
            self._version = version
        return self._bank.act(observations, preferences, np.zeros(len(preferences), dtype=np.int64), masks=masks)

    def forget(self) -> None:
        """Copy the parameters at the next call, whatever their version: called where a state has been loaded."""
        self._version = None
