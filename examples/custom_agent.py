"""Your own agent in 100 lines: REINFORCE with one linear preference, checked, trained, and its front printed.

Run it with `.venv/bin/python examples/custom_agent.py`; docs/guide/your_agent.md explains it piece by piece.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import morl
from morl.acting import PolicyBank
from morl.agents import check_agent
from morl.learning.networks import MultilayerPerceptron
from morl.learning.observations import encoder
from morl.learning.optimizers import Adam
from morl.learning.processor import restore_generator
from morl.policy_files import PolicyData, PolicySpec
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
    """Settings of REINFORCE."""

    preference: tuple[float, ...] = (0.5, 0.5)
    """The weights of the objectives that the policy maximizes."""
    hidden_sizes: tuple[int, ...] = (32,)
    """Widths of the hidden layers."""
    learning_rate: float = 1e-2
    """Adam's step size."""
    rollout_steps: int = 50
    """Steps of every environment between two updates."""


class Reinforce:
    """Williams 1992, on the utility w.R of the rewards; for discrete actions."""

    config_class = Config

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        if len(config.preference) != problem.num_objectives:
            raise ValueError(f"preference is {config.preference}, but must have {problem.num_objectives} weights")
        self.config = config
        self.seed = seed
        self.preference = np.array(config.preference)
        self.discount = problem.discount
        self.spec = PolicySpec(
            agent="reinforce",
            head="categorical",
            hidden_sizes=config.hidden_sizes,
            observation_space=problem.observation_space,
            action_space=problem.action_space,
            objectives=problem.objectives,
        )
        self.encode, width = encoder(problem.observation_space)
        self.network = MultilayerPerceptron((width, *config.hidden_sizes, int(problem.action_space.n)))
        self.parameters = self.network.initialize(1, torch.Generator().manual_seed(derived_seed(seed, "network")))
        self.parameters = self.parameters.to(device).requires_grad_()
        self.optimizer = Adam(self.parameters)
        self.random = torch.Generator(device).manual_seed(derived_seed(seed, "actions"))
        self.bank = PolicyBank(self.spec, device)
        self.steps = self.updates = self.pretraining_steps = 0
        self.loss = float("nan")
        self.observations: Any = None  # None: episodes have not started
        self.rollout: list[dict[str, torch.Tensor]] = []

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Run REINFORCE; one iteration is one step of every environment."""
        if self.observations is None:
            observations, _ = envs.reset(seed=derived_seed(self.seed, "environments", self.steps))
            self.observations = torch.as_tensor(self.encode(observations))
        while self.steps < total_steps:
            log_probabilities = self._log_probabilities(self.observations).detach()
            choices = torch.multinomial(log_probabilities.exp(), 1, generator=self.random).squeeze(1)
            actions = choices.numpy() + self.spec.action_space.start
            observations, rewards, terminated, truncated, _ = envs.step(actions)
            utilities = torch.as_tensor(rewards @ self.preference, dtype=torch.float32)
            ended = torch.as_tensor(terminated | truncated)
            self.rollout.append(
                {"observations": self.observations, "choices": choices, "utilities": utilities, "ended": ended}
            )
            self.observations = torch.as_tensor(self.encode(observations))
            self.steps += envs.num_envs
            if len(self.rollout) == self.config.rollout_steps:
                self._update()
            yield

    def _log_probabilities(self, observations: torch.Tensor) -> torch.Tensor:
        return self.network(self.parameters, observations[None])[0].log_softmax(dim=-1)

    def _update(self) -> None:
        """Climb E[sum_t G_t grad log pi(a_t | s_t)] with returns G_t = u_t + gamma G_{t+1}, standardized."""
        following = torch.zeros_like(self.rollout[0]["utilities"])
        returns = []
        for step in reversed(self.rollout):
            following = step["utilities"] + self.discount * torch.where(step["ended"], 0.0, following)
            returns.append(following)
        returns = torch.cat(returns[::-1])
        advantages = (returns - returns.mean()) / (returns.std() + 1e-6)
        observations = torch.cat([step["observations"] for step in self.rollout])
        choices = torch.cat([step["choices"] for step in self.rollout])
        chosen = self._log_probabilities(observations).gather(1, choices[:, None]).squeeze(1)
        loss = -(advantages * chosen).mean()
        (gradient,) = torch.autograd.grad(loss, self.parameters)
        self.optimizer.step(gradient, self.config.learning_rate)
        self.loss = loss.item()
        self.updates += 1
        self.rollout = []

    def act(self, observations: Observations, preferences: FloatArray, policies: IndexArray) -> Actions:
        """Return the most likely actions [env]."""
        self.bank.add(0, self.export_policies()[0])
        return self.bank.act(observations, preferences, policies)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Offer the one policy, with the preference that it was trained for."""
        return np.zeros(1, dtype=np.int64), self.preference[None]

    def export_policies(self) -> dict[int, PolicyData]:
        """Return a copy of the policy."""
        parameters = self.parameters.detach()[0].clone()
        return {0: PolicyData(spec=self.spec, parameters=parameters, preference=self.preference)}

    def metrics(self) -> dict[str, float]:
        """Return the loss of the latest update."""
        return {"loss": self.loss}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs."""
        return {
            "parameters": self.parameters.detach(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "observations": self.observations,
            "rollout": self.rollout,
            "counters": [self.steps, self.updates],
            "loss": self.loss,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        self.parameters.data.copy_(state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_generator(self.random, state["random"])
        self.observations = state["observations"]
        self.rollout = list(state["rollout"])
        self.steps, self.updates = state["counters"]
        self.loss = state["loss"]

    def reset_episodes(self) -> None:
        """Start new episodes at the next step."""
        self.observations = None
        self.rollout = []


def main(total_steps: int = 40_000, run_dir: str = "runs/custom-agent") -> None:
    """Check the agent, train it for three preferences, print what it found."""
    check_agent(Reinforce)
    agent = f"{__name__}:Reinforce"  # on the command line: morl train custom_agent:Reinforce deep-sea-treasure-v0
    for treasure in (0.3, 0.5, 0.7):
        config = {"preference": (treasure, 1.0 - treasure)}
        folder = f"{run_dir}/treasure-{treasure}"
        run = morl.train(
            agent, "deep-sea-treasure-v0", total_steps=total_steps, config=config, run_dir=folder, overwrite=True
        )
        print(f"preference {config['preference']}: treasure and time {run.front.points[0].round(2).tolist()}")


if __name__ == "__main__":
    main()
