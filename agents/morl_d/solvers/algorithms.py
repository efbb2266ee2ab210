"""The off-policy algorithms that solve scalar problems, built from the settings of MORL/D."""

import math
from dataclasses import dataclass

import torch

from morl.agents.morl_d.config import Config
from morl.learning.discrete_sac import DiscreteSAC
from morl.learning.dqn import DQN, DQNSettings
from morl.learning.off_policy import OffPolicyAlgorithm
from morl.learning.sac import SAC, SACSettings
from morl.learning.td3 import TD3, TD3Settings
from morl.learning.types import ImageShape


@dataclass(frozen=True)
class AlgorithmBuilder:
    """Builds one of the algorithms for any number of policies.

    Attributes:
        name: sac, discrete-sac, td3 or dqn.
        config: settings.
        discount: of learning.
        observation_width: columns that networks observe, preferences included where networks are conditioned on them.
        actions: number of choices, or columns of a continuous action.
        objectives: length of the reward vector.
        images: that observations begin with.
        device: where networks live.
    """

    name: str
    config: Config
    discount: float
    observation_width: int
    actions: int
    objectives: int
    images: tuple[ImageShape, ...]
    device: torch.device

    def __call__(self, policies: int, generator: torch.Generator) -> OffPolicyAlgorithm:
        """Return the algorithm for a number of policies.

        Args:
            policies: number of policies.
            generator: random stream of the initial parameters.
        """
        width = self.observation_width
        if self.name == "td3":
            seeds = torch.randint(2**31, (policies,), generator=generator).tolist()
            return TD3(width, self.actions, self.objectives, self._td3_settings(), seeds, self.device)
        if self.name == "dqn":
            settings = self._dqn_settings()
            return DQN(width, self.actions, self.objectives, settings, policies, generator, self.device)
        algorithm = DiscreteSAC if self.name == "discrete-sac" else SAC
        return algorithm(width, self.actions, self.objectives, self._sac_settings(), policies, generator, self.device)

    def _td3_settings(self) -> TD3Settings:
        return TD3Settings(
            hidden_sizes=self.config.hidden_sizes,
            activation=self.config.activation or "relu",
            normalization=self.config.normalization,
            images=self.images,
            network=self.config.network,
            policy_set=self.config.policy_set(self.objectives),
            discount=self.discount,
            tau=self.config.tau,
            precision=self.config.precision,
            learning_rate=self.config.actor_learning_rate,
            policy_delay=self.config.policy_delay,
            combiner=self.config.combiner,
        )

    def _dqn_settings(self) -> DQNSettings:
        return DQNSettings(
            hidden_sizes=self.config.hidden_sizes,
            activation=self.config.activation or "relu",
            normalization=self.config.normalization,
            images=self.images,
            network=self.config.network,
            policy_set=self.config.policy_set(self.objectives),
            discount=self.discount,
            tau=self.config.tau,
            precision=self.config.precision,
            learning_rate=self.config.critic_learning_rate,
            shared_layers=self._shared_layers(),
        )

    def _sac_settings(self) -> SACSettings:
        return SACSettings(
            hidden_sizes=self.config.hidden_sizes,
            activation=self.config.activation or "relu",
            normalization=self.config.normalization,
            images=self.images,
            network=self.config.network,
            policy_set=self.config.policy_set(self.objectives),
            discount=self.discount,
            tau=self.config.tau,
            precision=self.config.precision,
            actor_learning_rate=self.config.actor_learning_rate,
            critic_learning_rate=self.config.critic_learning_rate,
            policy_delay=self.config.policy_delay,
            temperature=self.config.temperature,
            target_entropy=self._target_entropy(),
            shared_layers=self._shared_layers(),
            combiner=self.config.combiner,
        )

    def _target_entropy(self) -> float:
        """Return -scale x action dimensions, or scale x the entropy of uniform choices."""
        scale = self.config.target_entropy_scale
        if self.name == "discrete-sac":
            return math.log(self.actions) * (0.3 if scale is None else scale)
        return -self.actions * (1.0 if scale is None else scale)

    def _shared_layers(self) -> int:
        return self.config.shared_layers if self.config.networks == "shared-layers" else 0
