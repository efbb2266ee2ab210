"""PD-MORL for continuous actions: MO-TD3-HER (Basaklar, Gumussoy, Ogras, ICLR 2023; arXiv 2208.07914).

The algorithm in six lines:
  1. Actor pi(s, w) and two critics Q_i(s, w, a) take the preference w as an input; critics predict *vectors*.
  2. Each lane keeps to its own part of the preference simplex, and to one preference for an episode.
  3. The target is the whole vector of the critic with the lower utility w.Q at the smoothed target action.
  4. The actor climbs the utility w.Q_1; an angle term pulls Q towards I(w), the direction where its return should lie.
  5. The interpolator I is fitted to the best returns found so far for a few key preferences.
  6. Hindsight: a transition is also learnt from under other preferences; rewards are vectors, so nothing else changes.

`mode` decides what is not set by hand. `paper` is the authors' code; `improved`, the default, needs no pre-training and
works where returns are negative (docs/pd_morl.md: why, and what was measured). What both do differently:
  - ReplayBuffer holds raw transitions; preferences are redrawn at sample time. Same distribution, a quarter of the memory.
  - Keys are evaluated after a number of steps, not of episodes: early episodes end quickly and would trigger a storm.
  - Directions have unit length at every fit (the authors: L2 norm at first, L1 later; they differ by about one degree).
  - Networks see actions scaled to [-1, 1], and noise is in these units (differs for Hopper only).

Several learners, one for each seed, train as one batch; each equals a run of its own, to rounding.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from morl.agents.pd_morl.config import Config, decided
from morl.agents.pd_morl.hindsight import Experience, RelabelFrom, acting_grid
from morl.agents.pd_morl.interpolator import KeyPreferences, alignment_metrics, load_diagnostics
from morl.agents.pd_morl.key_pretraining import KeyPretraining
from morl.learning.actions import BoundedActions
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings
from morl.preferences import simplex_lattice
from morl.protocols import Evaluate, Problem
from morl.seeding import derived_seed


class ContinuousPDMORL:
    """MO-TD3-HER on a batch of environment lanes; satisfies `morl.protocols.Agent`.

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
        self.config, self.num_envs, self.device = config, num_envs, device
        seeds = (seed,) if isinstance(seed, int) else seed
        self.actions = BoundedActions(problem.action_space)
        grid = acting_grid(problem.num_objectives, config.preference_divisions)
        self.experience = Experience(problem, seeds, num_envs, grid, self.actions.width, config.buffer_size, device)
        learnable = problem.discount if problem.discount < 1.0 else 0.995  # the authors' for undiscounted returns
        same = TD3Settings.__dataclass_fields__.keys() & Config.__dataclass_fields__.keys() - {"discount"}
        informed = (
            decided(config.random_exploration_steps) - decided(config.learning_starts)
        ) * config.updates_per_step  # updates
        settings = TD3Settings(
            actor_starts=int(informed) if config.actor_start == "after-random-exploration" else 0,
            discount=learnable if config.discount is None else config.discount,
            layer_norm=config.hidden_norm == "layer",
            **{name: getattr(config, name) for name in same},
        )
        width = self.experience.width + problem.num_objectives
        network_seeds = [derived_seed(seed, "network") for seed in seeds]
        self.td3 = TD3(width, self.actions.width, problem.num_objectives, settings, network_seeds, device)
        origin = np.zeros(problem.num_objectives)
        if config.units == "typical-reward" and problem.reference_point is not None:
            origin = np.array(problem.reference_point)
        self.origin = torch.as_tensor(origin, dtype=torch.float32, device=device)
        keys = simplex_lattice(problem.num_objectives, config.key_divisions) if config.key_divisions else None
        self.keys = KeyPreferences(origin, device, len(seeds), keys)
        self.scales = torch.ones(len(seeds), 1, problem.num_objectives, device=device)
        self.noise = np.zeros((len(seeds) * num_envs, self.actions.width))  # [lane, action_width]
        self.steps = self.pretraining_steps = self.updates = 0
        self.next_key_update = decided(config.key_update_steps)
        self.diagnostics: dict[str, Tensor] = {}
        key_steps, widths = decided(config.key_pretraining_steps), decided(config.hidden_sizes)
        self.begin_pretraining = partial(KeyPretraining, problem, seeds, num_envs, self.keys, key_steps, widths, device)
        self.pretraining: KeyPretraining | None = None  # while it goes on
        self.pretrained = key_steps == 0

    def learn(self, envs: VectorEnv[Any, Any, Any], total_steps: int, *evaluate: Evaluate) -> Iterator[None]:
        """Run MO-TD3-HER; one iteration is one step of every lane and the updates that it earns.

        Args:
            envs: learners * num_envs lanes.
            total_steps: of each learner.
            evaluate: one for each learner.
        """
        if not self.pretrained:
            yield from self._pretrain(envs, evaluate)
        if self.experience.observations is None:
            self.experience.begin(envs, self.steps)
        while self.steps < total_steps:
            if self.steps >= self.next_key_update:
                self._measure_keys(evaluate)
                self.next_key_update += decided(self.config.key_update_steps)
            actions = self._explore()
            observations, rewards, terminated, truncated, infos = envs.step(self.actions.to_environment(actions))
            stops = terminated if self.config.time_limits == "bootstrap" else terminated | truncated
            self.experience.remember(actions, observations, rewards, terminated, truncated, infos, stops)
            self.steps += self.num_envs
            earned = (self.steps - decided(self.config.learning_starts)) * self.config.updates_per_step
            due = int(earned) - self.updates
            if due > 0 and self.updates == 0 and self.config.units == "typical-reward":
                self._measure_scales()
            if due > 0:
                source: RelabelFrom = decided(self.config.relabel_from)
                size, begun = decided(self.config.batch_size), self.steps >= decided(self.config.relabelling_starts)
                self._learn(*self.experience.draw(due, size, self.config.relabelled_share if begun else 0.0, source))
            yield

    def _learn(self, rows: Tensor, index: Tensor, preferences: Tensor, noise: Tensor) -> None:
        """Take a gradient step of the critics for each batch of `Experience.draw`, and of the actor when it is due."""
        scales, direction = self.scales.unsqueeze(1), None
        angles = decided(self.config.actor_angle) + decided(self.config.critic_angle)
        if angles > 0.0 and self.steps >= decided(self.config.angle_start_step):
            direction = self.keys.directions(preferences.flatten(1, 2)).view_as(preferences) / scales
        draws = SampledBatches(
            rows=rows,
            width=self.experience.width,
            index=index,
            condition=preferences,
            weight=preferences * (scales / scales.mean(dim=-1, keepdim=True)),  # utilities of the size of values
            noise=noise,
            scale=self.scales.squeeze(1),
            direction=direction,
            origin=(self.origin / self.scales).squeeze(1),
        )
        self.diagnostics = self.td3.learn(draws) | {"preference": preferences[:, -1]}
        self.updates += len(draws)

    def act(
        self,
        observations: Any,
        preferences: NDArray[np.float64],
        policies: NDArray[np.int64],
        learner: int = 0,
    ) -> NDArray[Any]:
        """Return the deterministic actions pi(s, w) [env, ...]; there is one policy, number 0, for all preferences.

        While keys are trained, numbers from 1 on are the policies of the keys.
        """
        if self.pretraining is not None and policies.all():
            return self.pretraining.act(observations, preferences, policies - 1, learner)
        states = np.concatenate([self.experience.encode(observations), preferences], axis=1, dtype=np.float32)
        actors = self._published()[learner : learner + 1]
        actions = self.td3.act(torch.as_tensor(states, device=self.device)[None], actors)
        return self.actions.to_environment(actions[0].cpu().numpy())

    def policies(self, preferences: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return policy 0 for every preference of the evaluation grid: the network is conditioned on it."""
        return np.zeros(len(preferences), dtype=np.int64), preferences

    def metrics(self, learner: int = 0) -> dict[str, float]:
        """Return what tells how learning goes; read only when it is logged. docs/pd_morl.md explains each."""
        size = {"replay_size": float(len(self.experience.replay))}
        return size | alignment_metrics(self.diagnostics, self.keys, self.origin, learner, self.scales[learner, 0])

    # --- Components --------------------------------------------------------------------------------------------------------

    def _published(self) -> Tensor:
        """Return the actors [learner, n] that are evaluated and published."""
        return self.td3.target_actors if self.config.evaluation_actor == "target" else self.td3.actors

    def _pretrain(self, envs: VectorEnv[Any, Any, Any], evaluates: Sequence[Evaluate]) -> Iterator[None]:
        """Find the returns that the interpolator starts from, one policy for each key."""
        if self.pretraining is None:
            self.pretraining = self.begin_pretraining()
        for steps in self.pretraining.learn(envs, evaluates):
            self.pretraining_steps += steps
            yield
        self.pretraining, self.pretrained = None, True

    def _explore(self) -> NDArray[np.float64]:
        """Return actions [lane, action_width] in [-1, 1]: random at first, later the policy's with noise."""
        memory = decided(self.config.noise_correlation)
        self.noise = memory * self.noise + sqrt(1.0 - memory**2) * self.experience.normal(self.actions.width)
        if self.steps < decided(self.config.random_exploration_steps):
            uniform: NDArray[np.float64] = torch.special.ndtr(torch.from_numpy(self.noise)).numpy()
            return 2.0 * uniform - 1.0
        own = self.td3.act(self.experience.states()).flatten(0, 1).cpu().numpy()
        return np.clip(own + self.config.exploration_noise * self.noise, -1.0, 1.0)

    def _measure_scales(self) -> None:
        """Set the units, root mean square rewards: of returns, values would be about 1, and an action's share noise."""
        typical = self.experience.replay.column("reward").square().mean(dim=1, keepdim=True).sqrt()
        self.scales = torch.where(typical > 0, typical, torch.ones_like(typical))

    def _measure_keys(self, evaluates: Sequence[Evaluate]) -> None:
        """Evaluate the keys; say so where one has lost half of its best utility: training may have collapsed."""
        before = self.keys.collapsed()
        self.keys.measure(evaluates, decided(self.config.key_episodes))
        for learner, key in np.argwhere(self.keys.collapsed() & ~before):
            warnings.warn(
                f"pd-morl at step {self.steps:,}: the utility for key preference {self.keys.preferences[key].tolist()}"
                f" is {self.keys.latest[learner, key]:.4g} above the origin, less than half of the best so far,"
                f" {self.keys.utilities()[learner, key]:.4g}; training may have collapsed",
                RuntimeWarning,
                stacklevel=2,
            )

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self, learner: int = 0) -> dict[str, Any]:
        """Return everything that exact resuming of one learner needs; the same whoever learns beside it."""
        rows = slice(learner, learner + 1)
        return {name: getattr(self, name) for name in self._PLAIN_STATE} | {
            "td3": self.td3.state_dict(rows),
            "experience": self.experience.state_dict(learner),
            "noise": self.noise[learner * self.num_envs : (learner + 1) * self.num_envs],
            "keys": self.keys.state_dict(learner),
            "scales": self.scales[rows],
            "diagnostics": {name: tensor[rows] for name, tensor in self.diagnostics.items()},
            "pretraining": None if self.pretraining is None else self.pretraining.state_dict(learner),
        }

    def load_state_dict(self, state: Mapping[str, Any], learner: int = 0) -> None:
        """Take over a state that `state_dict` returned, for the same problem, settings and number of lanes."""
        for name in self._PLAIN_STATE:
            setattr(self, name, state[name])
        rows = slice(learner, learner + 1)
        self.td3.load_state_dict(state["td3"], rows)
        self.experience.load_state_dict(state["experience"], learner)
        self.noise[learner * self.num_envs : (learner + 1) * self.num_envs] = state["noise"]
        self.keys.load_state_dict(state["keys"], learner)
        self.scales[rows] = state["scales"]
        load_diagnostics(self.diagnostics, state["diagnostics"], learner, len(self.scales))
        if state["pretraining"] is not None:
            self.pretraining = self.pretraining or self.begin_pretraining()
            self.pretraining.load_state_dict(state["pretraining"], learner)

    _PLAIN_STATE = ("steps", "pretraining_steps", "updates", "next_key_update", "pretrained")

    def reset_episodes(self) -> None:
        """Begin new episodes at the next step: for environments whose state cannot be saved."""
        self.experience.observations = None
        if self.pretraining is not None:
            self.pretraining.experience.observations = None

    def export_policies(self, learner: int = 0) -> dict[int, dict[str, Any]]:
        """Return what acting needs, by policy number."""
        return {0: {"actor": self._published()[learner : learner + 1].detach().clone()}}

    def import_policies(self, policies: Mapping[int, Mapping[str, Any]]) -> None:
        """Take over policies that `export_policies` returned; enough to act, not to go on learning."""
        self._published().data.copy_(policies[0]["actor"])
