"""Key pre-training of MO-TD3-HER: one TD3 policy for each key preference, all trained as one population.

It finds the returns that the interpolator starts from, with the settings of the authors' code. The authors run it as
separate programs whose steps they do not count; here its steps are the run's `pretraining_steps`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from morl.agents.pd_morl.config import ContinuousConfig
from morl.agents.pd_morl.episodes import EnvStep, Episodes
from morl.agents.pd_morl.hindsight import Choices, HindsightBatches, HindsightReplay, absolute_normal
from morl.agents.pd_morl.interpolator import KeyPreferences
from morl.agents.pd_morl.learners import Learners, rows
from morl.evaluation import select_rows
from morl.learning.actions import BoundedActions
from morl.learning.backends import make_update
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings
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

# The authors' settings for Walker2d, HalfCheetah and Ant.
BATCH_SIZE = 100
DISCOUNT = 0.99
POLICY_DELAY = 2
"""Critic updates per update of the actor (authors' Swimmer: 5, Hopper: 10)."""
BUFFER_SIZE = 500_000
RANDOM_EXPLORATION_STEPS = 25_000
"""Environment steps with random actions for each key (authors' Swimmer and Hopper: 10,000)."""
LARGEST_RANDOM_SHARE = 10
"""At most one step in so many is random, so that a short pre-training keeps 90 % for learning."""
LEARNING_STARTS = 200
EXPLORATION_NOISE = 0.1
"""Standard deviation of the noise on actions, in units of half the action range."""
PREFERENCE_NOISE = 0.05
"""Standard deviation, and largest size, of the noise on the preference given to the networks at every step."""
EVALUATION_STEPS = 50_000
"""Environment steps of each key between two evaluations: 100 episodes of 500 steps."""
EVALUATION_EPISODES = 10


class KeyPretraining:
    """A population of policies [learner * key] on the learners' own environments.

    Args:
        problem: the environment's spaces and objectives.
        learners: their environments are shared equally by their keys; any that are left over stand still.
        keys: key preferences whose returns are found.
        config: settings of the agent: steps, networks and backend.

    Raises:
        ValueError: a learner has fewer environments than keys.
    """

    def __init__(
        self,
        problem: Problem,
        learners: Learners,
        keys: KeyPreferences,
        config: ContinuousConfig,
    ) -> None:
        if learners.num_envs < len(keys):
            raise ValueError(
                f"num_envs is {learners.num_envs}, but key pre-training needs at least {len(keys)}: one for each key"
            )
        self.learners = learners
        self.keys = keys
        steps_per_key = config.key_pretraining_steps
        self.steps_per_key = steps_per_key
        self.random_exploration_steps = min(RANDOM_EXPLORATION_STEPS, steps_per_key // LARGEST_RANDOM_SHARE)
        self.actions = BoundedActions(problem.action_space)
        envs_per_key = learners.num_envs // len(keys)
        first_envs = np.arange(len(learners)) * learners.num_envs
        self.env_indices = np.add.outer(first_envs, np.arange(envs_per_key * len(keys))).ravel()
        """[learner * key * env] the environment of each in the vector environment [learner * env]."""
        seeds = [derived_seed(seed, "key", key) for seed in learners.seeds for key in range(len(keys))]
        self.policies = Learners(seeds, envs_per_key, learners.device)
        """Each key's policy is a learner of its own."""
        self.episodes = Episodes(
            problem, self.policies, keys.preferences, time_limits="end", image_size=config.image_size
        )
        self.replay = HindsightReplay(
            self.policies,
            capacity=max(envs_per_key, min(BUFFER_SIZE, steps_per_key)),
            observation_width=self.episodes.observation_width,
            action_width=self.actions.width,
            num_objectives=problem.num_objectives,
            draw_preferences=absolute_normal,
            pixels=self.episodes.pixels,
        )
        key_of_env = np.repeat(keys.preferences, envs_per_key, axis=0)
        self.key_preferences = np.tile(key_of_env, (len(learners), 1))
        """[learner * key * env, objective]."""
        settings = TD3Settings(
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            normalization=config.normalization,
            images=self.episodes.images,
            network=config.network,
            discount=DISCOUNT,
            policy_delay=POLICY_DELAY,
            max_grad_norm=100.0,
            loss="huber",
        )
        state_width = self.episodes.observation_width + problem.num_objectives
        self.td3 = TD3(state_width, self.actions.width, problem.num_objectives, settings, seeds, learners.device)
        self.update = make_update(self.td3, config.backend)
        self.steps = 0
        """Environment steps of each key so far."""

    def learn(self, envs: VectorEnvironment, evaluates: Sequence[Evaluate]) -> Iterator[int]:
        """Train the policies of the keys; yield the number of environment steps that each learner has just taken.

        Args:
            envs: [learner * env].
            evaluates: one for each learner.
        """
        if self.episodes.observations is None:
            observations, _ = self.learners.reset(envs, "key environments", self.steps)
            self.episodes.observations = self.episodes.encode(select_rows(observations, self.env_indices))
            self._perturb_preferences()
        while self.steps < self.steps_per_key:
            actions = self._explore()
            all_actions = np.zeros((self.learners.total_envs, self.actions.width))
            all_actions[self.env_indices] = actions
            step = EnvStep._make(envs.step(self.actions.to_environment(all_actions)))
            transitions = self.episodes.advance(actions, step.select(self.env_indices))
            self._perturb_preferences()
            self.steps += self.policies.num_envs
            batches = self.replay.add(transitions, self._choices(), ahead=self.episodes.inputs)
            if batches is not None:
                self._update(batches)
            if self.steps % EVALUATION_STEPS < self.policies.num_envs or self.steps >= self.steps_per_key:
                self.keys.measure(evaluates, EVALUATION_EPISODES, np.arange(len(self.keys)) + 1)
            yield self.learners.num_envs

    def act(self, observations: Observations, preferences: FloatArray, keys: IndexArray, learner: int) -> Actions:
        """Return the deterministic actions [env, ...] of the policies of some keys.

        Args:
            observations: [env, ...] of the environment's observation space.
            preferences: [env, objective] w, an input of the networks.
            keys: [env] number of the key whose policy acts.
            learner: whose policies act.
        """
        states = np.concatenate([self.episodes.encode(observations), preferences], axis=1, dtype=np.float32)
        actions = self.td3.act(
            torch.as_tensor(states, device=self.learners.device).expand(len(self.keys), -1, -1),
            self.td3.actors[rows(learner, len(self.keys))],
        )
        return self.actions.to_environment(actions.cpu().numpy()[keys, np.arange(len(states))])

    def all_parameters(self, learner: int) -> list[Tensor]:
        """Return the parameters [key, n] of actors and critics of the keys of a learner.

        Args:
            learner: number of the learner.
        """
        return self.td3.all_parameters(rows(learner, len(self.keys)))

    def _choices(self) -> Choices | None:
        """Return the random numbers of the updates that are due after the latest step; None: there are none."""
        due = self.steps - LEARNING_STARTS - self.td3.updates
        if due <= 0:
            return None
        return self.replay.choose(due, BATCH_SIZE, relabeled_share=0.0, adding=self.policies.num_envs)

    def _update(self, drawn: HindsightBatches) -> None:
        """Take a gradient step with all policies for each batch."""
        batches = SampledBatches(
            rows=drawn.rows,
            index=drawn.index,
            observation_width=self.episodes.observation_width - self.episodes.pixels,
            action_width=self.actions.width,
            condition=drawn.preferences,
            weight=drawn.preferences,
            noise=drawn.noise.unsqueeze(2),
            scale=torch.ones_like(drawn.preferences[:, 0, 0]),
            byte_rows=drawn.byte_rows,
            byte_columns=drawn.byte_columns,
        )
        self.update(batches)

    def _explore(self) -> FloatArray:
        """Return actions [learner * key * env, action_width]: random at first, later the policies' own with noise."""
        if self.steps < self.random_exploration_steps:
            return 2.0 * self.policies.uniform(self.actions.width) - 1.0
        actions = self.td3.act(self.episodes.states()).flatten(0, 1).cpu().numpy()
        return np.clip(actions + EXPLORATION_NOISE * self.policies.normal(self.actions.width), -1.0, 1.0)

    def _perturb_preferences(self) -> None:
        """Give every environment its key with a little noise, w = |k + e| / ||k + e||_1, as the authors do."""
        noise = PREFERENCE_NOISE * self.policies.normal(self.key_preferences.shape[1])
        perturbed = np.abs(self.key_preferences + np.clip(noise, -PREFERENCE_NOISE, PREFERENCE_NOISE))
        self.episodes.preferences.current = perturbed / perturbed.sum(axis=1, keepdims=True)

    def state_dict(self, learner: int = 0) -> StateDict:
        """Return the complete state of one learner's keys.

        Args:
            learner: number of the learner.
        """
        policies = rows(learner, len(self.keys))
        numbers = range(policies.start, policies.stop)
        return {
            "steps": self.steps,
            "td3": self.td3.state_dict(policies),
            "episodes": [self.episodes.state_dict(policy) for policy in numbers],
            "replay": [self.replay.state_dict(policy) for policy in numbers],
        }

    def load_state_dict(self, state: StateDict, learner: int = 0) -> None:
        """Restore one learner's keys from the result of `state_dict`.

        Args:
            state: result of `state_dict`.
            learner: number of the learner.
        """
        policies = rows(learner, len(self.keys))
        self.steps = state["steps"]
        self.td3.load_state_dict(state["td3"], policies)
        for policy, episodes, replay in zip(
            range(policies.start, policies.stop), state["episodes"], state["replay"], strict=True
        ):
            self.episodes.load_state_dict(episodes, policy)
            self.replay.load_state_dict(replay, policy)
