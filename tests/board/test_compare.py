"""Choosing by comparing in the page: whole sessions of users whose utility is known, and everything around them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import quarter_circle, write_films, write_run
from numpy.typing import NDArray

import morl
from morl.board.page import write_page
from morl.elicitation import Session, parse_session

Array = NDArray[np.float64]
PAIR = """async () => {
    const { state } = await import("board/state.js");
    const { choicePoints } = await import("board/choice.js");
    const outcome = ({ cloud, row }) => { const { values, shape } = choicePoints(cloud);
        return Array.from(values.slice(row * shape[1], (row + 1) * shape[1])); };
    const { pair } = state.compared ?? { pair: [] };
    return pair.map((policy) => ({ run: policy.run.directory, row: policy.row, outcome: outcome(policy) }));
}"""
RECOMMENDED = "async () => (await import('board/state.js')).state.compared?.recommended"


@pytest.fixture
def opened(visited: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Write some runs as one page and open it."""

    def open_page(*runs: Path, theme: str = "light", width: int = 1400) -> Any:
        write_page(list(runs), tmp_path / "front.html", videos=(runs[0] / "videos").exists())
        page = visited(tmp_path / "front.html", width=width, color_scheme=theme)
        page.locator(".plot .main-svg").first.wait_for()
        return page

    return open_page


def pair_of(page: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(PAIR)
    return found


def press(page: Any, key: str) -> None:
    """Press a key and wait until the next question, or the result, is shown."""
    before = page.locator(".compare h2").inner_text()
    page.keyboard.press(key)
    page.wait_for_function("(text) => document.querySelector('.compare h2')?.textContent !== text", arg=before)


def answer_all(page: Any, better: Callable[[Array, Array], str], most: int = 40) -> int:
    """Answer with single keys until there is a result; returns the number of answers."""
    for number in range(most):
        pair = pair_of(page)
        if not pair:
            return number
        press(page, better(np.array(pair[0]["outcome"]), np.array(pair[1]["outcome"])))
    raise AssertionError(f"no result after {most} answers")


def likes(weights: list[float]) -> Callable[[Array, Array], str]:
    return lambda left, right: "l" if (left - right) @ np.array(weights) > 0.0 else "r"


@pytest.mark.parametrize(("objectives", "theme"), [(2, "light"), (3, "dark"), (6, "dark")])
def test_a_session_by_keyboard_alone_finds_the_best_policy(
    objectives: int, theme: str, opened: Callable[..., Any], tmp_path: Path
) -> None:
    sizes = np.array([1.0, 3e4, 1e-3, 1.0, 7.0, 2.0])[:objectives]
    weights = np.array([0.35, 0.15, 0.2, 0.1, 0.1, 0.1])[:objectives] / sizes
    points = quarter_circle(60, objectives) * sizes
    names = [f"objective {k}" for k in range(objectives)]
    run = morl.load(write_run(tmp_path / "run", points=points, objectives=names))
    page = opened(run.directory, theme=theme)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Choose by comparing":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".compare h2:has-text('Question 1')")
    answers = answer_all(page, likes(weights.tolist()))
    assert 1 <= answers <= 25
    assert page.locator(".compare h2").inner_text() == "The recommended policy"
    row = page.evaluate(RECOMMENDED)["row"]
    worth = points @ weights
    assert worth.max() - worth[row] < 0.02 * np.ptp(worth)
    assert f"policy(row={row})" in page.locator(".compare pre").inner_text()
    assert f"run.policy(row={row})" in page.locator(".card pre").first.inner_text()
    assert page.locator(".card h3").inner_text() == "Recommended by your answers"
    assert "expected regret 0." in page.locator(".compare").inner_text()


def test_the_page_asks_what_python_asks(opened: Callable[..., Any], tmp_path: Path) -> None:
    run = morl.load(write_run(tmp_path / "run", points=quarter_circle(50, 3), objectives=["a", "b", "c"]))
    session = Session(run.front.choice_points, run.front.objectives)
    page = opened(run.directory)
    page.click("text=Choose by comparing")
    while session.question is not None:
        assert [policy["row"] for policy in pair_of(page)] == list(session.question)
        left, right = run.front.choice_points[list(session.question)]
        session.answer("left" if left[0] > right[0] else "right")
        press(page, "ArrowLeft" if left[0] > right[0] else "ArrowRight")
    assert page.evaluate(RECOMMENDED)["row"] == session.recommendation.row


def test_buttons_answer_undo_takes_back_and_close_stops(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(write_run(tmp_path / "run", points=quarter_circle(40)))
    page.click("text=Choose by comparing")
    first = pair_of(page)
    assert page.is_disabled(".compare button:has-text('Undo')")
    for number, name in enumerate(("Left is better", "Equally good", "Neither is acceptable"), start=2):
        page.click(f".answers button:has-text('{name}')")
        page.wait_for_selector(f".compare h2:has-text('Question {number}')")
    for number in (3, 2, 1):
        page.click(".compare button:has-text('Undo')")
        page.wait_for_selector(f".compare h2:has-text('Question {number}')")
    assert pair_of(page) == first
    page.click(".compare button:has-text('Close')")
    page.wait_for_selector("text=Choose by comparing")
    assert page.evaluate(RECOMMENDED) is None
    page.keyboard.press("l")  # answers nothing now
    assert page.locator(".answers").count() == 0


def test_a_reload_in_mid_session_goes_on_where_it_was(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(write_run(tmp_path / "run", points=quarter_circle(60)))
    page.click("text=Choose by comparing")
    for _ in range(2):
        left, right = (np.array(policy["outcome"]) for policy in pair_of(page))
        press(page, likes([0.7, 0.3])(left, right))
    before = pair_of(page)
    standing = page.locator(".compare p").last.inner_text()
    page.reload()
    page.locator(".plot .main-svg").first.wait_for()
    assert "2 answers, kept in this browser" in page.locator(".compare").inner_text()
    page.click("text=Continue comparing")
    page.wait_for_selector(".compare h2:has-text('Question 3')")
    assert pair_of(page) == before
    assert page.locator(".compare p").last.inner_text() == standing
    page.click(".compare button:has-text('Close')")
    page.click("text=Start over")
    page.wait_for_selector(".compare h2:has-text('Question 1')")


def test_a_session_of_the_run_folder_is_offered_and_a_saved_file_goes_back(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    run = morl.load(write_run(tmp_path / "run", points=quarter_circle(60)))
    answers = iter(["left", "right", None])
    run.choose(lambda left, right: next(answers))
    page = opened(run.directory)
    assert "2 answers, of" in page.locator(".compare").inner_text()
    page.click("text=Continue comparing")
    page.wait_for_selector(".compare h2:has-text('Question 3')")
    press(page, "l")
    with page.expect_download() as download:
        page.click(".compare button:has-text('Save')")
    download.value.save_as(tmp_path / "choose.json")
    saved = parse_session((tmp_path / "choose.json").read_bytes())
    assert [one.answer for one in saved.answers] == ["left", "right", "left"]
    row = page.evaluate(RECOMMENDED)["row"]
    assert run.choose(lambda left, right: None, file=tmp_path / "choose.json").row == row


def test_damaged_sessions_are_noted_and_never_replayed(opened: Callable[..., Any], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", points=quarter_circle(30))
    (run / "choose.json").write_text('{"format": "<img src=x onerror=window.broken=1>"}')
    page = opened(run)
    assert "choose.json cannot be read: it must be of format" in page.inner_text(".runs")
    assert page.evaluate("window.broken") is None
    half = {"format": "morl-choice-1", "objectives": ["speed", "energy"], "answers": [{}]}
    for kept in ("{", "7", '{"format": "morl-choice-1"}', json.dumps(half)):
        page.evaluate(
            """async (kept) => { const { state } = await import("board/state.js");
            localStorage.setItem(`morl choose|${location.pathname}|${state.problem}`, kept); }""",
            kept,
        )
        page.reload()
        page.locator(".plot .main-svg").first.wait_for()
        assert page.locator("text=Continue comparing").count() == 0
    page.click("text=Choose by comparing")
    page.wait_for_selector(".compare h2:has-text('Question 1')")


def test_only_points_that_keep_the_bounds_and_pass_the_filter_are_compared(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    violations = np.where(np.arange(60) < 40, 0.0, 1.0)
    constraints = {"speed": {"bound": "<= 9", "violations": violations.tolist()}}
    points = quarter_circle(60)
    page = opened(write_run(tmp_path / "run", points=points, constraints=constraints))
    page.click("text=Choose by comparing")
    page.wait_for_selector(".compare h2:has-text('Question 1')")
    page.evaluate("async () => (await import('board/state.js')).change({ filter: [[3, Infinity], null] })")
    page.wait_for_timeout(200)
    for _ in range(6):
        pair = pair_of(page)
        if not pair:
            break
        assert all(violations[policy["row"]] == 0.0 and points[policy["row"], 0] >= 3.0 for policy in pair)
        press(page, "l" if pair[0]["outcome"][0] > pair[1]["outcome"][0] else "r")
    row = page.evaluate(RECOMMENDED)["row"]
    assert violations[row] == 0.0


def test_several_runs_take_part_and_beaten_policies_do_not(opened: Callable[..., Any], tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", points=quarter_circle(30, 2, 1))
    poor = write_run(tmp_path / "poor", points=0.5 * quarter_circle(30, 2, 2), seed=1)
    equal = write_run(tmp_path / "equal", points=quarter_circle(30, 2, 3), seed=2)
    page = opened(good, poor, equal)
    page.click("text=Choose by comparing")
    seen = set()
    for _ in range(8):
        pair = pair_of(page)
        if not pair:
            break
        seen |= {policy["run"] for policy in pair}
        press(page, "l" if pair[0]["outcome"][0] > pair[1]["outcome"][0] else "r")
    assert seen == {good.as_posix(), equal.as_posix()}


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_outcome_is_chosen_at_once(count: int, opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(write_run(tmp_path / "run", points=[[3.0, 4.0]] * count))
    page.click("text=Choose by comparing")
    page.wait_for_selector(".compare h2:has-text('The recommended policy')")
    assert "policy(row=0)" in page.locator(".compare pre").inner_text()


def test_fronts_of_earlier_steps_are_not_compared(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(write_run(tmp_path / "run"))
    page.wait_for_function("document.querySelector('#time').max > 0")
    page.click("text=Choose by comparing")
    page.wait_for_selector(".answers")
    page.fill("#time", "0")
    page.wait_for_selector("text=move the time slider to its end")
    assert page.is_disabled(".compare button")


def test_keys_in_fields_answer_nothing(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(write_run(tmp_path / "run", points=quarter_circle(40)))
    page.click("text=Choose by comparing")
    page.fill("#pattern", "")
    page.locator("#pattern").press("l")
    page.wait_for_timeout(150)
    assert "Question 1" in page.locator(".compare h2").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_and_the_pair_is_marked(theme: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    points = quarter_circle(30, 2) * [1e12, 1e-9]
    long_name = "an objective with a very long name indeed, longer than its column"
    page = opened(write_run(tmp_path / "run", points=points, objectives=[long_name, "b"]), theme=theme, width=800)
    page.click("text=Choose by comparing")
    page.wait_for_selector(".answers")
    press(page, "l")
    page.wait_for_timeout(300)
    cut = """() => [...document.querySelectorAll('.compare td, .compare button, .compare h2')].filter((node) =>
        node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent)"""
    assert page.evaluate(cut) == []
    assert page.locator(".plot .shapelayer path").count() >= 4  # a ring and its border, and two dotted ones


def test_films_of_both_outcomes_are_shown_where_they_are_recorded(opened: Callable[..., Any], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", points=quarter_circle(6))
    write_films(run, [0, 1, 2])
    page = opened(run)
    page.click("text=Choose by comparing")
    page.wait_for_selector(".answers")
    for _ in range(4):
        pair = pair_of(page)
        if not pair:
            break
        recorded = [policy["row"] in (0, 1, 2) for policy in pair]
        shown = page.locator(".compare .films > div")
        assert shown.count() == (2 if any(recorded) else 0)
        if any(recorded):
            assert [shown.nth(side).locator("img").count() == 1 for side in range(2)] == recorded
        press(page, "l" if pair[0]["outcome"][0] > pair[1]["outcome"][0] else "r")
