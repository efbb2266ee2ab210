"""Actor and vector critic of a whole population: the shape of both networks, one flat row of parameters a policy."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.actions import BoundedActions
from morl.learning.distributions import Categorical, DiagonalGaussian, Distribution
from morl.learning.networks import MultilayerPerceptron


@dataclass(frozen=True)
class ActorCritic:
    """Two separate tanh networks; the critic has one output for each objective. It holds no parameters.

    A row of parameters is: actor, log-deviations (continuous actions only), critic.
    """

    actor: MultilayerPerceptron
    critic: MultilayerPerceptron
    log_stds: int
    """Number of state-independent log-deviations: the width of continuous actions, 0 for a discrete choice."""
    initial_std: float = 1.0
    """Deviation of the continuous actions of a fresh policy."""

    @property
    def actor_parameters(self) -> int:
        """Return how many of a row's parameters, from its beginning, acting depends on."""
        return self.actor.num_parameters + self.log_stds

    @property
    def num_parameters(self) -> int:
        """Return the length of a row."""
        return self.actor_parameters + self.critic.num_parameters

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh rows [population, num_parameters]: orthogonal, the actor's last layer small."""
        actor = self.actor.initialize_orthogonal(population, generator, last_gain=0.01)
        critic = self.critic.initialize_orthogonal(population, generator, last_gain=1.0)
        return torch.cat([actor, torch.full((population, self.log_stds), log(self.initial_std)), critic], dim=1)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return what belongs to the actor [policy, actor_parameters] and what to the critic."""
        actor, critic = torch.split(parameters, [self.actor_parameters, self.critic.num_parameters], dim=1)
        return actor, critic

    def distribution(self, actor: Tensor, observations: Tensor, masks: Tensor | None = None) -> Distribution:
        """Return the policies' distributions over actions.

        Args:
            actor: [policy, actor_parameters].
            observations: [policy, batch, width].
            masks: [policy, batch, choice], true where a discrete choice is allowed.
        """
        weights, log_stds = torch.split(actor, [self.actor.num_parameters, self.log_stds], dim=1)
        outputs = self.actor(weights, observations)
        if self.log_stds == 0:
            return Categorical.masked(outputs, masks)
        return DiagonalGaussian(outputs, log_stds.unsqueeze(1))


def actor_critic(
    width: int, action_space: Any, objectives: int, hidden_sizes: tuple[int, ...], initial_std: float = 1.0
) -> ActorCritic:
    """Return networks for observations of `width`, an action space and a number of objectives.

    Raises:
        ValueError: actions are neither a Discrete choice nor a Box of floats.
    """
    if isinstance(action_space, spaces.Discrete):
        outputs, log_stds = int(action_space.n), 0
    elif isinstance(action_space, spaces.Box) and np.issubdtype(action_space.dtype, np.floating):
        outputs = log_stds = int(np.prod(action_space.shape))
    else:
        raise ValueError(f"action_space is {action_space}, but must be Discrete or a Box of floats")
    actor = MultilayerPerceptron((width, *hidden_sizes, outputs), activation="tanh")
    critic = MultilayerPerceptron((width, *hidden_sizes, objectives), activation="tanh")
    return ActorCritic(actor, critic, log_stds, initial_std)


def action_map(space: gymnasium.Space[Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what turns rows of actions [env, width] into those that an environment takes.

    A discrete choice is numbered from `start`. A bounded box is [-1, 1] to the policy, whatever its units are, so that
    a fresh policy's deviation of 1 is half its range; actions beyond are cut. A box without bounds is taken as it is.
    """
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return lambda actions: actions[:, 0].astype(np.int64) + first
    assert isinstance(space, spaces.Box)
    if space.is_bounded():
        return BoundedActions(space).to_environment
    shape, low, high = space.shape, space.low, space.high
    return lambda actions: np.clip(actions.reshape(len(actions), *shape).astype(space.dtype), low, high)
