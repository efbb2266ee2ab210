"""Base class of all vector environments, and reward validation."""

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from morl.envs.core.types import (
    Action,
    ActionBatch,
    Array,
    Env,
    Info,
    Observation,
    ObservationBatch,
    Options,
    SavedState,
    Step,
)
from morl.protocols import StateDict


class MultiObjectiveVectorEnv(VectorEnv[ObservationBatch, ActionBatch, Array]):
    """Gymnasium's VectorEnv with float64 rewards [env, objective], same-step autoreset and a state that can be saved.

    `metadata["backend"]` names the backend.
    """

    num_objectives: int
    objectives: tuple[str, ...]
    first_seed: int | None = None
    """Seed of the first `reset()` that is not given one."""

    def state_dict(self) -> SavedState:
        """Return all that the next steps depend on, as nested dicts and lists of arrays, numbers and strings.

        Raises:
            StateNotCapturable: an environment that holds something that cannot be saved, a Box2D world for example.
        """
        raise NotImplementedError

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken, in an environment built with the same arguments."""
        raise NotImplementedError


class WrongReward(ValueError):
    """A reward that is not a finite vector of the right length."""


class RewardGuard(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Returns float64 rewards [objective] and raises ValueError for any other, naming id, environment, seed and step.

    Args:
        env: the environment whose rewards are checked.
        env_id: its id, for the message.
        index: its number in the vector environment, for the message.
        num_objectives: length of the reward vector.
    """

    def __init__(self, env: Env, env_id: str, index: int, num_objectives: int) -> None:
        super().__init__(env)
        self.env_id = env_id
        self.index = index
        self.num_objectives = num_objectives
        self.last_seed: int | None = None
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Reset, remembering the seed for the message."""
        if seed is not None:
            self.last_seed = seed
            self.steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Action) -> Step:
        """Step, checking the reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        vector = np.array(reward, dtype=np.float64)
        if vector.shape != (self.num_objectives,) or not np.isfinite(vector).all():
            raise WrongReward(self.complaint(vector))
        return observation, vector, terminated, truncated, info

    def complaint(self, reward: NDArray[np.float64]) -> str:
        """Return the one sentence that says what is wrong with `reward`."""
        seed = "" if self.last_seed is None else f", seed {self.last_seed}"
        return (
            f"{self.env_id}: the reward at step {self.steps} of environment {self.index}{seed} must be "
            f"{self.num_objectives} finite numbers, got {reward.tolist()}"
        )
