"""A population of actor-critics that learn in one batch: parameters, optimizer and rollout of all policies."""

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.normalization import MeanStdState
from morl.learning.optimizers import Adam
from morl.learning.ppo import ActorCritic, Memory
from morl.learning.rollouts import RolloutBuffer, TransitionSizes
from morl.protocols import BoolArray, StateDict


class TrainingState(TypedDict):
    """All that one policy's learning continues from; plain data.

    Keys:
        parameters: [n] of actor and critic.
        first_moments: [n] Adam's.
        second_moments: [n] Adam's.
        steps: scalar, gradient steps so far.
        observation_statistics: of the observations, each part [width].
        reward_statistics: of the discounted sums of rewards, each part [objective].
    """

    parameters: Tensor
    first_moments: Tensor
    second_moments: Tensor
    steps: Tensor
    observation_statistics: MeanStdState
    reward_statistics: MeanStdState


class Population:
    """Policies that step and learn together; each one's training state can be copied out and loaded on its own.

    Args:
        network: the shape of actor and critic.
        rollout: the buffer, which says how many policies there are.
        device: of parameters and optimizer.
    """

    def __init__(self, network: ActorCritic, rollout: RolloutBuffer, device: torch.device) -> None:
        self.network = network
        self.rollout = rollout
        self.device = device
        self.parameters = torch.zeros(rollout.num_policies, network.num_parameters, device=device).requires_grad_()
        self.optimizer = Adam(self.parameters, epsilon=1e-5)

    def __len__(self) -> int:
        """Return the number of policies."""
        return len(self.parameters)

    @torch.no_grad()
    def act(
        self, observations: NDArray[np.float32], masks: BoolArray | None, generator: torch.Generator
    ) -> NDArray[np.float32]:
        """Return random actions [policy, env, width]; policies with a memory remember the observations.

        Args:
            observations: [policy, env, width], normalized.
            masks: [policy, env, choice] allowed choices; None: all are.
            generator: of the random numbers.
        """
        allowed = None if masks is None else torch.as_tensor(masks, device=self.device)
        actor, critic = self.network.split(self.parameters)
        inputs = torch.as_tensor(observations, device=self.device)
        memory = self._memory(self.rollout.running_starts)
        seen = self.network.actor_inputs(actor, inputs, memory)
        if memory is not None:
            states = torch.cat([seen, self.network.critic_inputs(critic, inputs, memory)], dim=2)
            self.rollout.remember(states.cpu().numpy())
        actions: NDArray[np.float32] = self.network.policy(actor, seen, allowed).sample(generator).cpu().numpy()
        return actions

    def values(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the critics' values [policy, env, objective], of normalized rewards, before the next step.

        Args:
            observations: [policy, env, width], normalized; the first of an episode where the latest step ended one.
        """
        return self._values(observations, self._memory(self.rollout.running_starts))

    def final_values(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the critics' values [policy, env, objective], of normalized rewards, after the latest step.

        Args:
            observations: [policy, env, width], normalized; the last of an episode where the latest step ended one.
        """
        return self._values(observations, self._memory(np.zeros_like(self.rollout.running_starts)))

    @torch.no_grad()
    def _values(self, observations: NDArray[np.float32], memory: Memory | None) -> NDArray[np.float32]:
        _, critic = self.network.split(self.parameters)
        inputs = torch.as_tensor(observations, device=self.device)
        values: NDArray[np.float32] = self.network.values(critic, inputs, memory).cpu().numpy()
        return values

    def _memory(self, starts: BoolArray) -> Memory | None:
        """Return the memory of the episodes under way, one sequence for each environment; None without a memory.

        Args:
            starts: [policy, env] where it is empty.
        """
        if self.network.memory is None:
            return None
        states = torch.as_tensor(self.rollout.running_states, device=self.device)
        return Memory(states, torch.as_tensor(starts, device=self.device).to(states.dtype).unsqueeze(2))

    def training_state(self, policy: int) -> TrainingState:
        """Return a copy of one policy's training state."""
        return {
            "parameters": self.parameters.detach()[policy].clone(),
            "first_moments": self.optimizer.first_moments[policy].clone(),
            "second_moments": self.optimizer.second_moments[policy].clone(),
            "steps": self.optimizer.steps[policy].clone(),
            "observation_statistics": self.rollout.observation_statistics.row(policy),
            "reward_statistics": self.rollout.reward_statistics.row(policy),
        }

    def load_training_state(self, policy: int, state: TrainingState) -> None:
        """Let a policy continue from a training state.

        Args:
            policy: index of the policy.
            state: copied from a policy of the same network.
        """
        self.parameters.detach()[policy] = state["parameters"]
        self.optimizer.first_moments[policy] = state["first_moments"]
        self.optimizer.second_moments[policy] = state["second_moments"]
        self.optimizer.steps[policy] = state["steps"]
        self.rollout.observation_statistics.set_row(policy, state["observation_statistics"])
        self.rollout.reward_statistics.set_row(policy, state["reward_statistics"])

    def state_dict(self) -> dict[str, object]:
        """Return parameters, optimizer and rollout."""
        return {
            "parameters": self.parameters.detach(),
            "optimizer": self.optimizer.state_dict(),
            "rollout": self.rollout.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same sizes."""
        self.parameters.data.copy_(state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rollout.load_state_dict(state["rollout"])


def initial_states(network: ActorCritic, count: int, sizes: TransitionSizes, seed: int) -> list[TrainingState]:
    """Return the training states of `count` untrained policies.

    Args:
        network: the shape of actor and critic.
        count: number of policies.
        sizes: widths of a transition.
        seed: of the parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    population = Population(network, RolloutBuffer(count, 1, 1, sizes, 1.0), torch.device("cpu"))
    population.parameters.data.copy_(network.initialize(count, generator))
    return [population.training_state(policy) for policy in range(count)]
