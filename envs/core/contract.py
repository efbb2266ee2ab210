"""What every back end offers, and the watch at the border: a reward that is not a finite vector stops the run."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv


class VectorEnvironment(VectorEnv[Any, Any, Any]):
    """Gymnasium's VectorEnv with float64 rewards [env, objective], same-step autoreset and a state that can be saved.

    `metadata["backend"]` names the back end.
    """

    num_objectives: int
    objectives: tuple[str, ...]
    first_seed: int | None = None
    """Seed of the first `reset()` that is not given one."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on, as nested dicts and lists of arrays, numbers and strings.

        Raises:
            StateNotCapturable: an environment that holds something that cannot be saved, a Box2D world for example.
        """
        raise NotImplementedError

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken, in an environment built with the same arguments."""
        raise NotImplementedError


class WrongReward(ValueError):
    """A reward that is not a finite vector of the right length."""


class RewardGuard(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Passes float64 rewards [objective] on and raises ValueError for any other, naming env, lane, seed and step."""

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str, lane: int, num_objectives: int) -> None:
        super().__init__(env)
        self.env_id = env_id
        self.lane = lane
        self.num_objectives = num_objectives
        self.lane_seed: int | None = None
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, remembering the seed for the message."""
        if seed is not None:
            self.lane_seed = seed
            self.steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, checking the reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        vector = np.array(reward, dtype=np.float64)
        if vector.shape != (self.num_objectives,) or not np.isfinite(vector).all():
            raise WrongReward(self.complaint(vector))
        return observation, vector, terminated, truncated, info

    def complaint(self, reward: np.ndarray[Any, Any]) -> str:
        """Return the one sentence that says what is wrong with `reward`."""
        seed = "" if self.lane_seed is None else f", seed {self.lane_seed}"
        return (
            f"{self.env_id}: the reward at step {self.steps} of lane {self.lane}{seed} must be "
            f"{self.num_objectives} finite numbers, got {reward.tolist()}"
        )
