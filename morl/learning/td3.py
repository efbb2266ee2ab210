"""TD3 (Fujimoto, van Hoof, Meger, ICML 2018; arXiv 1802.09477) with vector critics, for a whole population at once.

Critics predict vectors of returns; a preference w turns them into the utility w.Q that actors maximize. With
observations that include w it is the core of PD-MORL's MO-TD3-HER; with one w per policy it is a solver of MORL/D.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from morl.learning.combiners import batch_losses, combined_weights
from morl.learning.off_policy import OffPolicySettings, TensorState, optimizer_tensors
from morl.learning.optimizers import Adam, clip_norms, soft_update
from morl.learning.sampled_batches import Batch
from morl.learning.scalarization import UtilityFn
from morl.learning.types import CombinerName, Normalization
from morl.learning.values import CriticLoss, angle_degrees, critic_losses, pessimistic, utility

EXPLORATION_NOISE = 0.1
"""Standard deviation of the noise on exploring actions (Fujimoto et al. 2018)."""

CANDIDATES = 4
"""Random actions in each row that `actor_search = "secants"` compares with the actor's."""

MIN_INWARD_DERIVATIVE = 0.25
"""Least derivative of tanh for a gradient that leads back from the end of the action range, see `leaky`."""


@dataclass(frozen=True, kw_only=True)
class TD3Settings(OffPolicySettings):
    """Settings of TD3, beside those that all off-policy algorithms have.

    Attributes:
        learning_rate: Adam's step size, of actor and critics.
        policy_delay: updates of the critics per update of actor and target networks.
        target_noise: standard deviation of the noise on target actions, in units of half the action range.
        target_noise_clip: largest noise on target actions, in the same units.
        max_grad_norm: largest norm of the gradient of the actor, and of both critics together.
        loss: of the critics.
        utility_loss: weight of the loss of utilities w.Q beside that of the vectors (`morl.learning.values`).
        layer_norm: normalize the hidden layers of the critics.
        action_gradient: how the gradient at an action passes the actor's tanh: by its derivative, or as `leaky` says.
        actor_search: what the actor climbs: the gradient of the values at its actions, or the secants to better random
            actions as well (`TD3._secants`).
        actor_starts: update from which on the actor learns.
        critic_angle: weight of the angle between direction and values in the loss of the critics, per degree.
        actor_angle: the same in the loss of the actor.
        combiner: how the actors' gradients of the objectives are combined (`morl.learning.combiners`).
    """

    learning_rate: float = 3e-4
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    max_grad_norm: float = float("inf")
    loss: CriticLoss = "squared"
    utility_loss: float = 0.0
    layer_norm: bool = False
    action_gradient: Literal["tanh", "leaky"] = "tanh"
    actor_search: Literal["gradient", "secants"] = "gradient"
    actor_starts: int = 0
    critic_angle: float = 0.0
    actor_angle: float = 0.0
    combiner: CombinerName = "weighted-sum"


def smoothed(actions: Tensor, noise: Tensor, clip: float) -> Tensor:
    """Return clip(a + clip(noise, -c, c), -1, 1): target policy smoothing."""
    return (actions + noise.clamp(-clip, clip)).clamp(-1.0, 1.0)


def leaky(gradient: Tensor, actions: Tensor) -> Tensor:
    """Return the gradient of a loss at x from that at actions = tanh(x), never vanishing where it leads inward.

    The derivative of tanh is 1 - a^2: an actor that an early, wrong critic has driven to the end of its range could
    hardly turn round. Where the gradient leads back from there, the derivative counts at least
    `MIN_INWARD_DERIVATIVE`. (Inverting gradients, Hausknecht and Stone 2016, arXiv 1511.04143, weigh every gradient by
    the room ahead; that draws actors away from the ends.)

    Args:
        gradient: [policy, batch, action] of the loss with respect to the actions.
        actions: [policy, batch, action] in [-1, 1].
    """
    derivative = 1.0 - actions.square()
    inward = gradient * actions > 0
    return gradient * torch.where(inward, derivative.clamp(min=MIN_INWARD_DERIVATIVE), derivative)


def secants(gains: Tensor, steps: Tensor) -> Tensor:
    """Return the slopes [policy, batch, action] of the secants from actions to the best of several others.

    Where values are a staircase in the action, their gradient inside a step says nothing of the next one; the slope to
    an action on another step does. Where no action is better, the slope is 0.

    Args:
        gains: [policy, candidate, batch] of utility by the other actions.
        steps: [policy, candidate, batch, action] from the actions to the others.
    """
    largest, best = gains.max(dim=1, keepdim=True)
    step = steps.gather(1, best.unsqueeze(-1).expand((-1, -1, -1, steps.shape[-1]))).squeeze(1)
    slopes = largest.squeeze(1).clamp(min=0.0) / step.square().sum(dim=-1).clamp(min=1e-6)
    return step * slopes.unsqueeze(-1)


class TD3(TensorState):
    """Policies pi(s) and twin critics Q_i(s, a) of a population; satisfies `OffPolicyAlgorithm`.

    Actions lie in [-1, 1]. Utilities are linear. Both critics of a policy lie in its row: critics [policy, 2 * n].

    Args:
        observation_width: columns of an observation, the preference included where networks are conditioned on it.
        action_width: columns of an action.
        objectives: length of the reward vector.
        settings: settings of the updates.
        initial_seeds: seed of the initial parameters of each policy.
        device: where the networks live.
    """

    def __init__(
        self,
        observation_width: int,
        action_width: int,
        objectives: int,
        settings: TD3Settings,
        initial_seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.policies = len(initial_seeds)
        self.action_width = action_width
        self.actor = settings.build_network("actor", observation_width, action_width)
        normalization: Normalization = "layer" if settings.layer_norm else "none"
        inputs = observation_width + action_width
        self.critic = settings.build_network("critic", inputs, objectives, normalization)
        actors = []
        critics = []
        for seed in initial_seeds:
            generator = torch.Generator().manual_seed(seed)
            actors.append(self.actor.initialize(1, generator))
            critics.append(self.critic.initialize(2, generator).view(1, -1))
        self.actors = torch.cat(actors).to(device, settings.dtype).requires_grad_()
        self.critics = torch.cat(critics).to(device, settings.dtype).requires_grad_()
        self.target_actors = self.actors.detach().clone()
        self.target_critics = self.critics.detach().clone()
        self.actor_optimizer = Adam(self.actors)
        self.critic_optimizer = Adam(self.critics.detach().view(2 * self.policies, -1))

    def tensors(self) -> dict[str, Tensor]:
        """Return the complete state [policy, ...] by name, not copied; "actor" is the part that acts."""
        critic_optimizer = optimizer_tensors("critic", self.critic_optimizer)
        return {
            "actor": self.actors.detach(),
            "critic": self.critics.detach(),
            "target_actor": self.target_actors,
            "target": self.target_critics,
            **optimizer_tensors("actor", self.actor_optimizer),
            **{name: tensor.view(self.policies, -1) for name, tensor in critic_optimizer.items()},
        }

    # --- Acting -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observations: Tensor, actors: Tensor | None = None) -> Tensor:
        """Return the deterministic actions [policy, batch, action].

        Args:
            observations: [policy, batch, observation].
            actors: rows of `actors` or `target_actors`; default: the actors of all policies.
        """
        return self.actor(self.actors if actors is None else actors, observations).tanh()

    @torch.no_grad()
    def explore(
        self,
        observations: Tensor,
        utility: UtilityFn,  # noqa: ARG002
        generator: torch.Generator,
        masks: Tensor | None = None,  # noqa: ARG002  (actions are no choices)
    ) -> Tensor:
        """Return actions [policy, batch, action] with Gaussian noise."""
        actions = self.act(observations)
        noise = torch.randn(actions.shape, generator=generator, device=actions.device)
        return (actions + EXPLORATION_NOISE * noise).clamp(-1.0, 1.0)

    # --- Learning -----------------------------------------------------------------------------------------------------

    def sample_noise(self, updates: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return the noise on target actions [policy, update, 1, batch, action] of the next updates."""
        shape = (self.policies, batch_size, self.action_width)
        noise = [torch.randn(shape, generator=generator, device=generator.device) for _ in range(updates)]
        return torch.stack(noise, dim=1).unsqueeze(2)

    def actors_are_due(self, update: int) -> bool:
        """Return whether actors and targets are updated in update number `update`, from 1."""
        return update % self.settings.policy_delay == 0

    def actors_learn(self, update: int) -> bool:
        """Return whether actors move in update number `update`, from 1, where they are due."""
        return update > self.settings.actor_starts

    def update_choices(self, count: int) -> tuple[object, ...]:
        """Return for each of the next `count` updates whether actors are due, and whether they move then."""
        numbers = range(self.updates + 1, self.updates + count + 1)
        return tuple(self.actors_are_due(number) and (True, self.actors_learn(number)) for number in numbers)

    def values(self, critics: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """Return Q_i(s, a) [policy, critic, batch, objective] of one or both critics of each policy."""
        number = critics.shape[1] // self.critic.num_parameters
        inputs = torch.cat([observations, actions], dim=-1).repeat_interleave(number, dim=0)
        rows = critics if number == 1 else critics.view(number * len(critics), -1)
        values = self.critic(rows, inputs)
        return values.view((self.policies, number, *values.shape[1:]))

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Update the critics and, every `policy_delay`-th time, the actors and all target networks.

        Args:
            batch: with one draw of noise, and weights w; the losses have angles where it has directions.

        Returns:
            critic_loss [policy], and values [policy, batch, objective] of the first critic.
        """
        settings = self.settings
        with torch.no_grad():
            targets = self.targets(batch)
        values = self.values(self.critics, batch.observation, batch.action)
        weights = _weight(batch).unsqueeze(1)
        errors = critic_losses(values, targets.unsqueeze(1), weights, settings.loss, settings.utility_loss)
        if settings.critic_angle > 0.0 and batch.direction is not None and batch.origin is not None:
            seen = values - batch.origin.unsqueeze(1)
            errors = errors + settings.critic_angle * angle_degrees(batch.direction.unsqueeze(1), seen)
        losses = errors.mean(dim=-1).sum(dim=-1)  # [policy]: mean over the batch, sum over critics
        (gradient,) = torch.autograd.grad(losses.sum(), self.critics)
        gradient = clip_norms(gradient, settings.max_grad_norm)
        self.critic_optimizer.step(gradient.view(2 * self.policies, -1), settings.learning_rate)
        self.updates += 1
        if self.actors_are_due(self.updates):
            self._update_actors(batch)
        return {"critic_loss": losses.detach(), "values": values[:, 0].detach()}

    def targets(self, batch: Batch) -> Tensor:
        """Return y = r + gamma Q'_i(s', a') [policy, batch, objective], i the critic with the lower utility at a'."""
        settings = self.settings
        proposed = self.actor(self.target_actors, batch.next_observation).tanh()
        actions = smoothed(proposed, settings.target_noise * batch.noise[:, 0], settings.target_noise_clip)
        values = self.values(self.target_critics, batch.next_observation, actions)
        return batch.reward + settings.discount * (1.0 - batch.terminated) * pessimistic(values, _weight(batch))

    def _update_actors(self, batch: Batch) -> None:
        """Run one update on the loss -w.Q_1(s, pi(s)), or the objectives' losses combined, plus angle; move targets."""
        settings = self.settings
        first_critics = self.critics.detach()[:, : self.critic.num_parameters]
        proposed = self.actor(self.actors, batch.observation)
        actions = proposed.tanh()
        values = self.values(first_critics, batch.observation, actions).squeeze(1)

        def gradient_of(loss: Tensor) -> Tensor:
            """Return the gradient [policy, n] of a loss of the actions with respect to the actors."""
            if settings.action_gradient == "tanh":
                return torch.autograd.grad(loss, self.actors, retain_graph=True)[0]
            (at_actions,) = torch.autograd.grad(loss, actions, retain_graph=True)
            inward = leaky(at_actions, actions.detach())
            return torch.autograd.grad(proposed, self.actors, inward, retain_graph=True)[0]

        if settings.combiner == "weighted-sum":
            losses = -utility(values, _weight(batch))
        else:
            separate, weights = batch_losses(values, _weight(batch))
            combined = combined_weights(settings.combiner, separate, weights, gradient_of)
            losses = (combined * separate).sum(dim=-1, keepdim=True)
        if settings.actor_angle > 0.0 and batch.direction is not None and batch.origin is not None:
            losses = losses + settings.actor_angle * angle_degrees(batch.direction, values - batch.origin)
        if settings.actor_search == "secants":
            losses = losses - (self._secants(batch, actions.detach()) * actions).sum(dim=-1)
        gradient = gradient_of(losses.mean(dim=-1).sum())
        # With a rate of 0 the optimizer's moments warm up, while the critics learn first.
        rate = settings.learning_rate if self.actors_learn(self.updates) else 0.0
        self.actor_optimizer.step(clip_norms(gradient, settings.max_grad_norm), rate)
        soft_update(self.target_actors, self.actors, settings.tau)
        soft_update(self.target_critics, self.critics, settings.tau)

    @torch.no_grad()
    def _secants(self, batch: Batch, actions: Tensor) -> Tensor:
        """Return `secants` from actions [policy, batch, action] to the best of `CANDIDATES` random ones in each row.

        Critics may be wrong far from the actions that were tried: the gain is the lower one of both.
        """
        weight = _weight(batch).unsqueeze(1)
        uniform = 2.0 * torch.special.ndtr(batch.noise[:, 0]) - 1.0
        own = utility(self.values(self.critics, batch.observation, actions), weight)
        gains = []
        steps = []
        for shift in range(CANDIDATES):  # rows share their draws
            others = uniform.roll(shift, dims=1)
            gains.append((utility(self.values(self.critics, batch.observation, others), weight) - own).amin(dim=1))
            steps.append(others - actions)
        return secants(torch.stack(gains, dim=1), torch.stack(steps, dim=1))


def _weight(batch: Batch) -> Tensor:
    if batch.weight is None:
        raise ValueError("weight is None, but TD3 maximizes linear utilities only: it needs the weights of the batch")
    return batch.weight
