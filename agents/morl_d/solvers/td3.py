"""TD3 as a learner of MORL/D: `morl.learning.td3` behind the interface of `morl.learning.off_policy`."""

from dataclasses import replace

import torch
from torch import Tensor

from morl.learning.off_policy import Batch, Hyperparameters, UtilityFn, adam_tensors, linear_weights
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings

EXPLORATION_NOISE = 0.1
"""Deviation of the noise on exploring actions (Fujimoto et al. 2018)."""


class TD3Learner:
    """Deterministic policies of a population; satisfies `morl.learning.off_policy.Learner`. Linear utilities only."""

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
        settings = TD3Settings(
            hidden_sizes=numbers.hidden_sizes,
            discount=numbers.discount,
            learning_rate=numbers.actor_learning_rate,
            tau=numbers.tau,
            policy_delay=numbers.policy_delay,
            precision="bfloat16" if numbers.precision == torch.bfloat16 else "float32",
        )
        seeds = torch.randint(2**31, (population,), generator=generator).tolist()
        self.population = TD3(observations, actions, objectives, settings, seeds, device)
        self.diagnostics: dict[str, Tensor] = {}

    def tensors(self) -> dict[str, Tensor]:
        """Return all state [policy, ...] by name; both critics of a policy lie in one row."""
        td3 = self.population
        state = {"actor": td3.actors.detach(), "target_actor": td3.target_actors}
        state |= adam_tensors("actor", td3.actor_optimizer)
        critics = {"critic": td3.critics.detach(), "target": td3.target_critics}
        critics |= adam_tensors("critic", td3.critic_optimizer)
        return state | {name: tensor.view(td3.policies, -1) for name, tensor in critics.items()}

    def update(self, batch: Batch, worth: UtilityFn, number: int, generator: torch.Generator) -> None:
        """Take one step with the critics and, every `policy_delay`-th time, one with actors and targets."""
        state, action = batch["observation"], batch["action"]
        noise = torch.randn(action.shape, generator=generator, device=action.device)
        columns = {"state": state, "next_state": batch["next_observation"], "action": action, "noise": noise}
        columns |= {"reward": batch["reward"], "continues": 1.0 - batch["terminated"]}
        columns["weight"] = linear_weights(worth, state, self.objectives)
        self.population.updates = number  # of all learners alike, also after resuming
        self.diagnostics["critic_loss"] = self.population.update(columns)["loss"]

    @property
    def compiled(self) -> object:
        """Return what takes all updates at once, or None."""
        return self.population.compiled

    def learn_linear(self, draws: SampledBatches, number: int, generator: torch.Generator) -> None:
        """Take all updates that were drawn under linear utilities, the first of them `number`, as `update` does."""
        policies, updates, size = draws.index.shape
        noise = [torch.randn(policies, size, self.actions, generator=generator) for _ in range(updates)]
        self.population.updates = number
        self.diagnostics["critic_loss"] = self.population.learn(replace(draws, noise=torch.stack(noise, dim=1)))["loss"]

    def explore(self, observations: Tensor, worth: UtilityFn, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return actions [policy, batch, action] with Gaussian noise."""
        with torch.no_grad():
            actions = self.population.act(observations)
            noise = torch.randn(actions.shape, generator=generator, device=actions.device)
            return (actions + EXPLORATION_NOISE * noise).clamp(-1.0, 1.0)

    def greedy(self, actor: Tensor, observations: Tensor, worth: UtilityFn) -> Tensor:  # noqa: ARG002
        """Return tanh(pi(s)) [policy, batch, action]."""
        with torch.no_grad():
            return self.population.actor(actor, observations).tanh()
