"""Which of two fronts is better."""

import numpy as np

from morl.experiment.selection import Score, Selection, conditioned_utilities
from morl.experiment.units import RewardUnits
from morl.preferences import simplex_lattice

GRID = simplex_lattice(2, 10)


def score(points: list[list[float]], preferences: list[list[float]]) -> Score:
    front = np.array(points)
    reference = (-1.0, -1.0)
    conditioned = conditioned_utilities(front, np.array(preferences), None)["conditioned_utility"]
    return Selection(2, GRID, None, None, RewardUnits.none(2)).score(front, reference, conditioned)


def test_a_concave_point_makes_a_front_better() -> None:
    """It adds nothing to the expected utility, and reduces the mean utility that preferences themselves achieve."""
    ends = score([[0.0, 10.0], [10.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]])
    whole = score([[0.0, 10.0], [4.0, 4.0], [10.0, 0.0]], [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    assert whole.expected_utility == ends.expected_utility
    assert whole.conditioned_utility < ends.conditioned_utility
    assert whole > ends
