"""The one policy of PD-MORL: its network is conditioned on the preference, so it acts for every one."""

import numpy as np
import torch
from torch import Tensor

from morl.acting import PolicyBank
from morl.policy_files import Head, PolicyData, PolicySpec
from morl.protocols import Actions, BoolArray, FloatArray, Observations, Problem


class ConditionedPolicy:
    """Acts with the networks of a learner as saved policy files do, so that what is evaluated is what is saved.

    Args:
        problem: spaces and objectives of the environment.
        head: meaning of the network's outputs.
        hidden_sizes: units of each hidden layer.
        device: where it acts.
        one_hot: whether integer observations are encoded as one-hot.
        ensemble: number of networks whose mean action values count.
    """

    def __init__(
        self,
        problem: Problem,
        head: Head,
        hidden_sizes: tuple[int, ...],
        device: torch.device,
        one_hot: bool = False,
        ensemble: int = 1,
    ) -> None:
        self.spec = PolicySpec(
            agent="pd-morl",
            head=head,
            hidden_sizes=hidden_sizes,
            observation_space=problem.observation_space,
            action_space=problem.action_space,
            objectives=problem.objectives,
            one_hot=one_hot,
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
