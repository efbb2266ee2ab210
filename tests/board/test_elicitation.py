"""The page's elicitation is that of `morl.elicitation`: sessions go the same way in both, number for number."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from board_runs import write_run
from numpy.typing import NDArray

from morl.board.page import write_page
from morl.elicitation import ANSWERS, Response, Session, SessionSettings
from morl.elicitation.session import MOST_POINTS

Array = NDArray[np.float64]

PLAY = """async ({ points, settings, answers }) => {
    const { Session } = await import("board/elicitation.js");
    const session = new Session(points, settings);
    const steps = [];
    const note = () => {
        const { row, probabilityBest, probabilityWithin, expectedRegret } = session.recommendation;
        const { utility, weights, minimum } = session.preference;
        const numbers = [probabilityBest, probabilityWithin, expectedRegret, session.posterior.effectiveSize];
        steps.push({ question: session.question, row, numbers, utility, weights, minimum });
    };
    note();
    for (const answer of answers) { session.answer(answer); note(); }
    const again = new Session(points, settings, session.answers);
    return { steps, rows: session.rows, record: session.record(points[0].map((_, k) => `objective_${k}`)),
        replayed: JSON.stringify(again.question) === JSON.stringify(session.question) };
}"""


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("page")
    write_page([write_run(folder / "run")], folder / "front.html")
    context = browser.new_context()
    page = context.new_page()
    page.goto((folder / "front.html").as_uri())
    yield page
    context.close()


def circle(count: int, objectives: int) -> Array:
    directions = np.abs(np.random.default_rng(count).normal(size=(count, objectives)))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def by_worth(weights: list[float], minimum: float) -> Callable[[Array, Array], str]:
    def answer(left: Array, right: Array) -> str:
        kept = (left[0] >= minimum, right[0] >= minimum)
        if not any(kept):
            return "neither"
        if not all(kept):
            return "left" if kept[0] else "right"
        return "left" if (left - right) @ np.array(weights) > 0.0 else "right"

    return answer


def in_turn() -> Callable[[Array, Array], str]:
    """Return contradictory answers."""
    turns = iter(ANSWERS * 10)
    return lambda left, right: next(turns)


FIXED = SessionSettings()
OTHER = SessionSettings(limit=0.03, seed=2**32 - 1, particles=100, response=Response(link="probit", noise=0.1))
FEW = SessionSettings(particles=20, limit=0.05)
NO = -np.inf
CASES: dict[str, tuple[Array, SessionSettings, Callable[[Array, Array], str]]] = {
    "two objectives": (circle(40, 2), FIXED, by_worth([0.3, 0.7], NO)),
    "few points": (circle(9, 3), FIXED, by_worth([0.3, 0.3, 0.4], 0.4)),
    "six objectives": (circle(70, 6), FIXED, by_worth([0.1, 0.3, 0.2, 0.1, 0.2, 0.1], NO)),
    "sizes": (circle(40, 3) * [1e-6, 1e6, 1.0] - [0, 5e6, 3], FIXED, by_worth([3e5, 4e-7, 0.2], NO)),
    "a constant objective": (np.column_stack([circle(20, 2), np.full(20, 4.0)]), FIXED, by_worth([0.6, 0.4, 0.0], 0.5)),
    "equal points": (np.repeat(circle(10, 2), 3, axis=0), FIXED, by_worth([0.6, 0.4], NO)),
    "two equal points": (np.array([[1.0, 2.0], [1.0, 2.0]]), FIXED, in_turn()),
    "contradictions": (circle(6, 2), FIXED, in_turn()),
    "another response": (circle(30, 3), OTHER, in_turn()),
    "very many points": (circle(MOST_POINTS + 500, 2), FEW, by_worth([0.6, 0.4], NO)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sessions_go_as_in_python(name: str, page: Any) -> None:
    points, settings, answer = CASES[name]
    session = Session(points, settings=settings)
    expected: list[dict[str, Any]] = []
    answers: list[str] = []

    def note() -> None:
        found = session.recommendation
        own = session.preference
        numbers = [found.probability_best, found.probability_within, found.expected_regret]
        expected.append(
            {
                "question": None if session.question is None else list(session.question),
                "row": found.row,
                "numbers": [*numbers, session.posterior.effective_size],
                "utility": own.utility,
                "weights": own.weights.tolist(),
                "minimum": [least if np.isfinite(least) else None for least in own.minimum.tolist()],
            }
        )

    note()
    while session.question is not None and len(answers) < 20:
        question = session.question
        answers.append(answer(points[question.left], points[question.right]))
        session.answer(answers[-1])
        note()
    record = session.record.to_json()
    given = {
        "limit": record["limit"],
        "seed": record["seed"],
        "particles": record["particles"],
        "response": record["response"],
    }
    played = page.evaluate(PLAY, {"points": points.tolist(), "settings": given, "answers": answers})
    assert played["rows"] == session.rows.tolist()
    assert played["replayed"]
    assert played["record"] == record
    for step, known in zip(played["steps"], expected, strict=True):
        for key in ("question", "row", "utility"):
            assert step[key] == known[key]
        np.testing.assert_allclose(step["numbers"], known["numbers"], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(step["weights"], known["weights"], rtol=1e-6, atol=1e-12)
        for least, other in zip(step["minimum"], known["minimum"], strict=True):
            assert (least is None) == (other is None)
            assert least is None or least == pytest.approx(other, rel=1e-6)


def test_defaults_and_names_are_those_of_python(page: Any) -> None:
    script = """async () => {
        const { DEFAULTS, FORMAT } = await import("board/elicitation.js");
        const { ANSWERS, KINDS } = await import("board/posterior.js");
        return { ...DEFAULTS, format: FORMAT, answers: ANSWERS, kinds: KINDS }; }"""
    found = page.evaluate(script)
    record = Session([[1.0, 2.0]]).record.to_json()
    assert {name: found[name] for name in ("limit", "seed", "particles", "response", "format")} == {
        name: record[name] for name in ("limit", "seed", "particles", "response", "format")
    }
    assert found["answers"] == list(ANSWERS)
    assert found["kinds"] == ["linear", "tchebycheff", "requirements"]
