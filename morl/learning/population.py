"""A population of actor-critics that learns side by side: parameters, optimizer and experience of all members."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from morl.learning.actor_critic import ActorCritic
from morl.learning.normalization import RunningMeanStd
from morl.learning.optimizers import Adam
from morl.learning.rollouts import Experience

TrainingState = dict[str, Any]
"""All that one policy goes on learning from: parameters, the optimizer's row, observation and reward moments."""


class Population:
    """Policies that step and learn together; each can be copied out (`member`) and put in (`place`) on its own."""

    def __init__(self, network: ActorCritic, experience: Experience, device: torch.device) -> None:
        self.network, self.experience, self.device = network, experience, device
        self.parameters = torch.zeros(experience.policies, network.num_parameters, device=device).requires_grad_()
        self.optimizer = Adam(self.parameters, epsilon=1e-5)

    def __len__(self) -> int:
        """Return the number of policies."""
        return len(self.parameters)

    @torch.no_grad()
    def act(
        self, observations: NDArray[np.float32], masks: NDArray[Any] | None, generator: torch.Generator
    ) -> NDArray[np.float32]:
        """Return random actions [policy, lane, width] for normalized observations [policy, lane, width]."""
        allowed = None if masks is None else torch.as_tensor(masks, device=self.device)
        actor, _ = self.network.split(self.parameters)
        inputs = torch.as_tensor(observations, device=self.device)
        actions: NDArray[np.float32] = self.network.distribution(actor, inputs, allowed).sample(generator).cpu().numpy()
        return actions

    @torch.no_grad()
    def values(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the critics' values [policy, lane, objective], in their own units, of normalized observations."""
        _, critic = self.network.split(self.parameters)
        inputs = torch.as_tensor(observations, device=self.device)
        values: NDArray[np.float32] = self.network.critic(critic, inputs).cpu().numpy()
        return values

    def member(self, policy: int) -> TrainingState:
        """Return a copy of one policy's training state."""
        tensors = {"parameters": self.parameters.detach(), **self.optimizer.state_dict()}
        state: TrainingState = {name: value[policy].clone() for name, value in tensors.items()}
        for name, moments in self._moments().items():
            state[name] = {key: value[policy].copy() for key, value in moments.state_dict().items()}
        return state

    def place(self, policy: int, state: TrainingState) -> None:
        """Let a policy go on from a training state."""
        for name, value in {"parameters": self.parameters.detach(), **self.optimizer.state_dict()}.items():
            value[policy] = state[name]
        for name, moments in self._moments().items():
            for key in ("count", "mean", "variance"):
                getattr(moments, key)[policy] = state[name][key]

    def state_dict(self) -> dict[str, Any]:
        """Return all that learning goes on from."""
        optimizer, experience = self.optimizer.state_dict(), self.experience.state_dict()
        return {"parameters": self.parameters.detach(), "optimizer": optimizer, "experience": experience}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned, for the same sizes."""
        self.parameters.data.copy_(state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.experience.load_state_dict(state["experience"])

    def _moments(self) -> dict[str, RunningMeanStd]:
        experience = self.experience
        return {"observation_moments": experience.observation_moments, "reward_moments": experience.reward_moments}


def fresh_states(
    network: ActorCritic, count: int, observations: int, objectives: int, seed: int
) -> list[TrainingState]:
    """Return the training states of `count` policies that have not learnt anything yet."""
    generator = torch.Generator().manual_seed(seed)
    experience = Experience(count, 1, 1, {"observation": observations, "action": 1, "objective": objectives}, 1.0)
    population = Population(network, experience, torch.device("cpu"))
    population.parameters.data.copy_(network.initialize(count, generator))
    return [population.member(policy) for policy in range(count)]
