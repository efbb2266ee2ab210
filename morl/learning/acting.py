"""Acting with many frozen policies at once: rows of observations, each for another policy, in one batched pass."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.actor_critic import ActorCritic
from morl.learning.population import TrainingState

ACTOR_KEYS = ("actor", "mean", "variance")


class PolicyBank:
    """What acting needs of each policy, by its number: the actor's parameters and its observation statistics."""

    def __init__(self, network: ActorCritic, device: torch.device) -> None:
        self.network, self.device = network, device
        self.rows: dict[int, dict[str, Any]] = {}
        self._stacked: tuple[list[int], dict[str, Any]] = ([], {})

    def add(self, number: int, state: TrainingState) -> None:
        """Take a policy out of its training state; it may go on learning, this is a copy."""
        moments = state["observation_moments"]
        actor = state["parameters"][: self.network.actor_parameters].detach().to(self.device, copy=True)
        self.rows[number] = {"actor": actor, "mean": moments["mean"].copy(), "variance": moments["variance"].copy()}

    def keep(self, numbers: Collection[int]) -> None:
        """Forget all other policies."""
        self.rows = {number: row for number, row in self.rows.items() if number in numbers}

    @torch.no_grad()
    def act(self, observations: NDArray[Any], numbers: NDArray[np.int64], masks: NDArray[Any] | None) -> NDArray[Any]:
        """Return the most likely actions [env, width].

        Args:
            observations: [env, width], not normalized.
            numbers: [env] the policy of each row.
            masks: [env, choice], true where a choice is allowed.
        """
        found, group = np.unique(numbers, return_inverse=True)
        stack = self._stack(found.tolist())
        # Rows of one policy lie side by side in a block of equal size for all: [policy, slot, ...].
        counts = np.bincount(group)
        order = np.argsort(group, kind="stable")
        slot = np.empty(len(group), dtype=np.int64)
        slot[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (len(found), counts.max())
        normal = (observations - stack["mean"][group]) * stack["scale"][group]
        block = np.zeros((*shape, normal.shape[1]), dtype=np.float32)
        block[group, slot] = np.clip(normal, -10.0, 10.0)
        allowed = None
        if masks is not None:
            allowed = torch.zeros((*shape, masks.shape[1]), dtype=torch.bool)
            allowed[group, slot] = torch.as_tensor(masks).bool()
            allowed = allowed.to(self.device)
        policy = self.network.distribution(stack["actor"], torch.as_tensor(block, device=self.device), allowed)
        actions: NDArray[Any] = policy.mode().cpu().numpy()[group, slot]
        return actions

    def _stack(self, numbers: list[int]) -> dict[str, Any]:
        if self._stacked[0] != numbers:
            rows = [self.rows[number] for number in numbers]
            actor: Tensor = torch.stack([row["actor"] for row in rows])
            mean = np.stack([row["mean"] for row in rows])
            scale = 1.0 / np.sqrt(np.stack([row["variance"] for row in rows]) + 1e-8)
            self._stacked = (numbers, {"actor": actor, "mean": mean, "scale": scale})
        return self._stacked[1]

    def export(self, numbers: Collection[int]) -> dict[int, dict[str, Any]]:
        """Return copies of what acting needs, by number."""
        return {number: {key: _copy(self.rows[number][key]) for key in ACTOR_KEYS} for number in numbers}

    def load_policies(self, exported: Mapping[int, Mapping[str, Any]]) -> None:
        """Act with what `export` returned, and nothing else."""
        self.rows = {number: {key: _copy(row[key]) for key in ACTOR_KEYS} for number, row in exported.items()}
        for row in self.rows.values():
            row["actor"] = row["actor"].to(self.device)
        self._stacked = ([], {})


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else np.array(value)
