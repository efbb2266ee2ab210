"""Pareto bookkeeping: points in, numbers out. Everything is maximized.

`points` is always [n, objective], a list or an array, possibly empty; inputs are never modified. The names below load
on first use, so importing this package compiles nothing and does not even import Numba. `morl.pareto.history` has the
indicators of many fronts in one call.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morl.pareto.archive import ParetoArchive
    from morl.pareto.convex import convex_coverage_set
    from morl.pareto.dominance import non_dominated
    from morl.pareto.indicators import (
        cardinality,
        epsilon_additive,
        expected_utility,
        igd,
        igd_plus,
        maximum_utility_loss,
        sparsity,
    )
    from morl.pareto.samples import mean_distance, r2, share_found
    from morl.pareto.sorting import crowding_distance, non_dominated_sort
    from morl.pareto.volumes import (
        hypervolume,
        hypervolume_approximate,
        hypervolume_contributions,
        hypervolume_improvement,
    )

_HOME = {
    "ParetoArchive": "archive",
    "cardinality": "indicators",
    "convex_coverage_set": "convex",
    "crowding_distance": "sorting",
    "epsilon_additive": "indicators",
    "expected_utility": "indicators",
    "hypervolume": "volumes",
    "hypervolume_approximate": "volumes",
    "hypervolume_contributions": "volumes",
    "hypervolume_improvement": "volumes",
    "igd": "indicators",
    "igd_plus": "indicators",
    "maximum_utility_loss": "indicators",
    "mean_distance": "samples",
    "non_dominated": "dominance",
    "non_dominated_sort": "sorting",
    "r2": "samples",
    "share_found": "samples",
    "sparsity": "indicators",
}

__all__ = [
    "ParetoArchive",
    "cardinality",
    "convex_coverage_set",
    "crowding_distance",
    "epsilon_additive",
    "expected_utility",
    "hypervolume",
    "hypervolume_approximate",
    "hypervolume_contributions",
    "hypervolume_improvement",
    "igd",
    "igd_plus",
    "maximum_utility_loss",
    "mean_distance",
    "non_dominated",
    "non_dominated_sort",
    "r2",
    "share_found",
    "sparsity",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(import_module(f"morl.pareto.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'morl.pareto' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
