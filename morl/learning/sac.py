"""Soft actor-critic for a population with vector critics, for continuous actions (Haarnoja et al. 2018b).

A critic learns the return of every objective on its own; only the choice between the two critics, and the actor's loss,
depend on the utility. The entropy bonus is part of every objective: with weights that sum to one the utility of the
vector target is the target of textbook SAC. `SACBase` is the part that discrete actions have in common with continuous
ones (`morl.learning.discrete_sac`).
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.nn.functional import softplus

from morl.learning.combiners import batch_losses, combined_weights
from morl.learning.distributions import SquashedGaussian
from morl.learning.off_policy import (
    OffPolicySettings,
    TensorState,
    average_shared_gradient,
    optimizer_tensors,
    share_parameters,
)
from morl.learning.optimizers import Adam, soft_update
from morl.learning.sampled_batches import Batch
from morl.learning.scalarization import UtilityFn
from morl.learning.types import CombinerName, Network
from morl.learning.values import critic_utilities, worst_of


@dataclass(frozen=True, kw_only=True)
class SACSettings(OffPolicySettings):
    """Settings of soft actor-critic, beside those that all off-policy algorithms have.

    Attributes:
        actor_learning_rate: Adam's step size for actors.
        critic_learning_rate: Adam's step size for critics and temperatures.
        policy_delay: updates of the critics between two of the actor, which then runs as many at once.
        temperature: weight of the entropy (alpha); None: learned.
        target_entropy: entropy that a learned temperature aims at.
        shared_layers: first layers that all policies have in common.
        combiner: how the actors' gradients of the objectives are combined (`morl.learning.combiners`).
    """

    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 1e-3
    policy_delay: int = 2
    temperature: float | None = None
    target_entropy: float = 0.0
    shared_layers: int = 0
    combiner: CombinerName = "weighted-sum"


def squashed_gaussian(outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return actions tanh(mean + deviation noise) [..., action] in (-1, 1) and their log-probabilities [...].

    The logarithm of the derivative of tanh is 2 (log 2 - x - softplus(-2 x)), which does not overflow.

    Args:
        outputs: [..., 2 action] of the actor: means, then unbounded logarithms of deviations.
        noise: [..., action] standard normal.
    """
    policy = SquashedGaussian.of(outputs)
    log_std = policy.log_std
    before = policy.mean + log_std.exp() * noise
    log_derivative = 2.0 * (log(2.0) - before - softplus(-2.0 * before))
    log_density = -0.5 * noise.square() - log_std - 0.5 * log(2.0 * torch.pi)
    return before.tanh(), (log_density - log_derivative).sum(dim=-1)


class SACBase(TensorState):
    """Actors, pairs of critics with their targets, and temperatures of a population: state and gradient steps.

    Both critics of a policy lie in its row: critics [policy, 2 * n].

    Args:
        actor: shape of the actors.
        critic: shape of one critic.
        settings: settings of the updates.
        policies: number of policies.
        generator: random stream of the initial parameters.
        device: where the networks live.
    """

    def __init__(
        self,
        actor: Network,
        critic: Network,
        settings: SACSettings,
        policies: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.policies = policies
        self.actor = actor
        self.critic = critic
        self.shared_actor_parameters = actor.count_first(settings.shared_layers)
        self.shared_critic_parameters = critic.count_first(settings.shared_layers)
        actors = share_parameters(actor.initialize(policies, generator), self.shared_actor_parameters)
        pair = [critic.initialize(policies, generator) for _ in range(2)]
        critics = torch.cat([share_parameters(each, self.shared_critic_parameters) for each in pair], dim=1)
        self.actors = actors.to(device, settings.dtype).requires_grad_()
        self.critics = critics.to(device, settings.dtype).requires_grad_()
        self.target_critics = self.critics.detach().clone()
        self.log_temperature = torch.zeros(policies, 1, device=device, dtype=settings.dtype)
        self.actor_optimizer = Adam(self.actors)
        self.critic_optimizer = Adam(self.critics)
        self.temperature_optimizer = Adam(self.log_temperature)

    def tensors(self) -> dict[str, Tensor]:
        """Return the complete state [policy, ...] by name, not copied; "actor" is the part that acts."""
        return {
            "actor": self.actors.detach(),
            "critic": self.critics.detach(),
            "target": self.target_critics,
            "log_temperature": self.log_temperature,
            **optimizer_tensors("actor", self.actor_optimizer),
            **optimizer_tensors("critic", self.critic_optimizer),
            **optimizer_tensors("temperature", self.temperature_optimizer),
        }

    def temperature(self) -> Tensor:
        """Return alpha [policy, 1]."""
        if self.settings.temperature is not None:
            return torch.full_like(self.log_temperature, self.settings.temperature)
        return self.log_temperature.exp()

    def actor_is_due(self, update: int) -> bool:
        """Return whether actors and temperatures are updated after the critics in update number `update`, from 0."""
        return update % self.settings.policy_delay == 0

    def update_choices(self, count: int) -> tuple[object, ...]:
        """Return for each of the next `count` updates whether actors are due in it."""
        return tuple(self.actor_is_due(update) for update in range(self.updates, self.updates + count))

    def step_critics(self, loss: Tensor) -> None:
        """Run one gradient step of all critics on their summed loss."""
        (gradient,) = torch.autograd.grad(loss, self.critics)
        for critic in gradient.chunk(2, dim=1):
            average_shared_gradient(critic, self.shared_critic_parameters)
        self.critic_optimizer.step(gradient, self.settings.critic_learning_rate)

    def combined_loss(self, values: Tensor, batch: Batch) -> Tensor:
        """Return the loss [policy] of the actors that moves along the combined gradients of the objectives' values.

        Args:
            values: [policy, batch, objective] of the actors' actions.
            batch: with weights.

        Raises:
            ValueError: the batch has no weights: its utility is not linear.
        """
        if batch.weight is None:
            raise ValueError(
                f"combiner is {self.settings.combiner!r}, but weight is None: it combines under linear utilities only"
            )
        separate, weights = batch_losses(values, batch.weight)
        combined = combined_weights(
            self.settings.combiner,
            separate,
            weights,
            gradient_of=lambda loss: torch.autograd.grad(loss, self.actors, retain_graph=True)[0],
        )
        return (combined * separate).sum(dim=1)

    def step_actors(self, loss: Tensor, entropy: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Run one gradient step of all actors, and one of the temperatures towards the target entropy.

        Args:
            loss: sum over policies.
            entropy: [policy, 1] of the policies now.
            target: [policy, 1] entropy that the temperatures aim at; default: the settings'.

        Returns:
            entropy [policy, 1] and actor_loss [].
        """
        (gradient,) = torch.autograd.grad(loss, self.actors)
        gradient = average_shared_gradient(gradient, self.shared_actor_parameters)
        self.actor_optimizer.step(gradient, self.settings.actor_learning_rate)
        excess = entropy - (self.settings.target_entropy if target is None else target)
        if self.settings.temperature is None:
            self.temperature_optimizer.step(excess, self.settings.critic_learning_rate)
        shown = excess + self.settings.target_entropy if target is None else entropy
        return {"entropy": shown, "actor_loss": loss.detach()}

    def move_targets(self) -> None:
        """Move the target critics towards the critics."""
        soft_update(self.target_critics, self.critics.detach(), self.settings.tau)


class SAC(SACBase):
    """Continuous actions in (-1, 1); satisfies `morl.learning.off_policy.OffPolicyAlgorithm`.

    Args:
        observation_width: columns of an observation.
        action_width: columns of an action.
        objectives: length of the reward vector.
        settings: settings of the updates.
        policies: number of policies.
        generator: random stream of the initial parameters.
        device: where the networks live.
    """

    def __init__(
        self,
        observation_width: int,
        action_width: int,
        objectives: int,
        settings: SACSettings,
        policies: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.action_width = action_width
        actor = settings.build_network("actor", observation_width, 2 * action_width)
        critic = settings.build_network("critic", observation_width + action_width, objectives)
        super().__init__(actor, critic, settings, policies, generator, device)

    @torch.no_grad()
    def explore(
        self,
        observations: Tensor,
        utility: UtilityFn,  # noqa: ARG002
        generator: torch.Generator,
        masks: Tensor | None = None,  # noqa: ARG002  (actions are no choices)
    ) -> Tensor:
        """Return actions [policy, batch, action] sampled from the policies."""
        outputs = self.actor(self.actors, observations)
        shape = (*outputs.shape[:-1], self.action_width)
        return squashed_gaussian(outputs, torch.randn(shape, generator=generator, device=outputs.device))[0]

    def sample_noise(self, updates: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return the noise of the next updates [policy, update, 1 + policy_delay, batch, action].

        The first draw is of the next actions, the others of the actor's updates; these are zero where none is due.
        """
        delay = self.settings.policy_delay
        shape = (self.policies, batch_size, self.action_width)
        noise = torch.zeros((self.policies, updates, 1 + delay, *shape[1:]), device=generator.device)
        for update in range(updates):
            draws = 1 + delay if self.actor_is_due(self.updates + update) else 1
            for draw in range(draws):
                noise[:, update, draw] = torch.randn(shape, generator=generator, device=generator.device)
        return noise

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Update the critics and, every `policy_delay`-th time, actors and temperatures as often; then the targets.

        Args:
            batch: with 1 + `policy_delay` draws of noise.

        Returns:
            critic_loss [], and entropy [policy, 1] and actor_loss [] where actors were updated.
        """
        metrics = {"critic_loss": self._update_critics(batch)}
        if self.actor_is_due(self.updates):
            for draw in range(self.settings.policy_delay):
                metrics |= self._update_actors(batch, batch.noise[:, 1 + draw])
        self.move_targets()
        self.updates += 1
        return metrics

    def values(self, critics: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """Return Q_k(s, a) [policy, critic, batch, objective] of both critics of each policy."""
        inputs = torch.cat([observations, actions], dim=-1).repeat_interleave(2, dim=0)
        outputs = self.critic(critics.view(2 * len(critics), -1), inputs)
        return outputs.view((len(critics), 2, *outputs.shape[1:]))

    def _update_critics(self, batch: Batch) -> Tensor:
        """Fit Q_kj(s, a) to y_j = r_j + gamma (1 - d) [Q'_k*j(s', a') - alpha log pi(a' | s')]; return the loss.

        k* is the target critic whose vector has the lower utility.
        """
        following = batch.next_observation
        with torch.no_grad():
            actions, log_probabilities = squashed_gaussian(self.actor(self.actors, following), batch.noise[:, 0])
            values = self.values(self.target_critics, following, actions)
            soft = worst_of(values, critic_utilities(batch.utility, values, following))
            soft -= (self.temperature() * log_probabilities).unsqueeze(-1)
            targets = batch.reward + self.settings.discount * (1.0 - batch.terminated) * soft
        errors = self.values(self.critics, batch.observation, batch.action) - targets.unsqueeze(1)
        loss = errors.square().sum() / errors.shape[2]  # a mean over the batch, a sum over everything else
        self.step_critics(loss)
        return loss.detach()

    def _update_actors(self, batch: Batch, noise: Tensor) -> dict[str, Tensor]:
        """Minimize alpha log pi(a | s) - min_k u(Q_k(s, a)); then alpha, towards the target entropy."""
        actions, log_probabilities = squashed_gaussian(self.actor(self.actors, batch.observation), noise)
        values = self.values(self.critics.detach(), batch.observation, actions)
        utilities = critic_utilities(batch.utility, values, batch.observation)
        if self.settings.combiner == "weighted-sum":
            loss = (self.temperature() * log_probabilities - utilities.amin(dim=1)).mean(dim=1).sum()
        else:
            own = self.combined_loss(worst_of(values, utilities), batch)
            loss = ((self.temperature() * log_probabilities).mean(dim=1) + own).sum()
        return self.step_actors(loss, (-log_probabilities.detach()).mean(dim=1, keepdim=True))
