"""Soft actor-critic for a population with vector critics, for discrete actions (Christodoulou 2019).

Expectations over actions are sums, not samples. As in `morl.learning.sac`, critics learn every objective on its own and
the utility only chooses; the entropy bonus is part of every objective.
"""

import torch
from torch import Tensor

from morl.learning.off_policy import Batch, Hyperparameters, UtilityFn, both
from morl.learning.soft import SoftActorCritics
from morl.learning.values import worst_of


class DiscreteSAC(SoftActorCritics):
    """Soft actor-critics of a population; satisfies `morl.learning.off_policy.Learner`. Actions count from zero."""

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
        self.actions, self.objectives = actions, objectives
        actor_ends, critic_ends = (observations, actions), (observations, actions * objectives)
        super().__init__(actor_ends, critic_ends, population, numbers, generator, device)

    def update(self, batch: Batch, worth: UtilityFn, number: int, generator: torch.Generator) -> None:  # noqa: ARG002
        """Take one step with the critics and, every `policy_delay`-th time, as many with actor and temperature."""
        self._update_critics(batch, worth)
        if number % self.numbers.policy_delay == 0:
            for _ in range(self.numbers.policy_delay):
                self._update_actors(batch["observation"], worth)
        self.move_targets()

    def explore(self, observations: Tensor, worth: UtilityFn, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return actions [policy, batch, 1] drawn from the policies (Gumbel's trick)."""
        with torch.no_grad():
            logits = self.actor(self.actors, observations)
            exponential = torch.empty_like(logits).exponential_(generator=generator)
            return (logits - exponential.log()).argmax(dim=-1, keepdim=True)

    def greedy(self, actor: Tensor, observations: Tensor, worth: UtilityFn) -> Tensor:  # noqa: ARG002
        """Return the likeliest actions [policy, batch, 1]."""
        with torch.no_grad():
            return self.actor(actor, observations).argmax(dim=-1, keepdim=True)

    def values(self, critics: Tensor, observations: Tensor) -> Tensor:
        """Return Q_k(s, .) [policy, critic, batch, action, objective] of both critics of each policy."""
        outputs = self.critic(critics.view(2 * len(critics), -1), observations.repeat_interleave(2, dim=0))
        return outputs.view(len(critics), 2, observations.shape[1], self.actions, self.objectives)

    def _update_critics(self, batch: Batch, worth: UtilityFn) -> None:
        """Fit Q_kj(s, a) to y_j = r_j + gamma (1 - d) sum_a' pi(a' | s') [Q'_k*j(s', a') - alpha log pi(a' | s')].

        k* is, for each action, the target critic whose vector is worth less.
        """
        following = batch["next_observation"]
        with torch.no_grad():
            log_probabilities = self.actor(self.actors, following).log_softmax(dim=-1)
            values = self.values(self.targets, following)
            soft = worst_of(values, both(worth, values, following))
            soft -= (self.temperature().unsqueeze(-1) * log_probabilities).unsqueeze(-1)
            expected = (log_probabilities.exp().unsqueeze(-1) * soft).sum(dim=2)
            goal = batch["reward"] + self.numbers.discount * (1.0 - batch["terminated"]) * expected
        taken = batch["action"].long().view(len(goal), 1, -1, 1, 1).expand(-1, 2, -1, 1, self.objectives)
        predictions = self.values(self.critics, batch["observation"]).gather(3, taken).squeeze(3)
        loss = (predictions - goal.unsqueeze(1)).square().sum() / goal.shape[1]
        self.descend_critics(loss)

    def _update_actors(self, observations: Tensor, worth: UtilityFn) -> None:
        """Minimize sum_a pi(a | s) [alpha log pi(a | s) - min_k u(Q_k(s, a))]; then alpha."""
        with torch.no_grad():
            worths = both(worth, self.values(self.critics, observations), observations).amin(dim=1)
        log_probabilities = self.actor(self.actors, observations).log_softmax(dim=-1)
        probabilities = log_probabilities.exp()
        entropy = -(probabilities * log_probabilities).sum(dim=-1)
        loss = (-self.temperature() * entropy - (probabilities * worths).sum(dim=-1)).mean(dim=1).sum()
        self.descend_actors(loss, entropy.detach().mean(dim=1, keepdim=True))
