"""Soft actor-critic for a population with vector critics, for discrete actions (Christodoulou 2019).

Expectations over actions are sums, not samples. As in `morl.learning.sac`, critics learn every objective on its own and
the utility only chooses; the entropy bonus is part of every objective.

Where actions are masked, policies are distributions over the allowed actions, and so are expectations and entropies. A
state that allows m of n actions has the share log m / log n of the target entropy.
"""

from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from morl.learning.sac import SACBase, SACSettings
from morl.learning.types import Normalization, RowShape
from morl.learning.values import best_actions, critic_utilities, worst_of

if TYPE_CHECKING:
    from morl.learning.encoders import Architecture
    from morl.learning.sampled_batches import Batch
    from morl.learning.scalarization import UtilityFn


@dataclass(frozen=True, kw_only=True)
class DiscreteSACSettings(SACSettings):
    """Settings of soft actor-critic for choices of which each has a row of the observation.

    Attributes:
        rows: rows that observations begin with, one for each action, over which actor and critics share their weights
            (`morl.learning.equivariant`); None: there are none.
    """

    rows: RowShape | None = None

    def architecture(self, normalization: Normalization = "none") -> "Architecture":
        """Return what these settings say about networks.

        Args:
            normalization: of the hidden layers of one network, where the settings have none.
        """
        return replace(super().architecture(normalization), rows=self.rows)


class DiscreteSAC(SACBase):
    """Actions are numbers from zero; satisfies `morl.learning.off_policy.OffPolicyAlgorithm`.

    Args:
        observation_width: columns of an observation.
        actions: number of actions.
        objectives: length of the reward vector.
        settings: settings of the updates; with rows a `DiscreteSACSettings`.
        policies: number of policies.
        generator: random stream of the initial parameters.
        device: where the networks live.
    """

    def __init__(
        self,
        observation_width: int,
        actions: int,
        objectives: int,
        settings: SACSettings,
        policies: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.actions = actions
        self.objectives = objectives
        actor = settings.build_network("actor", observation_width, actions)
        critic = settings.build_network("critic", observation_width, actions * objectives)
        super().__init__(actor, critic, settings, policies, generator, device)

    @torch.no_grad()
    def explore(
        self,
        observations: Tensor,
        utility: "UtilityFn",  # noqa: ARG002
        generator: torch.Generator,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Return actions [policy, batch, 1] sampled from the policies (Gumbel-max rule).

        Args:
            observations: [policy, batch, observation].
            utility: not read.
            generator: random stream.
            masks: [policy, batch, action] allowed actions; None: all are.
        """
        logits = self.actor(self.actors, observations)
        exponential = torch.empty_like(logits).exponential_(generator=generator)
        return best_actions(logits - exponential.log(), masks).unsqueeze(-1)

    def sample_noise(self, updates: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return no noise [policy, update, 0, batch, 1]: expectations over actions are exact."""
        return torch.zeros(self.policies, updates, 0, batch_size, 1, device=generator.device)

    def update(self, batch: "Batch") -> dict[str, Tensor]:
        """Update the critics and, every `policy_delay`-th time, actors and temperatures as often; then the targets.

        Args:
            batch: without noise.

        Returns:
            critic_loss [], and entropy [policy, 1] and actor_loss [] where actors were updated.
        """
        metrics = {"critic_loss": self._update_critics(batch)}
        if self.actor_is_due(self.updates):
            for _ in range(self.settings.policy_delay):
                metrics |= self._update_actors(batch)
        self.move_targets()
        self.updates += 1
        return metrics

    def values(self, critics: Tensor, observations: Tensor) -> Tensor:
        """Return Q_k(s, .) [policy, critic, batch, action, objective] of both critics of each policy."""
        outputs = self.critic(critics.view(2 * len(critics), -1), observations.repeat_interleave(2, dim=0))
        return outputs.view(len(critics), 2, observations.shape[1], self.actions, self.objectives)

    def policy(self, observations: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return pi(a | s) and log pi(a | s) [policy, batch, action]; both are 0 for actions that are not allowed.

        Args:
            observations: [policy, batch, observation].
            mask: [policy, batch, action] allowed actions; None: all are.
        """
        logits = self.actor(self.actors, observations)
        if mask is not None:
            logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
        log_probabilities = logits.log_softmax(dim=-1)
        probabilities = log_probabilities.exp()
        if mask is not None:  # 0 log 0 = 0
            log_probabilities = log_probabilities.masked_fill(~mask, 0.0)
        return probabilities, log_probabilities

    def _update_critics(self, batch: "Batch") -> Tensor:
        """Fit Q_kj(s, a) to y_j = r_j + gamma (1 - d) sum_a' pi(a' | s') [Q'_k*j(s', a') - alpha log pi(a' | s')].

        k* is, for each action, the target critic whose vector has the lower utility. Returns the loss.
        """
        following = batch.next_observation
        with torch.no_grad():
            probabilities, log_probabilities = self.policy(following, batch.next_mask)
            values = self.values(self.target_critics, following)
            soft = worst_of(values, critic_utilities(batch.utility, values, following))
            soft -= (self.temperature().unsqueeze(-1) * log_probabilities).unsqueeze(-1)
            expected = (probabilities.unsqueeze(-1) * soft).sum(dim=2)
            targets = batch.reward + self.settings.discount * (1.0 - batch.terminated) * expected
        taken = batch.action.long().view(len(targets), 1, -1, 1, 1).expand(-1, 2, -1, 1, self.objectives)
        predictions = self.values(self.critics, batch.observation).gather(3, taken).squeeze(3)
        loss = (predictions - targets.unsqueeze(1)).square().sum() / targets.shape[1]
        self.step_critics(loss)
        return loss.detach()

    def _update_actors(self, batch: "Batch") -> dict[str, Tensor]:
        """Minimize sum_a pi(a | s) [alpha log pi(a | s) - min_k u(Q_k(s, a))]; then alpha, towards the target entropy.

        Where actions are masked, the target is the mean of log m / log n times the one of n free actions.
        """
        observations = batch.observation
        with torch.no_grad():
            values = self.values(self.critics, observations)
            utilities = critic_utilities(batch.utility, values, observations)
        probabilities, log_probabilities = self.policy(observations, batch.mask)
        entropy = -(probabilities * log_probabilities).sum(dim=-1)
        if self.settings.combiner == "weighted-sum":
            expected = (probabilities * utilities.amin(dim=1)).sum(dim=-1)
            loss = (-self.temperature() * entropy - expected).mean(dim=1).sum()
        else:
            expected_values = (probabilities.unsqueeze(-1) * worst_of(values, utilities)).sum(dim=2)
            own = self.combined_loss(expected_values, batch)
            loss = ((-self.temperature() * entropy).mean(dim=1) + own).sum()
        mean_entropy = entropy.detach().mean(dim=1, keepdim=True)
        if batch.mask is None or self.actions == 1:
            return self.step_actors(loss, mean_entropy)
        share = batch.mask.sum(dim=-1).to(entropy.dtype).log().mean(dim=1, keepdim=True) / log(self.actions)
        return self.step_actors(loss, mean_entropy, self.settings.target_entropy * share)
