"""The policy that the page chooses is the one that `Run.best_row` chooses, and the line that it shows loads it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import quarter_circle, write_run
from numpy.typing import NDArray

import morl
from morl.board.page import write_page
from morl.preferences import scales_differ, scales_of

Array = NDArray[np.float64]
MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def opened(visited: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Write some runs as one page and open it."""

    def open_page(*runs: Path) -> Any:
        write_page(list(runs), tmp_path / "front.html")
        page = visited(tmp_path / "front.html")
        page.locator(".plot .main-svg").first.wait_for()
        page.wait_for_timeout(300)
        return page

    return open_page


def noisy_run(folder: Path, seed: int, size: list[float], **given: Any) -> Path:
    """Write a run whose policies are chosen by other numbers than those that are reported."""
    points = quarter_circle(12, len(size), seed) * np.array(size)
    generator = np.random.default_rng(seed + 50)
    moved = points + 0.2 * np.ptp(points, axis=0) * generator.normal(size=points.shape)
    errors = np.ptp(points, axis=0) * 0.05 * np.ones_like(points)
    objectives = [f"objective {k}" for k in range(len(size))]
    entries = {"choice_points": moved.tolist(), "standard_errors": errors.tolist(), "objectives": objectives, **given}
    return write_run(folder, seed=seed, points=points, **entries)


def chosen(page: Any) -> dict[str, Any]:
    """Return run, row and utility of the policy that the page has chosen, and the row that its line of Python loads."""
    page.wait_for_timeout(80)
    script = """async () => { const { choice } = await import("board/choice.js"); const { best } = choice();
        return { run: best.run.directory, row: best.row, utility: best.utility }; }"""
    return {**page.evaluate(script), "lines": page.locator(".card .code pre").all_text_contents()}


def loaded_row(run: Any, lines: list[str]) -> int:
    """Return the row of the front that the line of Python loads; that of the shell must be the same."""
    python, shell, *_ = lines  # and how to record it

    def policy(preference: Any = None, *, row: int | None = None, normalized: bool | None = None) -> int:
        return run.best_row(preference, normalized=normalized) if row is None else row

    arguments = re.search(r"run\.policy\((.*)\)$", python)
    assert arguments is not None
    row: int = eval(f"policy({arguments[1]})", {"policy": policy})
    words = shell.split()
    if "--row" in words:
        assert int(words[words.index("--row") + 1]) == row
    else:
        at = words.index("--preference") + 1
        preference = [float(word) for word in words[at : at + len(run.front.objectives)]]
        assert run.best_row(preference) == row
    return row


def set_preference(page: Any, weight: float) -> list[float]:
    page.fill("#weight-0", str(weight))
    preference: list[float] = page.evaluate("async () => (await import('board/state.js')).state.preference")
    return preference


SCALES = {"alike": [10.0, 10.0], "different": [1.0, 5_000.0], "three": [1e12, 1e-9, 3.0]}


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("stated", [False, True])
def test_one_run_is_chosen_from_as_in_python(
    name: str, stated: bool, opened: Callable[..., Any], tmp_path: Path
) -> None:
    scales = SCALES[name]
    given = {"scales": [2.0, *[30.0] * (len(scales) - 1)]} if stated else {}
    run = morl.load(noisy_run(tmp_path / "run", 0, scales, **given))
    page = opened(run.directory)
    assert page.is_checked("#normalized") == run.front.normalizes
    rows = set()
    for normalized in (run.front.normalizes, not run.front.normalizes):
        page.set_checked("#normalized", normalized)
        for weight in (0.0, 0.1, 0.35, 0.5, 0.8, 1.0):
            preference = set_preference(page, weight)
            found = chosen(page)
            assert found["row"] == run.best_row(preference, normalized=normalized)
            assert loaded_row(run, found["lines"]) == found["row"]
            explicit = f"normalized={normalized}" in found["lines"][0]
            assert explicit == (normalized != run.front.normalizes)
            rows.add(found["row"])
    assert len(rows) > 1


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("stated", [False, True])
def test_of_several_runs_the_best_in_common_scales_is_chosen(
    normalized: bool, stated: bool, opened: Callable[..., Any], tmp_path: Path
) -> None:
    given = {"scales": [2.0, 9_000.0]} if stated else {}
    folders = [noisy_run(tmp_path / f"seed-{seed}", seed, [1.0, 5_000.0], **given) for seed in range(3)]
    runs = {folder.as_posix(): morl.load(folder) for folder in folders}
    everything = np.concatenate([run.front.points for run in runs.values()])
    scales = scales_of(everything, tuple(given["scales"]) if stated else None)
    page = opened(*folders)
    assert page.is_checked("#normalized") == scales_differ(scales)
    page.set_checked("#normalized", normalized)
    divided = scales if normalized else np.ones(2)
    for weight in (0.0, 0.2, 0.5, 0.77, 1.0):
        preference = np.array(set_preference(page, weight))
        found = chosen(page)
        utilities = {name: (run.front.choice_points / divided) @ preference for name, run in runs.items()}
        assert found["utility"] == pytest.approx(max(values.max() for values in utilities.values()))
        assert found["row"] == utilities[found["run"]].argmax()
        assert loaded_row(runs[found["run"]], found["lines"]) == found["row"]


def test_constraints_count_before_utility(opened: Callable[..., Any], tmp_path: Path) -> None:
    violations = np.linspace(0.0, 1.0, 12).round()
    constraints = {"objective 0": {"bound": "<= 1", "violations": violations.tolist()}}
    run = morl.load(noisy_run(tmp_path / "run", 1, [10.0, 10.0], constraints=constraints))
    page = opened(run.directory)
    for weight in (0.0, 0.5, 1.0):
        preference = set_preference(page, weight)
        found = chosen(page)
        assert found["row"] == run.best_row(preference) == loaded_row(run, found["lines"])
        assert violations[found["row"]] == 0.0


def test_the_card_reports_returns_with_their_standard_errors(opened: Callable[..., Any], tmp_path: Path) -> None:
    run = noisy_run(tmp_path / "run", 2, [10.0, 5_000.0], indicator_errors={"hypervolume": 123.0})
    page = opened(run)
    row = chosen(page)["row"]
    front = morl.load(run).front
    shown = page.locator(".card dl.returns dd").all_text_contents()
    for text, point, error in zip(shown, front.points[row], front.standard_errors[row], strict=True):
        mean, spread = (float(part.replace(",", "")) for part in text.replace(MINUS, "-").split(" ± "))
        assert mean == pytest.approx(point, rel=1e-5)
        assert spread == pytest.approx(error, rel=0.06)
    assert "other episodes than those reported" in page.text_content(".card")
    assert "± 120" in page.text_content("table.indicators")
    assert page.locator(".plot .errorbar path").count() >= 24
    page.locator("#utility").select_option("linear_above_minimum")
    page.fill("#minimum-0", str(front.choice_points[row, 0] - 1e-9))
    assert chosen(page)["row"] >= 0


def test_equal_policies_and_tiny_numbers_are_told_apart(opened: Callable[..., Any], tmp_path: Path) -> None:
    points = quarter_circle(8) * 1e-12 + 0.0
    run = morl.load(write_run(tmp_path / "run", points=[*points.tolist(), points[3].tolist()]))
    page = opened(run.directory)
    assert chosen(page)["row"] == run.best_row([0.5, 0.5])
    assert page.locator(".alternatives thead button").count() == 4
    returns = page.locator(".card dl.returns dd").all_text_contents()
    assert all(f"e{MINUS}12" in text or f"e{MINUS}11" in text for text in returns)
