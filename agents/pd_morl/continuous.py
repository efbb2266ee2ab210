"""PD-MORL for continuous actions: MO-TD3-HER (Basaklar, Gumussoy, Ogras, ICLR 2023; arXiv 2208.07914).

The algorithm in six lines:
  1. Actor pi(s, w) and two critics Q_i(s, w, a) take the preference w as an input; critics predict *vectors*.
  2. Each environment keeps to its own part of the preference simplex, and to one preference for an episode.
  3. The target is the whole vector of the critic with the lower utility w.Q at the smoothed target action.
  4. The actor climbs the utility w.Q_1; an angle term pulls Q towards I(w), the direction where its return should lie.
  5. The interpolator I is fitted to the best returns found so far for a few key preferences.
  6. Hindsight: a transition is also learned from under other preferences; rewards are vectors, so nothing else changes.

`ContinuousConfig.paper()` has the settings of the authors' code. The defaults need no pre-training and work where
returns are negative (docs/agents/pd_morl.md has reasons and measurements). Both depart from the authors' code in this:
  - The replay buffer holds raw transitions; preferences are redrawn when a batch is sampled. The distribution is the
    same, the memory a quarter.
  - Keys are evaluated after a number of steps, not of episodes: early episodes are short, and would cause an evaluation
    every few steps.
  - Directions have unit length at every fit (the authors: L2 norm at first, L1 later; they differ by about one degree).
  - Networks see actions scaled to [-1, 1], and noise is in these units (differs for Hopper only).

Several learners, one for each seed, train as one batch (`morl.agents.pd_morl.learners`).
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from morl.agents.pd_morl.config import ContinuousConfig
from morl.agents.pd_morl.episodes import EnvStep, Episodes, preference_grid, replay_memory
from morl.agents.pd_morl.hindsight import Choices, HindsightBatches, HindsightReplay, preference_distribution
from morl.agents.pd_morl.interpolator import KeyPreferences, alignment_metrics
from morl.agents.pd_morl.key_pretraining import KeyPretraining
from morl.agents.pd_morl.learners import Learners, rows
from morl.agents.pd_morl.metrics import METRIC_DESCRIPTIONS
from morl.agents.pd_morl.multi_step import MultiStep
from morl.agents.pd_morl.policy import ConditionedPolicy, architecture_of, policy_set_of
from morl.learning.actions import BoundedActions
from morl.learning.backends import make_update
from morl.learning.optimizers import soft_update
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings
from morl.learning.types import ImageShape
from morl.policy_files import PolicyData
from morl.preferences import simplex_lattice
from morl.protocols import (
    Actions,
    Evaluate,
    FloatArray,
    IndexArray,
    MemoryNeed,
    Observations,
    Problem,
    StateDict,
    VectorEnvironment,
)

AVERAGED_SHARE = 0.05
"""Share of all updates so far over which actors are averaged, with `evaluation_actor` "average"."""
AVERAGED_UPDATES = 5_000
"""Most updates over which they are averaged: of older actors too many are worse."""


def averaging_horizon(updates: int) -> float:
    """Return h, the updates over which an exponential average of actors extends after `updates` of them."""
    return 1.0 + min(AVERAGED_SHARE * updates, AVERAGED_UPDATES)


def value_weights(preferences: Tensor, scales: Tensor) -> Tensor:
    """Return the weights v = w c / mean(c) of utilities for values in units of c: v.(Q / c) = w.Q / mean(c).

    The division by the mean keeps utilities at the size of the values Q / c.

    Args:
        preferences: [learner, ..., objective] w.
        scales: [learner, ..., objective] c, broadcast against the preferences.
    """
    return preferences * (scales / scales.mean(dim=-1, keepdim=True))


def reward_sizes(rewards: Tensor, measure: Literal["median", "rms"]) -> Tensor:
    """Return the unit of each objective's values [learner, 1, objective]; 1 where all rewards are zero.

    Args:
        rewards: [learner, n, objective] r.
        measure: "rms": sqrt(mean(r^2)); "median": the median of |r| over rewards that are not zero, where that is less.
    """
    sizes = rewards.square().mean(dim=1, keepdim=True).sqrt()
    if measure == "median":
        paid = torch.where(rewards != 0, rewards.abs(), torch.nan)
        sizes = torch.fmin(sizes, paid.nanmedian(dim=1, keepdim=True).values)
    return torch.where(sizes > 0, sizes, torch.ones_like(sizes))


def td3_settings(
    config: ContinuousConfig, discount: float, objectives: int, images: tuple[ImageShape, ...] = ()
) -> TD3Settings:
    """Return the settings of the update.

    Args:
        config: settings of the agent.
        discount: discount factor of learning.
        objectives: length of the reward vector.
        images: that observations begin with.
    """
    actor_starts = 0
    if config.actor_start == "after-random-exploration":
        actor_starts = int((config.random_exploration_steps - config.learning_starts) * config.updates_per_step)
    return TD3Settings(
        hidden_sizes=config.hidden_sizes,
        discount=discount,
        learning_rate=config.learning_rate,
        tau=config.tau,
        policy_delay=config.policy_delay,
        target_noise=config.target_noise,
        target_noise_clip=config.target_noise_clip,
        max_grad_norm=config.max_grad_norm,
        loss=config.loss,
        utility_loss=config.utility_loss,
        layer_norm=config.hidden_norm == "layer",
        action_gradient=config.action_gradient,
        actor_search=config.actor_search,
        actor_starts=actor_starts,
        precision=config.precision,
        activation=config.activation,
        normalization=config.normalization,
        images=images,
        network=config.network,
        policy_set=policy_set_of(config, objectives),
        critic_angle=config.critic_angle,
        actor_angle=config.actor_angle,
    )


class ContinuousPDMORL:
    """MO-TD3-HER on a batch of environments; satisfies `morl.protocols.Agent`.

    Args:
        problem: the environment's spaces, objectives, discount and reference point.
        config: settings.
        seed: seed of the only learner, or a tuple of seeds, one for each learner.
        num_envs: environments of each learner; `learn` takes a vector environment of learners * num_envs.
        device: where networks and replay lie.

    Raises:
        ValueError: the actions are not a bounded Box, or the backend does not support the settings.
    """

    config_class = ContinuousConfig
    several_learners = True
    metric_descriptions = METRIC_DESCRIPTIONS

    def __init__(
        self,
        problem: Problem,
        config: ContinuousConfig,
        seed: int | tuple[int, ...],
        num_envs: int,
        device: torch.device,
    ) -> None:
        self.problem = problem
        self.config = config
        self.num_envs = num_envs
        self.device = device
        self.learners = Learners(seed, num_envs, device)
        self.actions = BoundedActions(problem.action_space)
        grid = preference_grid(problem.num_objectives, config.preference_divisions)
        self.episodes = Episodes(problem, self.learners, grid, config.time_limits, image_size=config.image_size)
        self.replay = HindsightReplay(
            self.learners,
            capacity=config.buffer_size,
            observation_width=self.episodes.observation_width,
            action_width=self.actions.width,
            num_objectives=problem.num_objectives,
            draw_preferences=preference_distribution(config.relabel_from, grid),
            pixels=self.episodes.pixels,
        )
        discount = problem.long_discount if config.discount is None else config.discount
        self.multi_step = MultiStep(config.n_steps, discount)
        state_width = self.episodes.observation_width + problem.num_objectives
        self.td3 = TD3(
            state_width,
            self.actions.width,
            problem.num_objectives,
            td3_settings(config, discount, problem.num_objectives, self.episodes.images),
            self.learners.derived_seeds("network"),
            device,
        )
        self.update = make_update(self.td3, config.backend)
        self.backend = self.update.backend
        architecture = architecture_of(config, self.episodes.images, problem.num_objectives)
        self.policy = ConditionedPolicy(problem, "deterministic", config, architecture, device)

        origin = np.zeros(problem.num_objectives)
        if config.reward_scale != "none" and problem.reference_point is not None:
            origin = np.array(problem.reference_point)
        self.origin = torch.as_tensor(origin, dtype=torch.float32, device=device)
        divisions = config.key_divisions
        keys = None if divisions is None else simplex_lattice(problem.num_objectives, divisions)
        self.keys = KeyPreferences(origin, device, len(self.learners), keys)
        self.scales = torch.ones(len(self.learners), 1, problem.num_objectives, device=device)
        """[learner, 1, objective] c, the unit of each objective's values."""
        self.noise = np.zeros((self.learners.total_envs, self.actions.width))
        """[learner * env, action_width] exploration noise of the latest step, of unit variance."""
        smallest = config.exploration_noise_min
        span = 0.0 if smallest is None else max(0.0, config.exploration_noise - smallest)
        self.noise_levels = config.exploration_noise - span * self.learners.env_levels()[:, None]
        """[learner * env, 1] standard deviation of the noise on actions."""

        self.averaged_actors = self.td3.actors.detach().clone() if config.evaluation_actor == "average" else None
        """[learner, n] average of the latest actors; None where it is not evaluated."""
        self.steps = 0
        self.pretraining_steps = 0
        self.updates = 0
        self.next_key_update = config.key_update_steps
        self.latest_update: dict[str, Tensor] = {}
        """Loss [learner], values and preference [learner, batch, objective] of the latest update, for `metrics`."""
        self.pretraining: KeyPretraining | None = None
        """The pre-training of keys, while it runs."""
        self.pretrained = config.key_pretraining_steps == 0

    @staticmethod
    def schedules(config: ContinuousConfig, problem: Problem, total_steps: int) -> Mapping[str, int]:  # noqa: ARG004
        """Return the most steps of each schedule that leave most of a run for learning.

        Args:
            config: settings.
            problem: the environment.
            total_steps: environment steps of the run.
        """
        return {
            "random_exploration_steps": total_steps // 4,
            "learning_starts": total_steps // 10,
            "key_pretraining_steps": total_steps,
        }

    @staticmethod
    def memory(config: ContinuousConfig, problem: Problem, num_envs: int, total_steps: int) -> MemoryNeed:  # noqa: ARG004
        """Return the memory of the replay of one learner.

        Args:
            config: settings.
            problem: the environment.
            num_envs: number of environments.
            total_steps: environment steps of the run.
        """
        return replay_memory(config, problem, BoundedActions(problem.action_space).width, total_steps)

    def learn(self, envs: VectorEnvironment, total_steps: int, *evaluate: Evaluate) -> Iterator[None]:
        """Run MO-TD3-HER; one iteration is one step of every environment, and the updates due after it.

        Args:
            envs: [learner * env].
            total_steps: environment steps of each learner, since the start of training; pre-training not counted.
            evaluate: one for each learner.
        """
        config = self.config
        if not self.pretrained:
            yield from self._pretrain(envs, evaluate)
        if self.episodes.observations is None:
            self.episodes.start(envs, self.steps)
        while self.steps < total_steps:
            if self.steps >= self.next_key_update:
                self._measure_keys(evaluate)
            actions = self._explore()
            step = EnvStep._make(envs.step(self.actions.to_environment(actions)))
            transitions = self.multi_step.advance(self.episodes.advance(actions, step), step.ended)
            self.steps += self.num_envs
            batches = None
            if transitions is not None:
                batches = self.replay.add(transitions, self._choices(), ahead=self.episodes.inputs)
            if batches is not None:
                if self.updates == 0 and config.reward_scale != "none":
                    sums = reward_sizes(self.replay.buffer.column("reward"), config.reward_scale)
                    self.scales = sums / self.multi_step.discounts
                self._learn(batches)
            yield

    def act(
        self, observations: Observations, preferences: FloatArray, policies: IndexArray, learner: int = 0
    ) -> Actions:
        """Return the deterministic actions pi(s, w) [env, ...].

        Args:
            observations: [env, ...] of the environment's observation space.
            preferences: [env, objective] w.
            policies: [env] 0 for the policy that is conditioned on the preference; in pre-training 1 + the number of
                the key whose own policy acts.
            learner: whose networks act.
        """
        if self.pretraining is not None and policies.all():
            return self.pretraining.act(observations, preferences, policies - 1, learner)
        return self.policy.act(self._evaluation_actor(learner), (learner, self.updates), observations, preferences)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return policy 0 for every preference: it is conditioned on it.

        Args:
            preferences: [n, objective] the evaluation grid.
        """
        return np.zeros(len(preferences), dtype=np.int64), preferences

    def all_parameters(self, learner: int = 0) -> list[Tensor]:
        """Return the parameters of actor and critics of a learner, and of those of its keys while they are trained.

        Args:
            learner: number of the learner.
        """
        of_keys = [] if self.pretraining is None else self.pretraining.all_parameters(learner)
        return self.td3.all_parameters(rows(learner)) + of_keys

    def metrics(self, learner: int = 0) -> dict[str, float]:
        """Return training metrics; called at logging time only. docs/agents/pd_morl.md explains each.

        Args:
            learner: number of the learner.
        """
        scales = self.scales[learner, 0]
        alignment = alignment_metrics(self.latest_update, self.keys, self.origin, learner, scales)
        return {"replay_size": float(len(self.replay))} | alignment

    # --- Components ---------------------------------------------------------------------------------------------------

    def _pretrain(self, envs: VectorEnvironment, evaluates: Sequence[Evaluate]) -> Iterator[None]:
        """Find the returns that the interpolator starts from, with one policy for each key."""
        if self.pretraining is None:
            self.pretraining = self._new_pretraining()
        for steps in self.pretraining.learn(envs, evaluates):
            self.pretraining_steps += steps
            yield
        self.pretraining = None
        self.pretrained = True

    def _new_pretraining(self) -> KeyPretraining:
        config = self.config
        return KeyPretraining(self.problem, self.learners, self.keys, config)

    def _explore(self) -> FloatArray:
        """Return actions [learner * env, action_width] in [-1, 1]: random at first, later the policy's with noise.

        The noise is an AR(1) process of unit variance, n <- m n + sqrt(1 - m^2) z with z ~ N(0, 1); random actions are
        2 Phi(n) - 1, which is uniform.
        """
        config = self.config
        correlation = config.noise_correlation
        fresh = self.learners.normal(self.actions.width)
        self.noise = correlation * self.noise + sqrt(1.0 - correlation**2) * fresh
        if self.steps < config.random_exploration_steps:
            uniform: FloatArray = torch.special.ndtr(torch.from_numpy(self.noise)).numpy()
            return 2.0 * uniform - 1.0
        actions = self.td3.act(self.episodes.states()).flatten(0, 1).cpu().numpy()
        return np.clip(actions + self.noise_levels * self.noise, -1.0, 1.0)

    def _choices(self) -> Choices | None:
        """Return the random numbers of the updates that are due after the latest step; None: there are none."""
        config = self.config
        due = self._updates_due()
        if due <= 0:
            return None
        return self.replay.choose(
            due, config.batch_size, self._relabeled_share(), config.preferences_per_transition, adding=self.num_envs
        )

    def _updates_due(self) -> int:
        """Return the number of updates that `updates_per_step` asks for and that are not done yet."""
        since_start = self.steps - self.config.learning_starts
        return int(since_start * self.config.updates_per_step) - self.updates

    def _relabeled_share(self) -> float:
        """Return the share of a batch whose preference is redrawn: none before `relabeling_starts`."""
        return self.config.relabeled_share if self.steps >= self.config.relabeling_starts else 0.0

    def _learn(self, batches: HindsightBatches) -> None:
        """Take a gradient step of the critics for each batch, and of the actor when it is due."""
        sampled = SampledBatches(
            rows=batches.rows,
            index=batches.index,
            observation_width=self.episodes.observation_width - self.episodes.pixels,
            action_width=self.actions.width,
            condition=batches.preferences,
            weight=value_weights(batches.preferences, self.scales.unsqueeze(1)),
            noise=batches.noise.unsqueeze(2),
            scale=self.scales.squeeze(1),
            direction=self._directions(batches.preferences),
            origin=(self.origin / self.scales).squeeze(1),
            byte_rows=batches.byte_rows,
            byte_columns=batches.byte_columns,
        )
        metrics = self.update(sampled)
        if self.averaged_actors is not None:  # m <- (1 - 1 / h)^n m + (1 - (1 - 1 / h)^n) actor, after n updates
            kept = (1.0 - 1.0 / averaging_horizon(self.updates)) ** len(batches)
            soft_update(self.averaged_actors, self.td3.actors.detach(), 1.0 - kept)
        self.latest_update = {
            "loss": metrics["critic_loss"],
            "values": metrics["values"],
            "preference": batches.preferences[:, -1],
        }
        self.updates += len(batches)

    def _directions(self, preferences: Tensor) -> Tensor | None:
        """Return I(w) / c [learner, update, batch, objective], the directions of values; None while no angle counts."""
        config = self.config
        if config.actor_angle + config.critic_angle == 0.0 or self.steps < config.angle_start_step:
            return None
        directions = self.keys.directions(preferences.flatten(1, 2)).view_as(preferences)
        return directions / self.scales.unsqueeze(1)

    def _measure_keys(self, evaluates: Sequence[Evaluate]) -> None:
        """Evaluate the keys, and warn of each that has lost half of its best utility: training may have collapsed."""
        collapsed_before = self.keys.collapsed()
        self.keys.measure(evaluates, self.config.key_episodes)
        self.next_key_update += self.config.key_update_steps
        for learner, key in np.argwhere(self.keys.collapsed() & ~collapsed_before):
            warnings.warn(
                f"pd-morl at step {self.steps:,}: the utility for key preference {self.keys.preferences[key].tolist()}"
                f" is {self.keys.latest[learner, key]:.4g} above the origin, less than half of the best so far,"
                f" {self.keys.utilities()[learner, key]:.4g}; training may have collapsed",
                RuntimeWarning,
                stacklevel=2,
            )

    def _evaluation_actor(self, learner: int) -> Tensor:
        """Return the parameters [n] of the actor of a learner that is evaluated and reported."""
        actors = self.averaged_actors
        if actors is None:
            actors = self.td3.target_actors if self.config.evaluation_actor == "target" else self.td3.actors
        return actors[learner]

    # --- State --------------------------------------------------------------------------------------------------------

    _COUNTERS = ("steps", "pretraining_steps", "updates", "next_key_update", "pretrained")

    def state_dict(self, learner: int = 0) -> StateDict:
        """Return the complete state of one learner; it does not depend on the other learners.

        Args:
            learner: number of the learner.
        """
        return {name: getattr(self, name) for name in self._COUNTERS} | {
            "td3": self.td3.state_dict(rows(learner)),
            "episodes": self.episodes.state_dict(learner),
            "multi_step": self.multi_step.state_dict(self.learners.envs(learner)),
            "replay": self.replay.state_dict(learner),
            "noise": self.noise[self.learners.envs(learner)],
            "averaged_actors": None if self.averaged_actors is None else self.averaged_actors[rows(learner)],
            "keys": self.keys.state_dict(learner),
            "scales": self.scales[rows(learner)],
            "latest_update": self.learners.rows_of(learner, self.latest_update),
            "pretraining": None if self.pretraining is None else self.pretraining.state_dict(learner),
        }

    def load_state_dict(self, state: StateDict, learner: int = 0) -> None:
        """Restore one learner from the result of `state_dict`, for the same problem, settings and `num_envs`.

        Args:
            state: result of `state_dict`.
            learner: number of the learner.
        """
        for name in self._COUNTERS:
            setattr(self, name, state[name])
        self.td3.load_state_dict(state["td3"], rows(learner))
        self.episodes.load_state_dict(state["episodes"], learner)
        self.multi_step.load_state_dict(state["multi_step"], self.learners.envs(learner), self.learners.total_envs)
        self.replay.load_state_dict(state["replay"], learner)
        self.noise[self.learners.envs(learner)] = state["noise"]
        if self.averaged_actors is not None:
            self.averaged_actors[rows(learner)] = state["averaged_actors"]
        self.keys.load_state_dict(state["keys"], learner)
        self.scales[rows(learner)] = state["scales"]
        self.learners.load_rows(learner, self.latest_update, state["latest_update"])
        self.policy.forget()
        if state["pretraining"] is not None:
            self.pretraining = self.pretraining or self._new_pretraining()
            self.pretraining.load_state_dict(state["pretraining"], learner)

    def reset_episodes(self) -> None:
        """Start new episodes at the next step: for environments whose state cannot be saved."""
        self.episodes.observations = None
        self.multi_step.cut()
        if self.pretraining is not None:
            self.pretraining.episodes.observations = None

    def export_policies(self, learner: int = 0) -> dict[int, PolicyData]:
        """Return a copy of policy 0, which is conditioned on the preference.

        Args:
            learner: number of the learner.
        """
        return {0: self.policy.data(self._evaluation_actor(learner))}
