"""Stable-Baselines3 on vector rewards: a `VecEnv` that pays their weighted sum, under a preference that may change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.vec_env import VecEnv


class ScalarisedVecEnv(VecEnv):
    """What every algorithm of Stable-Baselines3 can train on: the lanes of `envs`, paid `preference . reward`.

    `infos[lane]["vector_reward"]` has the rewards [objective] behind the sum, `infos[lane]["preference"]` the weights
    they were paid under. Where an episode ended, `terminal_observation` has its last observation, and
    `TimeLimit.truncated` tells whether it was cut (the algorithms bootstrap through that) or really over.

        venv = ScalarisedVecEnv(morl.make_vec("mo-hopper-v5", 4, seed=0), [0.6, 0.2, 0.2])
        model = PPO("MlpPolicy", venv).learn(10_000)
        venv.preference = [0.2, 0.2, 0.6]  # holds from the next step on, in the middle of an episode if need be
        model.learn(10_000, reset_num_timesteps=False)

    A wrapper of theirs around it passes `set_attr("preference", ...)` on, so `model.get_env()` reaches it as well.

    Args:
        envs: lanes with rewards [env, objective] and same-step autoreset, as `make_vec` and the wrappers make them.
        preference: weights [objective] for all lanes, or [env, objective] for each its own; not negative, not all zero.

    Raises:
        ValueError: another autoreset mode, or a preference that does not fit.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], preference: ArrayLike) -> None:
        if envs.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            mode = envs.metadata.get("autoreset_mode")
            raise ValueError(f"envs must reset in the same step (metadata['autoreset_mode'] SAME_STEP), got {mode!r}")
        self.envs = envs
        self.num_objectives = int(envs.num_objectives)  # type: ignore[attr-defined]
        self.num_envs = envs.num_envs
        self.preference = preference
        action_space = envs.single_action_space
        self.first_action = 0
        if isinstance(action_space, spaces.Discrete):  # their policies count from zero
            self.first_action = int(action_space.start)
            action_space = spaces.Discrete(int(action_space.n))
        super().__init__(envs.num_envs, envs.single_observation_space, action_space)

    @property
    def preference(self) -> NDArray[np.float64]:
        """The weights of the next step, [env, objective]; assign [objective] or [env, objective] to change them."""
        return self._preference

    @preference.setter
    def preference(self, preference: ArrayLike) -> None:
        weights = np.array(preference, dtype=np.float64)
        shapes = (self.num_objectives,), (self.num_envs, self.num_objectives)
        if weights.shape not in shapes:
            raise ValueError(f"preference must have shape {shapes[0]} or {shapes[1]}, got {weights.shape}")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any(axis=-1).all()):
            raise ValueError(f"preference must be finite, not negative and not all zero, got {weights.tolist()}")
        self._preference = np.broadcast_to(weights, shapes[1])

    def reset(self) -> Any:
        """Start new episodes in all lanes and return the first observations; seeds and options of theirs count once."""
        seeds = None if all(seed is None for seed in self._seeds) else list(self._seeds)
        if any(options != self._options[0] for options in self._options):
            raise ValueError(f"options must be the same for all lanes, got {self._options}")
        observations, infos = self.envs.reset(seed=seeds, options=self._options[0] or None)  # type: ignore[arg-type]
        self.reset_infos = [lane_info(infos, lane) for lane in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions + self.first_action if self.first_action else actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all lanes; return observations, weighted sums float32 [env], which episodes ended [env] and infos."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        paid = np.einsum("eo,eo->e", self._preference, rewards).astype(np.float32)
        lanes = [lane_info(infos, lane) for lane in range(self.num_envs)]
        for lane, info in enumerate(lanes):
            if terminated[lane] or truncated[lane]:
                last = info.pop("final_obs")
                final = info.pop("final_info", {})  # of the step; what else there is belongs to the reset
                self.reset_infos[lane] = info
                lanes[lane] = info = {**final, "terminal_observation": last}
            info["TimeLimit.truncated"] = bool(truncated[lane] and not terminated[lane])
            info["vector_reward"] = rewards[lane].copy()
            info["preference"] = self._preference[lane].copy()
        return observations, paid, terminated | truncated, lanes

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a picture of each lane, where the back end draws any."""
        pictures: Any = self.envs.render()
        return [None] * self.num_envs if pictures is None else list(pictures)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of each lane's environment, or of the vector environment where lanes have none."""
        return [self._find(lane, attr_name) for lane in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set `preference`, in some lanes or in all; nothing else can be set from here."""
        if attr_name != "preference":
            raise AttributeError(f"only preference can be set here, not {attr_name!r}")
        weights = self._preference.copy()
        weights[list(self._get_indices(indices))] = value
        self.preference = weights

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of each lane's environment."""
        return [self._find(lane, method_name)(*method_args, **method_kwargs) for lane in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:  # noqa: ARG002
        """Return False for each lane: wrappers of single environments do not count here, wrap this one instead."""
        return [False for _ in self._get_indices(indices)]

    def _find(self, lane: int, name: str) -> Any:
        lanes = getattr(self.envs.unwrapped, "envs", None)
        return getattr(self.envs, name) if lanes is None else lanes[lane].get_wrapper_attr(name)


def lane_info(infos: dict[str, Any], lane: int) -> dict[str, Any]:
    """Return what Gymnasium's batched `infos` say of one lane; `infos["_key"][lane]` tells whether they say any."""
    info = {}
    for key, value in infos.items():
        if key.startswith("_") and key[1:] in infos:  # a mask
            continue
        if f"_{key}" in infos and not infos[f"_{key}"][lane]:
            continue
        info[key] = lane_info(value, lane) if isinstance(value, dict) else value[lane]
    return info
