"""Environments that give action masks, and refuse what these forbid. On the path through conftest.py."""

from typing import Any

import gymnasium
import numpy as np
from toys import Walk

import morl.envs
from morl.envs.backends.kernels import KernelVectorEnv

MASKED = "toy-masked-walk-v0"


class MaskedWalk(Walk):
    """The walk with random masks of one to three actions; a forbidden action is an error. It ends both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = np.ones(3, np.int8)

    def _info(self) -> dict[str, Any]:
        self.mask = self.np_random.integers(2, size=3).astype(np.int8)
        self.mask[self.np_random.integers(3)] = 1
        return {"action_mask": self.mask}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        observation, _ = super().reset(seed=seed, options=options)
        return observation, self._info()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.mask[int(action) + 1], f"action {action} is forbidden by {self.mask}"
        observation, reward, terminated, truncated, _ = super().step(action)
        info = self._info()  # always drawn, so that the stream does not depend on how the episode ends
        return observation, reward, terminated, truncated and not terminated, {} if terminated else info


class ListedWalk(MaskedWalk):
    """Gives its masks as lists."""

    def _info(self) -> dict[str, Any]:
        return {"action_mask": super()._info()["action_mask"].tolist()}


class SlopeKernel(KernelVectorEnv):
    """A kernel with masks: the place may go up or down a slope of four; at its ends only one way is open."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = 6, wrong: bool = False) -> None:
        space = gymnasium.spaces.Box(0.0, 3.0, (1,), np.float32)
        rewards = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)
        super().__init__(num_envs, space, gymnasium.spaces.Discrete(2), rewards, max_episode_steps)
        self.arrays = {"place": np.zeros(num_envs, dtype=np.int64)}
        self.wrong = wrong

    def _start(self, mask: Any, observations: Any) -> None:
        self.arrays["place"][mask] = 0
        observations[mask] = 0.0

    def _advance(self, actions: Any, observations: Any, rewards: Any, terminated: Any) -> None:
        place = self.arrays["place"]
        place += 2 * actions - 1
        assert ((place >= 0) & (place <= 3)).all()
        observations[:, 0] = place
        rewards[:, 0] = actions
        rewards[:, 1] = 1 - actions
        terminated[:] = False

    def _infos(self) -> dict[str, Any]:
        place = self.arrays["place"]
        masks = np.stack([place > 0, place < 3], axis=1).astype(np.int8)
        return {"action_mask": np.ones_like(masks) if self.wrong else masks}


class Slope(gymnasium.Env[Any, Any]):
    """The single form of `SlopeKernel`."""

    def __init__(self, wrong: bool = False) -> None:
        kernel = SlopeKernel()
        self.observation_space = kernel.single_observation_space
        self.action_space = kernel.single_action_space
        self.reward_space = kernel.reward_space
        self.place = 0

    def _outcome(self) -> tuple[Any, dict[str, Any]]:
        mask = np.array([self.place > 0, self.place < 3], dtype=np.int8)
        return np.array([self.place], np.float32), {"action_mask": mask}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = 0
        return self._outcome()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.place += 2 * int(action) - 1
        assert 0 <= self.place <= 3
        observation, info = self._outcome()
        return observation, np.array([float(action), 1.0 - action]), False, False, info


if MASKED not in gymnasium.registry:
    morl.envs.register(MASKED, MaskedWalk, objectives=("place", "rest"))
    morl.envs.register(
        "toy-slope-v0", Slope, vector_entry_point=SlopeKernel, objectives=("up", "down"), max_episode_steps=6
    )
