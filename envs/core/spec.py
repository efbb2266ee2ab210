"""What MORL needs to know about an environment beyond Gymnasium's own registration."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FrontFunction = Callable[..., NDArray[np.float64]]
"""`(discount, **env_options)` -> the true Pareto front of discounted returns [n, objective]."""


@dataclass(frozen=True)
class Spec:
    """One row of the table: what the rewards mean and how fronts are measured. All objectives are maximized.

    `reference_point` is the worst return that still counts in a hypervolume, in returns discounted by `discount`.
    `known_front` takes the discount and the environment's options; it is exact, and None where no exact front is known.
    """

    id: str
    objectives: tuple[str, ...]
    """What each entry of the reward vector measures, in the order of the vector."""
    discount: float
    """The discount under which returns are reported by default, in (0, 1]."""
    reference_point: tuple[float, ...] | None = None
    known_front: FrontFunction | None = None
    source: str = ""
    """Where discount and reference point come from."""
    requires: str = ""
    """The extra package without which the environment cannot be built; empty for most."""
    best_known_front: FrontFunction | None = None
    """`(discount, **env_options)` -> the best returns known [n, objective] where the true front is not: a lower bound.

    Agents and indicators never see it, for a run may surpass it; figures and readers may."""


class SpecTable(Mapping[str, Spec]):
    """A read-only mapping from environment id to `Spec`; a missing id raises KeyError with the nearest names."""

    def __init__(self, rows: dict[str, Spec]) -> None:
        self._rows = rows

    def __getitem__(self, env_id: str) -> Spec:
        """Return the row of `env_id`."""
        if env_id not in self._rows:
            raise KeyError(f"no spec for environment {env_id!r}{nearest(env_id, self._rows)}")
        return self._rows[env_id]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __repr__(self) -> str:
        return f"SpecTable({', '.join(self._rows)})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; the nearest names are ..." for an error message, or an empty string when nothing is near."""
    lower = {one.lower(): one for one in known}
    names = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    return f"; the nearest names are {', '.join(names)}" if names else ""
