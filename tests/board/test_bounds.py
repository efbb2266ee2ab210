"""The user's constraints in the chart: a dashed line at each bound, and shade over what breaks it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import quarter_circle, write_run

from morl.board.page import write_page

SHAPES = """async (view) => {
    const { change } = await import("board/state.js");
    change({ view });
    await new Promise((resume) => setTimeout(resume, 500));
    return document.querySelector(".plot").layout.shapes;
}"""


@pytest.mark.parametrize(("objectives", "view"), [(2, "plane"), (2, "parallel"), (3, "matrix"), (3, "parallel")])
@pytest.mark.parametrize("bound", [">= 0.4", "<= 0.4"])
def test_bounds_are_drawn(objectives: int, view: str, bound: str, visited: Callable[..., Any], tmp_path: Path) -> None:
    points = quarter_circle(30, objectives)
    names = [f"objective {k}" for k in range(objectives)]
    broken = np.maximum(0.0, (0.4 - points[:, 1]) * (1.0 if bound[0] == ">" else -1.0))
    constraints = {names[1]: {"bound": bound, "violations": broken.tolist(), "best_violation": 0.0}}
    run = write_run(tmp_path / "run", points=points, objectives=names, constraints=constraints)
    write_page([run], tmp_path / "front.html")
    page = visited(tmp_path / "front.html")
    page.locator(".plot .main-svg").first.wait_for()
    shapes = page.evaluate(SHAPES, view)
    lines = [shape for shape in shapes if shape["line"].get("dash") == "dash"]
    shades = [shape for shape in shapes if shape["type"] == "rect"]
    assert len(lines) == len(shades) == {"plane": 1, "matrix": 2, "parallel": 1}[view]
    if view != "parallel":  # which draws shares of axes
        assert {shape["y0"] == shape["y1"] == 0.4 or shape["x0"] == shape["x1"] == 0.4 for shape in lines} == {True}
    assert f"dashed: objective 1 {bound}" in page.locator(".facts-line").inner_text()


PLANES = """async () => {
    const { change } = await import("board/state.js");
    change({ view: "space" });
    await new Promise((resume) => setTimeout(resume, 1500));
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
    bound: str, inside: bool | None, objective: int, visited: Callable[..., Any], tmp_path: Path
) -> None:
    names = [f"objective {k}" for k in range(3)]
    points = quarter_circle(30, 3)
    constraints = {names[objective]: {"bound": bound, "violations": [0.0] * len(points), "best_violation": 0.0}}
    run = write_run(tmp_path / "run", points=points, objectives=names, constraints=constraints)
    write_page([run], tmp_path / "front.html")
    page = visited(tmp_path / "front.html")
    page.locator(".plot .main-svg").first.wait_for()
    drawn = page.evaluate(PLANES)
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


@pytest.mark.parametrize("bound", [">= nan", "about 3", "<=", ">= 1; alert(1)", 3, None, ["<= 3"]])
def test_a_bound_that_is_none_is_not_drawn(bound: object, visited: Callable[..., Any], tmp_path: Path) -> None:
    points = quarter_circle(8)
    constraints = {
        "speed": {"bound": bound, "violations": [0.0] * len(points)},
        "else": {"bound": "<= 3", "violations": [0.0] * len(points)},
    }
    write_page([write_run(tmp_path / "run", points=points, constraints=constraints)], tmp_path / "front.html")
    page = visited(tmp_path / "front.html")
    page.locator(".plot .main-svg").first.wait_for()
    assert page.evaluate(SHAPES, "plane") == page.evaluate(
        "() => document.querySelector('.plot').layout.shapes.filter((one) => one.type === 'circle')"
    )
    assert "dashed" not in page.locator(".facts-line").inner_text()
