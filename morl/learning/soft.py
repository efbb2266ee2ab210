"""What soft actor-critics of a population have in common, whatever their actions: state, temperature, steps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from morl.learning.networks import MultilayerPerceptron
from morl.learning.off_policy import Hyperparameters, adam_tensors, begin_tied, first_parameters, tie
from morl.learning.optimizers import Adam, soft_update


class SoftActorCritics:
    """PolicyBank, pairs of critics with their targets, and temperatures; `SAC` and `DiscreteSAC` add what actions mean.

    Args:
        actor_ends: inputs and outputs of the actor.
        critic_ends: inputs and outputs of a critic.
        population: number of policies.
        numbers: hyperparameters.
        generator: of the first parameters.
        device: where the networks live.
    """

    def __init__(
        self,
        actor_ends: Sequence[int],
        critic_ends: Sequence[int],
        population: int,
        numbers: Hyperparameters,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.numbers = numbers
        self.actor, self.critic = (
            MultilayerPerceptron((inputs, *numbers.hidden_sizes, outputs), inner_dtype=numbers.precision)
            for inputs, outputs in (actor_ends, critic_ends)
        )
        self.shared = first_parameters(self.actor, numbers.shared_layers)
        self.shared_critic = first_parameters(self.critic, numbers.shared_layers)
        actors = begin_tied(self.actor.initialize(population, generator), self.shared)
        pairs = [self.critic.initialize(population, generator) for _ in range(2)]
        self.actors = actors.to(device).requires_grad_()
        # Both critics of a policy lie in one row [policy, 2 n].
        self.critics = torch.cat([begin_tied(pair, self.shared_critic) for pair in pairs], dim=1).to(device)
        self.critics.requires_grad_()
        self.targets = self.critics.detach().clone()
        self.log_temperature = torch.zeros(population, 1, device=device)
        self.optimizers = {"actor": Adam(self.actors), "critic": Adam(self.critics)}
        self.optimizers["temperature"] = Adam(self.log_temperature)
        self.diagnostics: dict[str, Tensor] = {}

    def tensors(self) -> dict[str, Tensor]:
        """Return all state [policy, ...] by name."""
        state = {"actor": self.actors.detach(), "critic": self.critics.detach(), "target": self.targets}
        state["log_temperature"] = self.log_temperature
        for name, optimizer in self.optimizers.items():
            state |= adam_tensors(name, optimizer)
        return state

    def temperature(self) -> Tensor:
        """Return alpha [policy, 1]."""
        if self.numbers.temperature is not None:
            return torch.full_like(self.log_temperature, self.numbers.temperature)
        return self.log_temperature.exp()

    def descend_critics(self, loss: Tensor) -> None:
        """Take one step with all critics along their summed loss."""
        (gradient,) = torch.autograd.grad(loss, self.critics)
        for critic in gradient.chunk(2, dim=1):
            tie(critic, self.shared_critic)
        self.optimizers["critic"].step(gradient, self.numbers.critic_learning_rate)
        self.diagnostics["critic_loss"] = loss.detach()

    def descend_actors(self, loss: Tensor, entropy: Tensor) -> None:
        """Take one step with all actors, and one with alpha; `entropy` [policy, 1] is what the policies have now."""
        (gradient,) = torch.autograd.grad(loss, self.actors)
        self.optimizers["actor"].step(tie(gradient, self.shared), self.numbers.actor_learning_rate)
        excess = entropy - self.numbers.target_entropy
        if self.numbers.temperature is None:
            self.optimizers["temperature"].step(excess, self.numbers.critic_learning_rate)
        self.diagnostics["entropy"] = excess + self.numbers.target_entropy
        self.diagnostics["actor_loss"] = loss.detach()

    def move_targets(self) -> None:
        """Move the target critics towards the critics."""
        soft_update(self.targets, self.critics.detach(), self.numbers.tau)
