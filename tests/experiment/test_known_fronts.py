"""Known fronts in front.json: written by the run, bounded, and read without the environment."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys

import morl
from morl.run_folder import FRONT, KNOWN_POINTS_STORED, parse_front, thinned_front

pytestmark = pytest.mark.usefixtures("without_figures")


def arc(count: int) -> np.ndarray:
    """Return points [count, 2] on a quarter of a circle, shuffled."""
    angles = np.random.default_rng(0).permutation(np.linspace(0.0, np.pi / 2, count))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_a_user_environment_keeps_its_known_front_in_the_run_folder(tmp_path: Path) -> None:
    front = arc(12)
    objectives = ("place", "rest")
    morl.envs.register("arc-walk-v0", toys.Walk, objectives=objectives, known_front=lambda discount: discount * front)
    run = toys.train(tmp_path / "run", "arc-walk-v0", 100, seed=0)
    expected = run.front.discount * front
    np.testing.assert_array_equal(run.front.known_front, expected)
    np.testing.assert_array_equal(toys.front(run.directory)["known_front"], expected)
    # A process that has never heard of the environment shows it too.
    script = f"import morl; print(morl.load({str(run.directory)!r}).front.known_front.tolist())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    np.testing.assert_array_equal(json.loads(done.stdout), expected)


def test_what_the_table_of_environments_knows_counts_more(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-fork-v0", 50, seed=0)
    record = toys.front(run.directory)
    expected = run.front.known_front
    (run.directory / FRONT).write_text(json.dumps({**record, "known_front": [[5.0, 5.0]]}))
    np.testing.assert_array_equal(morl.load(run.directory).front.known_front, expected)


def test_runs_without_a_known_front_say_nothing(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-walk-v0", 50, seed=0)
    assert "known_front" not in toys.front(run.directory)
    assert morl.load(run.directory).front.known_front is None


@pytest.mark.parametrize("objectives", [2, 3, 7])
def test_large_fronts_are_thinned_within_their_ranges(objectives: int) -> None:
    points = np.random.default_rng(1).normal(size=(10_000, objectives))
    thinned = thinned_front(points, KNOWN_POINTS_STORED)
    assert KNOWN_POINTS_STORED - 10 < len(thinned) <= KNOWN_POINTS_STORED
    np.testing.assert_array_equal(thinned.max(axis=0), points.max(axis=0))
    assert {tuple(point) for point in thinned} <= {tuple(point) for point in points}
    np.testing.assert_array_equal(thinned_front(thinned, KNOWN_POINTS_STORED), thinned)
    np.testing.assert_array_equal(thinned_front(points[:50], KNOWN_POINTS_STORED), points[:50])


BROKEN = [
    '"text"',
    "[[1, 2, 3]]",
    "[[1]]",
    "[1, 2]",
    "[[1, NaN]]",
    "[[1, 1e999]]",
    "[[1, 2], [3]]",
    "{}",
    "[[null, 1]]",
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_known_front_of_another_shape_is_refused_in_a_sentence(broken: str) -> None:
    text = f'{{"objectives": ["a", "b"], "points": [[1, 2]], "known_front": {broken}}}'
    with pytest.raises(ValueError, match=r"front\.json is damaged: "):
        parse_front(text.encode())


def test_readers_bound_a_known_front_and_take_an_empty_one_as_none() -> None:
    def parsed(known: object) -> object:
        return parse_front(
            json.dumps({"objectives": ["a", "b"], "points": [[1, 2]], "known_front": known}).encode()
        ).known_front

    bounded = parsed(arc(50_000).tolist())
    assert isinstance(bounded, np.ndarray)
    assert len(bounded) <= KNOWN_POINTS_STORED
    assert parsed([]) is None
    assert parsed(None) is None
