"""The one policy of PD-MORL: its network is conditioned on the preference, so it acts for every one."""

import numpy as np
import torch
from torch import Tensor

from morl.acting import PolicyBank
from morl.policy_files import PolicyData, PolicySpec
from morl.protocols import Actions, FloatArray, Observations


class ConditionedPolicy:
    """Acts with the networks of a learner as saved policy files do, so that what is evaluated is what is saved.

    Args:
        spec: shape of the policy.
        device: where it acts.
    """

    def __init__(self, spec: PolicySpec, device: torch.device) -> None:
        self.spec = spec
        self._bank = PolicyBank(spec, device)
        self._version: object = None

    def data(self, parameters: Tensor) -> PolicyData:
        """Return the policy with a copy of the parameters [n], as plain data; it has no preference of its own."""
        no_preference = np.full(len(self.spec.objectives), np.nan)
        return PolicyData(spec=self.spec, parameters=parameters.detach().clone(), preference=no_preference)

    def act(self, parameters: Tensor, version: object, observations: Observations, preferences: FloatArray) -> Actions:
        """Return the deterministic actions [env, ...].

        Args:
            parameters: [n] of the network.
            version: changes whenever the parameters do; they are copied only then.
            observations: [env, ...] of the environment's observation space.
            preferences: [env, objective] w.
        """
        if version != self._version:
            self._bank.add(0, self.data(parameters))
            self._version = version
        return self._bank.act(observations, preferences, np.zeros(len(preferences), dtype=np.int64))

    def forget(self) -> None:
        """Copy the parameters at the next call, whatever their version: called where a state has been loaded."""
        self._version = None
