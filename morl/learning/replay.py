"""Replay memory: one preallocated ring of rows per policy. A row is a whole transition, so a sample is one gather."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Replay:
    """A ring of the latest `capacity` transitions, the same columns for every policy of a population.

    `columns` maps a name to its width; all columns of a transition lie side by side in one row of float32, because
    gathering one long row is several times faster than gathering many short ones (docs/pd_morl.md, speed).
    """

    def __init__(self, capacity: int, columns: Mapping[str, int], device: torch.device, population: int = 1) -> None:
        self.capacity = capacity
        self.columns = dict(columns)
        self.rows = torch.zeros(population, capacity, sum(columns.values()), device=device)
        self.added = 0

    def __len__(self) -> int:
        """Return the number of transitions held for each policy."""
        return min(self.added, self.capacity)

    def add(self, **values: Tensor) -> None:
        """Store new transitions: one tensor [policy, n, width] for each column, n at most the capacity."""
        new = torch.cat([values[name] for name in self.columns], dim=2)
        start, count = self.added % self.capacity, new.shape[1]
        first = min(count, self.capacity - start)
        self.rows[:, start : start + first] = new[:, :first]
        self.rows[:, : count - first] = new[:, first:]
        self.added += count

    def sample(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return `batch_size` transitions for each policy, uniform with replacement: name -> [policy, batch, width]."""
        population, capacity, width = self.rows.shape
        indices = torch.randint(len(self), (population, batch_size), generator=generator, device=self.rows.device)
        if population > 1:
            indices += torch.arange(population, device=self.rows.device).unsqueeze(1) * capacity
        batch = self.rows.view(-1, width).index_select(0, indices.view(-1)).view(population, batch_size, width)
        return dict(zip(self.columns, torch.split(batch, list(self.columns.values()), dim=2), strict=True))

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return the rows in use and the number ever added."""
        return {"rows": self.rows[:, : len(self)], "added": self.added}

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Take over rows and count.

        Raises:
            ValueError: they come from a replay of another capacity, population or width.
        """
        rows, added = state["rows"], int(state["added"])
        assert isinstance(rows, Tensor)
        expected = (len(self.rows), min(added, self.capacity), self.rows.shape[2])
        if rows.shape != expected:
            raise ValueError(f"replay rows are {tuple(rows.shape)}, but must be {expected}")
        self.rows[:, : rows.shape[1]] = rows
        self.added = added
