"""Proximal policy optimization of a whole population with vector critics (Schulman et al. 2017, per objective).

First the networks, then the equations as pure functions, then the gradient step, then `ppo_update`, the epochs of one
update. Losses are averaged within a policy and summed over policies, so that training a population equals training its
policies one by one. Advantages come from `morl.learning.advantages`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from morl.learning.combiners import check_combiner, combined_weights
from morl.learning.distributions import Categorical, DiagonalGaussian, Distribution
from morl.learning.encoders import Architecture, MemoryLayer
from morl.learning.optimizers import Adam, clip_norms
from morl.learning.types import GradientCombiner, Network

Samples = Mapping[str, Tensor]
"""Samples of a rollout, or a minibatch of them: name -> [policy, sample, width]. Every update reads "observation",
"action", "log_probability" (of the policies that acted), "value" (the critic's, before the update), "target" (of the
critic), "advantage" (scalar) and, where actions are masked, "mask"; a policy loss may read more. Where observations
have images, "pixels" holds them as bytes, and "observation" the rest (`inputs_of`). Where the gradients of the
objectives are combined in another way than by their weighted sum, "objective_advantage" and "weight" are read instead
of "advantage" (`morl.learning.advantages.objective_columns`).

Of policies with a memory, the samples are sequences of steps, one behind the other. "start" is 1 where the memory is
empty before a step, and "state" [policy, sequence, width] has one row for each sequence: the memory before it."""


def inputs_of(batch: Samples) -> Tensor:
    """Return the inputs of the networks [policy, sample, width] of some samples: pixels, if any, then the rest."""
    if "pixels" not in batch:
        return batch["observation"]
    return torch.cat([batch["pixels"].to(batch["observation"].dtype), batch["observation"]], dim=2)


class Memory(NamedTuple):
    """What policies and their critics remember before a batch of sequences.

    Attributes:
        states: [policy, sequence, width] before the first step of each sequence: of the actor, then of the critic.
        starts: [policy, sequence * step, 1] 1 where the memory is emptied before the step, else 0.
    """

    states: Tensor
    starts: Tensor


def memory_of(batch: Samples) -> Memory | None:
    """Return what policies remember before the sequences of a batch; None: they have no memory."""
    return Memory(batch["state"], batch["start"]) if "state" in batch else None


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Numbers of one PPO update.

    Attributes:
        epochs: passes over the samples.
        minibatches: gradient steps in each pass.
        clip_range: epsilon, the half width of the interval around 1 that probability ratios are clipped to.
        value_clip_range: half width of the interval around the old value that values are clipped to.
        value_weight: weight of the value loss.
        entropy_weight: weight of the entropy bonus.
        max_grad_norm: norm that each policy's gradient, of actor and critic together, is clipped to.
        combiner: how the actors' gradients of the objectives are combined (`morl.learning.combiners`).
    """

    epochs: int = 10
    minibatches: int = 32
    clip_range: float = 0.2
    value_clip_range: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    max_grad_norm: float = 0.5
    combiner: GradientCombiner = "weighted-sum"


# --- Networks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActorCritic:
    """The shape of an actor and a vector critic: two separate networks. It holds no parameters.

    A row of parameters, one policy's, is: actor, log of the standard deviations (continuous actions only), critic.

    With a memory, actor and critic each begin with a GRU of their own, and their networks see its state instead of the
    observation. They share nothing: an actor is archived and acts without its critic, and a step that moves actors
    alone (a trust region) leaves values as they are. A state holds the actor's units, then the critic's.
    """

    actor: Network
    critic: Network
    """One output for each objective."""
    log_stds: int
    """Number of state-independent log standard deviations: the width of continuous actions, 0 for a discrete choice."""
    initial_std: float = 1.0
    """Standard deviation of the continuous actions of a fresh policy."""
    memory: MemoryLayer | None = None
    """Of the actor and, in the same shape, of the critic; None: they see the observation alone."""

    @property
    def memory_parameters(self) -> int:
        """Return the number of parameters of one GRU, at the beginning of the actor's and of the critic's."""
        return 0 if self.memory is None else self.memory.num_parameters

    @property
    def actor_parameters(self) -> int:
        """Return the number of parameters of the actor, at the beginning of a row."""
        return self.memory_parameters + self.actor.num_parameters + self.log_stds

    @property
    def critic_parameters(self) -> int:
        """Return the number of parameters of the critic, at the end of a row."""
        return self.memory_parameters + self.critic.num_parameters

    @property
    def num_parameters(self) -> int:
        """Return the length of a row."""
        return self.actor_parameters + self.critic_parameters

    @property
    def state_size(self) -> int:
        """Return the length of a state: the units of both GRUs; 0 without a memory."""
        return 0 if self.memory is None else 2 * self.memory.size

    def initialize(self, population: int, generator: torch.Generator) -> Tensor:
        """Return fresh rows [population, num_parameters]: orthogonal, the actor's last layer small.

        Args:
            population: number of rows.
            generator: of the random numbers.
        """
        actor = self.actor.initialize_orthogonal(population, generator, last_gain=0.01)
        critic = self.critic.initialize_orthogonal(population, generator, last_gain=1.0)
        parts = [actor, torch.full((population, self.log_stds), log(self.initial_std)), critic]
        if self.memory is not None:
            parts.insert(2, self.memory.initialize(population, generator))
            parts.insert(0, self.memory.initialize(population, generator))
        return torch.cat(parts, dim=1)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parameters of the actors [policy, actor_parameters] and of the critics [policy, ...]."""
        actor, critic = torch.split(parameters, [self.actor_parameters, self.critic_parameters], dim=1)
        return actor, critic

    def actor_inputs(self, actor: Tensor, observations: Tensor, memory: Memory | None) -> Tensor:
        """Return what the actors' networks see: the observations, or the states of the actors' memory after them.

        Args:
            actor: [policy, actor_parameters].
            observations: [policy, batch, width], normalized.
            memory: before the observations, which are sequences; None without a memory.
        """
        if self.memory is None:
            return observations
        assert memory is not None
        states = memory.states[..., : self.memory.size]
        return self.memory(actor[:, : self.memory_parameters], observations, states, memory.starts)

    def critic_inputs(self, critic: Tensor, observations: Tensor, memory: Memory | None) -> Tensor:
        """Return what the critics' networks see: the observations, or the states of the critics' memory after them.

        Args:
            critic: [policy, critic_parameters].
            observations: [policy, batch, width], normalized.
            memory: before the observations, which are sequences; None without a memory.
        """
        if self.memory is None:
            return observations
        assert memory is not None
        states = memory.states[..., self.memory.size :]
        return self.memory(critic[:, : self.memory_parameters], observations, states, memory.starts)

    def policy(self, actor: Tensor, inputs: Tensor, masks: Tensor | None = None) -> Distribution:
        """Return the policies' distributions over actions.

        Args:
            actor: [policy, actor_parameters].
            inputs: [policy, batch, width] of `actor_inputs`.
            masks: [policy, batch, choice], true where a discrete choice is allowed.
        """
        sizes = [self.memory_parameters, self.actor.num_parameters, self.log_stds]
        _, weights, log_stds = torch.split(actor, sizes, dim=1)
        outputs = self.actor(weights, inputs)
        if self.log_stds == 0:
            return Categorical.masked(outputs, masks)
        return DiagonalGaussian(outputs, log_stds.unsqueeze(1))

    def distribution(
        self, actor: Tensor, observations: Tensor, masks: Tensor | None = None, memory: Memory | None = None
    ) -> Distribution:
        """Return the policies' distributions over actions.

        Args:
            actor: [policy, actor_parameters].
            observations: [policy, batch, width], normalized.
            masks: [policy, batch, choice], true where a discrete choice is allowed.
            memory: before the observations, which are sequences; None without a memory.
        """
        return self.policy(actor, self.actor_inputs(actor, observations, memory), masks)

    def values(self, critic: Tensor, observations: Tensor, memory: Memory | None = None) -> Tensor:
        """Return the critics' values [policy, batch, objective].

        Args:
            critic: [policy, critic_parameters].
            observations: [policy, batch, width], normalized.
            memory: before the observations, which are sequences; None without a memory.
        """
        return self.critic(critic[:, self.memory_parameters :], self.critic_inputs(critic, observations, memory))


def actor_critic(
    width: int,
    action_space: gymnasium.Space[Any],
    objectives: int,
    architecture: Architecture | tuple[int, ...],
    initial_std: float = 1.0,
    memory_size: int = 0,
) -> ActorCritic:
    """Return the networks for an environment.

    Args:
        width: elements of an encoded observation.
        action_space: of the environment.
        objectives: outputs of the critic.
        architecture: of both networks; units of the hidden layers for perceptrons with tanh.
        initial_std: standard deviation of the continuous actions of a fresh policy.
        memory_size: units of the GRU that both networks begin with; 0: none.

    Raises:
        ValueError: actions are neither a Discrete choice nor a Box of floats, or a memory cannot see the images.
    """
    if isinstance(action_space, spaces.Discrete):
        outputs = int(action_space.n)
        log_stds = 0
    elif isinstance(action_space, spaces.Box) and np.issubdtype(action_space.dtype, np.floating):
        outputs = int(np.prod(action_space.shape))
        log_stds = outputs
    else:
        raise ValueError(f"action_space is {action_space}, but must be Discrete or a Box of floats")
    if isinstance(architecture, tuple):
        architecture = Architecture(hidden_sizes=architecture, activation="tanh")
    memory = architecture.build_memory(width, memory_size) if memory_size else None
    behind = architecture if memory is None else architecture.behind_memory
    actor = behind.build("actor", memory_size or width, outputs)
    critic = behind.build("critic", memory_size or width, objectives)
    return ActorCritic(actor, critic, log_stds, initial_std, memory)


# --- Losses -----------------------------------------------------------------------------------------------------------


def probability_ratios(network: ActorCritic, actor: Tensor, batch: Samples) -> tuple[Distribution, Tensor]:
    """Return the policies and the ratios rho = pi(a | s) / pi_old(a | s) [policy, sample] of a batch.

    Args:
        network: the shape of actor and critic.
        actor: [policy, n] parameters of the actors.
        batch: samples.
    """
    policy = network.distribution(actor, inputs_of(batch), batch.get("mask"), memory_of(batch))
    return policy, (policy.log_probability(batch["action"]) - batch["log_probability"].squeeze(2)).exp()


def clipped_surrogate(ratios: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A) of each sample (Schulman et al. 2017, eq. 7).

    Args:
        ratios: [...] rho.
        advantages: [...] A.
        clip_range: epsilon.
    """
    return torch.minimum(ratios * advantages, ratios.clamp(1.0 - clip_range, 1.0 + clip_range) * advantages)


def clipped_value_loss(values: Tensor, old_values: Tensor, targets: Tensor, clip_range: float) -> Tensor:
    """Return max((V - G)^2, (V_old + clip(V - V_old, -epsilon, epsilon) - G)^2) / 2 of each sample and objective.

    Args:
        values: [...] V.
        old_values: [...] V_old, of the critic before the update.
        targets: [...] G.
        clip_range: epsilon.
    """
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - targets).square(), (clipped - targets).square())


PolicyLoss = Callable[[Tensor, Samples], Tensor]
"""(ratios [policy, sample], minibatch) -> the loss of each policy [policy], to be minimized."""


def clipped_surrogate_loss(clip_range: float) -> PolicyLoss:
    """Return PPO's own policy loss: minus the mean clipped surrogate of the minibatch's scalar advantages."""

    def loss(ratios: Tensor, batch: Samples) -> Tensor:
        return -clipped_surrogate(ratios, batch["advantage"].squeeze(2), clip_range).mean(dim=1)

    return loss


def objective_losses(ratios: Tensor, batch: Samples, clip_range: float) -> Tensor:
    """Return minus the mean clipped surrogate of every objective [policy, objective].

    Args:
        ratios: [policy, sample] rho.
        batch: a minibatch with "objective_advantage" [policy, sample, objective].
        clip_range: epsilon.
    """
    return -clipped_surrogate(ratios.unsqueeze(2), batch["objective_advantage"], clip_range).mean(dim=1)


def ppo_loss(
    network: ActorCritic, parameters: Tensor, batch: Samples, settings: PPOSettings, policy_loss: PolicyLoss
) -> tuple[Tensor, Tensor]:
    """Return policy loss + c_v value loss - c_e entropy [policy] of a minibatch, and the ratios [policy, sample].

    Args:
        network: the shape of actor and critic.
        parameters: [policy, n].
        batch: a minibatch.
        settings: clip ranges and weights.
        policy_loss: loss of the actors.
    """
    actor, critic = network.split(parameters)
    policy, ratios = probability_ratios(network, actor, batch)
    values = network.values(critic, inputs_of(batch), memory_of(batch))
    value_loss = clipped_value_loss(values, batch["value"], batch["target"], settings.value_clip_range)
    # Weights inside of sums: a launch less on a GPU for each term.
    loss = torch.add(policy_loss(ratios, batch), value_loss.mean(dim=(1, 2)), alpha=settings.value_weight)
    if settings.entropy_weight:
        loss = torch.sub(loss, policy.entropy().mean(dim=1), alpha=settings.entropy_weight)
    return loss, ratios


# --- The update -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PPO:
    """A population that PPO updates.

    Attributes:
        network: the shape of actor and critic.
        parameters: [policy, n], requiring gradients; updated in place.
        optimizer: over `parameters`.
        settings: epochs, minibatches, clipping and weights.
    """

    network: ActorCritic
    parameters: Tensor
    optimizer: Adam
    settings: PPOSettings

    def __post_init__(self) -> None:
        """Check that the gradients of as many objectives can be combined."""
        check_combiner(self.settings.combiner, self.network.critic.widths[-1])

    def step(self, batch: Samples, learning_rates: Tensor, policy_loss: PolicyLoss | None = None) -> Tensor:
        """Run one gradient step in place by automatic differentiation: the reference for every backend.

        Args:
            batch: a minibatch.
            learning_rates: [policy].
            policy_loss: loss of the actors; default: PPO's clipped surrogate, of the objectives combined.

        Returns:
            The probability ratios [policy, sample] before the step.
        """
        policy_loss = policy_loss or self._policy_loss(batch)
        loss, ratios = ppo_loss(self.network, self.parameters, batch, self.settings, policy_loss)
        (gradient,) = torch.autograd.grad(loss.sum(), self.parameters)
        self.optimizer.step(clip_norms(gradient, self.settings.max_grad_norm), learning_rates)
        return ratios.detach()

    def _policy_loss(self, batch: Samples) -> PolicyLoss:
        """Return PPO's own loss; where gradients are combined, of the objectives with the coefficients for the batch.

        Args:
            batch: a minibatch.
        """
        clip_range = self.settings.clip_range
        if self.settings.combiner == "weighted-sum":
            return clipped_surrogate_loss(clip_range)
        actor = self.network.split(self.parameters.detach())[0].clone().requires_grad_()
        _, ratios = probability_ratios(self.network, actor, batch)
        losses = objective_losses(ratios, batch, clip_range)
        combined = combined_weights(
            self.settings.combiner,
            losses,
            batch["weight"][:, 0],
            gradient_of=lambda loss: torch.autograd.grad(loss, actor, retain_graph=True)[0],
        )
        return lambda ratios, batch: (combined * objective_losses(ratios, batch, clip_range)).sum(dim=1)


class GradientStep(Protocol):
    """`PPO.step` as a backend executes it; `morl.learning.backends.make_update` returns one for a `PPO`."""

    @property
    def backend(self) -> str:
        """Return the name of the backend that executes the steps."""
        ...

    def __call__(self, batch: Samples, learning_rates: Tensor, policy_loss: PolicyLoss | None = None) -> Tensor:
        """Run one gradient step in place; return the probability ratios [policy, sample] before it."""
        ...


def minibatches(samples: Samples, count: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
    """Yield `count` equal parts of the samples in random order, each policy's permuted independently.

    Sequences of policies with a memory stay whole.

    Args:
        samples: name -> [policy, sample, width]; a remainder that does not divide is left out of this pass.
        count: number of parts.
        generator: of the permutations.
    """
    columns = whole_sequences(samples)
    numbers = {name: column for name, column in columns.items() if name != "pixels"}
    widths = [column.shape[2] for column in numbers.values()]
    rows = torch.cat(list(numbers.values()), dim=2)  # one gather of long rows instead of many of short ones
    num_policies, num_rows, width = rows.shape
    size = num_rows // count
    keys = torch.rand(num_policies, num_rows, generator=generator, device=rows.device)
    order = keys.argsort(dim=1)[:, : size * count]
    order += torch.arange(num_policies, device=rows.device).unsqueeze(1) * num_rows
    shuffled = rows.view(-1, width).index_select(0, order.flatten()).view(num_policies, count, size, width)
    places = order.view(num_policies, count, size)
    for part in range(count):
        batch = dict(zip(numbers, torch.split(shuffled[:, part], widths, dim=2), strict=True))
        if "pixels" in columns:  # bytes, gathered as they are needed: there is never a copy of all of them
            pixels = columns["pixels"].flatten(0, 1).index_select(0, places[:, part].flatten())
            batch["pixels"] = pixels.view(num_policies, size, -1)
        yield single_samples(batch, samples)


def whole_sequences(samples: Samples) -> Samples:
    """Return samples as rows that belong together: name -> [policy, sequence, step * width]; see `memory_of`."""
    if "state" not in samples:
        return samples
    num_policies, num_sequences, _ = samples["state"].shape
    return {name: column.reshape(num_policies, num_sequences, -1) for name, column in samples.items()}


def single_samples(rows: Samples, samples: Samples) -> dict[str, Tensor]:
    """Return rows of `whole_sequences` as samples: name -> [policy, sample, width].

    Args:
        rows: name -> [policy, sequence, step * width], any of the sequences.
        samples: that the rows come from.
    """
    if "state" not in samples:
        return dict(rows)
    num_sequences = samples["state"].shape[1]
    return {
        name: row.reshape(len(row), row.shape[1] * (samples[name].shape[1] // num_sequences), samples[name].shape[2])
        for name, row in rows.items()
    }


def thin_out(samples: Samples, stride: int) -> dict[str, Tensor]:
    """Return the first of every `stride` samples; of policies with a memory, whole sequences."""
    return single_samples({name: row[:, ::stride] for name, row in whole_sequences(samples).items()}, samples)


def ppo_update(
    step: GradientStep,
    samples: Samples,
    settings: PPOSettings,
    learning_rates: Tensor,
    generator: torch.Generator,
    policy_loss: PolicyLoss | None = None,
) -> dict[str, Tensor]:
    """Run one PPO update in place; return `clipped_share` [policy], the share of clipped ratios in the last minibatch.

    Args:
        step: the gradient step of a backend.
        samples: of one rollout.
        settings: those of `step`.
        learning_rates: [policy].
        generator: of the permutations.
        policy_loss: loss of the actors; default: PPO's clipped surrogate.
    """
    for _ in range(settings.epochs):
        for batch in minibatches(samples, settings.minibatches, generator):
            ratios = step(batch, learning_rates, policy_loss)
    clipped = (ratios - 1.0).abs() > settings.clip_range
    return {"clipped_share": clipped.to(ratios.dtype).mean(dim=1)}
