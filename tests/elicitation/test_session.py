"""Sessions: found within 1 %, exact when replayed, saved as JSON, and no front or answer breaks them."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from morl import utilities
from morl.elicitation import ANSWERS, Answer, Question, Session, SessionSettings, parse_session
from morl.elicitation.session import MOST_POINTS

Array = NDArray[np.float64]
AnswerFn = Callable[[Array, Array], str]


def circle(count: int, objectives: int = 2, seed: int = 0) -> Array:
    directions = np.abs(np.random.default_rng(seed).normal(size=(count, objectives)))
    points: Array = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return points


def user(worth: Callable[[Array], Array]) -> AnswerFn:
    """Return how a user without errors answers."""

    def answer(left: Array, right: Array) -> str:
        values = [float(worth(outcome)) for outcome in (left, right)]
        if np.isneginf(values).all():
            return "neither"
        return "left" if values[0] > values[1] else "right" if values[1] > values[0] else "equal"

    return answer


def ask(session: Session, answer: AnswerFn, most: int = 60) -> Session:
    for _ in range(most):
        question = session.question
        if question is None:
            break
        session.answer(answer(session.points[question.left], session.points[question.right]))
    return session


@pytest.mark.parametrize("kind", ["linear", "tchebycheff", "requirements"])
@pytest.mark.parametrize("objectives", [2, 3])
def test_the_best_policy_is_found(kind: str, objectives: int) -> None:
    points = circle(50, objectives)
    weights = np.random.default_rng(3).dirichlet(np.ones(objectives))
    ideal = points.max(axis=0)
    minimum = np.array([0.5, *[-np.inf] * (objectives - 1)])
    worth = {
        "linear": lambda outcome: utilities.linear(outcome, weights),
        "tchebycheff": lambda outcome: utilities.tchebycheff(outcome, weights, ideal),
        "requirements": lambda outcome: utilities.linear_above_minimum(outcome, weights, minimum),
    }[kind]
    session = ask(Session(points), user(worth))
    assert session.finished
    assert len(session.answers) <= 25
    values = worth(points)
    finite = values[np.isfinite(values)]
    assert finite.max() - values[session.recommendation.row] < 0.02 * np.ptp(finite)
    assert session.recommendation.expected_regret < 0.01


def test_units_do_not_matter() -> None:
    points = circle(30, 3)
    plain = ask(Session(points), user(lambda outcome: outcome @ [0.2, 0.5, 0.3]))
    sizes = np.array([1e-6, 1.0, 1e6])
    scaled = ask(Session(points * sizes - 5 * sizes), user(lambda outcome: outcome / sizes @ [0.2, 0.5, 0.3]))
    assert [one.answer for one in scaled.answers] == [one.answer for one in plain.answers]
    assert scaled.recommendation.row == plain.recommendation.row
    np.testing.assert_allclose(
        scaled.preference.weights * sizes / (scaled.preference.weights @ sizes), plain.preference.weights, rtol=1e-6
    )


def test_the_preference_is_one_with_which_the_policy_is_best() -> None:
    points = circle(40) * [1.0, 1e4]
    session = ask(Session(points), user(lambda outcome: outcome @ [0.6, 0.4e-4]))
    preference = session.preference
    assert preference.utility in ("linear", "tchebycheff")
    worth = points @ preference.weights
    if preference.utility == "tchebycheff":
        worth = utilities.tchebycheff(points, preference.weights, points.max(axis=0))
    assert int(worth.argmax()) == session.recommendation.row
    assert np.isneginf(preference.minimum).all()


def test_requirements_are_told_in_the_units_of_the_objectives() -> None:
    points = circle(40) * [1.0, 1e4]
    minimum = np.array([-np.inf, 5e3])
    session = ask(Session(points), user(lambda outcome: utilities.linear_above_minimum(outcome, [1.0, 1e-9], minimum)))
    row = session.recommendation.row
    assert points[row, 1] >= 5e3
    assert (points[row] >= session.preference.minimum).all()


@pytest.mark.parametrize("points", [[[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]], [[3.0]], [[0.0, 0.0]] * 5])
def test_a_single_outcome_is_chosen_without_a_question(points: list[list[float]]) -> None:
    session = Session(points)
    assert session.finished
    found = session.recommendation
    assert (found.row, found.probability_best, found.expected_regret) == (0, pytest.approx(1.0), 0.0)
    assert session.preference.weights.sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no question"):
        session.answer("left")


def test_an_objective_that_is_equal_everywhere_is_no_obstacle() -> None:
    session = ask(Session(np.column_stack([circle(20), np.full(20, -7.0)])), user(lambda outcome: outcome[0]))
    assert circle(20)[session.recommendation.row, 0] > 0.98
    assert session.preference.weights[2] == 0.0


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_same_answer_again_and_again_comes_to_an_end(answer: str) -> None:
    session = ask(Session(circle(6)), lambda left, right: answer)
    assert session.finished
    assert len(session.answers) <= 15
    assert np.isfinite(session.recommendation.expected_regret)


def test_contradictory_answers_come_to_an_end() -> None:
    turns = iter(["left", "right", "equal", "neither"] * 10)
    session = ask(Session(circle(7)), lambda left, right: next(turns))
    assert session.finished
    assert 0.0 <= session.recommendation.probability_best <= session.recommendation.probability_within <= 1.0


def test_rows_alone_take_part() -> None:
    session = ask(Session(circle(20), rows=[3, 4, 11]), user(lambda outcome: outcome[1]))
    asked = {tuple(one.left) for one in session.answers} | {tuple(one.right) for one in session.answers}
    assert asked <= {tuple(circle(20)[row]) for row in (3, 4, 11)}
    assert session.recommendation.row in (3, 4, 11)


def test_of_very_many_outcomes_an_even_choice_takes_part() -> None:
    points = circle(3_000)
    session = Session(points, settings=SessionSettings(particles=20))
    assert len(session.rows) <= MOST_POINTS + 2
    assert {int(points[:, k].argmax()) for k in range(2)} <= set(session.rows.tolist())


def test_a_session_is_replayed_exactly_and_undo_is_as_if_never_answered() -> None:
    points = circle(60, 3) * [1e-6, 1.0, 1e6]
    settings = SessionSettings(seed=5, limit=0.02, particles=200)
    session = ask(
        Session(points, ["a", "b", "c"], settings=settings), user(lambda outcome: outcome[1] + outcome[0] * 1e6)
    )
    record = parse_session(session.record.to_text().encode())
    assert record == session.record
    again = Session(points, record.objectives, settings=record.settings, answers=record.answers)
    np.testing.assert_array_equal(again.posterior.particles.logs, session.posterior.particles.logs)
    np.testing.assert_array_equal(again.posterior.shares, session.posterior.shares)
    assert again.recommendation == session.recommendation
    shorter = Session(points, record.objectives, settings=record.settings, answers=record.answers[:-1])
    session.undo()
    assert session.question == shorter.question != again.question
    assert session.recommendation == shorter.recommendation
    with pytest.raises(ValueError, match="no answer to undo"):
        Session(points).undo()


def test_seeds_lead_to_other_questions() -> None:
    assert len({Session(circle(60, 3), settings=SessionSettings(seed=seed)).question for seed in range(5)}) > 2


def test_answers_about_another_front_count() -> None:
    before = ask(Session(circle(40)), user(lambda outcome: outcome @ [0.8, 0.2]))
    other = Session(circle(50, seed=9) * 1.3, answers=before.answers)
    assert len(other.answers) == len(before.answers)
    worth = other.points @ [0.8, 0.2]
    assert worth.max() - worth[other.recommendation.row] < 0.1 * np.ptp(worth)
    assert other.question is None or isinstance(other.question, Question)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"points": [[1.0, np.nan]]}, "finite"), ({"points": []}, "n >= 1"), ({"points": [1.0, 2.0]}, "shape"),
        ({"points": [[1.0, 2.0]], "objectives": ["one"]}, "objectives"),
        ({"points": [[1.0, 2.0]], "rows": [1]}, "rows are"), ({"points": [[1.0, 2.0]], "rows": []}, "rows are"),
        ({"points": [[1.0, 2.0]], "answers": [Answer((1.0,), (2.0,), "left")]}, "answers hold 1"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_in_a_sentence(arguments: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Session(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"limit": 0.0}, {"limit": 1.0}, {"seed": -1}, {"seed": True}, {"particles": 3}])
def test_wrong_settings_are_refused_in_a_sentence(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} is"):
        SessionSettings(**given)  # type: ignore[arg-type]


def test_unknown_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="'maybe'"):
        Session(circle(5)).answer("maybe")


DAMAGE: dict[str, Callable[[dict[str, object]], object]] = {
    "format": lambda record: record.update(format="other"),
    "objectives": lambda record: record.update(objectives=3),
    "no objectives": lambda record: record.update(objectives=[]),
    "missing": lambda record: record.pop("answers"),
    "limit": lambda record: record.update(limit="low"),
    "seed": lambda record: record.update(seed=0.5),
    "particles": lambda record: record.update(particles=10**9),
    "response": lambda record: record.update(response=[]),
    "noise": lambda record: record.update(response={**record["response"], "noise": None}),  # type: ignore[dict-item]
    "answer": lambda record: record.update(answers=[{"left": [1, 2], "right": [1, 2], "answer": "both"}]),
    "length": lambda record: record.update(answers=[{"left": [1], "right": [1], "answer": "left"}]),
    "text": lambda record: record.update(answers=[{"left": ["a", 1], "right": [1, 2], "answer": "left"}]),
    "huge": lambda record: record.update(answers=[{"left": [10**400, 1], "right": [1, 2], "answer": "left"}]),
    "many": lambda record: record.update(answers=[{}] * 2_000),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused_in_a_sentence(name: str) -> None:
    record = json.loads(Session(circle(5)).record.to_text())
    DAMAGE[name](record)
    with pytest.raises(ValueError, match=r"it (is damaged|must be|does not say)"):
        parse_session(json.dumps(record).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_files_that_are_no_json_are_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"it (is damaged|must be)"):
        parse_session(content)


def test_saved_settings_are_those_of_the_session() -> None:
    settings = SessionSettings(limit=0.05, seed=3, particles=50)
    settings = replace(settings, response=replace(settings.response, link="probit", noise=0.1))
    record = Session(circle(5), settings=settings).record
    assert parse_session(record.to_text().encode()).settings == settings
