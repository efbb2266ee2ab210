"""The archive equals filtering everything at once, whatever the order, and keeps each payload with its point."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from morl.pareto import (
    ParetoArchive,
    convex_coverage_set,
    crowding_distance,
    hypervolume_contributions,
    non_dominated,
)

streams = st.integers(1, 5).flatmap(
    lambda m: hnp.arrays(np.float64, st.tuples(st.integers(0, 40), st.just(m)), elements=st.integers(0, 6).map(float))
)


@given(streams)
@settings(max_examples=100, deadline=None)
def test_equals_the_filter(points):
    archive = ParetoArchive()
    for i, point in enumerate(points):
        added = archive.add(point, payload=i)
        assert added == (i in archive.payloads)
    expected = np.nonzero(non_dominated(points))[0]
    assert archive.payloads == expected.tolist()
    np.testing.assert_array_equal(archive.points.reshape(-1, points.shape[1]), points[expected])
    assert len(archive) == len(expected)
    bulk = ParetoArchive()
    np.testing.assert_array_equal(bulk.add_all(points, range(len(points))), non_dominated(points))
    assert bulk.payloads == archive.payloads


def test_a_long_stream_keeps_payloads_beside_their_points():
    points = np.random.default_rng(0).random((2000, 4))
    archive = ParetoArchive()
    for point in points:
        archive.add(point, tuple(point.tolist()))
    assert [tuple(point) for point in archive.points.tolist()] == archive.payloads
    np.testing.assert_array_equal(archive.points, points[non_dominated(points)])


@pytest.mark.parametrize("pruning", ["crowding", "contribution"])
def test_capacity_drops_the_least_valuable_one_at_a_time(pruning):
    reference = np.zeros(3)
    archive = ParetoArchive(capacity=8, pruning=pruning, reference=reference)
    kept = np.empty((0, 3))
    for point in np.random.default_rng(1).random((300, 3)):
        archive.add(point, tuple(point.tolist()))
        kept = np.vstack([kept, point])
        kept = kept[non_dominated(kept)]
        if len(kept) > 8:
            values = crowding_distance(kept) if pruning == "crowding" else hypervolume_contributions(kept, reference)
            kept = np.delete(kept, len(kept) - 1 - np.argmin(values[::-1]), axis=0)
        np.testing.assert_array_equal(archive.points, kept)
        assert [tuple(row) for row in archive.points.tolist()] == archive.payloads
    assert len(archive) == 8


def test_crowding_keeps_the_ends_of_the_front():
    angles = np.random.default_rng(2).permutation(np.linspace(0.0, np.pi / 2, 200))
    archive = ParetoArchive(capacity=10)
    for angle in angles:
        archive.add([np.cos(angle), np.sin(angle)])
    kept = np.sort(archive.points[:, 0])
    assert kept[0] < 1e-12
    assert kept[-1] == 1.0
    assert np.diff(kept).max() < 0.4


def test_capacity_of_one():
    archive = ParetoArchive(capacity=1)
    assert archive.add([1, 2])
    assert not archive.add([2, 1])
    assert archive.add([2, 2])
    assert archive.points.tolist() == [[2, 2]]


@given(streams, st.sampled_from([0.5, 1.0, 2.5]))
@settings(max_examples=60, deadline=None)
def test_tolerance_loses_no_more_than_it_says(points, tolerance):
    archive = ParetoArchive(tolerance=tolerance)
    archive.add_all(points)
    for point in points:
        assert (archive.points + tolerance >= point).all(axis=1).any()
    assert non_dominated(archive.points).all()


def test_tolerance_rejects_near_duplicates():
    archive = ParetoArchive(tolerance=0.1)
    assert archive.add([1.0, 2.0])
    assert not archive.add([1.05, 1.95])
    assert archive.add([1.2, 1.9])


@pytest.mark.parametrize("m", [2, 3, 4])
def test_convex_mode_equals_the_convex_coverage_set(m):
    points = np.random.default_rng(m).random((120, m))
    archive = ParetoArchive(convex=True)
    mask = archive.add_all(points)
    np.testing.assert_array_equal(archive.points, points[mask])
    np.testing.assert_array_equal(mask, convex_coverage_set(points))


def test_state_round_trip():
    points = np.random.default_rng(0).random((50, 3))
    archive = ParetoArchive()
    archive.add_all(points, [{"policy": i} for i in range(50)])
    state = archive.state_dict()
    copy = ParetoArchive()
    copy.load_state_dict(state)
    np.testing.assert_array_equal(copy.points, archive.points)
    assert copy.payloads == archive.payloads
    for point in np.random.default_rng(1).random((50, 3)) + 0.1:
        assert copy.add(point, "new") == archive.add(point, "new")
    np.testing.assert_array_equal(copy.points, archive.points)
    assert len(state["payloads"]) < len(archive) + 50  # the state is a snapshot: it did not grow with the archive
    np.testing.assert_array_equal(state["points"], points[non_dominated(points)])
    empty = ParetoArchive()
    empty.load_state_dict(ParetoArchive().state_dict())
    assert len(empty) == 0
    assert empty.add([1, 2])


def test_what_comes_out_is_a_copy():
    archive = ParetoArchive()
    point = np.array([1.0, 2.0])
    archive.add(point, "a")
    point[:] = 9.0
    archive.points[:] = 7.0
    archive.payloads.append("b")
    assert archive.points.tolist() == [[1.0, 2.0]]
    assert archive.payloads == ["a"]


def test_bad_settings():
    for capacity in (0, 2.5, "3"):
        with pytest.raises(ValueError, match=r"^capacity must"):
            ParetoArchive(capacity=capacity)
    with pytest.raises(ValueError, match=r"^pruning must"):
        ParetoArchive(pruning="random")
    with pytest.raises(ValueError, match=r"^reference must"):
        ParetoArchive(pruning="contribution")
    with pytest.raises(ValueError, match=r"^reference must"):
        ParetoArchive(pruning="contribution", reference=[np.nan, 0])
    for tolerance in (-1.0, np.nan, "small", [0.1, 0.1]):
        with pytest.raises(ValueError, match=r"^tolerance must"):
            ParetoArchive(tolerance=tolerance)


@pytest.mark.parametrize("point", [[1, np.nan], [np.inf, 1], [1, 2, 3], 1.0, [[1, 2]], [], "ab", None])
def test_a_bad_point_leaves_the_archive_alone(point):
    archive = ParetoArchive()
    archive.add([0, 0], "old")
    with pytest.raises(ValueError, match=r"^point must"):
        archive.add(point)
    assert archive.points.tolist() == [[0, 0]]
    assert archive.payloads == ["old"]
    with pytest.raises(ValueError, match=r"^points must"):
        archive.add_all([[1, 2], [3, np.nan]])
    with pytest.raises(ValueError, match=r"^payloads must"):
        archive.add_all([[1, 2]], [])
    with pytest.raises(ValueError, match=r"payloads"):
        archive.load_state_dict({"points": [[1, 2]], "payloads": []})
    assert len(archive) == 1


def test_the_first_point_can_be_bad_too():
    archive = ParetoArchive()
    with pytest.raises(ValueError, match=r"^point must"):
        archive.add([np.nan, 1])
    assert archive.add([1, 2, 3])
