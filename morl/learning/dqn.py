"""Double DQN for a population with vector values (van Hasselt et al. 2016), for discrete actions.

Every network learns the return of every objective on its own; actions are chosen by the utility of the vector.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

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
from morl.learning.values import best_actions, select


@dataclass(frozen=True, kw_only=True)
class DQNSettings(OffPolicySettings):
    """Settings of DQN, beside those that all off-policy algorithms have.

    Attributes:
        learning_rate: Adam's step size.
        shared_layers: first layers that all policies have in common.
    """

    learning_rate: float = 1e-3
    shared_layers: int = 0


class DQN(TensorState):
    """Action values of a population; satisfies `morl.learning.off_policy.OffPolicyAlgorithm`.

    Actions are numbers from zero.

    Args:
        observation_width: columns of an observation.
        actions: number of actions.
        objectives: length of the reward vector.
        settings: settings of the updates.
        policies: number of policies.
        generator: random stream of the initial parameters.
        device: where the networks live.
    """

    def __init__(
        self,
        observation_width: int,
        actions: int,
        objectives: int,
        settings: DQNSettings,
        policies: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.policies = policies
        self.actions = actions
        self.objectives = objectives
        self.network = settings.build_network("critic", observation_width, actions * objectives, acts=True)
        self.shared_parameters = self.network.count_first(settings.shared_layers)
        parameters = share_parameters(self.network.initialize(policies, generator), self.shared_parameters)
        self.parameters = parameters.to(device, settings.dtype).requires_grad_()
        self.target_parameters = self.parameters.detach().clone()
        self.optimizer = Adam(self.parameters)

    def tensors(self) -> dict[str, Tensor]:
        """Return the complete state [policy, ...] by name, not copied; "actor" is the part that acts."""
        return {
            "actor": self.parameters.detach(),
            "target": self.target_parameters,
            **optimizer_tensors("actor", self.optimizer),
        }

    @torch.no_grad()
    def explore(
        self,
        observations: Tensor,
        utility: UtilityFn,
        generator: torch.Generator,  # noqa: ARG002
        masks: Tensor | None = None,
    ) -> Tensor:
        """Return the greedy actions [policy, batch, 1]; the caller mixes in random ones (epsilon-greedy).

        Args:
            observations: [policy, batch, observation].
            utility: utility of vectors of values.
            generator: not read.
            masks: [policy, batch, action] allowed actions; None: all are.
        """
        return best_actions(utility(self.values(self.parameters, observations), observations), masks).unsqueeze(-1)

    def sample_noise(self, updates: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return no noise [policy, update, 0, batch, 1]: updates are not random."""
        return torch.zeros(self.policies, updates, 0, batch_size, 1, device=generator.device)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Fit Q_j(s, a) to y_j = r_j + gamma (1 - d) Q'_j(s', a*) with a* = argmax_a u(Q(s', a)), by Huber's loss.

        a* is the best of the actions that s' allows.

        Args:
            batch: without noise.

        Returns:
            critic_loss [].
        """
        following = batch.next_observation
        with torch.no_grad():
            best = best_actions(batch.utility(self.values(self.parameters, following), following), batch.next_mask)
            value = select(self.values(self.target_parameters, following), best)
            targets = batch.reward + self.settings.discount * (1.0 - batch.terminated) * value
        actions = batch.action.long().squeeze(-1)
        predictions = select(self.values(self.parameters, batch.observation), actions)
        loss = smooth_l1_loss(predictions, targets, reduction="sum") / targets.shape[1]
        (gradient,) = torch.autograd.grad(loss, self.parameters)
        gradient = average_shared_gradient(gradient, self.shared_parameters)
        self.optimizer.step(gradient, self.settings.learning_rate)
        soft_update(self.target_parameters, self.parameters.detach(), self.settings.tau)
        self.updates += 1
        return {"critic_loss": loss.detach()}

    def values(self, parameters: Tensor, observations: Tensor) -> Tensor:
        """Return Q(s, .) [policy, batch, action, objective]."""
        outputs = self.network(parameters, observations)
        return outputs.view((*outputs.shape[:2], self.actions, self.objectives))
