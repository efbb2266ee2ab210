"""Novel policies: an episode ends early where the policy acts too much like one of the policies it must differ from.

Interior policy differentiation (IPD) of Sun, Peng, Dai, Guo, Lin and Zhou 2020, "Novel Policy Seeking with Constrained
Optimization" (arXiv 2005.10696): maximize the task's return subject to D(pi, pi_j) >= r0 for every reference pi_j,
where D is the mean distance of the policies' actions over the states that pi visits. The bound is kept as an interior
point method keeps one: a trajectory that leaves the feasible region ends there, and nothing that it would have earned
later counts. The environment does all of it, so that it works with every agent, and with Stable-Baselines3.

Deviations from the paper: the wrapper sees actions, not distributions, so that the distance of a reference is that of
its most likely action from the action taken, exploration included; every reference has a sum of its own, so that one
close reference is noticed among distant ones; discrete actions have a distance too; and an end may cost something.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from morl.envs.core.types import (
    Action,
    ActionBatch,
    Array,
    Info,
    Observation,
    ObservationBatch,
    Options,
    SavedState,
    Seed,
    Space,
    VectorStep,
)
from morl.envs.core.wrappers import StatefulWrapper, merge_infos, reset_rows, with_info
from morl.protocols import BoolArray, FloatArray, StateDict, VectorEnvironment

SingleEnv: TypeAlias = gymnasium.Env[Any, Any]
SingleStep: TypeAlias = tuple[Observation, Any, bool, bool, Info]
"""What `step` of a single environment returns; its reward may be a number or a vector."""


class Reference(Protocol):
    """A policy to differ from: `morl.Policy`, a model of Stable-Baselines3, or anything with their `predict`."""

    @property
    def predict(self) -> Callable[..., tuple[ActionBatch, Any]]:
        """Return the function (observations, state=, episode_start=, deterministic=) -> actions, state.

        Where the environment gives action masks, it is called with `action_masks` too.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class NoveltyBound:
    """The constraint: how far from every reference, from when on, and what it costs to violate it."""

    threshold: float = 0.6
    """Least mean distance of the actions from those of each reference, r0 (an example of the authors)."""
    grace_steps: int = 20
    """Steps of an episode before it may be ended (authors' value), at most those of an episode where they are known."""
    slack: float = 0.1
    """An episode ends where its sum of (distance - threshold) falls to minus this (authors' value)."""
    penalty: tuple[float, ...] = (0.0,)
    """What a violation subtracts from the reward of that step, one number for all objectives or one for each (authors:
    0, which suits rewards that are positive as long as an episode goes on)."""
    ends: bool = True
    """Whether a violation ends the episode, and costs the penalty; False: infos say so, nothing else."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: a value is negative or not finite.
        """
        for name in ("threshold", "grace_steps", "slack"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"novelty_{name} is {value}, but must be finite and at least 0")
        if not self.penalty or not all(0 <= value < float("inf") for value in self.penalty):
            raise ValueError(
                f"novelty_penalty is {self.penalty}, but must be finite numbers of at least 0: one, or one for each"
                " objective"
            )


Distance: TypeAlias = Callable[[Array, Array], FloatArray]
"""(actions [env, ...], others [env, ...]) -> their distance [env]."""


def action_distance(space: Space) -> Distance:
    """Return the distance of actions of a space.

    Box: Euclidean, in units of half the range where an axis has bounds, as in [-1, 1]; actions are first clipped to the
    bounds, as environments do. Discrete: 0 for equal actions, 1 for others; its mean over actions that a policy samples
    is the total variation distance of that policy from a deterministic reference. MultiDiscrete and MultiBinary: the
    share of entries that differ.

    Args:
        space: of the actions of one environment.

    Raises:
        ValueError: its actions have no distance.
    """
    if isinstance(space, spaces.Box):
        low = space.low.astype(np.float64)
        high = space.high.astype(np.float64)
        bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
        half = np.where(bounded, (np.where(bounded, high, 1.0) - np.where(bounded, low, -1.0)) / 2, 1.0)

        def euclidean(actions: Array, others: Array) -> FloatArray:
            differences = (np.clip(actions, low, high) - np.clip(others, low, high)) / half
            distances: FloatArray = np.sqrt(np.square(differences).reshape(len(actions), -1).sum(axis=1))
            return distances

        return euclidean
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):

        def share_of_others(actions: Array, others: Array) -> FloatArray:
            shares: FloatArray = (actions != others).reshape(len(actions), -1).mean(axis=1)
            return shares

        return share_of_others
    raise ValueError(
        f"novelty needs actions with a distance, a Box, Discrete, MultiDiscrete or MultiBinary, got {space}"
    )


def largest_distance(space: Space) -> float:
    """Return the largest distance of two actions of a space; infinite where it has no bounds."""
    if not isinstance(space, spaces.Box):
        return 1.0
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    return 2.0 * float(np.sqrt(bounded.size)) if bounded.all() else float("inf")


class NoveltyMeter:
    """What the references would do, and how far from that some environments have been in the episodes under way.

    Args:
        space: of the actions of one environment.
        num_envs: number of environments.
        references: policies to differ from; none: nothing is ever violated.
        bound: the constraint.

    Attributes:
        distances: [env, reference] sum over the episode so far of the distances of actions.
        lengths: [env] steps of the episode so far.
        latest: [env, reference] distances of the latest actions.
    """

    def __init__(self, space: Space, num_envs: int, references: Sequence[Reference], bound: NoveltyBound) -> None:
        self.distance = action_distance(space)
        self.references = list(references)
        self.bound = bound
        self.distances = np.zeros((num_envs, len(self.references)))
        self.lengths = np.zeros(num_envs, dtype=np.int64)
        self.latest = np.zeros((num_envs, len(self.references)))
        self._actions: list[Array] = []  # of each reference, [env, ...], for the latest observations
        self._memories: list[Any] = [None] * len(self.references)  # the state after `predict`, if a reference has one

    def observe(self, observations: ObservationBatch, infos: Info, starts: BoolArray, seen: BoolArray) -> None:
        """Let the references act on new observations.

        Args:
            observations: [env, ...].
            infos: beside them; action masks are read.
            starts: [env] where an episode starts.
            seen: [env] which observations are new: the others are those of the last call, and stay answered.
        """
        self.distances[starts] = 0.0
        self.lengths[starts] = 0
        extra: dict[str, BoolArray] = {}
        if "action_mask" in infos:
            given = infos["action_mask"]
            rows = [np.asarray(mask) == 1 if new else None for mask, new in zip(given, seen, strict=True)]
            anything = np.ones_like(next(row for row in rows if row is not None))
            extra["action_masks"] = np.array([anything if row is None else row for row in rows])
        first = not self._actions
        for index, reference in enumerate(self.references):
            before = self._memories[index]
            actions, memory = reference.predict(
                observations, state=before, episode_start=starts, deterministic=True, **extra
            )
            actions = np.array(actions)
            if first:
                self._actions.append(actions)
            else:
                self._actions[index][seen] = actions[seen]
            if before is not None and not seen.all():
                memory = _rows_of(before, memory, seen)
            self._memories[index] = memory

    def measure(self, actions: ActionBatch) -> BoolArray:
        """Add the distances of actions [env, ...] to the references', and return where the bound is violated [env]."""
        array = np.asarray(actions)
        for index, others in enumerate(self._actions):
            self.latest[:, index] = self.distance(array, others)
        self.distances += self.latest
        self.lengths += 1
        excess = self.distances - self.bound.threshold * self.lengths[:, None]
        violated: BoolArray = (excess <= -self.bound.slack).any(axis=1) & (self.lengths >= self.bound.grace_steps)
        return violated

    def novelty(self) -> FloatArray:
        """Return the mean distance from the nearest reference [env] in the episode so far; infinite without any."""
        means = self.distances / np.maximum(self.lengths, 1)[:, None]
        nearest: FloatArray = means.min(axis=1, initial=np.inf)
        return nearest

    def excess(self) -> FloatArray:
        """Return by how much the latest actions are farther from the nearest reference than the threshold [env]."""
        nearest: FloatArray = self.latest.min(axis=1, initial=np.inf) - self.bound.threshold
        return nearest

    def state_dict(self) -> SavedState:
        """Return all of it as plain data; the latest distances are those of a step that is over."""
        return {
            "distances": self.distances.copy(),
            "lengths": self.lengths.copy(),
            "actions": [actions.copy() for actions in self._actions],
            "memories": [None if memory is None else np.array(memory) for memory in self._memories],
        }

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken."""
        self.distances = np.array(saved["distances"])
        self.lengths = np.array(saved["lengths"])
        self._actions = [np.array(actions) for actions in saved["actions"]]
        self._memories = [None if memory is None else np.array(memory) for memory in saved["memories"]]


def _rows_of(before: Any, after: Any, seen: BoolArray) -> Any:
    """Return a memory [env, ...] whose rows are those after a step where `seen` [env] is true, else those before it."""
    if isinstance(after, np.ndarray):
        return np.where(seen.reshape([len(seen)] + [1] * (after.ndim - 1)), after, before)
    raise ValueError(f"a reference remembers a {type(after).__name__}, but must remember an array [env, ...]")


class NoveltyConstraint(StatefulWrapper):
    """Environments whose episodes end where the policy is too much like one of the references (IPD).

    Such an end is a termination: nothing is bootstrapped from it. `infos["novelty"]` holds the mean distance from the
    nearest reference in the episode so far [env], `infos["novelty_violated"]` where this step violated the bound,
    `infos["novelty_excess"]` by how much this step's distance exceeds the threshold, a reward for novelty. Episodes
    that end by themselves in that very step end as they would, and pay the penalty too.

        envs = NoveltyConstraint(morl.make_vec("mo-hopper-v5", 8, seed=0), [morl.load_policy("first.pt")])
        model = PPO("MlpPolicy", ScalarizedVecEnv(envs, [0.6, 0.2, 0.2]))

    Args:
        envs: what `make_vec` returns, or a wrapper of `morl.envs` around it.
        references: policies to differ from; none: the environments are what they are.
        bound: the constraint.
        fingerprints: a text for each reference by which a saved state recognizes it; default: it does not.

    Raises:
        ValueError: actions have no distance, the penalty does not fit the objectives, episodes are shorter than
            `grace_steps`, or another autoreset mode; from `load_state_dict`, the state was saved with other references.
    """

    def __init__(
        self,
        envs: VectorEnvironment,
        references: Sequence[Reference],
        bound: NoveltyBound = NoveltyBound(),
        fingerprints: Sequence[str] = (),
    ) -> None:
        super().__init__(envs)
        if references:
            _check_grace(bound, envs.spec)
        self.meter = NoveltyMeter(envs.single_action_space, envs.num_envs, references, bound)
        self.fingerprints = list(fingerprints)
        self._penalty = _fitting(bound.penalty, self.num_objectives)

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments, or those of `options["reset_mask"]`."""
        mask = reset_rows(options, self.num_envs)
        observations, infos = self.env.reset(seed=seed, options=options)
        self.meter.observe(observations, infos, mask, mask)
        return observations, infos

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step all environments; those that violate the bound end, and are reset within the same step."""
        result: VectorStep = self.env.step(actions)
        if not self.meter.references:
            return result
        observations, rewards, terminated, truncated, infos = result
        violated = self.meter.measure(actions)
        reported = {
            "novelty": self.meter.novelty(),
            "novelty_violated": violated,
            "novelty_excess": self.meter.excess(),
        }
        ends = self.meter.bound.ends
        early = violated & ~(terminated | truncated) & ends
        if early.any():
            first, first_infos = self.env.reset(options={"reset_mask": early})
            infos = self._ended(early, observations, infos, first_infos)
            observations = first
            terminated = terminated | early
        ended = terminated | truncated
        if ends and violated.any():
            rewards = np.where(violated[:, None], rewards - self._penalty, rewards)
        everywhere = np.ones(self.num_envs, dtype=np.bool_)
        self.meter.observe(observations, infos, ended, everywhere)
        for name, values in reported.items():
            infos = with_info(infos, ended, name, values, everywhere)
        return observations, rewards, terminated, truncated, infos

    def _ended(self, early: BoolArray, observations: ObservationBatch, infos: Info, first_infos: Info) -> Info:
        """Return the infos of a step in which further episodes end.

        Args:
            early: [env] whose episodes end, and are reset.
            observations: of the step; the last ones of these episodes.
            infos: of the step.
            first_infos: of the reset.
        """
        infos = dict(infos)
        others = {name: infos.pop(name, None) for name in ("final_obs", "_final_obs", "final_info", "_final_info")}
        ended_before = np.zeros(self.num_envs, dtype=np.bool_) if others["_final_obs"] is None else others["_final_obs"]
        final = np.full(self.num_envs, None, dtype=object)
        for env, last in enumerate(iterate(self.env.observation_space, observations)):
            if ended_before[env]:
                final[env] = others["final_obs"][env]
            elif early[env]:
                final[env] = last
        merged = merge_infos(infos, first_infos, early)
        merged["final_obs"] = final
        merged["final_info"] = merge_infos(others["final_info"] or {}, infos, early)
        merged["_final_obs"] = ended_before | early
        merged["_final_info"] = merged["_final_obs"].copy()
        return merged

    def _statistics(self) -> SavedState:
        return {"meter": self.meter.state_dict(), "references": list(self.fingerprints)}

    def _load_statistics(self, saved: StateDict) -> None:
        if list(saved["references"]) != self.fingerprints:
            raise ValueError(
                f"the saved state compares with the references {list(saved['references'])}, but these are"
                f" {self.fingerprints}"
            )
        self.meter.load_state_dict(saved["meter"])


class SingleNoveltyConstraint(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """One environment of Gymnasium, of vector or scalar rewards, whose episodes end as those of `NoveltyConstraint`.

    Args:
        env: the environment.
        references: policies to differ from.
        bound: the constraint.

    Raises:
        ValueError: actions have no distance, or episodes are shorter than `grace_steps`; from `step`, the penalty does
            not fit the reward.
    """

    def __init__(
        self,
        env: SingleEnv,
        references: Sequence[Reference],
        bound: NoveltyBound = NoveltyBound(),
    ) -> None:
        super().__init__(env)
        if references:
            _check_grace(bound, env.spec)
        self.meter = NoveltyMeter(env.action_space, 1, references, bound)
        self._starts = np.ones(1, dtype=np.bool_)

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Reset the environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._observe(observation, info, self._starts)
        return observation, info

    def step(self, action: Action) -> SingleStep:
        """Step the environment; the episode terminates where the bound is violated."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        violated = bool(self.meter.measure(np.asarray(action)[None])[0])
        info = {
            **info,
            "novelty": float(self.meter.novelty()[0]),
            "novelty_violated": violated,
            "novelty_excess": float(self.meter.excess()[0]),
        }
        if violated and self.meter.bound.ends:
            terminated = terminated or not truncated
            paid = np.asarray(reward, dtype=np.float64)
            penalty = _fitting(self.meter.bound.penalty, paid.size).reshape(paid.shape)
            reward = paid - penalty if paid.ndim else float(paid - penalty)
        if not (terminated or truncated):
            self._observe(observation, info, ~self._starts)
        return observation, reward, terminated, truncated, info

    def _observe(self, observation: Observation, info: Info, starts: BoolArray) -> None:
        space = self.env.observation_space
        empty: Any = create_empty_array(space, 1)
        batch = concatenate(space, [observation], empty)
        infos = {"action_mask": [info["action_mask"]]} if "action_mask" in info else {}
        self.meter.observe(batch, infos, starts, self._starts)


def _check_grace(bound: NoveltyBound, spec: EnvSpec | None) -> None:
    """Check that an episode can be ended before it is over, as far as its length is known.

    Raises:
        ValueError: it cannot.
    """
    limit = None if spec is None else spec.max_episode_steps
    if spec is not None and limit is not None and bound.grace_steps > limit:
        raise ValueError(
            f"novelty_grace_steps is {bound.grace_steps}, but must be at most {limit}, the steps of an episode of"
            f" {spec.id}, or novelty is never checked"
        )


def _fitting(penalty: tuple[float, ...], num_objectives: int) -> FloatArray:
    """Return the penalty of each objective [objective].

    Raises:
        ValueError: there is neither one number nor one for each objective.
    """
    if len(penalty) not in (1, num_objectives):
        raise ValueError(
            f"novelty_penalty is {penalty}, but must have one number or {num_objectives}, one for each objective"
        )
    fitting: FloatArray = np.broadcast_to(np.array(penalty, dtype=np.float64), num_objectives)
    return fitting
