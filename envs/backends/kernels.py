"""Base class of Numba batch kernels: output buffers, autoreset, the time limit and saved states.

A kernel is two compiled loops over environments: `advance` steps all of them and writes rewards, observations and
terminations; `start` puts the masked ones at the start of an episode. `KernelVectorEnv` calls them, counts steps and
has Gymnasium's vector API. `deep_sea_treasure.py` is the shortest example. Loops index single elements: slices inside
compiled loops cost more than the physics.

Random numbers come from `RandomStreams` (`morl.envs.backends.streams`).
"""

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numba import njit
from numpy.typing import NDArray

from morl.envs.backends.streams import RandomStreams
from morl.envs.core.arguments import ActionCheck, env_seeds, first_not_finite, require_reset, reset_mask
from morl.envs.core.contract import MultiObjectiveVectorEnv
from morl.envs.core.outcomes import InvalidOutcome, excerpt, first_not_finite_in_float32
from morl.envs.core.types import (
    ActionBatch,
    Array,
    Info,
    ObservationBatch,
    Options,
    SavedState,
    Seed,
    Space,
    VectorStep,
)
from morl.protocols import StateDict


@njit(cache=True, nogil=True)
def advance_clocks(elapsed: Array, limit: int, terminated: Array, truncated: Array, ended: Array) -> int:
    """Return how many episodes ended with this step; advance the clocks [env] and write truncated and ended [env]."""
    count = 0
    for env in range(elapsed.size):
        elapsed[env] += 1
        truncated[env] = elapsed[env] >= limit
        ended[env] = terminated[env] or truncated[env]
        if ended[env]:
            elapsed[env] = 0
            count += 1
    return count


@njit(cache=True, nogil=True)
def as_float32(value: float) -> float:
    """Return `value` rounded to float32."""
    return np.float64(np.float32(value))


@njit(cache=True, nogil=True)
def set_rows(mask: NDArray[np.bool_], rows: Array, first: Array) -> None:
    """Set the rows [env, column] of the environments of `mask` [env] to `first` [column]."""
    for env in range(mask.size):
        if mask[env]:
            for column in range(first.size):
                rows[env, column] = first[column]


class KernelVectorEnv(MultiObjectiveVectorEnv):
    """Gymnasium's vector API around a batch kernel, with same-step autoreset.

    A subclass builds its spaces and its state arrays `self.arrays` (name -> array [env, ...]) in the constructor and
    defines `_start` and `_advance`.

    Args:
        num_envs: number of environments.
        observation_space: of one environment.
        action_space: of one environment.
        reward_space: Box of shape (objectives,).
        max_episode_steps: time limit in steps, None for none.
        streams: random numbers, for kernels with chance.
    """

    def __init__(
        self,
        num_envs: int,
        observation_space: gymnasium.spaces.Box,
        action_space: Space,
        reward_space: gymnasium.spaces.Box,
        max_episode_steps: int | None,
        streams: RandomStreams | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.reward_space = reward_space
        self.num_objectives = int(reward_space.shape[0])
        self.objectives: tuple[str, ...] = tuple(f"objective_{index}" for index in range(self.num_objectives))
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "backend": "kernel"}
        limit = np.iinfo(np.int64).max if max_episode_steps is None else max_episode_steps
        if not isinstance(limit, int | np.integer) or limit < 1:
            raise ValueError(f"max_episode_steps must be a positive integer or None, got {max_episode_steps!r}")
        self.limit = int(limit)
        self.check_actions = ActionCheck(action_space, num_envs)
        self.first_seed: int | None = None
        self.streams = streams
        self.elapsed = np.full(num_envs, -1, dtype=np.int64)  # -1: never reset
        self.arrays: dict[str, Array] = {}
        self.last_observations: Array = np.zeros((num_envs, *observation_space.shape), dtype=observation_space.dtype)

    def _start(self, mask: NDArray[np.bool_], observations: Array) -> None:
        """Put the environments of `mask` at the start of an episode and write their rows of `observations`."""
        raise NotImplementedError

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: NDArray[np.bool_]) -> None:
        """Step every environment; write observations [env, ...], rewards [env, objective] and terminated [env]."""
        raise NotImplementedError

    def _infos(self) -> dict[str, Array]:
        """Return what infos hold beside the observations, [env, ...] each: action masks, for example."""
        return {}

    def _masked_infos(self, mask: NDArray[np.bool_] | None) -> Info:
        """Return `_infos` of `mask` [env] (None: all) in Gymnasium's form: zeros elsewhere; `_name` holds the mask."""
        infos: Info = {}
        for name, values in self._infos().items():
            mask = np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask
            infos[name] = values.copy()
            infos[name][~mask] = 0
            infos[f"_{name}"] = mask.copy()
        return infos

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments, or those of `options["reset_mask"]`; environment i gets seed + i.

        The first reset without a seed takes the constructor's.
        """
        mask = reset_mask(options, self.num_envs)
        seeds = env_seeds(self.first_seed if seed is None else seed, self.num_envs)
        require_reset(self.elapsed >= 0, mask)
        self.first_seed = None
        if self.streams is not None:
            for env in np.flatnonzero(mask).tolist():
                self.streams.seed(env, seeds[env])
            self.streams.top_up()
        self.elapsed[mask] = 0
        self._start(mask, self.last_observations)
        return self._to_space(self.last_observations.copy()), self._masked_infos(mask)

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step all environments with `actions` [env, ...]; those whose episode ends are reset within the same step."""
        if self.elapsed[0] < 0:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if self.streams is not None:
            self.streams.top_up()
        # Fresh arrays each time, so that what a caller keeps never changes later.
        observations: Array = np.empty_like(self.last_observations)
        rewards = np.zeros((self.num_envs, self.num_objectives))
        terminated, truncated, ended = np.empty((3, self.num_envs), dtype=np.bool_)
        self._advance(self._checked(actions), observations, rewards, terminated)
        self._require_finite(rewards, observations)
        infos: Info = {}
        if advance_clocks(self.elapsed, self.limit, terminated, truncated, ended):
            final = self._final_observations(observations, ended)
            infos = {"final_obs": final, "_final_obs": ended, "final_info": self._masked_infos(ended)}
            infos["_final_info"] = ended.copy()
            self._start(ended, observations)
        infos |= self._masked_infos(None)
        self.last_observations = observations.copy()
        return self._to_space(observations), rewards, terminated, truncated, infos

    def _checked(self, actions: ActionBatch) -> Array:
        """Return the actions as int64 [env] (Discrete), or as float32 or float64 [env, n], whichever they are (Box).

        Single environments compute in the precision of the actions that they are given.

        Raises:
            ValueError: actions that do not fit (`morl.envs.core.arguments.ActionCheck`).
        """
        array: Array = self.check_actions(actions)
        if self.check_actions.continuous:
            return np.ascontiguousarray(array, dtype=np.float32 if array.dtype == np.float32 else np.float64)
        return np.ascontiguousarray(array, dtype=np.int64)

    def _require_finite(self, rewards: Array, observations: Array) -> None:
        """Raise InvalidOutcome where a reward or an observation is infinite (in float32) or not a number."""
        env = first_not_finite(rewards)
        if env >= 0:
            wanted = f"must be {self.num_objectives} finite numbers, got {rewards[env].tolist()}"
            raise InvalidOutcome(self._sentence("reward", env, wanted))
        if observations.dtype.kind == "f":
            env = first_not_finite_in_float32(observations.reshape(self.num_envs, -1))
            if env >= 0:
                wanted = f"must be finite in float32, got {excerpt(observations[env])}"
                raise InvalidOutcome(self._sentence("observation", env, wanted))

    def _sentence(self, subject: str, env: int, fault: str) -> str:
        name = type(self).__name__ if self.spec is None else self.spec.id
        return f"{name}: the {subject} at step {self.elapsed[env] + 1} of the episode of environment {env} {fault}"

    def _final_observations(self, observations: Array, ended: NDArray[np.bool_]) -> Array:
        """Return the last observations: an array, or of dictionaries an object array with those of ended episodes."""
        if not isinstance(self.single_observation_space, gymnasium.spaces.Dict):
            array: Array = self._to_space(observations.copy())
            return array
        rows = np.flatnonzero(ended)
        batch = self._to_space(observations[rows])
        final = np.full(self.num_envs, None, dtype=object)
        for row, env in enumerate(rows):
            final[env] = {key: values[row] for key, values in batch.items()}
        return final

    def _to_space(self, observations: Array) -> ObservationBatch:
        """Return observations in the form of `observation_space`; here, as they are."""
        return observations

    def drew_nothing(self) -> bool:
        """Return whether the kernel has no random numbers."""
        return self.streams is None

    def state_dict(self) -> SavedState:
        """Return everything that the next steps depend on, as plain data."""
        return {
            "first_seed": self.first_seed,
            "elapsed": self.elapsed.copy(),
            "observations": self.last_observations.copy(),
            "arrays": {name: array.copy() for name, array in self.arrays.items()},
            "streams": None if self.streams is None else self.streams.state_dict(),
        }

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken."""
        if len(saved["elapsed"]) != self.num_envs:
            raise ValueError(
                f"the saved state has {len(saved['elapsed'])} environments, and num_envs is {self.num_envs}"
            )
        self.first_seed = saved["first_seed"]
        self.elapsed[...] = saved["elapsed"]
        self.last_observations[...] = saved["observations"]
        for name, array in self.arrays.items():
            array[...] = saved["arrays"][name]
        if self.streams is not None:
            self.streams.load_state_dict(saved["streams"])
