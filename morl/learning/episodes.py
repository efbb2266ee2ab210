"""Batches of whole episodes: every environment plays for the policy that needs an episode next."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from morl.protocols import BoolArray, IndexArray, StateDict

if TYPE_CHECKING:
    from morl.learning.staging import Staging

IDLE = -1
"""Of an environment for which no episode is left."""


class Trajectories(NamedTuple):
    """Whole episodes of every policy, as many of each, padded at their ends to the length of the longest.

    Attributes:
        observations: [policy, episode, step, width].
        actions: [policy, episode, step, width].
        rewards: [policy, episode, step, objective].
        valid: [policy, episode, step] 1, behind the end of an episode 0.
        masks: [policy, episode, step, choice] allowed choices; None: all are.
        others: further columns [policy, episode, step, ...] by name.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    valid: Tensor
    masks: Tensor | None
    others: dict[str, Tensor]


class EpisodeBatch:
    """Collects `count` episodes of each of `policies`; every episode that starts is finished and counts.

    So long episodes count as often as short ones. An environment for which no episode is left goes on unrecorded until
    the others are done.

    Args:
        policies: number of policies.
        count: episodes of each.
        num_envs: number of environments.
    """

    def __init__(self, policies: int, count: int, num_envs: int) -> None:
        self.policies = policies
        self.count = count
        self.started = 0
        self.finished = 0
        self.episodes = np.full(num_envs, IDLE, dtype=np.int64)  # number of the episode that each environment plays
        self.columns: dict[str, list[NDArray[np.generic]]] = {}  # name -> steps, each [env, ...]
        self._assign(np.ones(num_envs, dtype=np.bool_))

    @property
    def complete(self) -> bool:
        """Return whether all episodes are finished."""
        return self.finished == self.policies * self.count

    @property
    def acting(self) -> IndexArray:
        """Return the policy of every environment [env]; 0 where it is idle."""
        acting: IndexArray = np.where(self.episodes == IDLE, 0, self.episodes) % self.policies
        return acting

    def _assign(self, free: BoolArray) -> None:
        """Let environments play the next episodes; the policies take turns."""
        env_indices = np.flatnonzero(free)
        numbers = self.started + np.arange(len(env_indices))
        left = numbers < self.policies * self.count
        self.episodes[env_indices] = np.where(left, numbers, IDLE)
        self.started += int(left.sum())

    def add(self, ended: BoolArray, **step: NDArray[np.generic]) -> None:
        """Store a step of every environment.

        Args:
            ended: [env] whether the episode ended with it.
            step: columns [env, ...] by name: observation, action, reward, mask where there are masks, and any others.
        """
        for name, column in ({"episode": self.episodes.copy()} | step).items():
            self.columns.setdefault(name, []).append(column)
        done = ended & (self.episodes != IDLE)
        self.finished += int(done.sum())
        self._assign(done)

    def trajectories(self, staging: "Staging") -> Trajectories:
        """Return the episodes of a complete batch.

        Args:
            staging: copies them to the device of the tensors, at once.
        """
        stacked = {name: np.stack(column) for name, column in self.columns.items()}
        numbers = stacked.pop("episode").ravel()
        order = np.argsort(numbers, kind="stable")  # episode by episode, each in time
        order = order[numbers[order] != IDLE]
        numbers = numbers[order]
        lengths = np.bincount(numbers)
        steps = np.arange(len(numbers)) - np.repeat(lengths.cumsum() - lengths, lengths)
        policy = numbers % self.policies
        episode = numbers // self.policies

        def padded(column: NDArray[np.generic]) -> NDArray[np.float32]:
            rows = column.reshape((-1, *column.shape[2:]))[order]
            whole = np.zeros((self.policies, self.count, lengths.max(), *rows.shape[1:]), dtype=np.float32)
            whole[policy, episode, steps] = rows
            return whole

        stacked["valid"] = np.ones(stacked["reward"].shape[:2])
        sent = staging.send({name: padded(column) for name, column in stacked.items()})
        return Trajectories(
            observations=sent.pop("observation"),
            actions=sent.pop("action"),
            rewards=sent.pop("reward"),
            valid=sent.pop("valid"),
            masks=sent.pop("mask", None),
            others=sent,
        )

    def state_dict(self) -> dict[str, object]:
        """Return the batch as plain data."""
        return {
            "count": self.count,
            "started": self.started,
            "finished": self.finished,
            "episodes": self.episodes.copy(),
            "columns": {name: np.stack(column) for name, column in self.columns.items()},
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for as many policies and environments."""
        self.count = state["count"]
        self.started = state["started"]
        self.finished = state["finished"]
        self.episodes = np.array(state["episodes"])
        self.columns = {name: list(column) for name, column in state["columns"].items()}
