"""Wrappers over vector environments: normalized observations and rewards, and the returns of every episode.

They wrap anything that `make_vec` returns, and one another, and work inside `morl.envs.backends.sb3.ScalarizedVecEnv`.
They treat same-step autoreset right, never write into arrays and infos of the inner environment, and put their
statistics into `state_dict` beside its state.

Infos of a step are in `infos` for all environments and, for those whose episode ended, in `infos["final_info"]` too.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from morl.envs.core.contract import MultiObjectiveVectorEnv
from morl.envs.core.types import ActionBatch, Array, Info, ObservationBatch, Options, SavedState, Seed, VectorStep
from morl.learning.normalization import RunningMeanStd
from morl.protocols import BoolArray, StateDict, VectorEnvironment

CLIP = 10.0
"""Largest absolute value of a normalized observation or reward."""
SMALLEST_VARIANCE = 1e-8
"""An objective that has varied less is left as it is."""

InnerEnv: TypeAlias = Any
"""A `MultiObjectiveVectorEnv`; Gymnasium's wrapper declares it as any vector environment."""


class StatefulWrapper(VectorWrapper[Any, Any, Any, Any, Any], MultiObjectiveVectorEnv):
    """Base class of these wrappers: the objectives of the inner environment, and its state beside their own."""

    env: InnerEnv

    def __init__(self, envs: VectorEnvironment) -> None:
        super().__init__(envs)
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"envs must reset in the same step (metadata['autoreset_mode'] SAME_STEP), got {mode!r}")
        self.num_objectives: int = self.env.num_objectives
        self.objectives: tuple[str, ...] = self.env.objectives

    def _statistics(self) -> SavedState:
        """Return the statistics of this wrapper as plain data."""
        raise NotImplementedError

    def _load_statistics(self, saved: StateDict) -> None:
        """Restore what `_statistics` returned."""
        raise NotImplementedError

    def state_dict(self) -> SavedState:
        """Return the state of the environment inside, and the statistics."""
        return {"env": self.env.state_dict(), "statistics": self._statistics()}

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken."""
        self.env.load_state_dict(saved["env"])
        self._load_statistics(saved["statistics"])


class NormalizeObservation(StatefulWrapper):
    """Observations as (observation - mean) / standard deviation of all observations so far, clipped to +-10.

    The last observations of ended episodes (`final_obs`) are normalized alike. They do not enter the statistics,
    because no policy acts on them; nor do environments that a masked reset leaves out, which have been counted.

    Args:
        envs: observations are a Box.
        statistics: those of another wrapper to share: they are only read here, so that evaluation normalizes as
            training does and changes nothing. Default: this wrapper updates its own.
    """

    def __init__(self, envs: VectorEnvironment, statistics: RunningMeanStd | None = None) -> None:
        super().__init__(envs)
        space = envs.single_observation_space
        if not isinstance(space, Box):
            raise ValueError(f"envs must have a Box as observation space, got {space}")
        self.updates = statistics is None
        self.statistics = RunningMeanStd(space.shape) if statistics is None else statistics
        if self.statistics.mean.shape != space.shape:
            raise ValueError(
                f"statistics must have the shape of an observation, {space.shape}, got {self.statistics.mean.shape}"
            )
        self.single_observation_space = Box(-CLIP, CLIP, space.shape, np.float32)
        self.observation_space = batch_space(self.single_observation_space, envs.num_envs)

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset, and update the statistics with the environments that were reset."""
        mask = reset_rows(options, self.num_envs)
        observations, infos = self.env.reset(seed=seed, options=options)
        if self.updates:
            self.statistics.update(observations[mask])
        return self._normalized(observations), infos

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step, update the statistics, normalize the observations and the last ones of ended episodes."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if self.updates:
            self.statistics.update(observations)
        if "final_obs" in infos:
            final = np.empty(self.num_envs, dtype=object)
            for env in np.flatnonzero(terminated | truncated):
                final[env] = self._normalized(infos["final_obs"][env])
            infos = {**infos, "final_obs": final}
        return self._normalized(observations), rewards, terminated, truncated, infos

    def _normalized(self, observations: Array) -> NDArray[np.float32]:
        return self.statistics.normalize(observations, CLIP).astype(np.float32)

    def _statistics(self) -> SavedState:
        return {"statistics": self.statistics.state_dict()} if self.updates else {}

    def _load_statistics(self, saved: StateDict) -> None:
        if self.updates:
            self.statistics.load_state_dict(saved["statistics"])


class NormalizeReward(StatefulWrapper):
    """Rewards over the standard deviation of their discounted sums, objective by objective, clipped to +-10.

    Each environment keeps R <- discount R + r, which starts at zero with every episode; r is divided by the deviation
    of all R so far (Engstrom et al. 2020, section 3, here per objective). The mean is not subtracted: that would
    change what is optimal. The rewards as they were are in `infos["raw_reward"]` [env, objective].

    Args:
        envs: with vector rewards.
        discount: of R, in [0, 1).
        statistics: those of another wrapper to share, which are only read here. Default: this wrapper updates its own.
    """

    def __init__(
        self, envs: VectorEnvironment, discount: float = 0.99, statistics: RunningMeanStd | None = None
    ) -> None:
        super().__init__(envs)
        if not 0 <= discount < 1:
            raise ValueError(f"discount must lie in [0, 1), got {discount!r}")
        self.discount = discount
        self.updates = statistics is None
        self.statistics = RunningMeanStd((self.num_objectives,)) if statistics is None else statistics
        if self.statistics.mean.shape != (self.num_objectives,):
            raise ValueError(f"statistics must have shape {(self.num_objectives,)}, got {self.statistics.mean.shape}")
        self.sums = np.zeros((self.num_envs, self.num_objectives))

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset; the sums of the environments that are reset start at zero."""
        self.sums[reset_rows(options, self.num_envs)] = 0.0
        return self.env.reset(seed=seed, options=options)  # type: ignore[no-any-return]

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step, update the statistics and normalize the rewards."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        if self.updates:
            self.sums = self.discount * self.sums + rewards
            self.statistics.update(self.sums)
            self.sums[ended] = 0.0
        variance = self.statistics.variance
        scale = np.sqrt(np.where(variance > SMALLEST_VARIANCE, variance, 1.0))
        infos = with_info(infos, ended, "raw_reward", rewards.copy(), np.ones_like(ended))
        return observations, np.clip(rewards / scale, -CLIP, CLIP), terminated, truncated, infos

    def _statistics(self) -> SavedState:
        return {"statistics": self.statistics.state_dict(), "sums": self.sums.copy()} if self.updates else {}

    def _load_statistics(self, saved: StateDict) -> None:
        if self.updates:
            self.statistics.load_state_dict(saved["statistics"])
            self.sums = np.array(saved["sums"])


class RecordReturns(StatefulWrapper):
    """The returns of every episode in the step that ends it: `infos["returns"]`, where `infos["_returns"]` is true.

    It holds `discounted` (sum of discount^t r_t, t from 0) and `undiscounted` [env, objective], and `length` [env]. All
    three start at zero with every episode. Outside `NormalizeReward` it would record normalized rewards: put it inside.

    Args:
        envs: with vector rewards.
        discount: of the discounted returns, in [0, 1].
    """

    def __init__(self, envs: VectorEnvironment, discount: float) -> None:
        super().__init__(envs)
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must lie in [0, 1], got {discount!r}")
        self.discount = discount
        self.discounted, self.undiscounted = np.zeros((2, self.num_envs, self.num_objectives))
        self.length = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset; the returns of the environments that are reset start at zero, unreported."""
        self._reset_returns(reset_rows(options, self.num_envs))
        return self.env.reset(seed=seed, options=options)  # type: ignore[no-any-return]

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step, add the rewards, and report the returns of episodes that ended."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        self.discounted += self.discount ** self.length[:, None] * rewards
        self.undiscounted += rewards
        self.length += 1
        if ended.any():
            parts = {"discounted": self.discounted, "undiscounted": self.undiscounted, "length": self.length}
            returns: Info = {}
            for name, values in parts.items():
                returns[name] = values.copy()
                returns[name][~ended] = 0
                returns[f"_{name}"] = ended.copy()
            infos = with_info(infos, ended, "returns", returns, ended)
            self._reset_returns(ended)
        return observations, rewards, terminated, truncated, infos

    def _reset_returns(self, mask: BoolArray) -> None:
        self.discounted[mask] = 0.0
        self.undiscounted[mask] = 0.0
        self.length[mask] = 0

    def _statistics(self) -> SavedState:
        return {name: getattr(self, name).copy() for name in ("discounted", "undiscounted", "length")}

    def _load_statistics(self, saved: StateDict) -> None:
        self.discounted = np.array(saved["discounted"])
        self.undiscounted = np.array(saved["undiscounted"])
        self.length = np.array(saved["length"])


def reset_rows(options: Mapping[str, Any] | None, num_envs: int) -> BoolArray:
    """Return which environments a reset with these options resets [env]."""
    return np.asarray((options or {}).get("reset_mask", np.ones(num_envs)), dtype=np.bool_)


def with_info(infos: Info, ended: BoolArray, name: str, values: object, mask: BoolArray) -> Info:
    """Return `infos` with one more entry in Gymnasium's form; the old dictionary is not changed.

    Args:
        infos: of a step.
        ended: [env] which episodes ended, whose entry is in "final_info" too.
        name: of the entry.
        values: [env, ...], or a dictionary of such arrays.
        mask: [env] for which environments the entry holds.
    """
    added = {name: values, f"_{name}": mask.copy()}
    if ended.any():
        final = {**infos.get("final_info", {}), name: values, f"_{name}": mask & ended}
        added |= {"final_info": final, "_final_info": ended.copy()}
    return {**infos, **added}


def merge_infos(infos: Info, later: Info, rows: BoolArray) -> Info:
    """Return infos in Gymnasium's form whose entries of some environments are those of others.

    Args:
        infos: of all environments.
        later: the others.
        rows: [env] whose entries come from `later`; what it has no entry for, they have none of.
    """
    names = dict.fromkeys([*infos, *later])
    merged: Info = {}
    for name in names:
        if name.startswith("_") and name[1:] in names:  # says which environments have the entry
            continue
        old = infos.get(name)
        new = later.get(name)
        if isinstance(old, dict) or isinstance(new, dict):
            merged[name] = merge_infos(old or {}, new or {}, rows)
        else:
            merged[name] = _merged_rows(old, new, rows)
        merged[f"_{name}"] = np.where(rows, _has(later, name, len(rows)), _has(infos, name, len(rows)))
    return merged


def _merged_rows(old: Array | None, new: Array | None, rows: BoolArray) -> Array:
    """Return values [env, ...], those of `new` in some rows; an entry that there is none of is zero or None."""
    like = new if old is None else old
    assert like is not None
    values: NDArray[Any] = np.zeros_like(like) if old is None else np.array(old)
    if old is None and values.dtype == object:
        values[:] = None
    if new is None:
        values[rows] = None if values.dtype == object else 0
        return values
    if values.dtype != new.dtype:
        values = values.astype(object)
    for env in np.flatnonzero(rows):
        values[env] = new[env]
    return values


def _has(infos: Info, name: str, num_envs: int) -> BoolArray:
    """Return which environments have an entry [env]."""
    if name not in infos:
        return np.zeros(num_envs, dtype=np.bool_)
    return np.asarray(infos.get(f"_{name}", np.ones(num_envs)), dtype=np.bool_)
