"""The environments while the agent acts: the episodes in progress, and the preference that each of them has."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from morl.action_masks import MaskReader, num_choices, random_choices
from morl.agents.pd_morl.config import PresetConfig
from morl.agents.pd_morl.hindsight import Transitions
from morl.agents.pd_morl.learners import Learners
from morl.evaluation import select_rows
from morl.learning.observations import IMAGE_SIZE, final_observations, observation_encoder
from morl.preferences import finest_lattice, simplex_lattice
from morl.protocols import (
    Actions,
    BoolArray,
    FloatArray,
    IndexArray,
    Infos,
    MemoryNeed,
    Observations,
    Problem,
    StateDict,
    VectorEnvironment,
)

MOST_PREFERENCES = 5_000
"""Largest default grid of preferences for acting."""


def preference_grid(num_objectives: int, divisions: int | None) -> FloatArray:
    """Return the lattice [n, objective] that preferences for acting are drawn from, in lexicographic order.

    Args:
        num_objectives: length of a preference.
        divisions: of the lattice; None: 100, or as many as `MOST_PREFERENCES` allow.
    """
    if divisions is None:
        return finest_lattice(num_objectives, MOST_PREFERENCES)
    return simplex_lattice(num_objectives, divisions)


def replay_memory(config: PresetConfig, problem: Problem, action_width: int, total_steps: int) -> MemoryNeed:
    """Return the memory of the replay of one learner.

    Args:
        config: settings.
        problem: the environment.
        action_width: columns of an action.
        total_steps: environment steps of the run.
    """
    encoder = observation_encoder(problem.observation_space, config.one_hot, config.image_size)
    masks = num_choices(problem.action_space) if problem.action_masks else 0
    others = action_width + 2 * problem.num_objectives + 1
    return MemoryNeed(
        what="the replay",
        setting="buffer_size",
        value=config.buffer_size,
        transitions=min(config.buffer_size, total_steps),
        bytes_each=encoder.transition_bytes(others) + masks,
        copies=1,
    )


class EnvStep(NamedTuple):
    """The result of `step` of a vector environment."""

    observations: Observations
    """[env, ...]; the first of a new episode where one has ended."""
    rewards: FloatArray
    """[env, objective]."""
    terminated: BoolArray
    """[env]."""
    truncated: BoolArray
    """[env]."""
    infos: Infos
    """Where an episode has ended, "final_obs" holds its last observation."""

    @property
    def ended(self) -> BoolArray:
        """Return where an episode has ended [env]."""
        ended: BoolArray = self.terminated | self.truncated
        return ended

    def select(self, envs: IndexArray) -> "EnvStep":
        """Return the result for some of the environments only.

        Args:
            envs: [n] their indices.
        """
        return EnvStep(
            observations=select_rows(self.observations, envs),
            rewards=self.rewards[envs],
            terminated=self.terminated[envs],
            truncated=self.truncated[envs],
            infos={"final_obs": self.infos["final_obs"][envs]} if "final_obs" in self.infos else {},
        )


class PreferenceAssignment:
    """The preference of every environment; it keeps one for an episode.

    The grid is cut into as many contiguous parts as a learner has environments, and environment i of each learner draws
    from the i-th (the sub-spaces of the paper's parallel actors).

    Args:
        grid: [n, objective] preferences in lexicographic order.
        learners: whose environments get preferences.
    """

    def __init__(self, grid: FloatArray, learners: Learners) -> None:
        self.grid = grid
        self.learners = learners
        parts = np.array_split(np.arange(len(grid)), min(learners.num_envs, len(grid)))
        part_of_env = [parts[env % len(parts)] for env in range(learners.num_envs)]
        self._starts = np.array([part[0] for part in part_of_env])
        self._sizes = np.array([len(part) for part in part_of_env])
        self.current = np.zeros((learners.total_envs, grid.shape[1]))
        """[learner * env, objective]."""

    def assign(self, starting: BoolArray) -> None:
        """Draw new preferences for some environments.

        Args:
            starting: [learner * env] where an episode starts.
        """
        self.current = self.current.copy()
        for learner in range(len(self.learners)):
            envs = self.learners.envs(learner)
            if starting[envs].any():  # a learner's stream must not depend on the others' episodes
                drawn = self._starts + (self.learners.uniform_of(learner) * self._sizes).astype(np.int64)
                self.current[envs] = np.where(starting[envs, None], self.grid[drawn], self.current[envs])


class Episodes:
    """The episodes in progress: the latest observation, action mask and preference of every environment.

    Args:
        problem: the environment's spaces, and whether it gives action masks.
        learners: whose environments these are.
        grid: [n, objective] preferences for acting in lexicographic order.
        time_limits: whether values are bootstrapped through time limits, or time limits count as terminal.
        one_hot: encode integer observations as one-hot.
        image_size: largest side of an image; 0: pixels are numbers like others.
    """

    def __init__(
        self,
        problem: Problem,
        learners: Learners,
        grid: FloatArray,
        time_limits: Literal["bootstrap", "end"] = "bootstrap",
        one_hot: bool = False,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        encoder = observation_encoder(problem.observation_space, one_hot, image_size)
        self.encode = encoder.encode
        self.observation_width = encoder.width
        self.images = encoder.images
        self.pixels = encoder.pixels
        self.learners = learners
        self.time_limits = time_limits
        self.preferences = PreferenceAssignment(grid, learners)
        self.observations: NDArray[np.float32] | None = None
        """[learner * env, observation_width], encoded; None where environments have to be reset first."""
        self.masks: BoolArray | None = None
        """[learner * env, choice] what the latest observations allow; None where the environment gives no masks."""
        self._mask_reader = MaskReader(problem.id, problem.action_space, problem.action_masks)

    def start(self, envs: VectorEnvironment, step: int) -> None:
        """Reset all environments.

        Args:
            envs: [learner * env].
            step: environment steps of training so far; resets at different steps are seeded differently.
        """
        observations, infos = self.learners.reset(envs, "environments", step)
        self.observations = self.encode(observations)
        self.masks = self._mask_reader.reset(infos)
        self.preferences.assign(np.ones(self.learners.total_envs, dtype=np.bool_))

    def advance(self, actions: Actions, step: EnvStep) -> Transitions:
        """Return the transitions of a step of all environments, and go on to the observations that follow.

        Args:
            actions: [learner * env, action_width] as the networks take them.
            step: the environments' answer [learner * env].
        """
        assert self.observations is not None
        encoded = self.encode(step.observations)
        next_observations = encoded
        ended = step.ended
        if ended.any():
            next_observations = encoded.copy()
            envs = np.flatnonzero(ended)
            next_observations[envs] = self.encode(final_observations(step.infos, envs))
        terminal = step.terminated if self.time_limits == "bootstrap" else ended
        masks = self._mask_reader.step(step.infos, step.terminated, step.truncated)
        transitions = Transitions(
            observation=self.observations,
            action=actions,
            reward=step.rewards,
            next_observation=next_observations,
            terminated=terminal[:, None],
            preference=self.preferences.current,
            next_mask=None if masks is None else masks.following,
        )
        self.observations = encoded
        self.masks = None if masks is None else masks.current
        self.preferences.assign(ended)
        return transitions

    def inputs(self) -> dict[str, NDArray[Any]]:
        """Return what policies act on: "states" (s, w) [learner, env, observation_width + objectives].

        Where the environment gives action masks, also "allowed" [learner, env, choice].
        """
        assert self.observations is not None
        states = np.concatenate([self.observations, self.preferences.current], axis=1, dtype=np.float32)
        inputs: dict[str, NDArray[Any]] = {"states": self.learners.split(states)}
        if self.masks is not None:
            inputs["allowed"] = self.learners.split(self.masks)
        return inputs

    def states(self) -> Tensor:
        """Return the networks' inputs (s, w) [learner, env, observation_width + objectives] on the device."""
        return self.learners.staging.take(self.inputs())["states"]

    def random_choices(self) -> IndexArray:
        """Return a random choice for each environment [learner * env], each of the allowed ones equally likely."""
        return random_choices(self.learners.uniform(), self._mask_reader.choices, self.masks)

    def state_dict(self, learner: int = 0) -> StateDict:
        """Return the observations, masks, preferences and random stream of one learner.

        Args:
            learner: number of the learner.
        """
        envs = self.learners.envs(learner)
        return {
            "observations": None if self.observations is None else self.observations[envs],
            "masks": None if self.masks is None else self.masks[envs],
            "preferences": self.preferences.current[envs],
            "exploration": self.learners.state_dict(learner),
        }

    def load_state_dict(self, state: StateDict, learner: int = 0) -> None:
        """Restore one learner from the result of `state_dict`; all learners must come from the same step.

        Args:
            state: result of `state_dict`.
            learner: number of the learner.
        """
        envs = self.learners.envs(learner)
        if state["observations"] is None:
            self.observations = None
        else:
            if self.observations is None:
                shape = (self.learners.total_envs, self.observation_width)
                self.observations = np.zeros(shape, dtype=np.float32)
            self.observations[envs] = state["observations"]
        masks = state["masks"]
        if masks is None:
            self.masks = None
        else:
            if self.masks is None:
                self.masks = np.ones((self.learners.total_envs, masks.shape[1]), dtype=np.bool_)
            self.masks[envs] = masks
        self.preferences.current[envs] = state["preferences"]
        self.learners.load_state_dict(state["exploration"], learner)
