"""Stable-Baselines3 on vector rewards: a `VecEnv` whose reward is their weighted sum, for any preference."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from morl.envs.core.types import Array, Info, ObservationBatch
from morl.protocols import VectorEnvironment

SingleWrapper: TypeAlias = gymnasium.Wrapper[Any, Any, Any, Any]
ScalarStep: TypeAlias = tuple[ObservationBatch, NDArray[np.float32], NDArray[np.bool_], list[Info]]


MASKS_METHOD = "action_masks"
"""Name of the method by which sb3-contrib asks an environment for its action masks."""


class ScalarizedVecEnv(VecEnv):
    """The environments of `envs` with the reward `preference . reward`, for the algorithms of Stable-Baselines3.

    `infos[env]["vector_reward"]` has the rewards [objective] behind the sum, `infos[env]["preference"]` their weights.
    Where an episode ended, `terminal_observation` has its last observation, and `TimeLimit.truncated` is true where it
    was truncated (the algorithms bootstrap through that) and false where it terminated.

        venv = ScalarizedVecEnv(morl.make_vec("mo-hopper-v5", 4, seed=0), [0.6, 0.2, 0.2])
        model = PPO("MlpPolicy", venv).learn(10_000)
        venv.preference = [0.2, 0.2, 0.6]  # from the next step on, also in the middle of an episode
        model.learn(10_000, reset_num_timesteps=False)

    Stable-Baselines3's own wrappers pass `set_attr("preference", ...)` on, so `model.get_env()` reaches it as well.
    Where the environment gives action masks, `env_method("action_masks")` returns them, which is how sb3-contrib's
    MaskablePPO asks for them; other algorithms do not honour them.

    Args:
        envs: rewards [env, objective] and same-step autoreset, as `make_vec` and the wrappers make them.
        preference: weights [objective] for all environments, or [env, objective]; not negative, not all zero.

    Raises:
        ValueError: another autoreset mode, or a preference that does not fit.
    """

    def __init__(self, envs: VectorEnvironment, preference: ArrayLike) -> None:
        if envs.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            mode = envs.metadata.get("autoreset_mode")
            raise ValueError(f"envs must reset in the same step (metadata['autoreset_mode'] SAME_STEP), got {mode!r}")
        self.envs = envs
        self.num_objectives = int(envs.num_objectives)  # type: ignore[attr-defined]
        self.num_envs = envs.num_envs
        self.preference = preference
        self.first_action, action_space = _from_zero(envs.single_action_space)
        self.action_dtype = envs.single_action_space.dtype
        self.masks: NDArray[np.bool_] | None = None
        """[env, choice] what the latest observations allow; None where the environment gives no action masks."""
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

    def reset(self) -> ObservationBatch:
        """Reset all environments and return the first observations; `seed()` and `set_options()` apply once."""
        seeds = None if all(seed is None for seed in self._seeds) else list(self._seeds)
        if any(options != self._options[0] for options in self._options):
            raise ValueError(f"options must be the same for all environments, got {self._options}")
        observations, infos = self.envs.reset(seed=seeds, options=self._options[0] or None)  # type: ignore[arg-type]
        self.reset_infos = [env_info(infos, env) for env in range(self.num_envs)]
        self.masks = action_masks(infos)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: Array) -> None:
        """Keep the actions for `step_wait`."""
        if not isinstance(self.action_space, spaces.Box):  # policies give floats for MultiBinary
            actions = actions.astype(self.action_dtype)
        self._actions = actions if self.first_action is None else actions + self.first_action

    def step_wait(self) -> ScalarStep:
        """Step all environments; return observations, weighted sums float32 [env], ended episodes [env] and infos."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        self.masks = action_masks(infos)
        scalar_rewards = np.einsum("eo,eo->e", self._preference, rewards).astype(np.float32)
        env_infos = [env_info(infos, env) for env in range(self.num_envs)]
        for env, info in enumerate(env_infos):
            if terminated[env] or truncated[env]:
                last = info.pop("final_obs")
                final = info.pop("final_info", {})  # of the step; what else there is belongs to the reset
                self.reset_infos[env] = info
                env_infos[env] = info = {**final, "terminal_observation": last}
            info["TimeLimit.truncated"] = bool(truncated[env] and not terminated[env])
            info["vector_reward"] = rewards[env].copy()
            info["preference"] = self._preference[env].copy()
        return observations, scalar_rewards, terminated | truncated, env_infos

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a picture of each environment, where the backend draws any."""
        pictures: Sequence[NDArray[np.uint8]] | None = self.envs.render()  # type: ignore[assignment]
        return [None] * self.num_envs if pictures is None else list(pictures)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of each environment, or of the vector environment where its kind has no single ones.

        `preference` is the weights of the environment, as `set_attr` sets them; `action_masks` is a method that returns
        its action mask.

        Raises:
            AttributeError: there is no such attribute, or the environment gives no action masks.
        """
        if attr_name == MASKS_METHOD and self.masks is not None:
            return [self.masks[env].copy for env in self._get_indices(indices)]
        if attr_name == "preference":
            return [self._preference[env].copy() for env in self._get_indices(indices)]
        return [self._find(env, attr_name) for env in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: ArrayLike, indices: VecEnvIndices = None) -> None:
        """Set `preference`, of some environments or of all; nothing else can be set from here."""
        if attr_name != "preference":
            raise AttributeError(f"only preference can be set here, not {attr_name!r}")
        weights = self._preference.copy()
        weights[list(self._get_indices(indices))] = value
        self.preference = weights

    def env_method(
        self, method_name: str, *method_args: object, indices: VecEnvIndices = None, **method_kwargs: object
    ) -> list[Any]:
        """Call a method of each environment; `action_masks` returns the action mask of each, [choice] of booleans."""
        if method_name == MASKS_METHOD and self.masks is not None:
            return [self.masks[env].copy() for env in self._get_indices(indices)]
        return [self._find(env, method_name)(*method_args, **method_kwargs) for env in self._get_indices(indices)]

    def env_is_wrapped(
        self,
        wrapper_class: type[SingleWrapper],  # noqa: ARG002 - Stable-Baselines3's signature
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        """Return False for each environment: wrappers of single ones do not count here, wrap this one instead."""
        return [False for _ in self._get_indices(indices)]

    def _find(self, env: int, name: str) -> Any:
        envs = getattr(self.envs.unwrapped, "envs", None)
        return getattr(self.envs, name) if envs is None else envs[env].get_wrapper_attr(name)


def _from_zero(space: spaces.Space[Any]) -> tuple[Array | None, spaces.Space[Any]]:
    """Return the first action of a space of categories, and that space from zero, as Stable-Baselines3 counts.

    Other spaces are returned as they are, with None.
    """
    if isinstance(space, spaces.Discrete):
        return np.asarray(space.start), spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, spaces.MultiDiscrete(space.nvec, dtype=space.dtype)
    return None, space


def action_masks(infos: Info) -> NDArray[np.bool_] | None:
    """Return the action masks [env, choice] in infos, which `make_vec` has checked; None where there are none."""
    return np.asarray(infos["action_mask"]) == 1 if "action_mask" in infos else None


def env_info(infos: Info, env: int) -> Info:
    """Return the infos of one environment, from Gymnasium's batched form: `infos["_key"][env]` says if it has any."""
    info = {}
    for key, value in infos.items():
        if key.startswith("_") and key[1:] in infos:  # a mask
            continue
        if f"_{key}" in infos and not infos[f"_{key}"][env]:
            continue
        info[key] = env_info(value, env) if isinstance(value, dict) else value[env]
    return info
