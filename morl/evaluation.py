"""Evaluation: many policies, preferences and episodes as one wide rollout."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

Act = Callable[..., NDArray[Any]]
"""(observations [env, ...], preferences [env, objective], policies [env]) -> actions [env, ...].

Where it has a parameter `accrued`, it is also given what the episode has paid so far: [env, objective + 1], the
discounted sum of rewards and the discount of the next one (gamma^t). Where it has a parameter `masks` and the
environment's infos hold an "action_mask", it is given that: [env, choice], true where a choice is allowed.
"""

MakeVec = Callable[[int], VectorEnv[Any, Any, Any]]
"""Number of lanes -> vector environment."""


@dataclass(frozen=True)
class Returns:
    """What an evaluation found, averaged over episodes.

    Attributes:
        discounted: [policy, objective] sum of gamma^t r_t.
        undiscounted: [policy, objective] sum of r_t.
        lengths: [policy] episode length in steps.
    """

    discounted: NDArray[np.float64]
    undiscounted: NDArray[np.float64]
    lengths: NDArray[np.float64]


class Evaluator:
    """Runs evaluations in environments of its own and counts their steps.

    Episode j of row i always starts from the same seed, whatever else is evaluated beside it and in whatever lane, so
    that evaluations are comparable and evaluating more often changes nothing.
    """

    def __init__(self, make_vec: MakeVec, discount: float, max_lanes: int, horizon: int) -> None:
        self.make_vec = make_vec
        self.discount = discount
        self.max_lanes = max_lanes
        self.horizon = horizon
        """Episodes without an end of their own are cut after this many steps."""
        self.steps = 0
        """Environment steps so far, idle lanes included: they were simulated too."""
        self._environments: dict[int, VectorEnv[Any, Any, Any]] = {}

    def __call__(
        self,
        act: Act,
        policies: NDArray[np.int64],
        preferences: NDArray[np.float64],
        episodes: int,
        seed: int,
    ) -> Returns:
        """Return the mean returns of each row (policy, preference).

        Args:
            act: how to act; called once per step for all lanes.
            policies: [row] policy numbers.
            preferences: [row, objective] preferences; NaN where a policy has none.
            episodes: episodes per row, at least 1.
            seed: episode j of row i is seeded with seed + i * episodes + j.
        """
        rows = len(policies) * episodes
        parts = []
        for start in range(0, rows, self.max_lanes):
            jobs = np.arange(start, min(start + self.max_lanes, rows)) // episodes
            parts.append(self._roll_out(act, policies[jobs], preferences[jobs], seed + start))
        discounted, undiscounted, lengths = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Returns(
            discounted.reshape(len(policies), episodes, -1).mean(axis=1),
            undiscounted.reshape(len(policies), episodes, -1).mean(axis=1),
            lengths.reshape(len(policies), episodes).mean(axis=1),
        )

    def _roll_out(
        self, act: Act, policies: NDArray[np.int64], preferences: NDArray[np.float64], seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Run one episode in every lane, all side by side, until the last has ended."""
        lanes = len(policies)
        envs = self._lanes(lanes)
        observations, infos = envs.reset(seed=seed)
        asked = inspect.signature(act).parameters
        discounted, undiscounted = np.zeros_like(preferences), np.zeros_like(preferences)
        lengths = np.zeros(lanes)
        running, factor = np.ones(lanes, dtype=np.bool_), 1.0

        def choose(rows: NDArray[np.int64]) -> NDArray[Any]:
            extras = {}
            if "accrued" in asked:
                extras["accrued"] = np.column_stack([discounted[rows], np.full(len(rows), factor)])
            if "masks" in asked and "action_mask" in infos:
                extras["masks"] = infos["action_mask"][rows]
            return act(select_lanes(observations, rows), preferences[rows], policies[rows], **extras)

        actions = np.array(choose(np.arange(lanes)))  # our own, to write into
        for _ in range(self.horizon):
            observations, rewards, terminated, truncated, infos = envs.step(actions)
            counted = rewards * running[:, None]  # a lane that has ended goes on with an episode that nobody counts
            discounted += factor * counted
            undiscounted += counted
            lengths += running
            factor *= self.discount
            self.steps += lanes
            running &= ~(terminated | truncated)
            if not running.any():
                break
            # Lanes that have ended repeat their last action, where nothing forbids it: only the others are worth a
            # forward pass.
            rows = np.arange(lanes) if "action_mask" in infos else np.flatnonzero(running)
            actions[rows] = choose(rows)
        return discounted, undiscounted, lengths

    def _lanes(self, count: int) -> VectorEnv[Any, Any, Any]:
        if count not in self._environments:
            self._environments[count] = self.make_vec(count)
        return self._environments[count]

    def close(self) -> None:
        """Close the environments."""
        for envs in self._environments.values():
            envs.close()


def select_lanes(observations: Any, rows: NDArray[np.int64]) -> Any:
    """Return some rows of a batch of observations of any space."""
    match observations:
        case dict():
            return {key: select_lanes(part, rows) for key, part in observations.items()}
        case tuple():
            return tuple(select_lanes(part, rows) for part in observations)
        case _:
            return observations[rows]
