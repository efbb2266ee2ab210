"""Stochastic actors and vector critics of a whole population: the shape of both networks, and their actions."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import TypeVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.actions import BoundedActions
from morl.learning.distributions import Categorical, DiagonalGaussian, Distribution
from morl.learning.networks import MultilayerPerceptron
from morl.protocols import Actions


@dataclass(frozen=True)
class ActorCritic:
    """The shape of an actor and a vector critic: two separate tanh networks. It holds no parameters.

    A row of parameters, one policy's, is: actor, log of the standard deviations (continuous actions only), critic.
    """

    actor: MultilayerPerceptron
    critic: MultilayerPerceptron
    """One output for each objective."""
    log_stds: int
    """Number of state-independent log standard deviations: the width of continuous actions, 0 for a discrete choice."""
    initial_std: float = 1.0
    """Standard deviation of the continuous actions of a fresh policy."""

    @property
    def actor_parameters(self) -> int:
        """Return the number of parameters of the actor, at the beginning of a row."""
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
        """Return the parameters of the actors [policy, actor_parameters] and of the critics [policy, ...]."""
        actor, critic = torch.split(parameters, [self.actor_parameters, self.critic.num_parameters], dim=1)
        return actor, critic

    def distribution(self, actor: Tensor, observations: Tensor, masks: Tensor | None = None) -> Distribution:
        """Return the policies' distributions over actions.

        Args:
            actor: [policy, actor_parameters].
            observations: [policy, batch, width], normalized.
            masks: [policy, batch, choice], true where a discrete choice is allowed.
        """
        weights, log_stds = torch.split(actor, [self.actor.num_parameters, self.log_stds], dim=1)
        outputs = self.actor(weights, observations)
        if self.log_stds == 0:
            return Categorical.masked(outputs, masks)
        return DiagonalGaussian(outputs, log_stds.unsqueeze(1))


Act = TypeVar("Act")


def actor_critic(
    width: int,
    action_space: gymnasium.Space[Act],
    objectives: int,
    hidden_sizes: tuple[int, ...],
    initial_std: float = 1.0,
) -> ActorCritic:
    """Return the networks for an environment.

    Args:
        width: elements of an encoded observation.
        action_space: of the environment.
        objectives: outputs of the critic.
        hidden_sizes: units of the hidden layers of both networks.
        initial_std: standard deviation of the continuous actions of a fresh policy.

    Raises:
        ValueError: actions are neither a Discrete choice nor a Box of floats.
    """
    if isinstance(action_space, spaces.Discrete):
        outputs = int(action_space.n)
        log_stds = 0
    elif isinstance(action_space, spaces.Box) and np.issubdtype(action_space.dtype, np.floating):
        outputs = int(np.prod(action_space.shape))
        log_stds = outputs
    else:
        raise ValueError(f"action_space is {action_space}, but must be Discrete or a Box of floats")
    actor = MultilayerPerceptron((width, *hidden_sizes, outputs), activation="tanh")
    critic = MultilayerPerceptron((width, *hidden_sizes, objectives), activation="tanh")
    return ActorCritic(actor, critic, log_stds, initial_std)


def action_map(space: gymnasium.Space[Act]) -> Callable[[NDArray[np.float32]], Actions]:
    """Return a function that maps policy actions [env, width] to environment actions [env, ...].

    A discrete choice is counted from the space's `start`. A bounded box is [-1, 1] to the policy, whatever its units
    are, so that a fresh policy's standard deviation of 1 is half its range; actions beyond are clipped. A box without
    bounds is used in its own units.
    """
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return lambda actions: actions[:, 0].astype(np.int64) + start
    assert isinstance(space, spaces.Box)
    if space.is_bounded():
        return BoundedActions(space).to_environment
    shape, low, high = space.shape, space.low, space.high
    return lambda actions: np.clip(actions.reshape(len(actions), *shape).astype(space.dtype), low, high)
