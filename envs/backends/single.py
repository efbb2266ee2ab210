"""Single environments that run on the batch kernel of one environment: rules written once, equal step for step.

For families of our own. What came from elsewhere keeps its own single environment, against which the kernel is tested.
"""

import importlib
from collections.abc import Callable

import gymnasium
import numpy as np
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.types import Action, EnvOption, Info, Observation, Options, Step


class SingleKernelEnv(gymnasium.Env[Observation, Action]):
    """Gymnasium's single API around a kernel of one environment. Time limits are Gymnasium's TimeLimit, outside.

    Args:
        kernel: the batch form with `num_envs` 1 and no time limit.
        drawing: "module:function" that draws it: (kernel, last action or None) -> pixels; None: it has no pictures.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: a render mode that it does not have.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 6}  # noqa: RUF012 - Gymnasium's form

    def __init__(self, kernel: KernelVectorEnv, drawing: str | None = None, render_mode: str | None = None) -> None:
        if render_mode is not None and (drawing is None or render_mode != "rgb_array"):
            modes = "None" if drawing is None else "None or 'rgb_array'"
            raise ValueError(f"render_mode is {render_mode!r}, but must be {modes}")
        self.render_mode = render_mode
        self.drawing = drawing
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

    def render(self) -> NDArray[np.uint8]:
        """Return the picture [row, column, 3]."""
        if self.render_mode is None or self.drawing is None:
            raise ValueError("render_mode is None, but must be 'rgb_array' to render")
        module, _, function = self.drawing.partition(":")
        picture: NDArray[np.uint8] = getattr(importlib.import_module(module), function)(self.kernel, self.shown_action)
        return picture

    def _info(self) -> Info:
        return {name: values[0].copy() for name, values in self.kernel._infos().items()}


def single_form(kernel: Callable[..., KernelVectorEnv], drawing: str | None = None) -> Callable[..., SingleKernelEnv]:
    """Return the entry point of the single form of `kernel`: it takes the same options, and `render_mode`.

    Args:
        kernel: the batch form.
        drawing: "module:function" that draws it, as for `SingleKernelEnv`; imported when something is drawn.
    """

    def build(render_mode: str | None = None, **env_options: EnvOption) -> SingleKernelEnv:
        return SingleKernelEnv(kernel(1, max_episode_steps=None, **env_options), drawing, render_mode)

    return build
