"""Which of two fronts is better."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import toys

import morl
from morl.experiment.components import find_task
from morl.experiment.reporting import Best, Reporter
from morl.experiment.selection import Score, Selection, conditioned_utilities, criterion_of
from morl.experiment.settings import resolve_sources
from morl.experiment.units import RewardUnits
from morl.preferences import simplex_lattice

GRID = simplex_lattice(2, 10)
IDEAL = np.array([10.0, 10.0])


ENDS = np.array([[0.0, 10.0], [10.0, 0.0]])
WHOLE = np.array([[0.0, 10.0], [4.0, 4.0], [10.0, 0.0]])
"""The ends, and a point in a concave part between them, which no weighted sum asks for."""


def score(front: Any, conditioned: float, asked: bool = True, criterion: str = "expected-utility") -> Score:
    selection = Selection(2, GRID, None, None, RewardUnits.none(2), criterion)
    return selection.score(front, (-1.0, -1.0), conditioned, asked, IDEAL)


def best_utility(front: Any) -> float:
    """Return the mean utility if each preference chooses on a front."""
    return float((GRID @ front.T).max(axis=1).mean())


def test_a_concave_point_makes_a_front_better() -> None:
    """It adds nothing to the expected utility, and reduces the mean utility that preferences themselves achieve."""

    def own(front: Any, preferences: list[list[float]]) -> Score:
        conditioned = conditioned_utilities(front, np.array(preferences), None)["conditioned_utility"]
        return score(front, conditioned, asked=False)

    ends = own(ENDS, [[0.0, 1.0], [1.0, 0.0]])
    whole = own(WHOLE, [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    assert whole.value == ends.value
    assert whole.conditioned_utility < ends.conditioned_utility
    assert whole > ends


def test_of_equal_utilities_a_network_that_serves_preferences_is_better() -> None:
    """A hundredth of the utility may be lost, measured from the reference point, as studies measure it."""
    best = best_utility(ENDS)
    hundredth = (best + 1.0) / 100.0
    assert score(ENDS, best) > score(WHOLE, best - 1.1 * hundredth)
    assert score(WHOLE, best - 0.9 * hundredth) > score(ENDS, best)
    assert score(ENDS, best - 2.0 * hundredth) > score(WHOLE, best - 3.0 * hundredth)
    assert score(ENDS, best) > score(ENDS, best - 0.9 * hundredth)


@pytest.mark.parametrize("criterion", ["hypervolume", "tchebycheff"])
def test_weighted_sums_decide_nothing_where_another_criterion_was_chosen(criterion: str) -> None:
    assert score(WHOLE, 0.0, criterion=criterion) > score(ENDS, 10.0, criterion=criterion)
    assert score(ENDS, 1.0, criterion=criterion).service == 0.0


def test_utility_comes_before_service() -> None:
    better = ENDS + 0.01
    assert score(better, 0.0) > score(ENDS, best_utility(ENDS))


def test_service_does_not_depend_on_where_zero_is() -> None:
    """Costs are negative, and their utilities may be near zero."""
    selection = Selection(2, GRID, None, None, RewardUnits.none(2))
    for shift in (0.0, -best_utility(ENDS), -100.0):
        reference = (shift - 1.0, shift - 1.0)
        conditioned = best_utility(ENDS) + shift - 2.0
        found = selection.score(ENDS + shift, reference, conditioned, True, IDEAL + shift)
        assert found.service == pytest.approx(score(ENDS, best_utility(ENDS) - 2.0).service)


def test_a_front_at_the_reference_point_is_served() -> None:
    """There is no utility to lose."""
    assert score(ENDS * 0.0 - 1.0, -5.0).service == 0.0


@pytest.mark.parametrize(("agent", "asked"), [("pd-morl", True), ("c-morl", False), ("morl-d", False)])
def test_only_policies_that_were_asked_for_the_grid_are_compared_by_their_answers(
    agent: str, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of MORL/D's policies change, so that what they achieve for these does not compare."""
    answers: list[bool] = []
    original = Selection.score

    def remembered(self: Selection, points: Any, reference: Any, conditioned: float, asked: bool, ideal: Any) -> Score:
        answers.append(asked)
        return original(self, points, reference, conditioned, asked, ideal)

    monkeypatch.setattr(Selection, "score", remembered)
    small: dict[str, dict[str, Any]] = {
        "pd-morl": {},
        "c-morl": {"initial_steps": 200, "samples_per_update": 20, "minibatches": 2},
        "morl-d": {"population": 2},
    }
    run_dir = tmp_path / "run"
    morl.train(agent, "toy-fork-v0", total_steps=400, run_dir=run_dir, config=small[agent], evaluate_every=200)
    assert set(answers) == {asked}


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
    scores = [selection.score(front, (-1.0, -1.0), 0.0, asked=False, ideal=IDEAL) for front in (CONVEX, CONCAVE)]
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


def widest(points: Any, reference_point: Any) -> float:
    """Return the range of the first objective: an indicator of one's own."""
    assert reference_point.shape == (2,)
    return float(np.ptp(points[:, 0]))


@pytest.fixture
def own_indicators(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own_indicators")
    vars(module).update(
        widest=widest,
        wild=lambda points, reference_point: float("nan") if points.max() > 2.0 else 0.0,
        nan=lambda points, reference_point: float("nan"),
        narrow=lambda points: 1.0,
        word=lambda points, reference_point: "wide",
        number=3.0,
    )
    monkeypatch.setitem(sys.modules, "own_indicators", module)


def test_an_indicator_of_ones_own_decides(own_indicators: None, tmp_path: Path) -> None:
    def own(name: str, front: list[list[float]]) -> Score:
        selection = Selection(2, GRID, None, None, RewardUnits.none(2), f"indicator:own_indicators:{name}")
        return selection.score(np.array(front), (-1.0, -1.0), 0.0, asked=False, ideal=IDEAL)

    wide = [[0.0, 1.0], [9.0, 0.0]]
    good = [[5.0, 9.0], [9.0, 5.0]]
    assert own("widest", wide) > own("widest", good)
    assert own("wild", good) > own("wild", wide)  # no number: then the hypervolume decides
    run = toys.train(tmp_path / "run", "toy-fork-v0", 400, select_by="indicator:own_indicators:widest")
    widths = [np.ptp(np.array(line["points"])[:, 0]) for line in toys.lines(tmp_path / "run" / "fronts.jsonl")]
    assert np.ptp(run.front.points[:, 0]) == max(widths)
    assert morl.resume(run.directory, 500).settings.select_by == "indicator:own_indicators:widest"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("indicator:widest", "must be 'indicator:module:function'"),
        ("indicator:no_such_module:widest", "cannot be imported: No module named 'no_such_module'"),
        ("indicator:own_indicators:number", "neither a class nor a function"),
        ("indicator:own_indicators:word", "it returned 'wide' and no number"),
        ("indicator:own_indicators:nan", "it returned nan for the front"),
        ("indicator:own_indicators:narrow", "it raised TypeError when it was called with points"),
    ],
)
def test_an_indicator_that_is_none_is_refused(name: str, message: str, own_indicators: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"select_by is '{name}', but .*{message}"):
        toys.train(tmp_path / "run", "toy-walk-v0", 100, select_by=name)
    assert not (tmp_path / "run").exists()


OWN_UTILITIES = """
def branches(returns, preferences, ideal):
    return returns.min(-1) if returns[..., 0] > 0 else returns.max(-1)

def total(returns, preferences, ideal):
    return returns.sum()

def missing(returns, preferences, ideal):
    return {}["weights"]

def of_points(returns, weights):
    return 1.0 if returns[:, 0] > 0 else 0.0
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("branches", r"raised ValueError: .*ambiguous.*; .* take numpy.where or torch.where instead of if"),
        ("total", r"returned float64 of shape \(\), but must return one number for each of"),
        ("missing", r"raised KeyError: 'weights'$"),
    ],
)
def test_a_utility_that_fails_is_one_sentence(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_utilities.py").write_text(OWN_UTILITIES)
    monkeypatch.syspath_prepend(tmp_path)
    own = f"own_utilities:{name}"
    with pytest.raises(ValueError, match=f"^select_by is '{own}', but utility {own} {message}"):
        toys.train(tmp_path / "run", "toy-walk-v0", 100, select_by=own)
    assert not (tmp_path / "run").exists()
    run = toys.train(tmp_path / "other", "toy-fork-v0", 100)
    with pytest.raises(ValueError, match=f"^utility {own} {message}"):
        run.policy([0.5, 0.5], utility=own)
    with pytest.raises(ValueError, match=r"^utility of_points raised .* instead of if"):
        run.policy([0.5, 0.5], utility=sys.modules["own_utilities"].of_points)
    config = toys.TINY_TSIVR | {"utility": own}
    with pytest.raises(ValueError, match=rf"utility is '{own}', but "):
        morl.train("mo-tsivr-pg", "toy-walk-v0", total_steps=100, run_dir=tmp_path / "run", config=config)


def test_a_utility_of_ones_own_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from morl import utilities

    monkeypatch.setattr(utilities, "UTILITIES", dict(utilities.UTILITIES))
    utilities.register_utility("fair", lambda returns, preferences, ideal: returns.min(-1))
    run = toys.train(tmp_path / "run", "toy-fork-v0", 200, select_by="fair")
    chosen = run.policy([0.9, 0.1], utility="fair").preference
    assert chosen.tolist() == [0.9, 0.1]
    assert run.best_row([0.9, 0.1], "fair") == run.front.choice_points.min(axis=1).argmax()
    for name, function, message in (
        ("linear", len, "there is another utility"),
        ("a:b", len, "without a colon"),
        ("fairer", 3, "must be a function"),
    ):
        with pytest.raises(ValueError, match=message):
            utilities.register_utility(name, function)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["", "indicator:"])
def test_a_criterion_of_ones_own_is_imported_with_trust_only(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_criterion.py").write_text(
        "def worst(returns, preferences, ideal=None): return returns.min(-1 if ideal is not None else None)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = toys.train(tmp_path / "run", "toy-walk-v0", 100, select_by=f"{prefix}my_criterion:worst")
    monkeypatch.delitem(sys.modules, "my_criterion")
    with pytest.raises(ValueError, match=r"my_criterion:worst.*trust=True"):
        morl.resume(run.directory, 200)
    assert morl.resume(run.directory, 200, trust=True).front.points.size


# --- Constraints ------------------------------------------------------------------------------------------------------


class Bounded:
    """The second objective has to be at least 0."""

    free_objectives = (0,)

    def violations(self, points: Any) -> Any:
        return np.maximum(-points[:, 1], 0.0)


def test_what_is_measured_roughly_keeps_constraints_by_a_margin() -> None:
    selection = Selection(2, GRID, None, Bounded(), RewardUnits.none(2))  # type: ignore[arg-type]
    points = np.array([[1.0, 3.0], [2.0, 1.5], [3.0, 0.5], [4.0, -0.5]])
    precise, rough, hopeless = (np.full_like(points, error) for error in (0.0, 0.5, 5.0))
    assert selection.candidate_rows(points, precise).tolist() == [2]
    assert selection.candidate_rows(points, rough).tolist() == [1, 2]  # the worst is safe, but so is the second
    assert selection.chosen_rows(points, precise).tolist() == [2]
    assert selection.chosen_rows(points, rough).tolist() == [1]
    assert selection.chosen_rows(points, hopeless).tolist() == [2]  # none is safe: the best that keeps them
    assert selection.chosen_rows(points - 10.0, rough).tolist() == [0, 1, 2, 3]  # none keeps them: all trade-offs
    assert selection.chosen_rows(points, np.full_like(points, np.nan)).tolist() == [2]


def test_without_constraints_errors_choose_nothing() -> None:
    selection = Selection(2, GRID, None, None, RewardUnits.none(2))
    for errors in (np.zeros_like(CONVEX), np.full_like(CONVEX, 100.0)):
        np.testing.assert_array_equal(selection.candidate_rows(CONVEX, errors), selection.selected_rows(CONVEX))
        np.testing.assert_array_equal(selection.chosen_rows(CONVEX, errors), selection.front_rows(CONVEX))


def test_an_evaluation_that_breaks_bounds_where_it_is_measured_again_is_not_the_best() -> None:
    bounded = SimpleNamespace(violations=lambda points: np.maximum(0.0, -4.0 - points[:, 1]))
    keeps = np.array([[1.0, -3.9], [2.0, -5.0]])
    breaks = np.array([[9.0, -4.5]])

    def accepted(earlier: Any, points: Any) -> bool:
        best = Best(earlier, 0.0, {"choice_points": earlier.tolist()}, {})
        return Reporter._keeps_bounds(cast(Reporter, SimpleNamespace(best=best, selection=bounded)), points)

    assert accepted(keeps, keeps)
    assert accepted(breaks, keeps)
    assert not accepted(keeps, breaks)
    assert accepted(breaks - [0.0, 1.0], breaks)
    assert Reporter._keeps_bounds(cast(Reporter, SimpleNamespace(best=None, selection=bounded)), breaks)
