"""Double DQN for a population with vector values (van Hasselt et al. 2016), for discrete actions.

Every network learns the return of every objective on its own; actions are chosen by the utility of the vector.
"""

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from morl.learning.networks import MultilayerPerceptron
from morl.learning.off_policy import Batch, Hyperparameters, UtilityFn, adam_tensors, begin_tied, first_parameters, tie
from morl.learning.optimizers import Adam, soft_update
from morl.learning.values import select


class DQN:
    """Action values of a population; satisfies `morl.learning.off_policy.Learner`. Actions count from zero."""

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
        self.numbers, self.actions, self.objectives = numbers, actions, objectives
        widths = (observations, *numbers.hidden_sizes, actions * objectives)
        self.network = MultilayerPerceptron(widths, inner_dtype=numbers.precision)
        self.shared = first_parameters(self.network, numbers.shared_layers)
        self.parameters = begin_tied(self.network.initialize(population, generator), self.shared).to(device)
        self.parameters.requires_grad_()
        self.targets = self.parameters.detach().clone()
        self.optimizer = Adam(self.parameters)
        self.diagnostics: dict[str, Tensor] = {}

    def tensors(self) -> dict[str, Tensor]:
        """Return all state [policy, ...] by name."""
        state = {"actor": self.parameters.detach(), "target": self.targets}
        return state | adam_tensors("actor", self.optimizer)

    def update(self, batch: Batch, worth: UtilityFn, number: int, generator: torch.Generator) -> None:  # noqa: ARG002
        """Fit Q_j(s, a) to y_j = r_j + gamma (1 - d) Q'_j(s', a*) with a* = argmax_a u(Q(s', a)), by Huber's loss."""
        following = batch["next_observation"]
        with torch.no_grad():
            best = worth(self.values(self.parameters, following), following).argmax(dim=-1)
            value = select(self.values(self.targets, following), best)
            goal = batch["reward"] + self.numbers.discount * (1.0 - batch["terminated"]) * value
        actions = batch["action"].long().squeeze(-1)
        predictions = select(self.values(self.parameters, batch["observation"]), actions)
        loss = smooth_l1_loss(predictions, goal, reduction="sum") / goal.shape[1]
        (gradient,) = torch.autograd.grad(loss, self.parameters)
        self.optimizer.step(tie(gradient, self.shared), self.numbers.critic_learning_rate)
        soft_update(self.targets, self.parameters.detach(), self.numbers.tau)
        self.diagnostics["critic_loss"] = loss.detach()

    def explore(self, observations: Tensor, worth: UtilityFn, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return the greedy actions [policy, batch, 1]: who collects experience epsilon_mixing in random ones."""
        with torch.no_grad():
            return worth(self.values(self.parameters, observations), observations).argmax(dim=-1, keepdim=True)

    def greedy(self, actor: Tensor, observations: Tensor, worth: UtilityFn) -> Tensor:
        """Return argmax_a u(Q(s, a)) [policy, batch, 1].

        Computed in float64: utilities such as Tchebycheff's have near ties everywhere, and these must fall the same way
        whatever else is in the batch, or else a policy would not do again what it was archived for.
        """
        with torch.no_grad():
            values = self.values(actor.double(), observations.double())
            return worth(values, observations).argmax(dim=-1, keepdim=True)

    def values(self, parameters: Tensor, observations: Tensor) -> Tensor:
        """Return Q(s, .) [policy, batch, action, objective]."""
        outputs = self.network(parameters, observations)
        return outputs.view(*outputs.shape[:2], self.actions, self.objectives)
