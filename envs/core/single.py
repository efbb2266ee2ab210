"""A single environment that is one lane of its batch kernel: rules written once, equal step for step by construction.

For families of our own. What came from elsewhere keeps its own single environment, against which the kernel is tested.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from morl.envs.backends.kernels import KernelVectorEnv


class SingleLane(gymnasium.Env[Any, Any]):
    """Gymnasium's single API around a kernel of one lane. Time limits are Gymnasium's TimeLimit, outside."""

    def __init__(self, kernel: KernelVectorEnv) -> None:
        self.kernel = kernel
        self.observation_space = kernel.single_observation_space
        self.action_space = kernel.single_action_space
        self.reward_space = kernel.reward_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        super().reset(seed=seed)
        observations, _ = self.kernel.reset(seed=None if seed is None else [seed], options=options)
        return observations[0], self._info()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the lane; no new episode begins by itself."""
        kernel = self.kernel
        if kernel.elapsed[0] < 0:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if kernel.streams is not None:
            kernel.streams.top_up()
        observations, rewards = np.empty_like(kernel.last_observations), np.zeros((1, kernel.num_objectives))
        terminated = np.zeros(1, dtype=np.bool_)
        kernel._advance(kernel._checked(np.asarray(action)[None]), observations, rewards, terminated)
        return kernel._outside(observations)[0], rewards[0], bool(terminated[0]), False, self._info()

    def _info(self) -> dict[str, Any]:
        return {name: values[0].copy() for name, values in self.kernel._infos().items()}


def single_lane(kernel: Callable[..., KernelVectorEnv]) -> Callable[..., SingleLane]:
    """Return the entry point of the single form of `kernel`: it takes the same options."""

    def build(**env_options: Any) -> SingleLane:
        return SingleLane(kernel(1, max_episode_steps=None, **env_options))

    return build
