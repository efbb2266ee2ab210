"""What the learners of a population have in common: how they are built, asked and told. See sac.py, dqn.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from morl.learning.networks import MultilayerPerceptron

UtilityFn = Callable[[Tensor, Tensor], Tensor]
"""(vector values [policy, batch, (action,) objective], observations [policy, batch, width]) -> utilities without the
last axis. How a vector counts is the caller's: critics learn every objective on its own and mean the same under any
utility."""

Batch = Mapping[str, Tensor]
"""observation, action, reward, next_observation, terminated: [policy, batch, width]."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Numbers that off-policy learners share."""

    discount: float
    hidden_sizes: tuple[int, ...]
    actor_learning_rate: float
    critic_learning_rate: float
    tau: float
    policy_delay: int
    """Updates of the critics between two of the actor, which then catches up with as many."""
    temperature: float | None
    """Weight of the entropy (alpha); learnt where None."""
    target_entropy: float
    """What a learnt temperature keeps the entropy at."""
    precision: torch.dtype
    shared_layers: int
    """First layers that all policies have in common."""


class Learner(Protocol):
    """Policies that learn side by side. All of their state has a leading policy axis, so that members can be copied."""

    diagnostics: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """Return all state [policy, ...] by name, not copied; "actor" is what acting needs."""
        ...

    def update(self, batch: Batch, worth: UtilityFn, number: int, generator: torch.Generator) -> None:
        """Take gradient step `number` with every policy on its own part of the batch."""
        ...

    def explore(self, observations: Tensor, worth: UtilityFn, generator: torch.Generator) -> Tensor:
        """Return actions [policy, batch, ...] to learn from, for observations [policy, batch, width]."""
        ...

    def greedy(self, actor: Tensor, observations: Tensor, worth: UtilityFn) -> Tensor:
        """Return the best actions [policy, batch, ...] of any actors [policy, n], these policies' or others'."""
        ...


def first_parameters(network: MultilayerPerceptron, layers: int) -> int:
    """Return how many parameters the first layers of a network have; they lie in front."""
    return sum((inputs + 1) * outputs for inputs, outputs in list(pairwise(network.widths))[:layers])


def tie(gradient: Tensor, shared: int) -> Tensor:
    """Return the gradient [policy, n] with its first `shared` entries replaced by their mean over the policies.

    Policies that begin with the same entries then keep them the same: these layers are one, learnt by all.
    """
    if shared:
        gradient[:, :shared] = gradient[:, :shared].mean(dim=0)
    return gradient


def begin_tied(parameters: Tensor, shared: int) -> Tensor:
    """Return parameters [policy, n] whose first `shared` entries are those of the first policy."""
    parameters[:, :shared] = parameters[:1, :shared]
    return parameters


def both(worth: UtilityFn, values: Tensor, observations: Tensor) -> Tensor:
    """Return the utilities [policy, critic, batch, ...] of several critics' vectors, which have an axis more."""
    return torch.stack([worth(critic, observations) for critic in values.unbind(dim=1)], dim=1)


def adam_tensors(name: str, optimizer: Any) -> dict[str, Tensor]:
    """Return the state of an optimizer as entries of `Learner.tensors`."""
    return {f"{name}_{key}": value for key, value in optimizer.state_dict().items()}


def linear_weights(worth: UtilityFn, observations: Tensor, objectives: int) -> Tensor:
    """Return the weights w [policy, batch, objective] of a utility w.Q + constant: its values at the unit vectors."""
    shape = (*observations.shape[:2], objectives, objectives)
    units = torch.eye(objectives, device=observations.device).expand(shape)
    return worth(units, observations) - worth(torch.zeros_like(units), observations)
