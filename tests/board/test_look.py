"""What the page looks like: numbers of any size, colors, names, sentences where there is nothing to draw, folds."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_runs import library_of, quarter_circle, write_run
from numpy.typing import NDArray

from morl.board.page import self_contained_page
from morl.board.plugin import FRONT_END

Array = NDArray[np.float64]
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


@pytest.fixture
def opened(visited: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Open a page of all runs in the folder `runs`."""

    def open_page(runs: Path, drawn: bool = True, width: int = 1400, theme: str = "light") -> Any:
        (tmp_path / "front.html").write_text(self_contained_page(library_of(runs)))
        page = visited(tmp_path / "front.html", width=width, color_scheme=theme)
        if drawn:
            page.locator(".plot .main-svg").first.wait_for()
            page.locator(".curves .main-svg").first.wait_for()
        page.wait_for_timeout(400)
        return page

    return open_page


def asked(page: Any, module: str, expression: str) -> Any:
    """Evaluate an expression with the names `m` of one of the page's own modules."""
    return page.evaluate(f"async () => {{ const m = await import('board/{module}'); return {expression}; }}")


# --- Numbers ----------------------------------------------------------------------------------------------------------

CUT = """() => [...document.querySelectorAll('dd, td, output, .number')].filter((node) =>
    node.offsetParent && node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent)"""
OVERLAPPING = """() => { const found = [];
    for (const row of document.querySelectorAll('table tr')) {
        const boxes = [...row.children].map((cell) => { const range = document.createRange();
            range.selectNodeContents(cell); return [range.getBoundingClientRect(), cell.textContent]; });
        boxes.forEach(([box, text], k) => {
            if (k && box.width && boxes[k - 1][0].right > box.left + 1) found.push(text); });
    } return found; }"""
OUTSIDE = """() => { const frame = document.querySelector('.plot').getBoundingClientRect();
    return [...document.querySelectorAll('.plot .xtick text, .plot .ytick text, .plot .annotation')].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1);
    }).map((node) => node.textContent); }"""
ON_TITLES = """() => { const box = (node) => node.getBoundingClientRect();
    const titles = [...document.querySelectorAll('.plot .infolayer .xtitle, .plot .infolayer .ytitle')].map(box);
    const texts = [...document.querySelectorAll('.plot .xtick text, .plot .ytick text')];
    return texts.filter((node) => titles.some((title) =>
        box(node).left < title.right - 1 && box(node).right > title.left + 1 &&
        box(node).top < title.bottom - 1 && box(node).bottom > title.top + 1)).map((node) => node.textContent); }"""
SIZES = {
    "huge and tiny": ([1e12, 1e-9], 0.0), "enormous": ([1e160, 1e-12], 0.0), "offset": ([3.0, 1.0], 1e12),
    "negative": ([-1e9, -1e-6], 0.0), "three": ([1e12, 1e-9, 5e4], 0.0), "five": ([1e40, 1e-40, 1.0, 1e6, 1e-6], 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_numbers_of_any_size_stay_within_their_places(name: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    sizes, offset = SIZES[name]
    points = quarter_circle(9, len(sizes)) / 10 * np.array(sizes) + offset
    objectives = [f"objective {k}" for k in range(len(sizes))]
    errors = {"standard_errors": np.abs(points * 0.01).tolist()} if offset == 0.0 else {}
    reference = (points.min(axis=0) - np.ptp(points, axis=0)).tolist()
    write_run(
        tmp_path / "runs" / "run", points=points, objectives=objectives, reference_point=reference, steps=[10], **errors
    )
    page = opened(tmp_path / "runs")
    page.click(".choose summary")
    for view in page.locator(".views input").all():
        page.click(f"label[for={view.get_attribute('id')}]")
        page.wait_for_timeout(400)
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate(ON_TITLES) == []
        if view.get_attribute("id") != "view-space":
            assert page.locator(".plot .scatterlayer .trace").count() > 0
    assert page.evaluate(CUT) == []
    assert page.evaluate(OVERLAPPING) == []
    texts = page.locator(".card dl.returns dd").all_text_contents()
    assert not {"0", DASH, "NaN"} & set(texts)
    ranges = asked(page, "scene.js", "m.ranges()")
    for (low, high), column in zip(ranges, points.T, strict=True):
        assert low < column.min() <= column.max() < high
        assert high - low < 1.3 * np.ptp(column)


EXTREME = {
    "the largest": {"points": [[1e308, -1e308], [-1e308, 1e308]], "known_front": [[1e308, 1e308], [-1e308, -1e308]]},
    "the smallest": {"points": [[5e-324, 1e-322], [1e-322, 5e-324]]},
    "scales": {"points": [[1.0, 2.0], [2.0, 1.0]], "scales": [5e-324, 1e308], "units": [1e-320, 1e300]},
    "errors": {"points": [[1.0, 2.0], [2.0, 1.0]], "standard_errors": [[1e308, -1.0], [None, 5e-324]]},
    "choice": {"points": [[1.0, 2.0], [2.0, 1.0]], "choice_points": [[1e308, -1e308], [-1e308, 1e308]]},
}


@pytest.mark.parametrize("name", EXTREME)
def test_numbers_at_the_ends_of_float64_break_nothing(name: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "run", points=[[1.0, 2.0], [2.0, 1.0]], steps=[10])
    record = json.loads((run / "front.json").read_text())
    (run / "front.json").write_text(json.dumps(record | EXTREME[name]))
    lines = [json.loads((run / "fronts.jsonl").read_text())]
    lines[0] |= {"points": EXTREME[name]["points"], "indicators": {"hypervolume": 1e308, "expected_utility": 5e-324}}
    (run / "fronts.jsonl").write_text(json.dumps(lines[0]) + "\n")
    page = opened(tmp_path / "runs")
    for utility in ("tchebycheff", "linear_above_minimum", "linear"):
        page.select_option("#utility", utility)
        page.fill("#weight-0", "0.3")
        page.set_checked("#normalized", utility == "linear")
    page.check("#fold")
    page.click("label[for=view-parallel]")
    page.wait_for_timeout(300)
    assert page.locator(".plot .main-svg").count() > 0  # no error either: see the fixture


def test_numbers_are_short_and_ticks_differ(opened: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "run")
    page = opened(tmp_path / "runs")

    def formatted(*arguments: Any) -> str:
        return str(asked(page, "dom.js", f"m.formatted({', '.join(map(str, arguments))})"))

    assert formatted(1234567.8) == "1,234,570"
    assert formatted(1.25e12) == "1.25e12"
    assert formatted(-3e-10) == f"{MINUS}3e{MINUS}10"
    assert formatted(3e-10, 6, 1e4) == "0"  # a rounding error beside ten thousand
    assert [formatted(0), formatted("NaN"), formatted("null"), formatted("1/0")] == ["0", DASH, DASH, "infinite"]
    for low, high in ((0, 1), (-5, 1e12), (1e12, 1e12 + 3), (1e-12, 4e-12), (-1e160, 1e160), (0.1, 0.1000001)):
        texts = asked(page, "dom.js", f"m.tickTexts(m.niceTicks([{low}, {high}], 5))")
        assert 3 <= len(texts) == len(set(texts))
    assert asked(page, "dom.js", "m.niceTicks([1, 1], 5)") == []


# --- Colors -----------------------------------------------------------------------------------------------------------

VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
"""Colors as people see them, in linear sRGB: Machado, Oliveira and Fernandes 2009, severity 1."""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear_rgb(color: str) -> Array:
    value = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(color: str, vision: str) -> Array:
    """Return a color's place in CIELAB, where distances are differences that people see; 10 is plain to see."""
    seen = np.clip(VISION[vision] @ linear_rgb(color), 0.0, 1.0)
    ratio = (TO_XYZ @ seen) / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_series_are_told_apart_by_anyone(theme: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "run")
    page = opened(tmp_path / "runs", theme=theme)
    looks = asked(page, "theme.js", "Array.from({ length: 84 }, (_, k) => m.look(k))")
    background = asked(page, "theme.js", "m.colours().background")
    shown = [look["colour"] for look in looks[:14]]
    assert len(set(shown)) == 14
    luminances = [TO_XYZ[1] @ linear_rgb(color) for color in (background, *shown)]
    for luminance in luminances[1:]:
        lighter, darker = max(luminance, luminances[0]), min(luminance, luminances[0])
        assert (lighter + 0.05) / (darker + 0.05) > 2.2
    for vision in VISION:
        for first in range(14):
            for second in range(first):
                distance = np.linalg.norm(lab(shown[first], vision) - lab(shown[second], vision))
                if vision == "normal":
                    assert distance > 20, (shown[first], shown[second])
                elif distance < 12:  # alike to some: then the symbol or the dash is another
                    one, other = looks[first], looks[second]
                    assert one["symbol"] != other["symbol"] or one["dash"] != other["dash"]
    assert len({(look["colour"], look["symbol"], look["dash"]) for look in looks}) == 84
    assert len({(look["colour"], look["symbol3d"], look["dash"]) for look in looks}) == 84


def test_the_eighth_series_is_drawn_and_listed_in_its_own_look(opened: Callable[..., Any], tmp_path: Path) -> None:
    for seed in range(12):
        write_run(tmp_path / "runs" / f"seed-{seed}", seed=seed)
    page = opened(tmp_path / "runs")
    attributes = "(all) => all.map((path) => path.getAttribute(name))"
    fills = page.locator(".runs .swatch path:last-child").evaluate_all(attributes.replace("name", "'fill'"))
    assert len(fills) == len(set(fills)) == 12
    dashes = page.locator(".runs .swatch path:first-child").evaluate_all(
        attributes.replace("name", "'stroke-dasharray'")
    )
    assert dashes[0] != dashes[8]
    traces = page.evaluate("document.querySelector('.plot').data.map((t) => [t.mode, t.marker?.color])")
    assert set(fills) <= {color for mode, color in traces if mode == "markers"}
    curves = page.evaluate("document.querySelector('.curves').data.slice(0, 12).map((t) => t.line.dash)")
    assert set(curves) == {"solid", "dash"}


def test_no_picture_needs_a_font_of_symbols() -> None:
    quotes = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
    harmless = {*quotes, MINUS, DASH, "\N{PLUS-MINUS SIGN}", "\N{HORIZONTAL ELLIPSIS}", "\N{GREATER-THAN OR EQUAL TO}"}
    for file in sorted(FRONT_END.iterdir()):
        text = file.read_text()
        strings = "".join(re.sub(r"^\s*(//|/?\*).*$", "", line) for line in text.splitlines())
        assert {letter for letter in strings if ord(letter) > 127} <= harmless, file.name
    # Plotly writes the 3-D symbols "x" and "cross" as the characters of a font of dingbats.
    symbols = re.search(r"SYMBOLS_3D = \[(.*)\]", (FRONT_END / "theme.js").read_text())
    assert symbols is not None
    assert not {'"x"', '"cross"'} & set(symbols[1].split(", "))


def test_arrows_and_buttons_are_drawn(opened: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "run")
    page = opened(tmp_path / "runs")
    arrows = page.locator("table.indicators thead svg")
    labels = [arrow.get_attribute("aria-label") for arrow in arrows.all()]
    assert labels == ["higher is better", "higher is better", "lower is better", "higher is better"]
    assert page.locator(".curves .annotation-arrow-g").count() == 4
    assert page.locator(".time button svg").count() == 1
    page.click(".time button")
    assert page.inner_text(".time button").strip() == "Pause"
    assert page.locator(".time button svg").count() == 1


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [900, 1400])
def test_long_names_lose_their_middle_and_show_all_on_hover(
    width: int, opened: Callable[..., Any], tmp_path: Path
) -> None:
    names = [f"sweep-of-everything-that-can-be-set-in-one-go-{number}-seed-0" for number in (1, 2)]
    for seed, name in enumerate(names):
        write_run(tmp_path / "runs" / name, seed=seed)
    page = opened(tmp_path / "runs", width=width)
    for place in (".runs .run .name", "table.indicators .name"):
        for node, name in zip(page.locator(place).all(), names, strict=True):
            assert (node.get_attribute("title"), node.text_content()) == (name, name)
            head, tail = node.locator(".head"), node.locator(".tail")
            assert head.evaluate("(part) => part.scrollWidth > part.clientWidth")  # elided here
            assert tail.text_content() == name[-9:]
            box, whole = tail.bounding_box(), node.bounding_box()
            assert box["x"] + box["width"] <= whole["x"] + whole["width"] + 1  # the end of the name is visible
            assert box["width"] > 20
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_settings_and_problems_are_named_by_what_differs(opened: Callable[..., Any], tmp_path: Path) -> None:
    for number in range(4):
        config = {"total_steps": 10, "rate": [0.1, 0.2][number % 2], "width": [8, 16][number // 2], "same": 1}
        write_run(tmp_path / "runs" / f"run-{number}", config=config)
    write_run(tmp_path / "runs" / "other", discount=0.5)
    page = opened(tmp_path / "runs")
    labels = page.locator(".setting-name").all_text_contents()
    assert sorted(label.strip() for label in labels) == [
        f"pd-morl, rate {rate}, width {width}" for rate in (0.1, 0.2) for width in (16, 8)
    ]
    options = page.locator("#problem option").all_text_contents()
    assert sorted(options) == ["board-test-v0, discount 0.5", "board-test-v0, discount 0.99"]


# --- Nothing to draw --------------------------------------------------------------------------------------------------


def test_without_runs_it_says_so(opened: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    page = opened(tmp_path / "runs", drawn=False)
    assert f"There are no runs in {tmp_path / 'runs'} yet" in page.inner_text(".chart")
    assert "once a run has a front" in page.inner_text(".choose")
    assert page.locator(".card:visible, .choose button:visible").count() == 0
    assert "Loading" not in page.inner_text("body")
    run = tmp_path / "runs" / "begun"
    run.mkdir()
    (run / "config.toml").touch()
    (run / "system.json").touch()
    page = opened(tmp_path / "runs", drawn=False)
    assert "No run has a front yet: the first evaluation makes one. 1 without a front" in page.inner_text(".chart")
    assert "Loading" not in page.inner_text("body")


def test_one_objective_and_one_point_are_explained(opened: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "point", points=[[3.0, 4.0]], steps=[10])
    write_run(tmp_path / "runs" / "one-objective", points=[[3.0], [5.0]], objectives=["score"], env="one-v0")
    page = opened(tmp_path / "runs")
    assert page.inner_text(".chart-note") == "This front is a single point: there is no trade-off yet."
    page.click(".others summary")
    note = page.inner_text(".others .note")
    assert note == "front.json has one objective, score, and a front needs at least two; its best return is 5"
    page.click("button:text-is('None')")
    page.wait_for_timeout(300)
    for place in (".chart .empty", "section[aria-label=Indicators]", "section[aria-label='Indicators over training']"):
        assert "No run is selected" in page.inner_text(place)


def test_a_front_without_points_is_explained(opened: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "run", steps=[10])
    file = tmp_path / "runs" / "run" / "front.json"
    record = json.loads(file.read_text())
    gone = ("points", "preferences", "policy_ids", "undiscounted_points")
    file.write_text(json.dumps({**record, **{name: [] for name in gone}}))
    page = opened(tmp_path / "runs", drawn=False)
    assert "The front has no point yet" in page.inner_text(".chart")
    assert "No policy to choose from" in page.inner_text(".card")


# --- Folds ------------------------------------------------------------------------------------------------------------


def test_folded_settings_do_not_hide_each_other(opened: Callable[..., Any], tmp_path: Path) -> None:
    for rate in (1, 2, 3):
        for seed in range(3 if rate < 3 else 1):
            config = {"total_steps": 9, "rate": rate}  # the same points: their surfaces coincide
            write_run(tmp_path / "runs" / f"rate-{rate}-{seed}", seed=seed, config=config)
    page = opened(tmp_path / "runs")
    page.check("#fold")
    page.wait_for_timeout(500)
    line = "{ fill: t.fill, dash: t.line.dash, width: t.line.width }"
    traces = page.evaluate(f"document.querySelector('.plot').data.map((t) => ({line}))")
    filled = [bool(trace.get("fill")) for trace in traces]
    assert filled == sorted(filled, reverse=True)  # all bands lie behind all lines
    assert filled.count(True) == 3
    medians = [trace["dash"] for trace in traces if trace["width"] > 2]
    assert len(medians) == len(set(medians)) == 3
    assert len(traces) == 3 + 3 + 3 + 1  # a single seed has no best and worst


def test_collapsed_parts_stay_as_they_were_left(opened: Callable[..., Any], tmp_path: Path) -> None:
    for seed in range(60):
        write_run(tmp_path / "runs" / f"setting-{seed % 10}" / f"seed-{seed}", seed=seed, config={"rate": seed % 10})
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "front.json").write_text("[]")
    page = opened(tmp_path / "runs", width=900)
    page.locator(".others summary").scroll_into_view_if_needed()
    page.click(".others summary")
    page.locator(".run input").first.uncheck()
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('.others').open")
    assert page.evaluate("document.activeElement.matches('.run input')")
    page.focus(".others summary")
    page.locator(".run input").first.evaluate("(box) => box.click()")
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement.matches('.others summary')")
    page.click(".choose summary")  # sixty runs do not push the other panel out of reach
    assert page.evaluate("document.documentElement.scrollHeight") < 3_500
    assert page.is_visible(".others .note")
