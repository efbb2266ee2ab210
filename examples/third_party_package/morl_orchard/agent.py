"""Random search: a network for each preference, changed at random, kept where its episodes were at least as good."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Discrete

from morl.acting import PolicyBank
from morl.learning.networks import MultilayerPerceptron
from morl.learning.observations import encoder
from morl.policy_files import PolicyData, PolicySpec
from morl.preferences import simplex_lattice
from morl.protocols import (
    Actions,
    Evaluate,
    FloatArray,
    IndexArray,
    Observations,
    Problem,
    StateDict,
    VectorEnvironment,
)
from morl.seeding import derived_seed


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of random search."""

    divisions: int = 4
    """Resolution of the lattice of preferences."""
    hidden_sizes: tuple[int, ...] = (8,)
    """Widths of the hidden layers."""
    scale: float = 1.0
    """Standard deviation of a change."""
    rollout_steps: int = 20
    """Steps of every environment for one candidate."""


class RandomSearch:
    """A population with one network for each preference; for discrete actions."""

    config_class = Config
    metric_descriptions: ClassVar = {"utility": "Mean over the population of its networks' best utilities."}

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        if not isinstance(problem.action_space, Discrete):
            raise ValueError(f"random-search needs discrete actions, but these are {problem.action_space}")
        self.config = config
        self.seed = seed
        self.discount = problem.discount
        self.spec = PolicySpec(
            agent="random-search",
            head="categorical",
            hidden_sizes=config.hidden_sizes,
            observation_space=problem.observation_space,
            action_space=problem.action_space,
            objectives=problem.objectives,
        )
        self.preferences = simplex_lattice(problem.num_objectives, config.divisions)
        width = encoder(problem.observation_space)[1]
        network = MultilayerPerceptron((width, *config.hidden_sizes, int(problem.action_space.n)))
        self.random = torch.Generator().manual_seed(derived_seed(seed, "search"))
        self.parameters = network.initialize(len(self.preferences), self.random)
        self.utilities = np.full(len(self.preferences), -np.inf)
        self.bank = PolicyBank(self.spec, device)
        self.steps = self.updates = self.pretraining_steps = 0

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Run random search; one iteration tries one candidate for the next member of the population."""
        while self.steps < total_steps:
            member = self.updates % len(self.preferences)
            noise = torch.randn(self.parameters[member].shape, generator=self.random)
            candidate = self.parameters[member] + self.config.scale * noise
            utility = self._try(candidate, member, envs)
            if utility >= self.utilities[member]:
                self.parameters[member] = candidate
                self.utilities[member] = utility
            self.updates += 1
            yield  # new episodes begin with the next candidate, so nothing else is under way

    def _try(self, candidate: torch.Tensor, member: int, envs: VectorEnvironment) -> float:
        """Return the mean utility of the first episode of each environment."""
        preference = self.preferences[member]
        data = PolicyData(spec=self.spec, parameters=candidate, preference=preference)
        self.bank.add(member, data)
        preferences = np.repeat(preference[None], envs.num_envs, axis=0)
        policies = np.full(envs.num_envs, member)
        observations, _ = envs.reset(seed=derived_seed(self.seed, "environments", self.steps))
        discounts = np.ones(envs.num_envs)
        utilities = np.zeros(envs.num_envs)
        for _ in range(self.config.rollout_steps):
            actions = self.bank.act(observations, preferences, policies)
            observations, rewards, terminated, truncated, _ = envs.step(actions)
            utilities += discounts * (rewards @ preference)
            discounts = np.where(terminated | truncated, 0.0, self.discount * discounts)
            self.steps += envs.num_envs
        return float(utilities.mean())

    def act(self, observations: Observations, preferences: FloatArray, policies: IndexArray) -> Actions:
        """Return the most likely actions [env]."""
        for policy_id, data in self.export_policies().items():
            self.bank.add(policy_id, data)
        return self.bank.act(observations, preferences, policies)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Offer each member, with its own preference."""
        return np.arange(len(self.preferences)), self.preferences

    def export_policies(self) -> dict[int, PolicyData]:
        """Return copies of the population."""
        members = zip(self.parameters, self.preferences, strict=True)
        return {
            policy_id: PolicyData(spec=self.spec, parameters=parameters.clone(), preference=preference)
            for policy_id, (parameters, preference) in enumerate(members)
        }

    def metrics(self) -> dict[str, float]:
        """Return the mean utility of the members that have been tried."""
        tried = self.utilities[np.isfinite(self.utilities)]
        return {"utility": float(tried.mean()) if len(tried) else float("nan")}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs."""
        return {
            "parameters": self.parameters,
            "utilities": self.utilities,
            "random": self.random.get_state(),
            "counters": [self.steps, self.updates],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        self.parameters = state["parameters"].clone()
        self.utilities = np.array(state["utilities"])
        self.random.set_state(state["random"])
        self.steps, self.updates = state["counters"]

    def reset_episodes(self) -> None:
        """Do nothing: every candidate begins with new episodes."""
