"""The synchronous back end: single environments stepped one after the other, for whatever has no batch form."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from morl.envs.core import state
from morl.envs.core.arguments import Actions, lane_seeds, require_begun, reset_mask
from morl.envs.core.contract import RewardGuard, VectorEnvironment
from morl.envs.core.registry import objective_names, reward_length


class SynchronousVectorEnv(SyncVectorEnv, VectorEnvironment):
    """Gymnasium's SyncVectorEnv with vector rewards, same-step autoreset and a state that can be saved."""

    guard = RewardGuard

    def __init__(
        self, env_id: str, build: Callable[[], gymnasium.Env[Any, Any]], num_envs: int, first_lane: int = 0
    ) -> None:
        lanes = [build() for _ in range(num_envs)]
        probe = lanes[0] if lanes[0].has_wrapper_attr("reward_space") else build()  # may be stepped to see a reward
        self.num_objectives = reward_length(env_id, probe)
        guards = [self.guard(env, env_id, lane, self.num_objectives) for lane, env in enumerate(lanes, first_lane)]
        super().__init__([lambda guard=guard: guard for guard in guards], autoreset_mode=AutoresetMode.SAME_STEP)  # type: ignore[misc]
        self._rewards = np.zeros((num_envs, self.num_objectives), dtype=np.float64)
        self.metadata["backend"] = "synchronous"
        self.checked = Actions(self.single_action_space, num_envs)
        self.objectives = objective_names(env_id, self.num_objectives)
        self.first_seed = None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes; lane i gets seed + i. The first reset without a seed takes the constructor's."""
        mask = reset_mask(options, self.num_envs)
        seeds = lane_seeds(self.first_seed if seed is None else seed, self.num_envs)
        require_begun(np.array([seen is not None for seen in self._env_obs]), mask)
        self.first_seed = None
        passed = None if options is None else {**options}
        if passed and "reset_mask" in passed:
            passed["reset_mask"] = mask
        return super().reset(seed=seeds, options=passed)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step the lanes one after the other."""
        return super().step(self.checked(actions))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every lane as plain data (`morl.envs.core.state`).

        Raises:
            StateNotCapturable: an environment that holds something we cannot save, a Box2D world for example.
        """
        return {
            "first_seed": self.first_seed,
            "lanes": [_state_of(guard, seen) for guard, seen in zip(self.envs, self._env_obs, strict=True)],
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken, in a vector environment built with the same arguments."""
        if len(saved["lanes"]) != self.num_envs:
            raise ValueError(f"the saved state has {len(saved['lanes'])} lanes, this environment {self.num_envs}")
        for env in self.envs:
            env.reset(seed=0)  # environments build part of their state on the first reset
        for index, lane in enumerate(saved["lanes"]):
            guard: Any = self.envs[index]
            state.restore(guard.env, lane["env"])
            guard.lane_seed, guard.steps = state.restore(None, lane["seed_and_steps"])
            self._env_obs[index] = state.restore(None, lane["observation"])
        self.first_seed = saved["first_seed"]


def _state_of(guard: Any, observation: Any) -> dict[str, Any]:
    return {
        "env": state.capture(guard.env),
        "seed_and_steps": state.capture((guard.lane_seed, guard.steps)),
        "observation": state.capture(observation),
    }
