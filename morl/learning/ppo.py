"""Proximal policy optimization of a whole population with vector critics (Schulman et al. 2017, per objective).

Pure functions first, with the equation they compute; then `ppo_update`, the epochs of one update. Losses are averaged
within a policy and summed over policies, so that a population's update equals the updates of its members.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from morl.learning.actor_critic import ActorCritic
from morl.learning.distributions import Distribution
from morl.learning.optimizers import Adam, clip_norms


def vector_advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, ended: Tensor, discount: float, trace: float
) -> Tensor:
    """Return generalized advantages of every objective [step, ..., objective] (Schulman et al. 2016).

    delta_t = r_t + gamma V(s'_t) - V(s_t);  A_t = delta_t + gamma lambda (1 - ended_t) A_{t+1}.

    Args:
        rewards: [step, ..., objective].
        values: [step, ..., objective] V(s_t).
        next_values: [step, ..., objective] V of where step t led, zero where that was terminal; where an episode was
            cut by its time limit, the value of its last observation, not of the next episode's first.
        ended: [step, ...] whether the episode ended with step t, by itself or by its time limit.
        discount: gamma.
        trace: lambda.
    """
    errors = rewards + discount * next_values - values
    continues = (discount * trace) * (1.0 - ended.to(errors.dtype)).unsqueeze(-1)
    advantages, following = torch.empty_like(errors), torch.zeros_like(errors[0])
    for step in range(len(errors) - 1, -1, -1):
        following = torch.addcmul(errors[step], continues[step], following)
        advantages[step] = following
    return advantages


def scalar_advantages(advantages: Tensor, weights: Tensor) -> Tensor:
    """Return sum_k w_k A_k [policy, batch], standardized within each policy.

    Args:
        advantages: [policy, batch, objective] in the units of the rewards, sigma_k A_k where the critic is normalized.
        weights: [policy, objective].
    """
    mixed = torch.bmm(advantages, weights.unsqueeze(2)).squeeze(2)
    centred = mixed - mixed.mean(dim=1, keepdim=True)
    # The unbiased deviation, as torch's std; of a single sample it would be NaN.
    deviation = (centred.square().sum(dim=1, keepdim=True) / max(mixed.shape[1] - 1, 1)).sqrt()
    return centred / (deviation + 1e-5)


def clipped_gain(ratios: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return min(rho A, clip(rho, 1 - eps, 1 + eps) A), the pessimistic surrogate of each sample."""
    return torch.minimum(ratios * advantages, ratios.clamp(1.0 - clip, 1.0 + clip) * advantages)


def clipped_value_loss(values: Tensor, before: Tensor, targets: Tensor, clip: float) -> Tensor:
    """Return max((V - G)^2, (V_old + clip(V - V_old, -eps, eps) - G)^2) / 2 of each sample and objective."""
    near = before + (values - before).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - targets).square(), (near - targets).square())


def minibatches(columns: Mapping[str, Tensor], count: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
    """Yield `count` equal parts of the samples in random order, a permutation of its own for every policy.

    Args:
        columns: name -> [policy, sample, width]; what does not divide is left out, another part in every call.
        count: number of parts.
        generator: of the permutations.
    """
    widths = [column.shape[2] for column in columns.values()]
    rows = torch.cat(list(columns.values()), dim=2)  # one gather of long rows instead of many of short ones
    population, samples, width = rows.shape
    size = samples // count
    chance = torch.rand(population, samples, generator=generator, device=rows.device)
    order = chance.argsort(dim=1)[:, : size * count]
    order += torch.arange(population, device=rows.device).unsqueeze(1) * samples
    shuffled = rows.view(-1, width).index_select(0, order.flatten()).view(population, count, size, width)
    for part in range(count):
        yield dict(zip(columns, torch.split(shuffled[:, part], widths, dim=2), strict=True))


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """How one update goes through its samples.

    Attributes:
        epochs: passes over the samples.
        minibatches: gradient steps in each pass.
        clip: half width of the trust interval of probability ratios.
        value_clip: the same for values.
        value_weight: weight of the value loss.
        entropy_weight: weight of the entropy bonus.
        max_grad_norm: length to which a policy's gradient is cut.
    """

    epochs: int = 10
    minibatches: int = 32
    clip: float = 0.2
    value_clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    max_grad_norm: float = 0.5


PolicyLoss = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""(ratios [policy, batch], minibatch) -> the loss of each policy [policy], to be minimized."""


def surrogate_loss(clip: float) -> PolicyLoss:
    """Return PPO's own policy loss: minus the mean clipped gain of the minibatch's scalar advantages."""

    def loss(ratios: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return -clipped_gain(ratios, batch["advantage"].squeeze(2), clip).mean(dim=1)

    return loss


def probability_ratios(network: ActorCritic, actor: Tensor, batch: Mapping[str, Tensor]) -> tuple[Distribution, Tensor]:
    """Return what actors [policy, n] do, and by how much likelier they make the actions of a batch [policy, batch]."""
    policy = network.distribution(actor, batch["observation"], batch.get("mask"))
    return policy, (policy.log_probability(batch["action"]) - batch["log_probability"].squeeze(2)).exp()


def losses(
    network: ActorCritic, parameters: Tensor, batch: Mapping[str, Tensor], settings: Epochs, policy_loss: PolicyLoss
) -> tuple[Tensor, Tensor]:
    """Return the whole loss of each policy [policy] on a minibatch, and the probability ratios [policy, batch]."""
    actor, critic = network.split(parameters)
    policy, ratios = probability_ratios(network, actor, batch)
    values = network.critic(critic, batch["observation"])
    value_loss = clipped_value_loss(values, batch["value"], batch["target"], settings.value_clip).mean(dim=(1, 2))
    loss = policy_loss(ratios, batch) + settings.value_weight * value_loss
    if settings.entropy_weight:
        loss = loss - settings.entropy_weight * policy.entropy().mean(dim=1)
    return loss, ratios


@dataclass(frozen=True)
class PPO:
    """A population that PPO updates: the shape of its networks, its parameters, its optimizer and the settings.

    Attributes:
        network: shape of actor and critic.
        parameters: [policy, n], requiring gradients; updated in place.
        optimizer: over `parameters`.
        settings: epochs, minibatches, clipping.
    """

    network: ActorCritic
    parameters: Tensor
    optimizer: Adam
    settings: Epochs

    def step(
        self, batch: Mapping[str, Tensor], learning_rates: Tensor, policy_loss: PolicyLoss | None = None
    ) -> Tensor:
        """Take one gradient step in place; return the probability ratios [policy, batch] before it.

        Args:
            batch: one minibatch, see `ppo_update`.
            learning_rates: [policy].
            policy_loss: default: PPO's clipped surrogate.
        """
        policy_loss = policy_loss or surrogate_loss(self.settings.clip)
        loss, ratios = losses(self.network, self.parameters, batch, self.settings, policy_loss)
        (gradient,) = torch.autograd.grad(loss.sum(), self.parameters)
        self.optimizer.step(clip_norms(gradient, self.settings.max_grad_norm), learning_rates)
        return ratios.detach()


class GradientStep(Protocol):
    """`PPO.step`, executed by a backend: what `morl.learning.backends.make_update` returns for a `PPO`."""

    @property
    def backend(self) -> str:
        """Return the name of the backend that executes the steps."""
        ...

    def __call__(
        self, batch: Mapping[str, Tensor], learning_rates: Tensor, policy_loss: PolicyLoss | None = None
    ) -> Tensor:
        """Take one gradient step in place; return the probability ratios [policy, batch] before it."""
        ...


def ppo_update(
    step: GradientStep,
    samples: Mapping[str, Tensor],
    settings: Epochs,
    learning_rates: Tensor,
    generator: torch.Generator,
    policy_loss: PolicyLoss | None = None,
) -> dict[str, Tensor]:
    """Run the gradient steps of one PPO update, in place; return the last minibatch's `clipped_share` [policy].

    Args:
        step: the gradient step of one minibatch.
        samples: [policy, sample, ...] "observation", "action", "log_probability" (of the acting policies), "value",
            "target" (both in the critic's units), "advantage" (scalar), "mask" where choices are masked, and whatever
            `policy_loss` reads.
        settings: those of `step`: epochs, minibatches, clipping.
        learning_rates: [policy].
        generator: of the permutations.
        policy_loss: default: PPO's clipped surrogate.
    """
    for _ in range(settings.epochs):
        for batch in minibatches(samples, settings.minibatches, generator):
            ratios = step(batch, learning_rates, policy_loss)
    return {"clipped_share": ((ratios - 1.0).abs() > settings.clip).to(ratios.dtype).mean(dim=1)}
