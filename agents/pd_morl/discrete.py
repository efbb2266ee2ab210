"""PD-MORL: one network that serves every preference (Basaklar, Gumussoy, Ogras, ICLR 2023; arXiv 2208.07914).

The discrete variant, MO-DDQN-HER, in five lines:
  1. The network Q(s, a, w) takes the preference w as an input and predicts the *vector* of returns for each action.
  2. Acting is epsilon-greedy on the utility w.Q. Each lane keeps to its own part of the preference simplex.
  3. The target takes the action whose vector points best to where w should lead: cosine(I(w), Q) times utility w.Q.
  4. The interpolator I maps a preference to the direction of the return that solves it, from a few key preferences.
  5. Hindsight: a transition is also learnt from under other preferences; rewards are vectors, so nothing else changes.

Where this file departs from the authors' code, and why (docs/pd_morl.md has the list with measurements):
  - ReplayBuffer holds raw transitions; preferences are redrawn at sample time. Same distribution, a quarter of the memory.
  - Time limits are bootstrapped through (the authors treat them as terminal).
  - Keys are estimated on line from the agent itself. `oracle_keys` takes them from the true front, as the authors do.
  - Cosines are taken from the reference point as origin. For Deep Sea Treasure that is the authors' shift by +19.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from morl.agents.pd_morl.hindsight import Experience, RelabelFrom, acting_grid
from morl.agents.pd_morl.interpolator import (
    KeyPreferences,
    aligned_score,
    alignment_metrics,
    load_diagnostics,
    paper_score,
)
from morl.learning.networks import MultilayerPerceptron
from morl.learning.optimizers import Adam, soft_update
from morl.learning.values import pessimistic, select, utility
from morl.protocols import Evaluate, Problem
from morl.seeding import derived_seed


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of MO-DDQN-HER. The authors' for Deep Sea Treasure by default, but for `target_action` and keys."""

    target_action: Literal["paper", "aligned", "utility"] = "aligned"
    """How the target chooses its action: by S_c w.Q as published, by the same from the reference point (which works
    for negative objectives), or by w.Q alone."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    learning_rate_half_life: float | None = None
    """Updates after which the step size is half, after three times as many a quarter (authors: constant)."""
    discount: float | None = None
    """Discount factor of learning; the environment's evaluation discount where not given."""
    batch_size: int = 32
    """Transitions per update."""
    updates_per_step: float = 1.0
    """Gradient updates per environment step."""
    hidden_sizes: tuple[int, ...] = (256, 256, 256, 256)
    """Widths of the hidden layers (authors: 4 x 256, fruit tree 4 x 512)."""
    critics: int = 1
    """Networks that learn side by side (authors: 1). With more, the target takes for each action the vector of the one
    with the lowest utility, as in MO-TD3-HER, so that values do not grow on themselves where steps cost nothing."""
    one_hot: bool = False
    """Encode integer observations as one-hot, of the joint state where there are few (authors: raw integers)."""
    buffer_size: int = 2_500
    """Raw transitions kept (authors: 10,000 entries, three quarters of them relabelled copies)."""
    relabelled_share: float = 0.75
    """Share of a batch whose preference is redrawn: N_w / (1 + N_w) with the authors' N_w = 3."""
    relabel_from: RelabelFrom = "absolute-normal"
    """Where redrawn preferences come from: see `morl.agents.pd_morl.hindsight.RelabelFrom`."""
    tau: float = 0.005
    """Rate of the target network's soft update, after every update (tau)."""
    random_exploration_steps: int = 640
    """Environment steps with uniformly random actions at the start (authors: 64 for each of 10 workers)."""
    learning_starts: int = 192
    """Environment steps before the first update (authors: 2 x batch x N_w)."""
    exploration_start: float = 0.8
    """Probability of a random action after the random steps."""
    exploration_end: float = 0.05
    """Probability of a random action in the end."""
    exploration_steps: int = 750_000
    """Environment steps over which the probability falls linearly (authors: 75,000 for each of 10 workers)."""
    preference_divisions: int | None = None
    """Resolution of the grid that acting preferences are drawn from (authors: 100, fruit tree 20); 100, or as fine as
    5,000 preferences allow, where not given."""
    oracle_keys: bool = False
    """Take the key returns from the known front, as the authors do, instead of estimating them on line."""
    key_update_steps: int = 5_000
    """Environment steps between two evaluations of the key preferences."""
    key_episodes: int = 1
    """Episodes of each key evaluation."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        shares = ("relabelled_share", "tau", "exploration_start", "exploration_end")
        for name in shares:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must lie between 0 and 1")
        counts = ("batch_size", "critics", "buffer_size", "learning_starts", "exploration_steps")
        for name in (*counts, "key_update_steps", "key_episodes", "learning_rate", "updates_per_step"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, but must be finite and greater than 0")
        for name in ("learning_rate_half_life", "preference_divisions"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be greater than 0")
        if self.discount is not None and not 0.0 <= self.discount <= 1.0:
            raise ValueError(f"discount is {self.discount}, but must lie between 0 and 1")
        if not all(width > 0 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}, but every width must be greater than 0")


# --- The algorithm ---------------------------------------------------------------------------------------------------


class PDMORL:
    """MO-DDQN-HER on a batch of environment lanes; satisfies `morl.protocols.Agent`.

    Args:
        problem: the environment's spaces, objectives, discount and reference point.
        config: settings.
        seed: of the one learner, or a tuple of seeds: one for each learner.
        num_envs: lanes of each learner; `learn` takes a vector environment with learners * num_envs lanes.
        device: where networks and replay live.
    """

    config_class = Config
    several_learners = True

    def __init__(
        self, problem: Problem, config: Config, seed: int | tuple[int, ...], num_envs: int, device: torch.device
    ) -> None:
        if not isinstance(problem.action_space, spaces.Discrete):
            raise ValueError(f"action_space of {problem.id} is {problem.action_space}, but must be Discrete")
        self.config, self.num_envs, self.device = config, num_envs, device
        self.discount = problem.discount if config.discount is None else config.discount
        self.objectives, self.num_actions = problem.num_objectives, int(problem.action_space.n)
        self.first_action = int(problem.action_space.start)
        seeds = (seed,) if isinstance(seed, int) else seed
        grid = acting_grid(self.objectives, config.preference_divisions)
        capacity = config.buffer_size
        self.experience = Experience(problem, seeds, num_envs, grid, 1, capacity, device, config.one_hot)

        inputs, outputs = self.experience.width + self.objectives, self.num_actions * self.objectives
        self.network = MultilayerPerceptron((inputs, *config.hidden_sizes, outputs))
        weights = [torch.Generator().manual_seed(derived_seed(seed, "network")) for seed in seeds]
        fresh = torch.cat([self.network.initialize(config.critics, generator) for generator in weights])
        self.parameters = fresh.to(device).requires_grad_()  # [learner * critic, n]
        self.target_parameters = self.parameters.detach().clone()
        self.optimizer = Adam(self.parameters)
        self.steps = self.pretraining_steps = self.updates = 0
        self.diagnostics: dict[str, Tensor] = {}
        origin = np.zeros(self.objectives) if problem.reference_point is None else np.array(problem.reference_point)
        self.origin = torch.as_tensor(origin, dtype=torch.float32, device=device)
        self.keys = KeyPreferences(origin, device, len(seeds))
        self.next_key_update = config.key_update_steps
        if config.oracle_keys:
            if problem.known_front is None:
                raise ValueError(
                    f"oracle_keys is True, but the true front of {problem.id} is not known: set it to False"
                )
            self.keys.take_from(problem.known_front(self.discount))

    def learn(self, envs: VectorEnv[Any, Any, Any], total_steps: int, *evaluate: Evaluate) -> Iterator[None]:
        """Run MO-DDQN-HER; one iteration is one step of every lane and the updates that it earns.

        Args:
            envs: learners * num_envs lanes.
            total_steps: of each learner.
            evaluate: one for each learner.
        """
        config, experience = self.config, self.experience
        if experience.observations is None:
            experience.begin(envs, self.steps)
        while self.steps < total_steps:
            if self.steps >= self.next_key_update and not config.oracle_keys:
                self.keys.measure(evaluate, config.key_episodes)
                self.next_key_update += config.key_update_steps
            actions = self._explore()
            observations, rewards, terminated, truncated, infos = envs.step(actions + self.first_action)
            experience.remember(actions[:, None], observations, rewards, terminated, truncated, infos, terminated)
            self.steps += self.num_envs
            due = ceil((self.steps - config.learning_starts) * config.updates_per_step) - self.updates
            for batch in experience.batches(due, config.batch_size, config.relabelled_share, config.relabel_from):
                self.update(batch)
            yield

    def update(self, batch: Mapping[str, Tensor]) -> None:
        """Take one gradient step on y = r + gamma (1 - d) Q'(s', a*, w), Huber loss over batch and objectives."""
        preferences = batch["preference"]
        with torch.no_grad():
            next_values = self._values(self.target_parameters, batch["next_observation"], preferences)
            next_values = pessimistic(next_values, preferences.unsqueeze(2))
            directions = self.keys.directions(preferences)
            next_actions = self._score(next_values, preferences, directions).argmax(dim=-1)
            continues = self.discount * (1.0 - batch["terminated"])
            targets = (batch["reward"] + continues * select(next_values, next_actions)).unsqueeze(1)
        values = self._values(self.parameters, batch["observation"], preferences)
        taken = batch["action"].squeeze(-1).long().unsqueeze(1).expand(values.shape[:3])
        predictions = select(values, taken)  # [learner, critic, batch, objective]
        errors = smooth_l1_loss(predictions, targets.expand_as(predictions), reduction="none")
        losses = errors.mean(dim=(2, 3)).sum(dim=1)  # [learner]
        (gradient,) = torch.autograd.grad(losses.sum(), self.parameters)
        half_life = self.config.learning_rate_half_life
        decay = 1.0 if half_life is None else 1.0 / (1.0 + self.updates / half_life)
        self.optimizer.step(gradient, self.config.learning_rate * decay)
        soft_update(self.target_parameters, self.parameters, self.config.tau)
        self.updates += 1
        self.diagnostics = {"loss": losses.detach(), "values": predictions[:, 0].detach(), "preference": preferences}

    def act(
        self,
        observations: Any,
        preferences: NDArray[np.float64],
        policies: NDArray[np.int64],  # noqa: ARG002
        learner: int = 0,
    ) -> NDArray[np.int64]:
        """Return the greedy actions argmax_a w.Q(s, a, w) [env]; there is one policy, number 0, for all preferences."""
        encoded = torch.as_tensor(self.experience.encode(observations), device=self.device)
        weights = torch.as_tensor(np.array(preferences, dtype=np.float32), device=self.device)
        return self._greedy(encoded[None], weights[None], self._rows(learner)) + self.first_action

    def policies(self, preferences: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return policy 0 for every preference of the evaluation grid: the network is conditioned on it."""
        return np.zeros(len(preferences), dtype=np.int64), preferences

    def metrics(self, learner: int = 0) -> dict[str, float]:
        """Return what tells how learning goes; read only when it is logged. docs/pd_morl.md explains each."""
        values = {"exploration_rate": self._exploration_rate(), "replay_size": float(len(self.experience.replay))}
        return values | alignment_metrics(self.diagnostics, self.keys, self.origin, learner)

    # --- Components --------------------------------------------------------------------------------------------------------

    def _exploration_rate(self) -> float:
        if self.steps < self.config.random_exploration_steps:
            return 1.0
        done = min(1.0, self.steps / self.config.exploration_steps)
        return self.config.exploration_start + done * (self.config.exploration_end - self.config.exploration_start)

    def _explore(self) -> NDArray[np.int64]:
        """Return actions [lane] counted from 0: greedy, but for a share that is random."""
        experience = self.experience
        observations = experience.by_learner(experience.observations)
        preferences = experience.by_learner(experience.preferences)
        random_actions = (experience.uniform() * self.num_actions).astype(np.int64)
        random = experience.uniform() < self._exploration_rate()
        return np.where(random, random_actions, self._greedy(observations, preferences, slice(None)))

    def _score(self, values: Tensor, preferences: Tensor, directions: Tensor) -> Tensor:
        """Return the score by which the target chooses its action [..., action]."""
        if self.config.target_action == "utility":
            return utility(values, preferences.unsqueeze(-2))
        score = paper_score if self.config.target_action == "paper" else aligned_score
        return score(values, preferences, directions, self.origin)

    def _values(self, parameters: Tensor, observations: Tensor, preferences: Tensor) -> Tensor:
        """Return Q(s, ., w) [learner, critic, batch, action, objective] for inputs [learner, batch, ...]."""
        inputs = torch.cat([observations, preferences], dim=-1)
        values = self.network(parameters, inputs.repeat_interleave(self.config.critics, dim=0))
        return values.view(len(inputs), self.config.critics, -1, self.num_actions, self.objectives)

    @torch.no_grad()
    def _greedy(self, observations: Tensor, preferences: Tensor, rows: slice) -> NDArray[np.int64]:
        """Return the greedy actions [learner * env] for observations and preferences [learner, env, ...]."""
        values = self._values(self.parameters[rows], observations, preferences).mean(dim=1)
        actions: NDArray[np.int64] = utility(values, preferences.unsqueeze(2)).argmax(dim=-1).flatten().cpu().numpy()
        return actions

    def _rows(self, learner: int) -> slice:
        return slice(learner * self.config.critics, (learner + 1) * self.config.critics)

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self, learner: int = 0) -> dict[str, Any]:
        """Return everything that exact resuming of one learner needs; the same whoever learns beside it."""
        rows = self._rows(learner)
        return {name: getattr(self, name) for name in self._PLAIN_STATE} | {
            "parameters": self.parameters.detach()[rows],
            "target_parameters": self.target_parameters[rows],
            "optimizer": {name: tensor[rows] for name, tensor in self.optimizer.state_dict().items()},
            "experience": self.experience.state_dict(learner),
            "keys": self.keys.state_dict(learner),
            "diagnostics": {name: tensor[learner : learner + 1] for name, tensor in self.diagnostics.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], learner: int = 0) -> None:
        """Take over a state that `state_dict` returned, for the same problem, settings and number of lanes."""
        for name in self._PLAIN_STATE:
            setattr(self, name, state[name])
        rows = self._rows(learner)
        self.parameters.data[rows] = state["parameters"]
        self.target_parameters[rows] = state["target_parameters"]
        for name, tensor in self.optimizer.state_dict().items():
            tensor[rows] = state["optimizer"][name]
        self.experience.load_state_dict(state["experience"], learner)
        self.keys.load_state_dict(state["keys"], learner)
        load_diagnostics(self.diagnostics, state["diagnostics"], learner, len(self.keys.returns))

    _PLAIN_STATE = ("steps", "pretraining_steps", "updates", "next_key_update")

    def reset_episodes(self) -> None:
        """Begin new episodes at the next step: for environments whose state cannot be saved."""
        self.experience.observations = None

    def export_policies(self, learner: int = 0) -> dict[int, dict[str, Any]]:
        """Return what acting needs, by policy number."""
        return {0: {"parameters": self.parameters.detach()[self._rows(learner)].clone()}}

    def import_policies(self, policies: Mapping[int, Mapping[str, Any]]) -> None:
        """Take over policies that `export_policies` returned; enough to act, not to go on learning."""
        self.parameters.data.copy_(policies[0]["parameters"])
