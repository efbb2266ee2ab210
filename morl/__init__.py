"""Multi-objective reinforcement learning: environments, agents, Pareto fronts.

The public names below load on first use, so that `import morl` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from morl.machine_code import ensure_cache
from morl.version import VERSION

ensure_cache()

if TYPE_CHECKING:
    from morl.acting import Policy, load_policy
    from morl.envs import make_vec
    from morl.experiment.front import Front
    from morl.experiment.logger_choice import CSV, JSONLines, MLflow, TensorBoard, WandB
    from morl.experiment.loggers import LoggedRun, Logger
    from morl.experiment.novelty import novelty
    from morl.experiment.on_step import Progress
    from morl.experiment.resuming import resume
    from morl.experiment.run import Run, evaluate, load
    from morl.experiment.training import train, train_seeds
    from morl.studies.study import study
    from morl.studies.tuning import tune

__version__ = VERSION
__all__ = [
    "CSV",
    "Front",
    "JSONLines",
    "LoggedRun",
    "Logger",
    "MLflow",
    "Policy",
    "Progress",
    "Run",
    "TensorBoard",
    "WandB",
    "evaluate",
    "load",
    "load_policy",
    "make_vec",
    "novelty",
    "resume",
    "study",
    "train",
    "train_seeds",
    "tune",
]

_HOME = {
    "CSV": "morl.experiment.file_loggers",
    "Front": "morl.experiment.front",
    "JSONLines": "morl.experiment.file_loggers",
    "LoggedRun": "morl.experiment.loggers",
    "Logger": "morl.experiment.loggers",
    "MLflow": "morl.experiment.tracking",
    "Policy": "morl.acting",
    "Progress": "morl.experiment.on_step",
    "Run": "morl.experiment.run",
    "TensorBoard": "morl.experiment.file_loggers",
    "WandB": "morl.experiment.tracking",
    "evaluate": "morl.experiment.run",
    "load": "morl.experiment.run",
    "load_policy": "morl.acting",
    "make_vec": "morl.envs",
    "novelty": "morl.experiment.novelty",
    "resume": "morl.experiment.resuming",
    "study": "morl.studies.study",
    "train": "morl.experiment.training",
    "train_seeds": "morl.experiment.training",
    "tune": "morl.studies.tuning",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'morl' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
