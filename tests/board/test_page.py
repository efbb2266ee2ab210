"""The Pareto tab in a browser: a real TensorBoard on loopback, Debian's chromium without a window, by Playwright."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from board_runs import add_evaluation, quarter_circle, write_run

import morl
from morl import utilities
from morl.board.page import write_page

START = "from morl.experiment.cli import main; main()"
PAINTED = """(() => { const c = document.querySelector('.chart canvas');
  const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  return c.hidden ? 0 : data.filter((value, place) => place % 4 === 3 && value > 0).length; })()"""
ODD = "<img src=x onerror=window.broken=1>"  # a name is data, whatever it says


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    """A folder of runs: a real one, seeds of two settings, three objectives, nine, and a damaged one."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        toys.train(root / "real" / f"seed-{seed}", "toy-walk-v0", 400, seed=seed, evaluate_every=100)
    for seed in range(3):
        for rate in (1, 2):
            points = quarter_circle(12, 2, seed, radius=8.0 + rate)
            config = {"total_steps": 9, "rate": rate}
            write_run(root / f"rate-{rate}" / f"seed-{seed}", seed=seed, points=points, config=config, discount=0.9)
    write_run(root / ODD, env="three-v0", objectives=["first", "second", ODD])
    write_run(root / "constructor", env="odd-v0", env_options={ODD: ODD}, agent=ODD)
    write_run(root / "__proto__", env="odd-v0", env_options={ODD: ODD}, agent=ODD, seed=1)
    write_run(root / "nine", env="nine-v0", objectives=[f"objective {k}" for k in range(9)])
    for objectives in (2, 6):
        points = quarter_circle(2_000, objectives)
        names = [f"objective {k}" for k in range(objectives)]
        write_run(root / f"big-{objectives}", env=f"big-{objectives}-v0", points=points, objectives=names)
    (root / "damaged").mkdir()
    (root / "damaged" / "front.json").write_text('{"half')
    return root


@pytest.fixture(scope="module")
def address(runs: Path, browser: Any) -> Iterator[str]:
    """The address of a TensorBoard that shows `runs`, started as users do."""
    command = [sys.executable, "-u", "-c", START, "board", str(runs), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    line = next(text for text in process.stdout if "http://" in text)
    yield line[line.index("http://") :].split()[0].split("#")[0]
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the tab's page and wait for its first picture; whatever goes wrong in it fails the test."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 900})

    def open_page(url: str = f"{address}data/plugin_entry.html?name=pareto", problem: str = "") -> Any:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.locator(".plot .main-svg").first.wait_for()
        if problem:
            choose_problem(page, problem)
        return page

    yield open_page
    context.close()
    assert errors == []


def choose_problem(page: Any, name: str) -> None:
    labels = page.locator("#problem option").all_inner_texts()
    page.select_option("#problem", label=next(label for label in labels if name in label))
    settle(page)


def settle(page: Any) -> None:
    """Wait until what was asked for is loaded and drawn."""
    page.wait_for_function("document.querySelector('#time').max > 0 || !document.querySelector('.run input:checked')")
    page.wait_for_timeout(300)


def inside(page: Any, module: str, expression: str, argument: Any = None) -> Any:
    """Evaluate an expression with the names of one of the page's own modules."""
    script = (
        f"async (given) => {{ const m = await import(new URL('{module}', document.baseURI)); return {expression}; }}"
    )
    return page.evaluate(script, argument)


def marked(page: Any) -> dict[str, Any]:
    found: dict[str, Any] = inside(
        page,
        "choice.js",
        "(({ best: b }) => b && { run: b.run.name, row: b.row, returns: b.returns })(m.choice())",
    )
    return found


def test_it_shows_the_runs_and_notes_what_is_damaged(visit: Callable[..., Any]) -> None:
    page = visit()
    assert "rate 1" in page.inner_text(".runs")
    page.click(".others summary")
    assert "front.json is damaged" in page.inner_text(".others")
    assert page.locator(".plot .scatterlayer .trace").count() > 0


def test_select_by_box_pattern_and_setting(visit: Callable[..., Any]) -> None:
    page = visit(problem="board-test")
    selected = "[...m.state.selected].sort()"
    assert len(inside(page, "state.js", selected)) == 6
    page.fill("#pattern", "rate-1 seed*0")
    page.click("text=Only these")
    assert inside(page, "state.js", selected) == ["rate-1/seed-0"]
    page.fill("#pattern", "")
    page.click("text=None")
    page.wait_for_selector("text=No run is selected")
    page.locator(".setting-name input").nth(1).focus()
    page.keyboard.press("Space")
    assert inside(page, "state.js", selected) == [f"rate-2/seed-{seed}" for seed in range(3)]
    page.wait_for_selector(".plot .main-svg")
    page.locator("table.indicators tbody tr").nth(2).wait_for()


def test_fold_shows_surfaces_and_intervals(visit: Callable[..., Any]) -> None:
    page = visit(problem="board-test")
    page.check("#fold")
    page.wait_for_function("document.querySelectorAll('table.indicators tbody tr').length === 2")
    low, high = page.inner_text("table.indicators tbody .interval >> nth=0").split(" to ")
    assert float(low) < float(high)
    assert (
        inside(page, "scene.js", "m.clouds().map((cloud) => Object.keys(cloud.surfaces))")
        == [["best", "median", "worst"]] * 2
    )


def test_the_time_slider_replays_training(visit: Callable[..., Any], runs: Path) -> None:
    page = visit(problem="toy-walk")
    lines = toys.lines(runs / "real" / "seed-0" / "fronts.jsonl")
    first = lines[0]
    page.fill("#time", "0")
    page.wait_for_selector(f".time output:text-is('step {first['training_steps']:,}')")
    drawn = inside(page, "scene.js", "m.clouds().find((cloud) => cloud.name === 'real/seed-0').points.shape[0]")
    assert drawn == len(first["points"])
    page.wait_for_selector(".card:has-text('policies of its reported front')")
    page.locator("#time").focus()
    page.keyboard.press("End")
    page.wait_for_selector(".time output:has-text('reported')")
    page.locator(".curves .scatterlayer .trace").nth(3).wait_for(state="attached")
    page.select_option("#clock", "environment_steps")


def test_the_marked_policy_is_the_one_that_morl_loads(visit: Callable[..., Any], runs: Path, morl_cli: Any) -> None:
    page = visit(problem="toy-walk")
    page.uncheck("#normalized")
    for weight in np.linspace(0.0, 1.0, 11).round(2).tolist():
        page.fill("#weight-0", str(weight))
        chosen = marked(page)
        preference = [weight, round(1 - weight, 3)]
        best = {name: morl.load(runs / name) for name in ("real/seed-0", "real/seed-1")}
        values = {name: (run.front.choice_points @ np.array(preference)).max() for name, run in best.items()}
        run = best[chosen["run"]]
        assert values[chosen["run"]] == pytest.approx(max(values.values()), abs=1e-12)
        assert run.best_row(preference, normalized=False) == chosen["row"]
        assert run.front.points[chosen["row"]].tolist() == chosen["returns"]
    page.wait_for_selector(f".card dl.facts dd:text-is('{chosen['run']}')")
    page.wait_for_selector(".card pre:has-text('[1, 0]')")
    python, shell, *_ = page.locator(".card .code pre").all_inner_texts()
    names: dict[str, Any] = {}
    exec(python, names)
    assert names["policy"].policy_id == run.front.policy_ids[chosen["row"]]
    np.testing.assert_array_equal(names["policy"].conditioning, run.front.preferences[chosen["row"]])
    words = subprocess.check_output(["sh", "-c", f"printf '%s\\n' {shell}"], text=True).splitlines()
    assert words.pop(0) == "morl"
    code, printed, complaint = morl_cli(*words)
    assert code == 0, complaint
    assert printed
    page.locator(".plot .shapelayer path").nth(1).wait_for(state="attached")


def test_utilities_are_those_of_morl(visit: Callable[..., Any]) -> None:
    page = visit()
    generator = np.random.default_rng(0)
    for objectives in (2, 3, 6):
        points = generator.normal(size=(40, objectives)) * 10.0 ** generator.integers(-3, 4, objectives)
        weights = generator.dirichlet(np.ones(objectives))
        ideal, minimum = points.max(axis=0), np.quantile(points, 0.2, axis=0)
        expected = {
            "linear": utilities.linear(points, weights),
            "tchebycheff": utilities.tchebycheff(points, weights, ideal),
            "linear_above_minimum": utilities.linear_above_minimum(points, weights, minimum),
        }
        given = {
            "points": {"shape": list(points.shape), "values": points.ravel().tolist()},
            "weights": weights.tolist(), "ideal": ideal.tolist(), "minimum": minimum.tolist(),
        }  # fmt: skip
        values_of = "[...utility.of(given.points, given)].map(String)"
        script = f"Object.fromEntries(Object.entries(m.UTILITIES).map(([name, utility]) => [name, {values_of}]))"
        found = inside(page, "utilities.js", script, given)
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose([float(value) for value in found[name]], values, rtol=1e-12)
        scales = 10.0 ** generator.integers(-3, 4, objectives)
        found = inside(page, "utilities.js", script, {**given, "scales": scales.tolist()})
        expected["linear"] = utilities.linear(points / scales, weights)
        expected["tchebycheff"] = utilities.tchebycheff(points / scales, weights, ideal / scales)
        expected["linear_above_minimum"] = utilities.linear_above_minimum(points / scales, weights, minimum / scales)
        for name, values in expected.items():
            np.testing.assert_allclose([float(value) for value in found[name]], values, rtol=1e-12)
    assert inside(page, "utilities.js", "m.normalized(given)", [2, 6]) == [0.25, 0.75]


def test_other_utilities_and_picking_by_hand(visit: Callable[..., Any]) -> None:
    page = visit(problem="board-test")
    page.select_option("#utility", "tchebycheff")
    page.wait_for_selector(".card .code pre:has-text('policy(row=')")
    page.select_option("#utility", "linear_above_minimum")
    page.fill("#minimum-0", "7.5")
    page.wait_for_timeout(200)
    assert marked(page)["returns"][0] >= 7.5
    page.fill("#minimum-1", "100")
    assert marked(page) is None
    page.wait_for_selector("text=No policy meets these requirements")
    page.fill("#minimum-1", "")
    page.wait_for_selector(".alternatives")
    before = marked(page)
    page.click(".alternatives button >> nth=0")
    page.wait_for_selector("text=Policy selected by hand")
    assert marked(page)["returns"] != before["returns"]
    page.click("text=Back to the best policy")
    assert marked(page) == before


def test_brush_filters_and_export_writes_what_is_shown(visit: Callable[..., Any]) -> None:
    page = visit(problem="board-test")
    box = page.locator(".plot .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.02 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + 0.98 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_function("!document.querySelector('.choose details button').disabled")
    low, high = inside(page, "state.js", "m.state.filter[0]")
    with page.expect_download() as download:
        page.click("button:text-is('CSV')")
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    values = [float(row["return speed"]) for row in rows]
    assert 0 < len(rows) < 72
    faded = "document.querySelectorAll('.plot .points path').values().filter((point) => point.style.opacity < 0.4)"
    assert page.evaluate(f"[...{faded}].length") == 0  # what is left is not dimmed
    assert page.locator(".plot .shapelayer path[style*='fill-opacity: 0.12']").count() == 1  # the box stays visible
    assert all(low <= value <= high for value in values)
    with page.expect_download() as download:
        page.click("button:text-is('JSON')")
    record = json.loads(Path(download.value.path()).read_text())
    assert [point["returns"]["speed"] for point in record["points"]] == values
    assert marked(page)["returns"][0] >= low
    page.click("text=Show all")
    page.fill('[aria-label="from speed"]', "5")
    page.keyboard.press("Tab")
    assert inside(page, "state.js", "m.state.filter[0][0]") == 5


def test_three_objectives_turn_and_names_stay_names(visit: Callable[..., Any]) -> None:
    page = visit(problem="three-v0")
    page.wait_for_selector(".plot .gl-container canvas, .plot .no-webgl", state="attached")
    page.wait_for_selector(".triangle")
    assert ODD in page.text_content(".weight >> nth=2")
    page.focus(".triangle")
    before = inside(page, "state.js", "m.state.preference[0]")
    page.keyboard.press("ArrowUp")
    assert inside(page, "state.js", "m.state.preference[0]") > before
    eye = "document.querySelector('.plot').layout.scene.camera.eye"
    before = page.evaluate(eye)
    page.focus(".plot")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    after = page.evaluate(eye)
    assert after["x"] != before["x"]
    assert after["z"] > before["z"]
    page.click("label[for=view-matrix]")
    page.wait_for_function("document.querySelectorAll('.plot .subplot').length === 3")
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0


def test_names_are_text_and_no_keys_of_javascript(visit: Callable[..., Any]) -> None:
    page = visit(problem="odd-v0")
    assert page.locator("table.indicators tbody tr").all_inner_texts()[0].startswith("__proto__")
    page.locator(".curves .main-svg").first.wait_for()
    page.check("#fold")
    page.wait_for_function("document.querySelectorAll('table.indicators tbody tr').length === 1")
    assert ODD in page.text_content(".setting-name")
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0


def test_the_first_picture_does_not_wait_for_plotly(browser: Any, address: str, visit: Callable[..., Any]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route("**/plotly.min.js", lambda route: route.abort())
    page.goto(f"{address}data/plugin_entry.html?name=pareto")
    page.wait_for_selector("text=plotly.min.js cannot be loaded")
    for problem in ("board-test", "big-2", "nine-v0", "big-6"):
        choose_problem(page, problem)
        views = page.locator(".views label").all_inner_texts()
        for view in views:
            page.click(f".views label:text-is('{view}')")
            page.wait_for_timeout(200)
            assert page.evaluate(PAINTED) > 2_000, (problem, view)
    assert page.locator(".plot .main-svg").count() == 0
    context.close()
    page = visit()
    assert page.evaluate("performance.getEntriesByName('first picture').length") == 1


def test_everything_is_reached_with_the_keyboard(visit: Callable[..., Any]) -> None:
    page = visit(problem="board-test")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(({ id, className, textContent }) => id || className || textContent)(document.activeElement)"
            )
        )
    wanted = {
        "problem",
        "pattern",
        "setting-0",
        "run-0-0",
        "view-plane",
        "fold",
        "plot",
        "clock",
        "weight-0",
        "utility",
    }
    assert wanted <= {name.split()[0] for name in reached if name}
    page.focus(".plot")
    before = marked(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("text=Policy selected by hand")
    assert marked(page)["returns"][0] >= before["returns"][0]
    page.keyboard.press("ArrowLeft")
    assert marked(page) == before
    page.focus("#view-plane")
    page.keyboard.press("ArrowRight")
    assert inside(page, "state.js", "m.state.view") == "parallel"


def test_nine_objectives(visit: Callable[..., Any]) -> None:
    page = visit(problem="nine-v0")
    page.wait_for_function("document.querySelectorAll('.plot .annotation').length >= 9")
    page.fill("#weight-4", "0.6")
    assert sum(inside(page, "state.js", "m.state.preference")) == pytest.approx(1.0, abs=0.005)
    page.locator(".plot .shapelayer path").nth(9).wait_for(state="attached")


@pytest.mark.parametrize(("env", "views"), [("big-2", ["plane", "parallel"]), ("big-6", ["parallel", "matrix"])])
def test_thousands_of_points_are_painted(env: str, views: list[str], visit: Callable[..., Any]) -> None:
    page = visit(problem=env)
    for view in views:
        page.click(f"label[for=view-{view}]")
        page.wait_for_timeout(500)
        assert page.evaluate(PAINTED) > 2_000
        page.fill("#weight-0", "0.3")
        page.locator(".plot .shapelayer path").nth(1).wait_for(state="attached")
    page.click(f"label[for=view-{views[0]}]")
    page.fill("#time", "0")
    page.wait_for_timeout(300)
    page.fill("#time", str(page.locator("#time").get_attribute("max")))
    page.wait_for_timeout(300)
    assert page.evaluate(PAINTED) > 2_000
    if env == "big-2":
        box = page.locator(".plot .nsewdrag").bounding_box()
        best = marked(page)["returns"]
        ranges = inside(page, "scene.js", "m.ranges()")
        x, y = ((best[k] - low) / (high - low) for k, (low, high) in enumerate(ranges))
        page.mouse.move(box["x"] + x * box["width"] + 1, box["y"] + (1 - y) * box["height"] + 1)
        page.wait_for_selector(".tooltip:not([hidden])")
        page.mouse.down()
        page.mouse.up()
        page.wait_for_selector("text=Policy selected by hand")


def test_it_refreshes_as_runs_grow(visit: Callable[..., Any], runs: Path) -> None:
    page = visit(problem="board-test")
    steps = "m.state.histories['rate-1/seed-0'].steps"
    assert inside(page, "state.js", steps) == [1_000, 2_000]
    grown = runs / "rate-1" / "seed-0"
    add_evaluation(grown, 3_000, quarter_circle(5), [-1.0, -1.0])
    record = json.loads((grown / "front.json").read_text())
    (grown / "front.json").write_text(json.dumps({**record, "training_steps": 3_000}))
    write_run(runs / "rate-1" / "seed-9", seed=9, config={"total_steps": 9, "rate": 1}, discount=0.9)
    page.wait_for_function("document.querySelectorAll('.run input:checked').length === 7", timeout=30_000)
    deadline = time.monotonic() + 30
    while inside(page, "state.js", steps) != [1_000, 2_000, 3_000]:
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)


def test_inside_tensorboard_it_follows_the_theme(visit: Callable[..., Any], address: str, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(f"{address}?darkMode=true#pareto")
    frame = page.frame_locator("iframe")
    frame.locator(".plot .main-svg").first.wait_for()
    dark = "document.querySelector('iframe').contentDocument.documentElement.classList.contains('dark')"
    assert page.evaluate(dark)
    page.evaluate("document.body.classList.remove('dark-mode')")
    page.wait_for_function(f"!{dark}")
    context.close()


def test_the_self_contained_page_opens_offline(
    visit: Callable[..., Any], runs: Path, tmp_path: Path, browser: Any
) -> None:
    folders = [runs / f"rate-{rate}" / f"seed-{seed}" for rate in (1, 2) for seed in range(3)]
    write_page(folders, tmp_path / "front.html")
    requests: list[str] = []
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "front.html").as_uri())
    page.wait_for_selector(".plot .main-svg")
    page.fill("#weight-0", "0.9")
    page.check("#fold")
    page.wait_for_function("document.querySelectorAll('table.indicators tbody tr').length === 2")
    page.fill("#time", "0")
    page.wait_for_timeout(300)
    assert page.locator(".plot .scatterlayer .trace").count() > 4
    page.locator(".run input").first.uncheck()  # the browser folds nothing itself: that setting's fold is gone
    page.wait_for_function("document.querySelectorAll('table.indicators tbody tr').length === 1")
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
    context.close()
