"""Which of two fronts is better."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import morl
from morl.experiment.components import find_task
from morl.experiment.selection import Score, Selection, conditioned_utilities, criterion_of
from morl.experiment.settings import resolve_sources
from morl.experiment.units import RewardUnits
from morl.preferences import simplex_lattice

GRID = simplex_lattice(2, 10)
IDEAL = np.array([10.0, 10.0])


def score(points: list[list[float]], preferences: list[list[float]]) -> Score:
    front = np.array(points)
    reference = (-1.0, -1.0)
    conditioned = conditioned_utilities(front, np.array(preferences), None)["conditioned_utility"]
    return Selection(2, GRID, None, None, RewardUnits.none(2)).score(front, reference, conditioned, IDEAL)


def test_a_concave_point_makes_a_front_better() -> None:
    """It adds nothing to the expected utility, and reduces the mean utility that preferences themselves achieve."""
    ends = score([[0.0, 10.0], [10.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]])
    whole = score([[0.0, 10.0], [4.0, 4.0], [10.0, 0.0]], [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    assert whole.value == ends.value
    assert whole.conditioned_utility < ends.conditioned_utility
    assert whole > ends


# --- The criterion ----------------------------------------------------------------------------------------------------

CONVEX = np.array([[0.0, 10.0], [10.0, 0.0]])
CONCAVE = np.array([[0.0, 9.9], [4.5, 4.5], [9.9, 0.0]])
"""Slightly worse ends, and a compromise in a concave part: worth nothing to weighted sums."""


@pytest.mark.parametrize(
    ("criterion", "better"),
    [
        ("expected-utility", CONVEX),
        ("hypervolume", CONCAVE),
        ("tchebycheff", CONCAVE),
        ("augmented-tchebycheff", CONCAVE),
        ("linear", CONVEX),
    ],
)
def test_the_criterion_decides_which_front_is_better(criterion: str, better: Any) -> None:
    selection = Selection(2, GRID, None, None, RewardUnits.none(2), criterion)
    scores = [selection.score(front, (-1.0, -1.0), 0.0, IDEAL) for front in (CONVEX, CONCAVE)]
    assert (scores[1] > scores[0]) == (better is CONCAVE)


@pytest.mark.parametrize("select_by", ["auto", "expected-utility", "hypervolume", "tchebycheff"])
@pytest.mark.parametrize(("preset", "automatic"), [("vanilla", "expected-utility"), ("tchebycheff", "hypervolume")])
def test_the_criterion_follows_the_utility_that_the_agent_optimizes(
    preset: str, automatic: str, select_by: str
) -> None:
    task = find_task("morl-d", "toy-walk-v0", {})
    agent = task.experiment(
        resolve_sources(task.agent_class.config_class, "morl-d", "toy-walk-v0", [{"agent": {"preset": preset}}])
    ).build_agent(RewardUnits.none(2))
    assert criterion_of(select_by, agent) == (automatic if select_by == "auto" else select_by)


def test_an_unknown_criterion_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="select_by is 'volume', but must be auto, expected-utility, hypervolume or"):
        toys.train(tmp_path / "run", "toy-walk-v0", 100, select_by="volume")
    assert not (tmp_path / "run").exists()


def test_a_criterion_of_ones_own_is_imported_with_trust_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_criterion.py").write_text("def worst(returns, preferences, ideal): return returns.min(-1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = toys.train(tmp_path / "run", "toy-walk-v0", 100, select_by="my_criterion:worst")
    monkeypatch.delitem(sys.modules, "my_criterion")
    with pytest.raises(ValueError, match=r"my_criterion:worst.*trust=True"):
        morl.resume(run.directory, 200)
    assert morl.resume(run.directory, 200, trust=True).front.points.size
