"""Shared replay buffers: one ring of transitions per policy, and every policy may sample from the rings of others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.processor import untouched_zeros
from morl.learning.staging import Staging
from morl.protocols import IndexArray


class SharedReplayBuffer:
    """The latest transitions of every policy; a sample names the rings that each policy samples from.

    Sharing is a list of rings, nothing is copied. Policies may have stored different numbers of transitions
    (`morl.learning.replay.ReplayBuffer` is the simpler case, in which all have the same number). Memory is taken as the
    rings fill.

    Args:
        capacity: transitions of one ring.
        columns: name -> width; all columns of a transition lie side by side in one row of float32.
        device: where the rows live.
        population: number of rings.
        dtype: of the rows: float32, or uint8 for pixels and action masks.
    """

    def __init__(
        self,
        capacity: int,
        columns: Mapping[str, int],
        device: torch.device,
        population: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.capacity = capacity
        self.columns = dict(columns)
        self.device = device
        self.staging = Staging(device)
        self.rows = untouched_zeros(population * capacity, sum(columns.values()), device=device, dtype=dtype)
        self.added = np.zeros(population, dtype=np.int64)
        """[policy] transitions ever added to each ring."""

    @property
    def sizes(self) -> IndexArray:
        """Return the number of transitions in each ring [policy]."""
        return np.minimum(self.added, self.capacity)

    def add(self, policies: IndexArray, **values: Tensor) -> None:
        """Store new transitions of some policies.

        Args:
            policies: indices of the policies.
            values: one tensor [policy, n, width] for each column, n at most the capacity, on the CPU.
        """
        rows = self.join(values)
        sent = self.staging.send({"rows": rows, "places": self.reserve(policies, rows.shape[1])})
        self.write(sent["rows"], sent["places"])

    def join(self, values: Mapping[str, Tensor]) -> NDArray[Any]:
        """Return new transitions as rows [policy, n, width].

        Args:
            values: tensors [policy, n, width] on the CPU by name; others than the columns are not read.
        """
        rows: NDArray[Any] = torch.cat([values[name] for name in self.columns], dim=2).to(self.rows.dtype).numpy()
        return rows

    def reserve(self, policies: IndexArray, count: int) -> IndexArray:
        """Return the places [policy * count] of new transitions, which `write` fills next.

        Args:
            policies: indices of the policies.
            count: new transitions of each, at most the capacity.
        """
        places = (self.added[policies, None] + np.arange(count)) % self.capacity
        places += policies[:, None] * self.capacity
        self.added[policies] += count
        return places.ravel()

    def write(self, rows: Tensor, places: Tensor) -> None:
        """Store transitions in places that `reserve` returned.

        Args:
            rows: [policy, n, width] result of `join`, on the device.
            places: [policy * n] on the device.
        """
        self.rows.index_copy_(0, places, rows.flatten(0, 1))

    def tables(self, sources: IndexArray) -> dict[str, IndexArray]:
        """Return how many transitions the rings hold and where these start, which `sample_indices` asks for.

        Args:
            sources: [policy, k] rings that each policy samples from.
        """
        sizes = self.sizes[sources]
        if sources.shape[1] == 1:
            return {"sizes": sizes, "starts": sources * self.capacity}
        ends = sizes.cumsum(axis=1)
        starts = sources * self.capacity - (ends - sizes)  # of a ring, less the rows before it
        return {"ends": ends, "starts": starts}

    def sample_indices(
        self, sources: IndexArray, batch_size: int, generator: torch.Generator, batches: int = 1
    ) -> Tensor:
        """Return the indices of `rows` of some batches [policy, batches, batch], uniform over all transitions.

        Args:
            sources: [policy, k] rings that each policy samples from; together they hold at least one transition.
            batch_size: transitions per policy and batch.
            generator: on the device.
            batches: number of batches, which are sampled at once, because that is faster than one by one.
        """
        policies = len(sources)
        draws = batches * batch_size
        tables = self.staging.take(self.tables(sources))
        chance = torch.rand((policies, draws), generator=generator, device=self.device, dtype=torch.float64)
        if sources.shape[1] == 1:
            index = (chance * tables["sizes"]).long() + tables["starts"]
        else:
            number = (chance * tables["ends"][:, -1:]).long()
            ring = torch.searchsorted(tables["ends"], number, right=True)
            index = number + tables["starts"].gather(1, ring)
        return index.view(policies, batches, batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows in use, ring by ring, and the numbers of transitions ever added."""
        used = [self.rows[i * self.capacity : i * self.capacity + size] for i, size in enumerate(self.sizes.tolist())]
        return {"rows": used, "added": self.added.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned.

        Raises:
            ValueError: the rows come from rings of another number, capacity or width.
        """
        added = np.array(state["added"])
        width = self.rows.shape[1]
        shapes = [tuple(rows.shape) for rows in state["rows"]]
        expected = [(size, width) for size in np.minimum(added, self.capacity).tolist()]
        if len(added) != len(self.added) or shapes != expected:
            raise ValueError(f"rings are {shapes}, but must be {len(self.added)} of {expected or width}")
        self.added = added
        for ring, rows in enumerate(state["rows"]):
            self.rows[ring * self.capacity : ring * self.capacity + len(rows)] = rows
