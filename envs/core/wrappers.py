"""Wrappers over vector environments: normalized observations and rewards, and the returns of every episode.

They go around anything that `make_vec` returns, inside one another and inside `morl.envs.backends.sb3.ScalarisedVecEnv`. All of
them know that a lane is reset within the step that ends its episode, leave arrays and infos of the inner environment
alone, and put their statistics into `state_dict` beside the inner environment's state.

What speaks of a step stands in `infos` for all lanes and, for those whose episode ended, in `infos["final_info"]` too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from morl.envs.core.contract import VectorEnvironment
from morl.learning.normalization import RunningMeanStd

CLIP = 10.0
"""Largest absolute value of a normalized observation or reward."""
SMALLEST_VARIANCE = 1e-8
"""An objective that has varied less is left as it is."""

Step = tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class _Wrapper(VectorWrapper[Any, Any, Any, Any, Any], VectorEnvironment):
    """What the three have in common: the objectives of the environment inside, and its state beside their own."""

    env: Any

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(envs)
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"envs must reset in the same step (metadata['autoreset_mode'] SAME_STEP), got {mode!r}")
        self.num_objectives: int = self.env.num_objectives
        self.objectives: tuple[str, ...] = self.env.objectives

    def _statistics(self) -> dict[str, Any]:
        """Return what this wrapper knows, as plain data."""
        raise NotImplementedError

    def _load_statistics(self, saved: Mapping[str, Any]) -> None:
        """Take over what `_statistics` returned."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the environment inside, and the statistics."""
        return {"env": self.env.state_dict(), "statistics": self._statistics()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken."""
        self.env.load_state_dict(saved["env"])
        self._load_statistics(saved["statistics"])


class NormaliseObservation(_Wrapper):
    """Observations as (observation - mean) / standard deviation of all that policies were shown, cut to +-10.

    The last observations of ended episodes (`final_obs`) are normalized alike. They do not enter the statistics, for
    nobody acts on them; nor do the lanes that a masked reset leaves alone, for they have been counted.

    Args:
        envs: lanes whose observations are a Box.
        moments: statistics to share, those of another wrapper: they are only read here, so that evaluation sees the
            world as training does and leaves no trace in it. Without them, this wrapper learns its own.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], moments: RunningMeanStd | None = None) -> None:
        super().__init__(envs)
        space = envs.single_observation_space
        if not isinstance(space, Box):
            raise ValueError(f"envs must have a Box as observation space, got {space}")
        self.learns = moments is None
        self.moments = RunningMeanStd(space.shape) if moments is None else moments
        if self.moments.mean.shape != space.shape:
            raise ValueError(
                f"moments must have the shape of an observation, {space.shape}, got {self.moments.mean.shape}"
            )
        self.single_observation_space = Box(-CLIP, CLIP, space.shape, np.float32)
        self.observation_space = batch_space(self.single_observation_space, envs.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and learn from the lanes that were."""
        mask = _reset_mask(options, self.num_envs)
        observations, infos = self.env.reset(seed=seed, options=options)
        if self.learns:
            self.moments.update(observations[mask])
        return self._normalized(observations), infos

    def step(self, actions: Any) -> Step:
        """Step, learn from the observations, normalize them and the last ones of ended episodes."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if self.learns:
            self.moments.update(observations)
        if "final_obs" in infos:
            final = np.empty(self.num_envs, dtype=object)
            for lane in np.flatnonzero(terminated | truncated):
                final[lane] = self._normalized(infos["final_obs"][lane])
            infos = {**infos, "final_obs": final}
        return self._normalized(observations), rewards, terminated, truncated, infos

    def _normalized(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        return self.moments.normalize(observations, CLIP).astype(np.float32)

    def _statistics(self) -> dict[str, Any]:
        return {"moments": self.moments.state_dict()} if self.learns else {}

    def _load_statistics(self, saved: Mapping[str, Any]) -> None:
        if self.learns:
            self.moments.load_state_dict(saved["moments"])


class NormaliseReward(_Wrapper):
    """Rewards over the standard deviation of their discounted sums, objective by objective, cut to +-10.

    Each lane keeps R <- discount R + r, which starts at zero with every episode; r is divided by the deviation of all R
    so far (Engstrom et al. 2020, section 3, here per objective). The mean is not taken away: that would change what is
    optimal. The rewards as they were are in `infos["raw_reward"]` [env, objective].

    Args:
        envs: lanes with vector rewards.
        discount: of R, in [0, 1).
        moments: as in `NormaliseObservation`.
    """

    def __init__(
        self, envs: VectorEnv[Any, Any, Any], discount: float = 0.99, moments: RunningMeanStd | None = None
    ) -> None:
        super().__init__(envs)
        if not 0 <= discount < 1:
            raise ValueError(f"discount must lie in [0, 1), got {discount!r}")
        self.discount, self.learns = discount, moments is None
        self.moments = RunningMeanStd((self.num_objectives,)) if moments is None else moments
        if self.moments.mean.shape != (self.num_objectives,):
            raise ValueError(f"moments must have shape {(self.num_objectives,)}, got {self.moments.mean.shape}")
        self.sums = np.zeros((self.num_envs, self.num_objectives))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; the sums of the lanes that were begin anew."""
        self.sums[_reset_mask(options, self.num_envs)] = 0.0
        return self.env.reset(seed=seed, options=options)  # type: ignore[no-any-return]

    def step(self, actions: Any) -> Step:
        """Step, learn from the rewards and normalize them."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        if self.learns:
            self.sums = self.discount * self.sums + rewards
            self.moments.update(self.sums)
            self.sums[ended] = 0.0
        variance = self.moments.variance
        scale = np.sqrt(np.where(variance > SMALLEST_VARIANCE, variance, 1.0))
        infos = _told(infos, ended, "raw_reward", rewards.copy(), np.ones_like(ended))
        return observations, np.clip(rewards / scale, -CLIP, CLIP), terminated, truncated, infos

    def _statistics(self) -> dict[str, Any]:
        return {"moments": self.moments.state_dict(), "sums": self.sums.copy()} if self.learns else {}

    def _load_statistics(self, saved: Mapping[str, Any]) -> None:
        if self.learns:
            self.moments.load_state_dict(saved["moments"])
            self.sums = np.array(saved["sums"])


class RecordReturns(_Wrapper):
    """The returns of every episode, told when it ends: `infos["returns"]`, for lanes where `infos["_returns"]` is true.

    It holds `discounted` (sum of discount^t r_t, t from 0) and `undiscounted` [env, objective], and `length` [env]. All
    three start at zero with every episode. Outside `NormaliseReward` it would record normalized rewards: put it inside.

    Args:
        envs: lanes with vector rewards.
        discount: of the discounted returns, in [0, 1].
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], discount: float) -> None:
        super().__init__(envs)
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must lie in [0, 1], got {discount!r}")
        self.discount = discount
        self.discounted, self.undiscounted = np.zeros((2, self.num_envs, self.num_objectives))
        self.length = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; the returns of the lanes that were begin anew, and what they had so far is not told."""
        self._forget(_reset_mask(options, self.num_envs))
        return self.env.reset(seed=seed, options=options)  # type: ignore[no-any-return]

    def step(self, actions: Any) -> Step:
        """Step, add the rewards, and tell the returns of episodes that ended."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        self.discounted += self.discount ** self.length[:, None] * rewards
        self.undiscounted += rewards
        self.length += 1
        if ended.any():
            parts = {"discounted": self.discounted, "undiscounted": self.undiscounted, "length": self.length}
            returns: dict[str, Any] = {}
            for name, values in parts.items():
                returns[name] = values.copy()
                returns[name][~ended] = 0
                returns[f"_{name}"] = ended.copy()
            infos = _told(infos, ended, "returns", returns, ended)
            self._forget(ended)
        return observations, rewards, terminated, truncated, infos

    def _forget(self, lanes: NDArray[np.bool_]) -> None:
        self.discounted[lanes], self.undiscounted[lanes], self.length[lanes] = 0.0, 0.0, 0

    def _statistics(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in ("discounted", "undiscounted", "length")}

    def _load_statistics(self, saved: Mapping[str, Any]) -> None:
        self.discounted, self.undiscounted, self.length = (
            np.array(saved[name]) for name in ("discounted", "undiscounted", "length")
        )


def _reset_mask(options: Mapping[str, Any] | None, num_envs: int) -> NDArray[np.bool_]:
    """Return which lanes a reset with these options begins anew."""
    return np.asarray((options or {}).get("reset_mask", np.ones(num_envs)), dtype=np.bool_)


def _told(
    infos: dict[str, Any], ended: NDArray[np.bool_], name: str, values: Any, lanes: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return `infos` with `values` of `lanes`, in Gymnasium's form; what it had is not changed."""
    told = {name: values, f"_{name}": lanes.copy()}
    if ended.any():
        final = {**infos.get("final_info", {}), name: values, f"_{name}": lanes & ended}
        told |= {"final_info": final, "_final_info": ended.copy()}
    return {**infos, **told}
