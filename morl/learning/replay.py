"""Replay buffer: one preallocated ring of rows per policy. A row is a whole transition, so a sample is one gather."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from morl.learning.processor import untouched_zeros


class ReplayBuffer:
    """A ring of the latest transitions, with the same columns for every policy of a population.

    All columns of a transition lie side by side in one row of float32, because gathering one long row is several times
    faster than gathering many short ones (docs/agents/pd_morl.md, speed).

    Args:
        capacity: transitions of one policy.
        columns: name -> width.
        device: where the rows live.
        population: number of policies.
        dtype: of the rows: float32, or uint8 for pixels and action masks.
    """

    def __init__(
        self,
        capacity: int,
        columns: Mapping[str, int],
        device: torch.device,
        population: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.capacity = capacity
        self.columns = dict(columns)
        self.rows = untouched_zeros(population, capacity, sum(columns.values()), device=device, dtype=dtype)
        self.added = 0
        self._starts = torch.arange(population, device=device) * capacity
        """[policy] row of all rings, one after the other, at which the ring of each policy starts."""

    def __len__(self) -> int:
        """Return the number of transitions held for each policy."""
        return min(self.added, self.capacity)

    def add(self, **values: Tensor) -> None:
        """Store new transitions.

        Args:
            values: one tensor [policy, n, width] for each column, n at most the capacity; others are not read.
        """
        self.add_rows(torch.cat([values[name] for name in self.columns], dim=2))

    def add_rows(self, new: Tensor) -> None:
        """Store new transitions as rows.

        Args:
            new: [policy, n, width] all columns side by side, in their order, n at most the capacity.
        """
        start = self.added % self.capacity
        count = new.shape[1]
        first = min(count, self.capacity - start)
        self.rows[:, start : start + first] = new[:, :first]
        self.rows[:, : count - first] = new[:, first:]
        self.added += count

    def sample(self, batch_size: int, *generators: torch.Generator) -> dict[str, Tensor]:
        """Return transitions, uniform with replacement: name -> [policy, batch, width].

        Args:
            batch_size: transitions for each policy.
            generators: one for all policies, or one for each, so that the sample of a policy does not depend on others.
        """
        shape = (len(self.rows) // len(generators), batch_size)
        device = self.rows.device
        index = [torch.randint(len(self), shape, generator=generator, device=device) for generator in generators]
        return self.gather(torch.cat(index))

    def gather(self, index: Tensor) -> dict[str, Tensor]:
        """Return the transitions in rows [policy, batch] of each policy's ring: name -> [policy, batch, width]."""
        population, _, width = self.rows.shape
        index = index + self._starts.unsqueeze(1)
        batch = self.rows.view(-1, width).index_select(0, index.reshape(-1)).view(population, -1, width)
        return dict(zip(self.columns, torch.split(batch, list(self.columns.values()), dim=2), strict=True))

    def gather_column(self, name: str, index: Tensor) -> Tensor:
        """Return one column of some transitions [policy, update, batch, width], of all policies by one gather.

        Args:
            name: of the column.
            index: [policy, update, batch] rows of each policy's ring.
        """
        index = index + self._starts.view(-1, 1, 1)
        widths = list(self.columns.values())
        column = torch.split(self.rows.flatten(0, 1), widths, dim=1)[list(self.columns).index(name)]
        return column.index_select(0, index.reshape(-1)).view((*index.shape, self.columns[name]))

    def column(self, name: str) -> Tensor:
        """Return everything that is held of a column [policy, n, width]; a view."""
        columns = torch.split(self.rows[:, : len(self)], list(self.columns.values()), dim=2)
        return columns[list(self.columns).index(name)]

    def state_dict(self, policies: slice = slice(None)) -> dict[str, Tensor | int]:
        """Return the rows in use, of some policies or all, and the number of transitions ever added."""
        return {"rows": self.rows[policies, : len(self)], "added": self.added}

    def load_state_dict(self, state: Mapping[str, Tensor | int], policies: slice = slice(None)) -> None:
        """Restore a state that `state_dict` returned.

        Args:
            state: rows and count.
            policies: of this buffer, whose rows they are.

        Raises:
            ValueError: the rows come from a buffer of another capacity, population or width.
        """
        rows = state["rows"]
        added = int(state["added"])
        assert isinstance(rows, Tensor)
        own = self.rows[policies]
        expected = (len(own), min(added, self.capacity), own.shape[2])
        if rows.shape != expected:
            raise ValueError(f"replay rows are {tuple(rows.shape)}, but must be {expected}")
        own[:, : rows.shape[1]] = rows
        self.added = added


Column = TypeVar("Column", Tensor, NDArray[Any])


def split_pixels(transitions: Mapping[str, Column], pixels: int) -> dict[str, Column]:
    """Return transitions whose observations are split: "pixels" and "next_pixels" hold the first columns.

    Args:
        transitions: tensors or arrays by name, "observation" and "next_observation" among them [..., width].
        pixels: number of columns of an observation that are pixels.
    """
    columns = dict(transitions)
    if pixels:
        for name, of_pixels in (("observation", "pixels"), ("next_observation", "next_pixels")):
            columns[of_pixels] = transitions[name][..., :pixels]
            columns[name] = transitions[name][..., pixels:]
    return columns
