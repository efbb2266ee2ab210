"""Multi-objective reinforcement learning: environments, agents, Pareto fronts.

The public names below load on first use, so `import morl` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from morl.envs import make_vec
    from morl.experiment.runner import Run, load, resume, train, train_seeds

__version__ = "0.1.0"
__all__ = ["Run", "load", "make_vec", "resume", "train", "train_seeds"]

_HOME = {
    "Run": "morl.experiment.runner",
    "load": "morl.experiment.runner",
    "make_vec": "morl.envs",
    "resume": "morl.experiment.runner",
    "train": "morl.experiment.runner",
    "train_seeds": "morl.experiment.runner",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'morl' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
