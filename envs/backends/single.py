"""Single environments that run on the batch kernel of one environment: rules written once, equal step for step.

For families of our own. What came from elsewhere keeps its own single environment, against which the kernel is tested.
"""

from collections.abc import Callable

import gymnasium
import numpy as np

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Action, DrawsItself, EnvOption, Info, Observation, Options, Pixels, Step


class SingleKernelEnv(gymnasium.Env[Observation, Action]):
    """Gymnasium's single API around a kernel of one environment. Time limits are Gymnasium's TimeLimit, outside.

    Args:
        kernel: the batch form with `num_envs` 1 and no time limit.
        render_mode: None, or "rgb_array" where the kernel draws itself.

    Raises:
        ValueError: a render mode that it does not have.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 6}  # noqa: RUF012 - Gymnasium's form

    def __init__(self, kernel: KernelVectorEnv, render_mode: str | None = None) -> None:
        modes = (None, "rgb_array") if isinstance(kernel, DrawsItself) else (None,)
        if render_mode not in modes:
            raise ValueError(f"render_mode is {render_mode!r}, but must be {' or '.join(map(repr, modes))}")
        self.render_mode = render_mode
        self.shown_action: Action | None = None
        self.kernel = kernel
        self.observation_space = kernel.single_observation_space
        self.action_space = kernel.single_action_space
        self.reward_space = kernel.reward_space

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Start a new episode."""
        super().reset(seed=seed)
        self.shown_action = None
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
        if self.render_mode is not None:
            self.shown_action = np.array(action)
        return kernel._to_space(observations)[0], rewards[0], bool(terminated[0]), False, self._info()

    def render(self) -> Pixels:
        """Return the picture."""
        if self.render_mode is None or not isinstance(self.kernel, DrawsItself):
            raise ValueError("render_mode is None, but must be 'rgb_array' to render")
        from morl.envs.core.drawing import Drawing  # here: training needs nothing to draw with

        width, height = self.kernel.picture_size
        sheet = Drawing(width, height)
        self.kernel.draw(sheet, self.shown_action)
        return sheet.pixels()

    def _info(self) -> Info:
        return {name: values[0].copy() for name, values in self.kernel._infos().items()}


def single_form(kernel: Callable[..., KernelVectorEnv]) -> Callable[..., SingleKernelEnv]:
    """Return the entry point of the single form of `kernel`: it takes the same options, and `render_mode`."""

    def build(render_mode: str | None = None, **env_options: EnvOption) -> SingleKernelEnv:
        return SingleKernelEnv(kernel(1, max_episode_steps=None, **env_options), render_mode)

    return build
