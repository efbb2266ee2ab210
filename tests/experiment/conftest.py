"""Runs that several files of tests read, trained once for each file."""

from pathlib import Path

import pytest
import toys

import morl


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    """Deterministic policies, whose front is known."""
    run = tmp_path_factory.mktemp("fork") / "run"
    toys.train(run, "toy-fork-v0", 300, seed=32)
    return run


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    """Stochastic policies without a preference."""
    run = tmp_path_factory.mktemp("members") / "run"
    morl.train(
        "c-morl", "toy-walk-v0", total_steps=96, run_dir=run, config=toys.TINY_CMORL, **toys.SCHEDULE | {"num_envs": 4}
    )
    return run
