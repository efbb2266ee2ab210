"""A population of actor-critics that learn in one batch: parameters, optimizer and rollout of all policies."""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.normalization import MeanStdState
from morl.learning.optimizers import Adam
from morl.learning.ppo import ActorCritic, Memory
from morl.learning.rollouts import RolloutBuffer, TransitionSizes
from morl.learning.staging import Staging
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
        self.staging = Staging(device)
        self._final_observations: NDArray[np.float32] | None = None
        """[policy, env, width] whose values the episodes that the latest step truncated wait for."""

    def __len__(self) -> int:
        """Return the number of policies."""
        return len(self.parameters)

    @torch.no_grad()
    def act(
        self, observations: NDArray[np.float32], masks: BoolArray | None, generator: torch.Generator
    ) -> NDArray[np.float32]:
        """Return random actions [policy, env, width]; policies with a memory remember the observations.

        Observations, masks and memory are one copy to the device; actions, memory and the values that truncated
        episodes wait for are one copy back.

        Args:
            observations: [policy, env, width], normalized.
            masks: [policy, env, choice] allowed choices; None: all are.
            generator: of the random numbers.
        """
        arrays = self._arrays(observations, self.rollout.running_starts)
        if masks is not None:
            arrays["masks"] = masks
        waiting = self._final_observations if self.rollout.filled else None  # a rollout that was cleared needs none
        self._final_observations = None
        if waiting is not None:
            arrays["final observations"] = waiting
        sent = self.staging.send(arrays)
        actor, critic = self.network.split(self.parameters)
        inputs = sent["observations"]
        memory = self._memory(sent)
        seen = self.network.actor_inputs(actor, inputs, memory)
        results = []
        if waiting is not None:
            results.append(self.network.values(critic, sent["final observations"], _within_episodes(memory)))
        if memory is not None:
            results.append(torch.cat([seen, self.network.critic_inputs(critic, inputs, memory)], dim=2))
        results.append(self.network.policy(actor, seen, sent.get("masks")).sample(generator))
        found = self.staging.fetch(results)
        if waiting is not None:
            self.rollout.bootstrap_truncated(found[0])
        if memory is not None:
            self.rollout.remember(found[-2])
        return found[-1]

    def bootstrap_truncated(self, final_observations: NDArray[np.float32]) -> None:
        """Store the critics' values of last observations where the latest step truncated an episode.

        They are computed with the next actions, or when `settle` is called.

        Args:
            final_observations: [policy, env, width], normalized; the last of an episode where the latest step ended
                one.
        """
        self._final_observations = final_observations

    def settle(self) -> None:
        """Store the values that truncated episodes wait for: the rollout is read, or parameters change."""
        waiting = self._final_observations
        self._final_observations = None
        if waiting is not None and self.rollout.filled:
            self.rollout.bootstrap_truncated(self.final_values(waiting))

    def values(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the critics' values [policy, env, objective], of normalized rewards, before the next step.

        Args:
            observations: [policy, env, width], normalized; the first of an episode where the latest step ended one.
        """
        return self._values(observations, self.rollout.running_starts)

    def final_values(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the critics' values [policy, env, objective], of normalized rewards, after the latest step.

        Args:
            observations: [policy, env, width], normalized; the last of an episode where the latest step ended one.
        """
        return self._values(observations, np.zeros_like(self.rollout.running_starts))

    @torch.no_grad()
    def _values(self, observations: NDArray[np.float32], starts: BoolArray) -> NDArray[np.float32]:
        """Return the critics' values of observations, with the memory of the episodes under way.

        Args:
            observations: [policy, env, width], normalized.
            starts: [policy, env] where the memory is empty.
        """
        sent = self.staging.send(self._arrays(observations, starts))
        _, critic = self.network.split(self.parameters)
        values = self.network.values(critic, sent["observations"], self._memory(sent))
        return self.staging.fetch([values])[0]

    def _arrays(self, observations: NDArray[np.float32], starts: BoolArray) -> dict[str, NDArray[Any]]:
        """Return observations [policy, env, width] and, of policies with a memory, its states and where it is empty."""
        arrays: dict[str, NDArray[Any]] = {"observations": observations}
        if self.network.memory is not None:
            arrays |= {"states": self.rollout.running_states, "starts": starts}
        return arrays

    def _memory(self, sent: Mapping[str, Tensor]) -> Memory | None:
        """Return the memory of the episodes under way, one sequence for each environment; None without a memory."""
        if self.network.memory is None:
            return None
        return Memory(sent["states"], sent["starts"].to(sent["states"].dtype).unsqueeze(2))

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
        self.settle()
        self.parameters.detach()[policy] = state["parameters"]
        self.optimizer.first_moments[policy] = state["first_moments"]
        self.optimizer.second_moments[policy] = state["second_moments"]
        self.optimizer.steps[policy] = state["steps"]
        self.rollout.observation_statistics.set_row(policy, state["observation_statistics"])
        self.rollout.reward_statistics.set_row(policy, state["reward_statistics"])

    def state_dict(self) -> dict[str, object]:
        """Return parameters, optimizer and rollout."""
        self.settle()
        return {
            "parameters": self.parameters.detach(),
            "optimizer": self.optimizer.state_dict(),
            "rollout": self.rollout.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same sizes."""
        self._final_observations = None
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


def _within_episodes(memory: Memory | None) -> Memory | None:
    """Return a memory that is emptied nowhere."""
    return None if memory is None else Memory(memory.states, torch.zeros_like(memory.starts))
