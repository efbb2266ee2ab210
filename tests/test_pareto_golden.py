"""Every case of the golden file: 98 sets of points with the answers of moocore, pymoo, pygmo and exact arithmetic."""

import json
from pathlib import Path

import numpy as np
import pytest

from morl.pareto import (
    crowding_distance,
    expected_utility,
    hypervolume,
    hypervolume_contributions,
    non_dominated,
    non_dominated_sort,
    sparsity,
)

CASES = json.loads((Path(__file__).parent / "golden" / "pareto.json").read_text())["cases"]


@pytest.fixture(params=CASES, ids=[case["name"] for case in CASES])
def case(request):
    return request.param


def test_there_are_98_cases():
    assert len(CASES) == 98


def test_dominance(case):
    points = np.array(case["points"], dtype=float)
    np.testing.assert_array_equal(non_dominated(points), np.array(case["nd_mask"], bool))
    np.testing.assert_array_equal(
        non_dominated(points, keep_duplicates=True), np.array(case["nd_mask_keep_dups"], bool)
    )
    np.testing.assert_array_equal(non_dominated_sort(points), case["rank"])


def test_hypervolume(case):
    assert hypervolume(case["points"], case["ref"]) == pytest.approx(case["hv"], rel=1e-10, abs=0)


def test_contributions(case):
    if "hv_contributions" in case:
        expected = np.array(case["hv_contributions"], dtype=float)
        found = hypervolume_contributions(case["points"], case["ref"])
        # moocore calls what is below sqrt(machine epsilon) zero, whatever the scale: see test_tiny_contributions
        cut = (expected == 0.0) & (found < 1.5e-8)
        np.testing.assert_allclose(found[~cut], expected[~cut], rtol=1e-10, atol=1e-12 * case["hv"])


def test_tiny_contributions():
    tiny = next(case for case in CASES if case["name"] == "tiny-scale-4d")
    expected = hypervolume_contributions(np.array(tiny["points"]) * 1e6, np.array(tiny["ref"]) * 1e6) * 1e-24
    assert expected.sum() > 0.1 * tiny["hv"]
    np.testing.assert_allclose(hypervolume_contributions(tiny["points"], tiny["ref"]), expected, rtol=1e-10)


def test_indicators(case):
    points = np.array(case["points"], dtype=float)
    if len(points) == 0:
        return
    front = points[np.array(case["nd_mask"], bool)]
    assert sparsity(points) == pytest.approx(case["sparsity_pgmorl"], rel=1e-10, abs=0)
    assert expected_utility(front, case["weights"]) == pytest.approx(case["eum"], rel=1e-10, abs=1e-12)
    if "crowding_pymoo" in case:
        expected = np.array([np.inf if value in (None, "inf") else value for value in case["crowding_pymoo"]], float)
        np.testing.assert_allclose(crowding_distance(front), expected, rtol=1e-10)
