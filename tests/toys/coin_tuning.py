"""A tuning of the number of coins of the toy agent, which takes seconds. On the path through conftest.py."""

from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from morl.studies.optuna_study import open_study
from morl.studies.trials import JOURNAL
from morl.studies.tuning_plan import read_tuning

STEPS = 240
TRIALS = 5
"""The first four are complete, the last one is pruned."""


def table(**changes: Any) -> dict[str, Any]:
    """Return a tuning of the number of coins: with fewer, the hypervolume is smaller, and trials are pruned."""
    run = {"evaluate_every": 60, "log_every": 60, "evaluation_divisions": 4, "evaluation_episodes": 1, "num_envs": 5}
    return {
        "name": "coins",
        "total_steps": STEPS,
        "seeds": 1,
        "envs": ["toys:toy-slow-walk-v0"],
        "agents": {"coins": {"agent": "toys:Coins", "config": {"members": 3}}},
        "run": {**run, "checkpoint_minutes": 1e-9, "reference_point": [-50.0, -50.0]},
        "tune": {"trials": TRIALS, "episodes": 2, "seed": 2},
        "ranges": {"agent": {"members": [1, 2, 3]}},
        **changes,
    }


def journal(folder: Path, **changes: Any) -> list[FrozenTrial]:
    tuning = read_tuning(table(**changes), folder)
    return open_study(tuning.folder / JOURNAL, "coins", 0, tuning.space, tuning.schedule).get_trials()


def shown(folder: Path) -> list[tuple[object, ...]]:
    trials = journal(folder)
    return [(one.number, one.state, one.values, one.params, one.intermediate_values) for one in trials]
