"""What every Numba batch kernel shares: output buffers, autoreset, the time limit, lane generators and saved states.

A kernel is two compiled loops over lanes: `advance` moves every lane and writes rewards, observations and terminations;
`start` puts the masked lanes at the start of an episode. `KernelVectorEnv` calls them, keeps the clocks and speaks
Gymnasium's vector API to the outside. `deep_sea_treasure.py` shows how little is left to write for one environment.
Loops index single elements: slices inside compiled loops cost more than the physics.

Random numbers: `LaneStreams` hands the kernel a row of draws per lane, taken in order from the very generator that the
single environment would use, so that stochastic environments too follow the same trace from the same seed.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numba import njit
from numpy.typing import NDArray

from morl.envs.core.arguments import Actions, first_not_finite, lane_seeds, require_begun, reset_mask
from morl.envs.core.contract import VectorEnvironment, WrongReward

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def keep_time(elapsed: Array, limit: int, terminated: Array, truncated: Array, ended: Array) -> int:
    """Return how many episodes ended with this step; advance the clocks [env] and write truncated and ended [env]."""
    count = 0
    for lane in range(elapsed.size):
        elapsed[lane] += 1
        truncated[lane] = elapsed[lane] >= limit
        ended[lane] = terminated[lane] or truncated[lane]
        if ended[lane]:
            elapsed[lane] = 0
            count += 1
    return count


@njit(cache=True, nogil=True)
def single(value: float) -> float:
    """Return `value` rounded to float32."""
    return np.float64(np.float32(value))


@njit(cache=True, nogil=True)
def begin(mask: NDArray[np.bool_], rows: Array, first: Array) -> None:
    """Set the rows [env, column] of the lanes of `mask` [env] to `first` [column]."""
    for lane in range(mask.size):
        if mask[lane]:
            for column in range(first.size):
                rows[lane, column] = first[column]


@njit(cache=True, nogil=True)
def any_beyond(positions: Array, limit: int) -> bool:
    """Return whether any position exceeds the limit."""
    return bool(positions.max() > limit)


class LaneStreams:
    """One `numpy` generator per lane and a row of its next draws, for kernels whose environment draws one kind only.

    `draws[lane, position[lane]:]` are the next numbers; the kernel advances `position`. A row is topped up when fewer
    than `reserve` numbers, the most that one step can use, are left.

    An environment that epsilon_mixing kinds takes the others from `give_back(lane)`, then `fill`s the row with what the rest of
    the episode can use at most; its `reserve` is 0. `water_reservoir.py` shows how.
    """

    def __init__(self, kind: str, reserve: int, num_envs: int, length: int = 128) -> None:
        self.kind = kind  # a method of numpy's Generator without arguments: "random", "standard_normal"
        self.reserve = reserve
        self.length = length  # of a row; a longer one is refilled less often
        self.generators: list[np.random.Generator | None] = [None] * num_envs
        self.before: list[dict[str, Any] | None] = [None] * num_envs  # the generators' states before `fill`
        self.draws = np.zeros((num_envs, self.length))
        self.position = np.full(num_envs, self.length, dtype=np.int64)

    def seed(self, lane: int, seed: int | None) -> None:
        """Give the lane the generator that `env.reset(seed=seed)` makes; None keeps the one it has."""
        if seed is not None or self.generators[lane] is None:
            self.generators[lane], _ = seeding.np_random(seed)
            self.position[lane] = self.length

    def top_up(self) -> None:
        """Refill the rows that could run out within one step."""
        if not self.reserve or not any_beyond(self.position, self.length - self.reserve):  # 0: rows are never used
            return
        for lane in np.flatnonzero(self.position > self.length - self.reserve):
            used = self.position[lane]
            self.draws[lane, : self.length - used] = self.draws[lane, used:]
            self.draws[lane, self.length - used :] = getattr(self.generators[lane], self.kind)(used)
            self.position[lane] = 0

    def fill(self, lane: int) -> None:
        """Draw the whole row of a lane."""
        generator = self.generators[lane]
        assert generator is not None
        self.before[lane] = dict(generator.bit_generator.state)
        self.draws[lane] = getattr(generator, self.kind)(self.length)
        self.position[lane] = 0

    def give_back(self, lane: int) -> np.random.Generator:
        """Return the lane's generator where the single environment's would stand: unused draws of `fill` are undone."""
        generator, used = self.generators[lane], self.position[lane]
        assert generator is not None
        if used < self.length:
            generator.bit_generator.state = self.before[lane]  # type: ignore[assignment]
            getattr(generator, self.kind)(used)
            self.position[lane] = self.length
        return generator

    def state_dict(self) -> dict[str, Any]:
        """Return draws, positions and generator states; 128-bit integers as decimal strings."""
        states = [None if g is None else _words(g.bit_generator.state) for g in self.generators]
        before = [None if state is None else _words(state) for state in self.before]
        return {
            "draws": self.draws.copy(),
            "position": self.position.copy(),
            "generators": states,
            "before": before,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.draws[...] = saved["draws"]
        self.position[...] = saved["position"]
        self.before = [None if words is None else _unwords(words) for words in saved["before"]]
        for lane, words in enumerate(saved["generators"]):
            self.generators[lane] = None if words is None else np.random.Generator(np.random.PCG64())
            if words is not None:
                self.generators[lane].bit_generator.state = _unwords(words)  # type: ignore[union-attr]


def _words(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a PCG64 state with every integer as a string: some exceed 64 bits."""
    inner = {name: str(value) for name, value in state["state"].items()}
    return {"state": inner, "has_uint32": str(state["has_uint32"]), "uinteger": str(state["uinteger"])}


def _unwords(words: Mapping[str, Any]) -> dict[str, Any]:
    inner = {name: int(value) for name, value in words["state"].items()}
    counters = {"has_uint32": int(words["has_uint32"]), "uinteger": int(words["uinteger"])}
    return {"bit_generator": "PCG64", "state": inner, **counters}


class KernelVectorEnv(VectorEnvironment):
    """Gymnasium's vector API around a batch kernel, with same-step autoreset.

    A subclass builds its spaces and its state arrays `self.lanes_state` (name -> array, a row per lane) in the
    constructor and defines `_start` and `_advance`.
    """

    def __init__(
        self,
        num_envs: int,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.Space[Any],
        reward_space: gymnasium.spaces.Box,
        max_episode_steps: int | None,
        streams: LaneStreams | None = None,
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
        self.actions = Actions(action_space, num_envs)
        self.first_seed: int | None = None
        self.streams = streams
        self.elapsed = np.full(num_envs, -1, dtype=np.int64)  # -1: never reset
        self.lanes_state: dict[str, Array] = {}
        self.last_observations: Array = np.zeros((num_envs, *observation_space.shape), dtype=observation_space.dtype)

    def _start(self, mask: NDArray[np.bool_], observations: Array) -> None:
        """Put the lanes of `mask` at the start of an episode and write their rows of `observations`."""
        raise NotImplementedError

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: NDArray[np.bool_]) -> None:
        """Step every lane; write observations [env, ...], rewards [env, objective] and terminated [env]."""
        raise NotImplementedError

    def _infos(self) -> dict[str, Array]:
        """Return what is told of the lanes beside their observations, [env, ...] each: action masks, for example."""
        return {}

    def _told(self, lanes: NDArray[np.bool_] | None) -> dict[str, Any]:
        """Return `_infos` of `lanes` [env] (None: all) in Gymnasium's form: zeros elsewhere; `_name` says where."""
        told: dict[str, Any] = {}
        for name, values in self._infos().items():
            lanes = np.ones(self.num_envs, dtype=np.bool_) if lanes is None else lanes
            told[name] = values.copy()
            told[name][~lanes] = 0
            told[f"_{name}"] = lanes.copy()
        return told

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start new episodes in all lanes, or in those of `options["reset_mask"]`; lane i gets seed + i.

        The first reset without a seed takes the constructor's.
        """
        mask = reset_mask(options, self.num_envs)
        seeds = lane_seeds(self.first_seed if seed is None else seed, self.num_envs)
        require_begun(self.elapsed >= 0, mask)
        self.first_seed = None
        if self.streams is not None:
            for lane in np.flatnonzero(mask):
                self.streams.seed(int(lane), seeds[lane])
            self.streams.top_up()
        self.elapsed[mask] = 0
        self._start(mask, self.last_observations)
        return self._outside(self.last_observations.copy()), self._told(mask)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all lanes with `actions` [env, ...]; ended lanes start anew within the same step."""
        if self.elapsed[0] < 0:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if self.streams is not None:
            self.streams.top_up()
        # Fresh arrays each time, so that what a caller keeps never changes under its hands.
        observations: Array = np.empty_like(self.last_observations)
        rewards = np.zeros((self.num_envs, self.num_objectives))
        terminated, truncated, ended = np.empty((3, self.num_envs), dtype=np.bool_)
        self._advance(self._checked(actions), observations, rewards, terminated)
        self._require_finite(rewards)
        infos: dict[str, Any] = {}
        if keep_time(self.elapsed, self.limit, terminated, truncated, ended):
            final = self._last_observations(observations, ended)
            infos = {"final_obs": final, "_final_obs": ended, "final_info": self._told(ended)}
            infos["_final_info"] = ended.copy()
            self._start(ended, observations)
        infos |= self._told(None)
        self.last_observations = observations.copy()
        return self._outside(observations), rewards, terminated, truncated, infos

    def _checked(self, actions: Any) -> Array:
        """Return the actions as int64 [env] (Discrete), or as float32 or float64 [env, n], whichever they are (Box).

        Single environments compute in the precision of the actions that they are given.

        Raises:
            ValueError: actions that do not fit (`morl.envs.core.arguments.Actions`).
        """
        array = self.actions(actions)
        if self.actions.continuous:
            return np.ascontiguousarray(array, dtype=np.float32 if array.dtype == np.float32 else np.float64)
        return np.ascontiguousarray(array, dtype=np.int64)

    def _require_finite(self, rewards: Array) -> None:
        lane = first_not_finite(rewards)
        if lane >= 0:
            name = type(self).__name__ if self.spec is None else self.spec.id
            raise WrongReward(
                f"{name}: the reward at step {self.elapsed[lane] + 1} of the episode of lane {lane} must be "
                f"{self.num_objectives} finite numbers, got {rewards[lane].tolist()}"
            )

    def _last_observations(self, observations: Array, ended: NDArray[np.bool_]) -> Any:
        """Return observations lane by lane: an array, or of dictionaries an object array with those of ended lanes."""
        if not isinstance(self.single_observation_space, gymnasium.spaces.Dict):
            return self._outside(observations.copy())
        rows = np.flatnonzero(ended)
        batch = self._outside(observations[rows])
        final = np.full(self.num_envs, None, dtype=object)
        for row, lane in enumerate(rows):
            final[lane] = {key: values[row] for key, values in batch.items()}
        return final

    def _outside(self, observations: Array) -> Any:
        """Return observations in the form of `observation_space`; here, as they are."""
        return observations

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, as plain data."""
        return {
            "first_seed": self.first_seed,
            "elapsed": self.elapsed.copy(),
            "observations": self.last_observations.copy(),
            "lanes": {name: array.copy() for name, array in self.lanes_state.items()},
            "streams": None if self.streams is None else self.streams.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where `saved` was taken."""
        if len(saved["elapsed"]) != self.num_envs:
            raise ValueError(f"the saved state has {len(saved['elapsed'])} lanes, this environment {self.num_envs}")
        self.first_seed = saved["first_seed"]
        self.elapsed[...] = saved["elapsed"]
        self.last_observations[...] = saved["observations"]
        for name, array in self.lanes_state.items():
            array[...] = saved["lanes"][name]
        if self.streams is not None:
            self.streams.load_state_dict(saved["streams"])
