"""Single environments that run on the batch kernel of one environment: rules written once, equal step for step.

For families of our own. What came from elsewhere keeps its own single environment, against which the kernel is tested.
"""

from collections.abc import Callable

import gymnasium
import numpy as np

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Action, EnvOption, Info, Observation, Options, Step


class SingleKernelEnv(gymnasium.Env[Observation, Action]):
    """Gymnasium's single API around a kernel of one environment. Time limits are Gymnasium's TimeLimit, outside.

    Args:
        kernel: the batch form with `num_envs` 1 and no time limit.
    """

    def __init__(self, kernel: KernelVectorEnv) -> None:
        self.kernel = kernel
        self.observation_space = kernel.single_observation_space
        self.action_space = kernel.single_action_space
        self.reward_space = kernel.reward_space

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Start a new episode."""
        super().reset(seed=seed)
        observations, _ = self.kernel.reset(seed=None if seed is None else [seed], options=options)
        return observations[0], self._info()

    def step(self, action: Action) -> Step:
        """Step the environment; it is not reset when the episode ends."""
        kernel = self.kernel
        if kernel.elapsed[0] < 0:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if kernel.streams is not None:
            kernel.streams.top_up()
        observations = np.empty_like(kernel.last_observations)
        rewards = np.zeros((1, kernel.num_objectives))
        terminated = np.zeros(1, dtype=np.bool_)
        kernel._advance(kernel._checked(np.asarray(action)[None]), observations, rewards, terminated)
        return kernel._to_space(observations)[0], rewards[0], bool(terminated[0]), False, self._info()

    def _info(self) -> Info:
        return {name: values[0].copy() for name, values in self.kernel._infos().items()}


def single_form(kernel: Callable[..., KernelVectorEnv]) -> Callable[..., SingleKernelEnv]:
    """Return the entry point of the single form of `kernel`: it takes the same options."""

    def build(**env_options: EnvOption) -> SingleKernelEnv:
        return SingleKernelEnv(kernel(1, max_episode_steps=None, **env_options))

    return build
