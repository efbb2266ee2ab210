"""Evaluation: many policies, preferences and episodes as one wide rollout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from morl.action_masks import MaskReader
from morl.protocols import (
    Actions,
    FloatArray,
    HasMemory,
    IndexArray,
    Observations,
    UsesAccruedReward,
    UsesActionMasks,
    VectorEnvironment,
)

Act: TypeAlias = Callable[..., Actions]
"""(observations [env, ...], preferences [env, objective], policies [env]) -> actions [env, ...].

What `ActInputs` says it takes, it is also given: `accrued` [env, objective + 1], the discounted sum of the episode's
rewards so far and the discount of the next one (gamma^t); `masks` [env, choice], true where a choice is allowed, where
the environment gives action masks; `memory` [env, memory_size], what the policies remember, which it replaces in place.
"""


class ActInputs(NamedTuple):
    """What an `Act` takes beside observations, preferences and policies."""

    accrued: bool = False
    """The accrued reward."""
    masks: bool = False
    """Action masks."""
    memory_size: int = 0
    """Elements of the memory; 0: none."""

    @staticmethod
    def of(agent: object) -> "ActInputs":
        """Return the inputs of an agent's `act`."""
        return ActInputs(
            accrued=isinstance(agent, UsesAccruedReward) and agent.uses_accrued_reward,
            masks=isinstance(agent, UsesActionMasks) and agent.uses_action_masks,
            memory_size=agent.memory_size if isinstance(agent, HasMemory) else 0,
        )


NO_INPUTS = ActInputs()

MakeVec: TypeAlias = Callable[[int], VectorEnvironment]
"""Number of environments -> vector environment."""


@dataclass(frozen=True)
class Returns:
    """Mean returns of an evaluation over its episodes, and how far chance may have moved them.

    Attributes:
        discounted: [row, objective] sum of gamma^t r_t.
        undiscounted: [row, objective] sum of r_t.
        lengths: [row] episode length in steps.
        episodes: [row] number of episodes.
        deviations: [row, episode, objective] discounted return of each episode less the mean of its row; 0 where a row
            has fewer episodes than others. Episode j of all rows has the same seed.
    """

    discounted: FloatArray
    undiscounted: FloatArray
    lengths: FloatArray
    episodes: IndexArray
    deviations: FloatArray

    @staticmethod
    @np.errstate(over="ignore", invalid="ignore")
    def of_episodes(discounted: FloatArray, undiscounted: FloatArray, lengths: FloatArray) -> "Returns":
        """Return the means over episodes.

        Args:
            discounted: [row, episode, objective].
            undiscounted: [row, episode, objective].
            lengths: [row, episode].
        """
        mean = discounted.mean(axis=1)
        return Returns(
            discounted=mean,
            undiscounted=undiscounted.mean(axis=1),
            lengths=lengths.mean(axis=1),
            episodes=np.full(len(mean), discounted.shape[1]),
            deviations=discounted - mean[:, None],
        )

    @property
    def standard_errors(self) -> FloatArray:
        """Return the standard error of each mean discounted return [row, objective]; NaN after one episode."""
        count = self.episodes[:, None].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors: FloatArray = np.sqrt(np.square(self.deviations).sum(axis=1) / (count - 1.0) / count)
        return errors

    def select(self, rows: IndexArray) -> "Returns":
        """Return some of the rows."""
        return Returns(
            discounted=self.discounted[rows],
            undiscounted=self.undiscounted[rows],
            lengths=self.lengths[rows],
            episodes=self.episodes[rows],
            deviations=self.deviations[rows],
        )

    def joined(self, rows: IndexArray, more: "Returns") -> "Returns":
        """Return the means with further episodes of some rows.

        Args:
            rows: [n] rows that `more` continues.
            more: [n, ...] independent episodes of the same policies.
        """
        share = (more.episodes / (self.episodes[rows] + more.episodes))[:, None]
        shift = more.discounted - self.discounted[rows]
        joined = Returns(
            discounted=self.discounted.copy(),
            undiscounted=self.undiscounted.copy(),
            lengths=self.lengths.copy(),
            episodes=self.episodes.copy(),
            deviations=_append_zeros(self.deviations, more.deviations.shape[1]),
        )
        joined.discounted[rows] += share * shift
        joined.undiscounted[rows] += share * (more.undiscounted - self.undiscounted[rows])
        joined.lengths[rows] += share[:, 0] * (more.lengths - self.lengths[rows])
        joined.episodes[rows] += more.episodes
        for continued, row in enumerate(rows.tolist()):
            mean = joined.discounted[row]
            before = self.episodes[row]
            after = before + more.episodes[continued]
            joined.deviations[row, :before] += self.discounted[row] - mean
            added = more.deviations[continued, : more.episodes[continued]]
            joined.deviations[row, before:after] = added + more.discounted[continued] - mean
        return joined


def _append_zeros(deviations: FloatArray, episodes: int) -> FloatArray:
    """Return deviations [row, episode, objective] with room for further episodes."""
    longer: FloatArray = np.pad(deviations, ((0, 0), (0, episodes), (0, 0)))
    return longer


def _do_nothing() -> None:
    pass


class Evaluator:
    """Runs evaluations in environments of its own and counts their steps.

    Episode j of every row starts from the same seed, whatever else is evaluated beside it and in whichever environment.
    So policies are compared on common random numbers (Glasserman and Yao 1992): one is not better than another because
    it was given easier starts. And evaluating more often changes nothing.

    Args:
        make_vec: builds a vector environment with same-step autoreset.
        discount: of the discounted returns, in (0, 1].
        max_envs: the most environments that this evaluator keeps alive at once, and so the most that step at once.
        horizon: episodes are cut after this many steps.
    """

    def __init__(self, make_vec: MakeVec, discount: float, max_envs: int, horizon: int) -> None:
        self.make_vec = make_vec
        self.discount = discount
        self.max_envs = max_envs
        self.horizon = horizon
        self.steps = 0
        """Environment steps so far, idle environments included: they were simulated too."""
        self.before_step: Callable[[], None] = _do_nothing
        """Called before each step of the environments; what it raises ends the evaluation."""
        self._environments: dict[int, VectorEnvironment] = {}

    def __call__(
        self,
        act: Act,
        policies: IndexArray,
        preferences: FloatArray,
        episodes: int,
        seed: int,
        inputs: ActInputs = NO_INPUTS,
    ) -> Returns:
        """Return the mean returns of each row (policy, preference).

        Args:
            act: chooses actions; called once per step for all environments.
            policies: [row] policy ids.
            preferences: [row, objective] preferences; NaN where a policy has none.
            episodes: episodes per row, at least 1.
            seed: episode j of each row is seeded with seed + j.
            inputs: what `act` takes beside these.

        Raises:
            ValueError: the environment gives action masks that `act` does not take, or wrong ones.
        """
        total = len(policies) * episodes
        parts = []
        for start in range(0, total, self.max_envs):
            jobs = np.arange(start, min(start + self.max_envs, total))
            rows = jobs // episodes
            seeds = (seed + jobs % episodes).tolist()
            parts.append(self._roll_out(act, policies[rows], preferences[rows], seeds, inputs))
        discounted = np.concatenate([part[0] for part in parts])
        undiscounted = np.concatenate([part[1] for part in parts])
        lengths = np.concatenate([part[2] for part in parts])
        return Returns.of_episodes(
            discounted.reshape(len(policies), episodes, -1),
            undiscounted.reshape(len(policies), episodes, -1),
            lengths.reshape(len(policies), episodes),
        )

    @np.errstate(over="ignore", invalid="ignore")  # the caller sees returns that are not finite
    def _roll_out(
        self, act: Act, policies: IndexArray, preferences: FloatArray, seeds: list[int], inputs: ActInputs
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run one episode in every environment at once, until the last has ended.

        Args:
            act: chooses actions.
            policies: [env] policy ids.
            preferences: [env, objective].
            seeds: [env] of the environments.
            inputs: what `act` takes beside these.

        Returns:
            Discounted and undiscounted returns [env, objective] and lengths [env].
        """
        num_envs = len(policies)
        envs = self._envs(num_envs)
        reader = MaskReader("the environment" if envs.spec is None else envs.spec.id, envs.single_action_space)
        observations, infos = envs.reset(seed=seeds)  # type: ignore[arg-type] # it takes lists too
        masks = reader.reset(infos)
        if masks is not None and not inputs.masks:
            raise ValueError(f"{reader.env_id} gives action masks, but the policies to be evaluated take none")
        discounted = np.zeros_like(preferences)
        undiscounted = np.zeros_like(preferences)
        lengths = np.zeros(num_envs)
        running = np.ones(num_envs, dtype=np.bool_)
        memory = np.zeros((num_envs, inputs.memory_size), dtype=np.float32)
        factor = 1.0

        def choose(rows: IndexArray) -> Actions:
            extras: dict[str, NDArray[Any]] = {}
            if inputs.accrued:
                extras["accrued"] = np.column_stack([discounted[rows], np.full(len(rows), factor)])
            if masks is not None:
                extras["masks"] = masks[rows]
            if inputs.memory_size:
                extras["memory"] = memory[rows]
            actions = act(select_rows(observations, rows), preferences[rows], policies[rows], **extras)
            if inputs.memory_size:
                memory[rows] = extras["memory"]
            return actions

        actions = np.array(choose(np.arange(num_envs)))  # our own, to write into
        for _ in range(self.horizon):
            self.before_step()
            observations, rewards, terminated, truncated, infos = envs.step(actions)
            masks = reader.current(infos)
            counted = rewards * running[:, None]  # an environment whose episode has ended is stepped, uncounted
            discounted += factor * counted
            undiscounted += counted
            lengths += running
            factor *= self.discount
            self.steps += num_envs
            running &= ~(terminated | truncated)
            if not running.any():
                break
            # Environments whose episode has ended repeat their last action, unless a mask might forbid it: only the
            # others are worth a forward pass.
            rows = np.flatnonzero(running) if masks is None else np.arange(num_envs)
            actions[rows] = choose(rows)
        return discounted, undiscounted, lengths

    @property
    def environments(self) -> list[VectorEnvironment]:
        """Return the vector environments that are alive: those of the latest episodes are among them."""
        return list(self._environments.values())

    def _envs(self, num_envs: int) -> VectorEnvironment:
        """Return a vector environment of this size; others are closed where all together would be too many."""
        if num_envs not in self._environments:
            while self._environments and sum(self._environments) + num_envs > self.max_envs:
                oldest = next(iter(self._environments))
                self._environments.pop(oldest).close()
            self._environments[num_envs] = self.make_vec(num_envs)
        return self._environments[num_envs]

    def close(self) -> None:
        """Close the environments; the next evaluation builds new ones."""
        for envs in self._environments.values():
            envs.close()
        self._environments.clear()


def select_rows(observations: Observations, rows: IndexArray) -> Observations:
    """Return some rows of a batch of observations of any space."""
    match observations:
        case dict():
            return {key: select_rows(part, rows) for key, part in observations.items()}
        case tuple():
            return tuple(select_rows(part, rows) for part in observations)
        case _:
            return observations[rows]
