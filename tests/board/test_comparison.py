"""Numbers that runs share: problems, settings, reference points, and several seeds folded into one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import decoded, library_of, quarter_circle, runs_by_name, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import morl
from morl.board import answers
from morl.board.comparison import differences
from morl.board.folds import attainment_surface, best_of, bootstrap_interval, interquartile_mean
from morl.pareto import hypervolume, non_dominated


def test_problems_have_their_known_front_and_settings_their_labels(tmp_path: Path) -> None:
    names = {"objectives": ["treasure", "time"], "env": "deep-sea-treasure-v0"}
    for seed in range(3):
        write_run(tmp_path / f"slow-{seed}", seed=seed, config={"learning_rate": 0.1}, **names)
        write_run(tmp_path / f"fast-{seed}", seed=seed, config={"learning_rate": 0.2}, **names)
    listing = answers.listing(library_of(tmp_path))
    (problem,) = listing["problems"]
    expected = morl.envs.specs["deep-sea-treasure-v0"].known_front
    assert expected is not None
    np.testing.assert_array_equal(decoded(problem["known_front"]), expected(0.99))
    labels = {setting["label"]: setting["runs"] for setting in listing["settings"]}
    assert labels == {
        "pd-morl, learning rate 0.2": ["fast-0", "fast-1", "fast-2"],
        "pd-morl, learning rate 0.1": ["slow-0", "slow-1", "slow-2"],
    }


def test_known_fronts_of_user_environments_come_from_the_run_folders(tmp_path: Path) -> None:
    true, wrong = [[0.0, 9.0], [9.0, 0.0]], [[1e300, 0.0], [0.0, 1e300]]
    write_run(tmp_path / "a", known_front=wrong)
    write_run(tmp_path / "b", known_front=true, seed=1)
    write_run(tmp_path / "c", known_front=true, seed=2)
    write_run(tmp_path / "d", seed=3)
    (problem,) = answers.listing(library_of(tmp_path))["problems"]
    np.testing.assert_array_equal(decoded(problem["known_front"]), true)  # one damaged run draws no wrong front
    names = {"objectives": ["treasure", "time"], "env": "deep-sea-treasure-v0"}
    write_run(tmp_path / "sea", known_front=wrong, **names)
    problems = {each["env"]: each for each in answers.listing(library_of(tmp_path))["problems"]}
    expected = morl.envs.specs["deep-sea-treasure-v0"].known_front
    assert expected is not None
    np.testing.assert_array_equal(decoded(problems["deep-sea-treasure-v0"]["known_front"]), expected(0.99))


def test_settings_are_named_by_what_tells_them_apart() -> None:
    same = {"env": "x", "total_steps": 100}
    of = {
        f"{rate}-{width}": {**same, "agent.lr": rate, "agent.width": width} for rate in (0.1, 0.2) for width in (8, 9)
    }
    assert differences(of)["0.1-9"] == ["lr 0.1", "width 9"]
    assert differences({"only": same}) == {"only": []}
    # One entry that tells all apart is enough, whatever else differs with it.
    many = {f"{k}": {"alpha": k // 2, "beta": k, "gamma": k // 3, "zeta": k == 0} for k in range(6)}
    assert differences(many)["4"] == ["beta 4", "3 more"]
    assert differences({"a": {"rate": 1.0}, "b": {}}) == {"a": ["rate 1"], "b": ["rate unset"]}
    # Nobody reads twenty entries: what six do not tell apart is numbered.
    long = {f"{k}": {f"entry_{place:02}": k == place for place in range(20)} for k in range(20)}
    assert differences(long)["7"][6:] == ["number 2", "14 more"]
    # Entries of different tables with one last word are told apart.
    two = {f"{k}": {"actor.lr": k % 2, "critic.lr": k // 2} for k in range(4)}
    assert differences(two)["1"] == ["actor.lr 1", "critic.lr 0"]
    assert differences({"a": {"rate": 0.1 + 0.2}, "b": {"rate": 0.3}})["a"] == ["rate 0.30000000000000004"]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a.x", "b.x", "c", "d"]),
            st.integers(0, 2) | st.sampled_from(["y" * 60, "y" * 30 + "z" + "y" * 29, "", 0.5, True]),
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda setting: tuple(sorted((key, str(value)) for key, value in setting.items())),
    )
)
@settings(deadline=None)
def test_no_two_settings_have_one_name(many: list[dict[str, Any]]) -> None:
    words = differences({str(number): setting for number, setting in enumerate(many)})
    assert len({tuple(label) for label in words.values()}) == len(many)


def test_problems_have_different_names_in_the_menu(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", discount=1.0)
    write_run(tmp_path / "c", env_options={"depth": 3})
    write_run(tmp_path / "d", objectives=["speed", "cost"])
    write_run(tmp_path / "e", env="alone-v0", env_options={"depth": 3})
    labels = {each["label"] for each in answers.listing(library_of(tmp_path))["problems"]}
    assert len(labels) == 5
    assert "alone-v0, depth 3" in labels
    assert all(label.startswith(("board-test-v0, ", "alone-v0, ")) for label in labels)


def test_hypervolumes_share_one_reference_point(tmp_path: Path) -> None:
    write_run(tmp_path / "a", reference_point=[-1.0, -2.0], seed=1)
    write_run(tmp_path / "b", reference_point=[-3.0, -1.0], seed=2)
    library = library_of(tmp_path)
    runs = runs_by_name(library)
    assert answers.listing(library)["problems"][0]["reference_point"] == (-3.0, -2.0)
    for name, seed in (("a", 1), ("b", 2)):
        assert runs[name]["indicators"]["hypervolume"] == hypervolume(quarter_circle(8, 2, seed), [-3.0, -2.0])
        assert "its reference point differs" in runs[name]["notes"][0]
    curve = answers.curves(library, ["a"])["runs"]["a"]
    assert curve["indicators"]["hypervolume"][-1] == pytest.approx(runs["a"]["indicators"]["hypervolume"])


def test_runs_of_other_settings_of_the_problem_are_another_problem(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", discount=1.0)
    write_run(tmp_path / "c", env_options={"depth": 3})
    write_run(tmp_path / "d", objectives=["speed", "cost"])
    assert len(answers.listing(library_of(tmp_path))["problems"]) == 4


FRONTS = st.lists(
    arrays(np.float64, st.tuples(st.integers(0, 6), st.just(2)), elements=st.integers(0, 8)), min_size=1, max_size=5
)


@given(fronts=FRONTS, level=st.integers(1, 5))
@settings(deadline=None)
def test_attainment_surface_bounds_what_level_fronts_dominate(fronts: list[Any], level: int) -> None:
    level = min(level, len(fronts))
    surface = attainment_surface(fronts, level)
    for target in np.stack(np.meshgrid(np.arange(-1, 10), np.arange(-1, 10)), axis=-1).reshape(-1, 2):
        attained_by = sum(bool((front >= target).all(axis=1).any()) for front in fronts)
        assert bool((surface >= target).all(axis=1).any()) == (attained_by >= level)
    assert (np.diff(surface[:, 0]) > 0).all()
    assert (np.diff(surface[:, 1]) < 0).all()


def test_attainment_level_out_of_range_is_refused() -> None:
    for level in (0, 3):
        with pytest.raises(ValueError, match="level is"):
            attainment_surface([np.zeros((1, 2))] * 2, level)


def test_interquartile_mean_lies_within_its_interval_of_known_width() -> None:
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 1_000.0])) == 1.5
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0
    values = np.random.default_rng(0).normal(size=(400, 2)) + np.array([0.0, 5.0])
    low, high = bootstrap_interval(values)
    assert (low < interquartile_mean(values)).all()
    assert (interquartile_mean(values) < high).all()
    np.testing.assert_allclose(
        high - low, 2 * 1.96 * 1.09 / 20, rtol=0.2
    )  # standard error of the mean of the middle half
    same = np.full((3, 1), 7.0)
    assert bootstrap_interval(same) == (7.0, 7.0)


def test_seeds_fold_into_one(tmp_path: Path) -> None:
    points = [quarter_circle(6, 2, seed) for seed in range(5)]
    for seed in range(5):
        steps = [100, 200 + 100 * (seed % 2)]
        config = {"total_steps": 300}
        write_run(tmp_path / f"seed-{seed}", seed=seed, points=points[seed], steps=steps, config=config)
    library = library_of(tmp_path)
    names = list(library.folders)
    (fold,) = answers.folds(library, names).values()
    assert fold["runs"] == names
    for name, level in (("best", 1), ("median", 3), ("worst", 5)):
        np.testing.assert_array_equal(decoded(fold["surfaces"][name]), attainment_surface(points, level))
    volumes = [run["indicators"]["hypervolume"] for run in runs_by_name(library).values()]
    folded = fold["indicators"]["hypervolume"]
    assert folded["mean"] == pytest.approx(interquartile_mean(np.array(volumes)))
    assert min(volumes) <= folded["low"] <= folded["mean"] <= folded["high"] <= max(volumes)
    (earlier,) = answers.folds(library, names, step=150).values()
    np.testing.assert_allclose(
        decoded(earlier["surfaces"]["best"]), attainment_surface([front / 2 for front in points], 1)
    )
    curves = answers.curves(library, names)
    (curve,) = curves["settings"].values()
    assert curve["training_steps"] == [100, 200]  # where every seed has an evaluation
    assert curve["environment_steps"][0] == 120
    mean = curve["indicators"]["hypervolume"]["mean"][0]
    assert mean == pytest.approx(
        np.sort([curves["runs"][name]["indicators"]["hypervolume"][0] for name in names])[1:4].mean()
    )


def test_three_objectives_fold_into_their_best_points(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"seed-{seed}", seed=seed, objectives=["a", "b", "c"])
    (fold,) = answers.folds(library_of(tmp_path), [f"seed-{seed}" for seed in range(3)]).values()
    together = np.concatenate([quarter_circle(8, 3, seed) for seed in range(3)])
    np.testing.assert_array_equal(decoded(fold["surfaces"]["best"]), together[non_dominated(together)])
    np.testing.assert_array_equal(best_of([together]), together[non_dominated(together)])
