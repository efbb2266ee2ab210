"""Soft actor-critic for a population with vector critics, for continuous actions (Haarnoja et al. 2018b).

A critic learns the return of every objective on its own; only the choice between the two critics, and the actor's loss,
ask for the utility. The entropy bonus is part of every objective: with weights that sum to one the utility of the
vector target is the target of textbook SAC.
"""

from math import log

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from morl.learning.backends.numba.sac import CompiledSoftUpdates, can_compile
from morl.learning.off_policy import Batch, Hyperparameters, UtilityFn, both
from morl.learning.sampled_batches import SampledBatches
from morl.learning.soft import SoftActorCritics
from morl.learning.values import worst_of

LOG_STD_RANGE = (-5.0, 2.0)
"""Range of the logarithm of the Gaussian's deviation."""


def squashed_gaussian(outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return actions tanh(mean + deviation noise) [..., action] in (-1, 1) and their log-probabilities [...].

    The logarithm of the derivative of tanh is 2 (log 2 - x - softplus(-2 x)), which does not overflow.

    Args:
        outputs: [..., 2 action] of the actor: means, then unbounded logarithms of deviations.
        noise: [..., action] standard normal.
    """
    mean, raw = outputs.chunk(2, dim=-1)
    low, high = LOG_STD_RANGE
    log_std = low + 0.5 * (high - low) * (raw.tanh() + 1.0)
    before = mean + log_std.exp() * noise
    slope = 2.0 * (log(2.0) - before - softplus(-2.0 * before))
    log_density = -0.5 * noise.square() - log_std - 0.5 * log(2.0 * torch.pi)
    return before.tanh(), (log_density - slope).sum(dim=-1)


class SAC(SoftActorCritics):
    """Soft actor-critics of a population; satisfies `morl.learning.off_policy.Learner`. Actions lie in (-1, 1)."""

    def __init__(
        self,
        observations: int,
        actions: int,
        objectives: int,
        population: int,
        numbers: Hyperparameters,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.actions = actions
        actor_ends, critic_ends = (observations, 2 * actions), (observations + actions, objectives)
        super().__init__(actor_ends, critic_ends, population, numbers, generator, device)
        self.compiled = CompiledSoftUpdates(self, LOG_STD_RANGE) if can_compile(self) else None

    def learn_linear(self, draws: SampledBatches, number: int, generator: torch.Generator) -> None:
        """Take all updates that were drawn under linear utilities, the first of them `number`, as `update` does."""
        assert self.compiled is not None
        policies, updates, size = draws.index.shape
        period = self.numbers.policy_delay
        noise = np.zeros((policies, updates, 1 + period, size, self.actions), dtype=np.float32)
        for update in range(updates):
            for turn in range(1 + (period if (number + update) % period == 0 else 0)):
                noise[:, update, turn] = torch.randn(policies, size, self.actions, generator=generator)
        self.compiled(draws, noise, number)

    def update(self, batch: Batch, worth: UtilityFn, number: int, generator: torch.Generator) -> None:
        """Take one step with the critics and, every `policy_delay`-th time, as many with actor and temperature."""
        self._update_critics(batch, worth, generator)
        if number % self.numbers.policy_delay == 0:
            for _ in range(self.numbers.policy_delay):
                self._update_actors(batch["observation"], worth, generator)
        self.move_targets()

    def explore(self, observations: Tensor, worth: UtilityFn, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return actions [policy, batch, action] drawn from the policies."""
        with torch.no_grad():
            outputs = self.actor(self.actors, observations)
            return squashed_gaussian(outputs, self._noise(outputs, generator))[0]

    def greedy(self, actor: Tensor, observations: Tensor, worth: UtilityFn) -> Tensor:  # noqa: ARG002
        """Return tanh(mean) [policy, batch, action]."""
        with torch.no_grad():
            return self.actor(actor, observations).chunk(2, dim=-1)[0].tanh()

    def values(self, critics: Tensor, observations: Tensor, actions: Tensor) -> Tensor:
        """Return Q_k(s, a) [policy, critic, batch, objective] of both critics of each policy."""
        inputs = torch.cat([observations, actions], dim=-1).repeat_interleave(2, dim=0)
        outputs = self.critic(critics.view(2 * len(critics), -1), inputs)
        return outputs.view(len(critics), 2, *outputs.shape[1:])

    def _update_critics(self, batch: Batch, worth: UtilityFn, generator: torch.Generator) -> None:
        """Fit Q_kj(s, a) to y_j = r_j + gamma (1 - d) [Q'_k*j(s', a') - alpha log pi(a' | s')], objective by objective.

        k* is the target critic whose vector is worth less.
        """
        following = batch["next_observation"]
        with torch.no_grad():
            outputs = self.actor(self.actors, following)
            actions, log_probabilities = squashed_gaussian(outputs, self._noise(outputs, generator))
            values = self.values(self.targets, following, actions)
            soft = worst_of(values, both(worth, values, following))
            soft -= (self.temperature() * log_probabilities).unsqueeze(-1)
            goal = batch["reward"] + self.numbers.discount * (1.0 - batch["terminated"]) * soft
        errors = self.values(self.critics, batch["observation"], batch["action"]) - goal.unsqueeze(1)
        loss = errors.square().sum() / errors.shape[2]  # a mean over the batch, a sum over everything else
        self.descend_critics(loss)

    def _update_actors(self, observations: Tensor, worth: UtilityFn, generator: torch.Generator) -> None:
        """Minimize alpha log pi(a | s) - min_k u(Q_k(s, a)); then alpha, towards the target entropy."""
        outputs = self.actor(self.actors, observations)
        actions, log_probabilities = squashed_gaussian(outputs, self._noise(outputs, generator))
        values = self.values(self.critics.detach(), observations, actions)
        worths = both(worth, values, observations).amin(dim=1)
        loss = (self.temperature() * log_probabilities - worths).mean(dim=1).sum()
        self.descend_actors(loss, (-log_probabilities.detach()).mean(dim=1, keepdim=True))

    def _noise(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(*outputs.shape[:-1], self.actions, generator=generator, device=outputs.device)
