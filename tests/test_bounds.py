"""The user's bounds in front.json, and the line about broken ones in the terminal and on the board."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import library_of, quarter_circle, runs_by_name, write_run

import morl
from morl.bounds import broken_bounds, largest_violations

BROKEN = {
    "speed": {"bound": "<= 100", "unit": 100.0, "violations": [2.0, 0.0, 0.0, 0.0]},
    "energy": {"bound": ">= 1", "unit": 1.0, "violations": [0.0, 0.9, 0.0, 0.25]},
}
LINE = "3 of 4 points break a bound: speed <= 100 by at most 2, energy >= 1 by at most 0.9"


def test_violations_count_in_units_of_their_bounds() -> None:
    np.testing.assert_allclose(largest_violations(BROKEN, 4), [0.02, 0.9, 0.0, 0.25])
    old = {"speed": {"bound": "<= 100", "violations": [2.0, 0.0]}}  # of a version that wrote no units
    np.testing.assert_array_equal(largest_violations(old, 2), [2.0, 0.0])
    np.testing.assert_array_equal(largest_violations({}, 2), [0.0, 0.0])


def test_the_sentence_names_each_broken_bound() -> None:
    assert broken_bounds(BROKEN, 4) == LINE
    one = {"speed": {"bound": "<= 100", "violations": [2.0]}, "energy": {"bound": ">= 1", "violations": [0.0]}}
    assert broken_bounds(one, 1) == "1 of 1 points breaks a bound: speed <= 100 by at most 2"
    assert broken_bounds({"energy": one["energy"]}, 1) == ""
    assert broken_bounds({}, 3) == ""


@pytest.mark.parametrize("unit", [0.0, -1.0, None, "1", True, float("inf")])
def test_a_damaged_unit_is_refused(unit: object) -> None:
    with pytest.raises(ValueError, match="the unit of a bound must be a number above 0"):
        largest_violations({"speed": {"violations": [1.0], "unit": unit}}, 1)


def test_tables_and_cards_say_that_a_front_breaks_its_bounds(tmp_path: Path, morl_cli: Any) -> None:
    points = quarter_circle(4, 2)
    write_run(tmp_path / "broken", points=points, constraints=BROKEN)
    write_run(tmp_path / "kept", points=points)
    assert morl.load(tmp_path / "broken").broken_bounds == LINE
    assert morl.load(tmp_path / "kept").broken_bounds == ""
    code, output, errors = morl_cli("front", tmp_path / "broken")
    assert code == 0, errors
    assert LINE in output
    code, output, errors = morl_cli("front", tmp_path / "broken", tmp_path / "kept", "--summary")
    assert code == 0, errors
    assert [line for line in output.splitlines() if "break" in line] == [f"{tmp_path / 'broken'}: {LINE}"]
    cards = runs_by_name(library_of(tmp_path))
    assert cards["broken"]["notes"] == [LINE]
    assert cards["kept"]["notes"] == []


def test_train_says_that_a_front_breaks_its_bounds(tmp_path: Path, morl_cli: Any) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "num_envs = 4\nevaluation_episodes = 2\n[agent]\nhidden_sizes = [8]\ninitial_steps = 96\n"
        "samples_per_update = 8\nminibatches = 2\nepochs = 1\nconstraints = {rest = '>= 5'}\n"
    )
    code, output, errors = morl_cli(
        "train", "c-morl", "toy-walk-v0", "--total-steps", 60, "--config", settings, "--run-dir", tmp_path / "run"
    )
    assert code == 0, errors
    assert " a bound: rest >= 5 by at most " in output
