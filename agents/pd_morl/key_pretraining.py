"""PD-MORL's pre-training: one TD3 policy for each key preference, all trained at once (authors' code, settings file).

It finds the returns that the interpolator starts from. The authors run it as separate programs whose steps they do not
count; here its steps are the run's `pretraining_steps`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from morl.agents.pd_morl.hindsight import Experience, reset
from morl.agents.pd_morl.interpolator import KeyPreferences
from morl.evaluation import select_rows
from morl.learning.actions import BoundedActions
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings
from morl.protocols import Evaluate, Problem
from morl.seeding import derived_seed

BATCH_SIZE, DISCOUNT, POLICY_DELAY, CAPACITY = 100, 0.99, 2, 500_000  # delay: 5 for the authors' Swimmer, 10 for Hopper
RANDOM_STEPS, LEARNING_STARTS = 25_000, 200  # random steps: 10,000 for their Swimmer and Hopper
EXPLORATION_NOISE, JITTER = 0.1, 0.05
"""Standard deviations of the noise on actions, and on the preference given to the networks, anew at every step."""
EVALUATION_STEPS, EVALUATION_EPISODES = 50_000, 10
"""Steps between two evaluations of a key policy: 100 episodes of 500 steps."""


class KeyPretraining:
    """A population of [learner * key] policies on the learners' own lanes.

    Args:
        problem: the environment's spaces and objectives.
        seeds: of the learners.
        num_envs: lanes of each learner; keys share them equally, lanes that are left over stand still.
        keys: whose returns are found.
        steps_per_key: environment steps of each key's policy.
        hidden_sizes: of the networks.
        device: where they live.
    """

    def __init__(
        self,
        problem: Problem,
        seeds: Sequence[int],
        num_envs: int,
        keys: KeyPreferences,
        steps_per_key: int,
        hidden_sizes: tuple[int, ...],
        device: torch.device,
    ) -> None:
        count = len(keys.preferences)
        if num_envs < count:
            raise ValueError(f"num_envs is {num_envs}, but key pre-training needs at least {count}: one for each key")
        self.seeds, self.num_envs, self.device = tuple(seeds), num_envs, device
        self.keys, self.steps_per_key = keys, steps_per_key
        self.random_exploration_steps = min(RANDOM_STEPS, steps_per_key // 10)  # one that is short has to learn as well
        self.actions = BoundedActions(problem.action_space)
        self.lanes = num_envs // count
        own_seeds = [derived_seed(seed, "key", key) for seed in seeds for key in range(count)]
        learners = np.arange(len(seeds))[:, None] * num_envs
        self.used = (learners + np.arange(self.lanes * count)).ravel()  # [learner * key * lane] -> lane of envs
        capacity = max(self.lanes, min(CAPACITY, steps_per_key))
        self.experience = Experience(
            problem, own_seeds, self.lanes, keys.preferences, self.actions.width, capacity, device
        )
        self.targets = np.tile(np.repeat(keys.preferences, self.lanes, axis=0), (len(seeds), 1))  # [lane, objective]
        settings = TD3Settings(
            hidden_sizes=hidden_sizes,
            discount=DISCOUNT,
            policy_delay=POLICY_DELAY,
            max_grad_norm=100.0,
            loss="huber",
        )
        width = self.experience.width + problem.num_objectives
        self.td3 = TD3(width, self.actions.width, problem.num_objectives, settings, own_seeds, device)
        self.steps = 0  # of each key

    def learn(self, envs: VectorEnv[Any, Any, Any], evaluates: Sequence[Evaluate]) -> Iterator[int]:
        """Train the key policies; yield the number of environment steps that each learner has just taken."""
        experience = self.experience
        if experience.observations is None:
            observations = reset(
                envs, [derived_seed(seed, "key environments", self.steps) for seed in self.seeds], self.num_envs
            )
            experience.observations = experience.encode(select_rows(observations, self.used))
            self._jitter()
        while self.steps < self.steps_per_key:
            actions = self._explore()
            all_actions = np.zeros((len(evaluates) * self.num_envs, self.actions.width))
            all_actions[self.used] = actions
            self._remember(actions, *envs.step(self.actions.to_environment(all_actions)))
            self.steps += self.lanes
            due = self.steps - LEARNING_STARTS - self.td3.updates
            if due > 0:
                self._update(due)
            if self.steps % EVALUATION_STEPS < self.lanes or self.steps >= self.steps_per_key:
                self.keys.measure(evaluates, EVALUATION_EPISODES, np.arange(len(self.keys.preferences)) + 1)
            yield self.num_envs

    def act(
        self, observations: Any, preferences: NDArray[np.float64], keys: NDArray[np.int64], learner: int
    ) -> NDArray[Any]:
        """Return the deterministic actions [env, ...] of the policies of `keys` [env] under their preferences."""
        count = len(self.keys.preferences)
        states = np.concatenate([self.experience.encode(observations), preferences], axis=1, dtype=np.float32)
        every = self.td3.act(
            torch.as_tensor(states, device=self.device).expand(count, -1, -1),
            self.td3.actors[learner * count : (learner + 1) * count],
        )
        return self.actions.to_environment(every.cpu().numpy()[keys, np.arange(len(states))])

    def _update(self, due: int) -> None:
        rows, index, preferences, noise = self.experience.draw(due, BATCH_SIZE, 0.0, "grid")
        scale = torch.ones_like(preferences[:, 0, 0])
        self.td3.learn(SampledBatches(rows, self.experience.width, index, preferences, preferences, noise, scale))

    def _explore(self) -> NDArray[np.float64]:
        """Return actions [learner * key * lane, action_width]: random at first, later the policies' own with noise."""
        if self.steps < self.random_exploration_steps:
            return 2.0 * self.experience.uniform(self.actions.width) - 1.0
        own = self.td3.act(self.experience.states()).flatten(0, 1).cpu().numpy()
        return np.clip(own + EXPLORATION_NOISE * self.experience.normal(self.actions.width), -1.0, 1.0)

    def _remember(
        self,
        actions: NDArray[np.float64],
        observations: Any,
        rewards: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: Mapping[str, Any],
    ) -> None:
        """Store what the lanes in use have seen; as in the authors' code, time limits end episodes."""
        used = self.used
        last = {"final_obs": infos["final_obs"][used]} if "final_obs" in infos else {}
        stops = terminated[used] | truncated[used]
        seen = select_rows(observations, used)
        self.experience.remember(actions, seen, rewards[used], terminated[used], truncated[used], last, stops)
        self._jitter()

    def _jitter(self) -> None:
        """Give every lane its key with a little noise: |w + e| / ||w + e||_1."""
        noise = np.clip(JITTER * self.experience.normal(self.targets.shape[1]), -JITTER, JITTER)
        moved = np.abs(self.targets + noise)
        self.experience.preferences = moved / moved.sum(axis=1, keepdims=True)

    def state_dict(self, learner: int = 0) -> dict[str, Any]:
        """Return all that the keys of one learner need to go on exactly."""
        count = len(self.keys.preferences)
        mine = range(learner * count, (learner + 1) * count)
        return {
            "steps": self.steps,
            "td3": self.td3.state_dict(slice(mine.start, mine.stop)),
            "experience": [self.experience.state_dict(policy) for policy in mine],
        }

    def load_state_dict(self, state: Mapping[str, Any], learner: int = 0) -> None:
        """Take over a state that `state_dict` returned."""
        first = learner * len(self.keys.preferences)
        self.steps = state["steps"]
        self.td3.load_state_dict(state["td3"], slice(first, first + len(state["experience"])))
        for policy, experience in enumerate(state["experience"], start=first):
            self.experience.load_state_dict(experience, policy)
