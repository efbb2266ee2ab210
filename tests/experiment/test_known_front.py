"""Returns that are better than the known front are said, where nothing is left to chance."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import morl
from morl.envs import make_vec
from morl.experiment.known_front import contradiction, rows_beyond

pytestmark = pytest.mark.usefixtures("without_figures")

FRONT = np.array([[0.0, 10.0], [6.0, 6.0], [10.0, 0.0]])


@pytest.mark.parametrize(
    ("point", "beyond"),
    [
        ([6.0, 6.0], False),
        ([6.00001, 6.0], False),  # rounding
        ([6.5, 6.0], True),
        ([6.5, 5.99999], True),
        ([3.0, 8.5], False),  # between two points: the front may only be a sample
        ([0.0, 11.0], True),
        ([-1.0, 11.0], False),
        ([5.0, 5.0], False),
    ],
)
def test_points_that_dominate_the_front_are_beyond_it(point: list[float], beyond: bool) -> None:
    assert len(rows_beyond(np.array([point]), FRONT)) == int(beyond)
    for factors in ([1e6, 1e6], [1e-6, 1e6]):  # in any units
        scaled = np.array(factors)
        assert len(rows_beyond(scaled * np.array([point]), scaled * FRONT)) == int(beyond)


@pytest.mark.parametrize(
    ("env", "backend", "nothing"),
    [
        ("toy-fork-v0", None, True),
        ("toy-walk-v0", None, False),
        ("deep-sea-treasure-v0", None, True),
        ("deep-sea-treasure-v0", "synchronous", True),
        ("resource-gathering-v0", None, False),
        ("toy-fork-v0", "processes", False),  # it is not known
    ],
)
def test_chance_is_recognized(env: str, backend: str | None, nothing: bool) -> None:
    envs = make_vec(env, 2, seed=0, backend=backend)
    try:
        envs.reset(seed=4)
        for _ in range(4):
            envs.step(envs.action_space.sample())
        assert envs.drew_nothing() == nothing
    finally:
        envs.close()


def test_a_contradiction_is_one_sentence() -> None:
    assert contradiction(FRONT, FRONT) == ""
    assert contradiction(np.empty((0, 2)), FRONT) == ""
    expected = r"pays more than its known front: \[7.0, 6.0\] was returned, .* is \[6.0, 6.0\]; known_front is wrong"
    assert re.search(expected, contradiction(np.array([[7.0, 6.0]]), FRONT))


def test_a_run_says_that_its_environment_pays_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse_front(discount: float) -> Any:
        return toys.fork_front(discount) - 1.0

    settings: Any = toys.SCHEDULE | {"total_steps": 200, "config": toys.TINY}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        morl.train("pd-morl", "toy-fork-v0", run_dir=tmp_path / "right", **settings)
    if "toy-wrong-front-v0" not in morl.envs.specs:
        morl.envs.register(
            "toy-wrong-front-v0",
            toys.Fork,
            objectives=("left", "right"),
            reference_point=(-1.0, -1.0),
            known_front=worse_front,
        )
    with pytest.warns(
        RuntimeWarning, match=r"toy-wrong-front-v0: the environment pays more than its known front"
    ) as seen:
        morl.train("pd-morl", "toy-wrong-front-v0", run_dir=tmp_path / "wrong", **settings)
    assert len(seen) == 1  # not at every evaluation
