"""Shared replay memory: one ring of transitions per member, and every member may sample from the rings of others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.processor import untouched_zeros


class SharedReplayBuffer:
    """The latest `capacity` transitions of every member; a sample names the rings that each policy draws from.

    What is shared is never copied: sharing is a list of rings. Members may have stored different numbers of
    transitions (`morl.learning.replay.ReplayBuffer` is the simpler case, in which all always have the same number). Memory
    is taken as rings fill.

    Args:
        capacity: transitions of one ring.
        columns: name -> width; all columns of a transition lie side by side in one row of float32.
        device: where the rows live.
        members: number of rings.
    """

    def __init__(self, capacity: int, columns: Mapping[str, int], device: torch.device, members: int) -> None:
        self.capacity, self.columns, self.device = capacity, dict(columns), device
        self.rows = untouched_zeros(members * capacity, sum(columns.values()), device=device)
        self.added = np.zeros(members, dtype=np.int64)  # ever, per ring

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Return the number of transitions in each ring [member]."""
        return np.minimum(self.added, self.capacity)

    def add(self, members: NDArray[np.int64], **values: Tensor) -> None:
        """Store new transitions of some members: one tensor [member, n, width] per column, n at most the capacity."""
        new = torch.cat([values[name] for name in self.columns], dim=2)
        places = (self.added[members, None] + np.arange(new.shape[1])) % self.capacity + members[
            :, None
        ] * self.capacity
        self.rows.index_copy_(0, torch.from_numpy(places.ravel()).to(self.device), new.flatten(0, 1))
        self.added[members] += new.shape[1]

    def sample_indices(
        self, sources: NDArray[np.int64], batch_size: int, generator: torch.Generator, batches: int = 1
    ) -> Tensor:
        """Return which of `rows` batches of transitions are [policy, number, batch], uniform over all there are.

        Args:
            sources: [policy, k] rings that each policy draws from; together they hold at least one transition.
            batch_size: transitions per policy and batch.
            generator: on the device.
            batches: how many to draw at once, which is faster than one by one.
        """
        policies, draws = len(sources), batches * batch_size
        sizes = self.sizes[sources]
        ends = sizes.cumsum(axis=1)
        chance = torch.rand((policies, draws), generator=generator, device=self.device, dtype=torch.float64)
        if sources.shape[1] == 1:
            index = (chance * self._tensor(sizes)).long() + self._tensor(sources * self.capacity)
        else:
            number = (chance * self._tensor(ends[:, -1:])).long()
            which = torch.searchsorted(self._tensor(ends), number, right=True)
            starts = self._tensor(sources * self.capacity - (ends - sizes))  # of a ring, less those drawn before it
            index = number + starts.gather(1, which)
        return index.view(policies, batches, batch_size)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows in use, ring by ring, and the numbers ever added."""
        used = [self.rows[i * self.capacity : i * self.capacity + size] for i, size in enumerate(self.sizes.tolist())]
        return {"rows": used, "added": self.added.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over rows and counts.

        Raises:
            ValueError: they come from rings of another number, capacity or width.
        """
        added, width = np.array(state["added"]), self.rows.shape[1]
        shapes = [tuple(rows.shape) for rows in state["rows"]]
        expected = [(size, width) for size in np.minimum(added, self.capacity).tolist()]
        if len(added) != len(self.added) or shapes != expected:
            raise ValueError(f"rings are {shapes}, but must be {len(self.added)} of {expected or width}")
        self.added = added
        for ring, rows in enumerate(state["rows"]):
            self.rows[ring * self.capacity : ring * self.capacity + len(rows)] = rows
