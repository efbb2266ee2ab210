"""The user's constraints in the chart: a dashed line at each bound, and shade over what breaks it."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import quarter_circle, write_run

from morl.board.page import write_page

BOUNDS = (">= 0.4", "<= 0.4", ">= 40", ">= -40")
NO_BOUNDS = (">= nan", "about 3", "<=", ">= 1; alert(1)", 3, None, ["<= 3"])
SELECT = """async ([run, view]) => {
    const { change, state } = await import("board/state.js");
    change({ selected: new Set([run]), view });
    const frame = () => new Promise((resume) => requestAnimationFrame(resume));
    await frame(); // in which it is drawn
    await frame();
    return state.listing.runs.filter(({ name }) => state.selected.has(name)).length;
}"""
SHAPES = "() => document.querySelector('.plot').layout.shapes"


def run_name(bound: object, objective: int) -> str:
    return f"objective {objective} {bound}"


def bounded_runs(folder: Path, objectives: int) -> list[Path]:
    """Write a run for each bound on each objective: the same points, and how much they break it."""
    points = quarter_circle(30, objectives)
    names = [f"objective {k}" for k in range(objectives)]
    runs = []
    for bound, objective in product(BOUNDS, range(objectives)):
        side = 1.0 if bound[0] == ">" else -1.0
        broken = np.maximum(0.0, side * (float(bound[2:]) - points[:, objective]))
        constraints = {names[objective]: {"bound": bound, "violations": broken.tolist(), "best_violation": 0.0}}
        folder_of_run = folder / run_name(bound, objective)
        runs.append(write_run(folder_of_run, points=points, objectives=names, constraints=constraints))
    return runs


def unbounded_runs(folder: Path) -> list[Path]:
    """Write a run for each entry that is no bound, or names no objective."""
    points = quarter_circle(8)
    runs = []
    for bound in NO_BOUNDS:
        constraints = {
            "speed": {"bound": bound, "violations": [0.0] * len(points)},
            "else": {"bound": "<= 3", "violations": [0.0] * len(points)},
        }
        runs.append(write_run(folder / f"run {NO_BOUNDS.index(bound)}", points=points, constraints=constraints))
    return runs


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Show one run of a page, each of which is opened once; whatever goes wrong in it fails the test."""
    opened: dict[str, Any] = {}
    folders: dict[str, Path] = {}
    errors: list[str] = []

    def show(name: str, run: str, view: str) -> Any:
        if name not in opened:
            folder = folders[name] = tmp_path_factory.mktemp("bounds")
            written = unbounded_runs(folder) if name == "none" else bounded_runs(folder, int(name))
            write_page(written, folder / "front.html")
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto((folder / "front.html").as_uri())
            page.locator(".plot .main-svg").first.wait_for()
            opened[name] = page
        assert opened[name].evaluate(SELECT, [(folders[name] / run).as_posix(), view]) == 1
        assert errors == []
        return opened[name]

    yield show
    for page in opened.values():
        page.close()
    assert errors == []


@pytest.mark.parametrize(("objectives", "view"), [(2, "plane"), (2, "parallel"), (3, "matrix"), (3, "parallel")])
@pytest.mark.parametrize("bound", [">= 0.4", "<= 0.4"])
def test_bounds_are_drawn(objectives: int, view: str, bound: str, pages: Callable[..., Any]) -> None:
    page = pages(str(objectives), run_name(bound, 1), view)
    shapes = page.evaluate(SHAPES)
    lines = [shape for shape in shapes if shape["line"].get("dash") == "dash"]
    shades = [shape for shape in shapes if shape["type"] == "rect"]
    assert len(lines) == len(shades) == {"plane": 1, "matrix": 2, "parallel": 1}[view]
    if view != "parallel":  # which draws shares of axes
        assert {shape["y0"] == shape["y1"] == 0.4 or shape["x0"] == shape["x1"] == 0.4 for shape in lines} == {True}
    assert f"dashed: objective 1 {bound}" in page.locator(".facts-line").inner_text()


PLANES = """() => {
    const { data, layout } = document.querySelector(".plot");
    const planes = data.filter((trace) => trace.type === "mesh3d" || trace.line?.dash === "dash")
      .map(({ type, x, y, z }) => ({ type, corners: [x, y, z].map((along) => Array.from(along)) }));
    const axes = ["xaxis", "yaxis", "zaxis"].map((name) => layout.scene[name]);
    const ticks = axes.map(({ ticktext, tickvals }) => [ticktext.map(Number), tickvals]);
    return { planes, ticks };
}"""


@pytest.mark.parametrize(("bound", "inside"), [(">= 0.4", True), ("<= 0.4", True), (">= 40", False), (">= -40", None)])
@pytest.mark.parametrize("objective", [0, 1, 2])
def test_bounds_are_planes_in_the_space_of_three_objectives(
    bound: str, inside: bool | None, objective: int, pages: Callable[..., Any]
) -> None:
    drawn = pages("3", run_name(bound, objective), "space").evaluate(PLANES)
    shades = [np.array(plane["corners"]) for plane in drawn["planes"] if plane["type"] == "mesh3d"]
    edges = [np.array(plane["corners"]) for plane in drawn["planes"] if plane["type"] == "scatter3d"]
    assert len(shades) == (0 if inside is None else 1)  # -40: nothing that is drawn breaks it
    assert len(edges) == (1 if inside else 0)
    for shade in shades:
        others = np.delete(shade, objective, axis=0)
        assert others.min() == 0.0
        assert others.max() == 1.0
        assert shade[objective].min() == 0.0 or bound[0] == "<"
        assert shade[objective].max() == 1.0 or bound[0] == ">"
    for edge in edges:
        values, places = drawn["ticks"][objective]
        np.testing.assert_allclose(edge[objective], np.interp(0.4, values, places), rtol=1e-6)


@pytest.mark.parametrize("bound", NO_BOUNDS)
def test_a_bound_that_is_none_is_not_drawn(bound: object, pages: Callable[..., Any]) -> None:
    page = pages("none", f"run {NO_BOUNDS.index(bound)}", "plane")
    assert page.evaluate(SHAPES) == page.evaluate(
        "() => document.querySelector('.plot').layout.shapes.filter((one) => one.type === 'circle')"
    )
    assert "dashed" not in page.locator(".facts-line").inner_text()
