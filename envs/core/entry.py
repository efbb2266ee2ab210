"""`EnvEntry`: objectives, discount, reference point and known front of one environment id, and the table of all."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from morl.envs.core.types import Env, EnvOption

FrontFunction: TypeAlias = Callable[..., NDArray[np.float64]]
"""`(discount, **env_options)` -> the Pareto front of discounted returns [point, objective]."""
EntryPoint: TypeAlias = str | Callable[..., Env]
"""Builds a single environment: "module:Class" or a callable that takes the environment's options."""
VectorEntryPoint: TypeAlias = str | Callable[..., VectorEnv]
"""Builds the batch form: "module:Class" or a callable `(num_envs, max_episode_steps, **env_options)`."""

MOST_NEAR = 5
"""Names that an error message suggests."""


@dataclass(frozen=True, kw_only=True)
class EnvEntry:
    """Objectives, discount, reference point and known front of an environment id. All objectives are maximized."""

    id: str
    objectives: tuple[str, ...]
    """What each entry of the reward vector measures, in the order of the vector."""
    discount: float
    """The discount under which returns are reported by default, in (0, 1]."""
    reference_point: tuple[float, ...] | None = None
    """The worst return that counts in a hypervolume, [objective], in returns discounted by `discount`."""
    scales: tuple[float, ...] | None = None
    """Equally valuable amounts of the objectives, [objective]; None: not stated."""
    source: str = ""
    """Where discount and reference point come from."""
    known_front: FrontFunction | None = None
    """The exact Pareto front; None where it is not known."""
    known_front_is_convex: bool = False
    """Whether the front holds the exact best points for linear preferences only: others may add to its hypervolume."""
    best_known_front: FrontFunction | None = None
    """The best returns known where the true front is not: a lower bound.

    Agents and indicators never see it, for a run may surpass it; figures and readers may."""
    vector_entry_point: VectorEntryPoint | None = None
    """The batch form. `make_vec` finds it here; other users of Gymnasium do not see it."""
    spaces: tuple[str, str] | None = None
    """Observation and action space in words, so that listing them need not build the environment."""
    repairs: tuple[str, ...] = ()
    """Wrappers "module:Class" that repair known faults of the package that it comes from, the innermost first."""
    warns_of_total_mass: bool = False
    """Whether building it makes MuJoCo complain about `settotalmass` (`morl.envs.core.quiet`)."""
    requires: str = ""
    """The extra package without which the environment cannot be built; empty for most."""
    max_episode_steps: int | None = None
    """Time limit in steps; None: no limit, or one that the environment keeps itself."""
    entry_point: EntryPoint | None = None
    """The single environment, for ids that morl registers; None where another package registers the id."""
    kwargs: Mapping[str, EnvOption] = field(default_factory=dict)
    """Options of both entry points, for ids that morl registers."""


class EntryTable(Mapping[str, EnvEntry]):
    """A read-only mapping from environment id to `EnvEntry`; a missing id raises KeyError with the nearest names."""

    def __init__(self, entries: dict[str, EnvEntry]) -> None:
        self._entries = entries

    def __getitem__(self, env_id: str) -> EnvEntry:
        """Return the entry of `env_id`."""
        if env_id not in self._entries:
            raise KeyError(f"no spec for environment {env_id!r}{nearest(env_id, self._entries)}")
        return self._entries[env_id]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def __repr__(self) -> str:
        return f"EntryTable({', '.join(self._entries)})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; the nearest names are ..." for an error message, or an empty string when nothing is near.

    Near are names that contain the given one without its version, and those that are spelled much like it.

    Args:
        name: the name that was given.
        known: the names that exist.
    """
    lower = {one.lower(): one for one in known}
    given = name.lower()
    stem = re.sub(r"-v\d+$", "", given)
    containing = [one for one in lower if len(stem) > 2 and stem in one]
    alike = difflib.get_close_matches(given, lower, n=3, cutoff=0.5)
    ranked = difflib.get_close_matches(given, containing, n=MOST_NEAR, cutoff=0.0)
    names = [lower[one] for one in dict.fromkeys([*ranked, *([] if ranked else alike)])]
    return f"; the nearest names are {', '.join(names)}" if names else ""
