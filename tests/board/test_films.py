"""Recorded policies on the board: which are shown, how they are served, and the page that plays them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import hypothesis.strategies as st
import pytest
from board_runs import library_of, quarter_circle, runs_by_name, write_films, write_run
from hypothesis import HealthCheck, given, settings
from werkzeug.test import Client

from morl.board import answers, page
from morl.board.page import page_data, self_contained_page, write_page
from morl.board.plugin import ParetoPlugin

START = "from morl.experiment.cli import main; main()"
NEEDS_FFMPEG = "imageio-ffmpeg is not installed: pip install '.[video]'"


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client of the plugin as TensorBoard would serve it, over the folder `tmp_path`."""
    plugin = ParetoPlugin(SimpleNamespace(logdir=str(tmp_path)))
    applications = plugin.get_plugin_apps()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        plugin.library._searched = -float("inf")
        return applications[environ["PATH_INFO"]](environ, start_response)

    return Client(application)


def film(run: str, file: str) -> str:
    return f"/film?{urlencode({'run': run, 'file': file})}"


def get(client: Client, address: str, **headers: str) -> Any:
    """Return a response whose file is closed, as a server closes it."""
    return client.get(address, headers=headers, buffered=True)


def films_of(root: Path, name: str = "run") -> dict[str, Any]:
    """Return what the page is told of the recordings of a run, as strict JSON reads it."""
    said = answers.films(library_of(root), [name])
    return dict(json.loads(json.dumps(said, allow_nan=False)).get(name, {}))


# --- Which recordings are shown ---------------------------------------------------------------------------------------


def test_recordings_are_listed_by_the_point_that_they_show(tmp_path: Path) -> None:
    write_run(tmp_path / "run", discount=1.0)
    recordings = write_films(tmp_path / "run", [5, 0])
    said = films_of(tmp_path)
    assert said["sheet"] == "sheet-0.png"
    assert said["damaged"] == {}
    assert list(said["recordings"]) == ["0", "5"]
    shown = said["recordings"]["5"]
    assert (shown["file"], shown["seed"], shown["steps"]) == (recordings[0].file, 0, [20])
    assert shown["returns"] == [list(recordings[0].returns[0])]
    assert runs_by_name(library_of(tmp_path))["run"]["film_version"] == said["version"] != ""


def test_a_run_without_videos_has_none_and_no_note(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert films_of(tmp_path) == {"version": "", "sheet": None, "damaged": {}, "recordings": {}}
    assert runs_by_name(library_of(tmp_path))["run"]["notes"] == []


def test_new_recordings_appear_and_those_of_an_earlier_front_go(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    library = library_of(tmp_path)
    write_films(run, [1])
    library.refresh(least_seconds=0.0)
    before = answers.films(library, ["run"])["run"]
    assert list(before["recordings"]) == ["1"]
    front = json.loads((run / "front.json").read_text())
    front["policies"][1]["sha256"] = "0" * 64  # the policy has learned
    (run / "front.json").write_text(json.dumps(front))
    library.refresh(least_seconds=0.0)
    after = answers.films(library, ["run"])["run"]
    assert after["recordings"] == {}
    assert after["version"] != before["version"]


def test_of_many_points_those_that_are_shown_have_their_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl.board.records.POINTS_SHOWN", 3)
    write_run(tmp_path / "run", points=quarter_circle(9))
    recordings = write_films(tmp_path / "run", [0, 3, 4, 8])
    said = films_of(tmp_path)["recordings"]
    assert {place: shown["file"] for place, shown in said.items()} == {
        "0": recordings[0].file,
        "1": recordings[2].file,
        "2": recordings[3].file,
    }


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def replaced(file: Path) -> None:
    file.write_bytes(b"<script>alert(1)</script>".ljust(file.stat().st_size, b" "))


def linked(file: Path) -> None:
    shutil.move(file, file.parent.parent.parent / "secret")
    file.symlink_to(file.parent.parent.parent / "secret")


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "half-written": (truncated, "bytes instead of"),
    "no video": (replaced, "is no video"),
    "missing": (Path.unlink, "is missing"),
    "link": (linked, "cannot be read"),
    "pipe": (piped, "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_film_is_said_and_not_served(kind: str, tmp_path: Path, client: Client) -> None:
    run = write_run(tmp_path / "run")
    damaged, whole = write_films(run, [2, 3])
    damage, words = DAMAGE[kind]
    damage(run / "videos" / damaged.file)
    said = films_of(tmp_path)
    assert list(said["recordings"]) == ["3"]
    assert said["damaged"]["2"].startswith(f"videos/{damaged.file} ")
    assert words in said["damaged"]["2"]
    assert said["damaged"]["2"].endswith(": record it again")
    assert get(client, film("run", damaged.file)).status_code == 404
    assert get(client, film("run", whole.file)).status_code == 200


INDEXES: dict[str, bytes] = {
    "half": b'{"version": 1, "videos": [{"fi', "nothing": b"", "list": b"[]", "deep": b"[" * 100_000,
    "another version": b'{"version": 2, "videos": []}', "no text": bytes(range(256)),
}  # fmt: skip


@pytest.mark.parametrize("kind", INDEXES)
def test_a_damaged_index_is_a_note_and_the_front_is_shown(kind: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_films(run, [0])
    (run / "videos" / "index.json").write_bytes(INDEXES[kind])
    listed = runs_by_name(library_of(tmp_path))["run"]
    assert listed["points"] == 8
    (note,) = listed["notes"]
    assert note.startswith("videos/index.json is damaged")
    assert films_of(tmp_path)["recordings"] == {}


ENTRY_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    key=st.sampled_from(["file", "thumbnail", "bytes", "row", "returns", "seed", "conditioning", "x"]),
    value=ENTRY_VALUES,
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_entry_leaves_the_others_alone(key: str, value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("runs")
    run = write_run(root / "run")
    odd, good = write_films(run, [1, 4])
    record = {"version": 1, "sheet": value, "videos": [asdict(odd) | {key: value}, asdict(good)]}
    (run / "videos" / "index.json").write_text(json.dumps(record))
    assert films_of(root)["recordings"]["4"]["file"] == good.file
    page_data(library_of(root), videos=True)


def test_a_folder_of_videos_that_is_a_link_is_not_followed(tmp_path: Path, client: Client) -> None:
    run = write_run(tmp_path / "runs" / "run")
    (recording,) = write_films(run, [0])
    shutil.move(run / "videos", tmp_path / "elsewhere")
    (run / "videos").symlink_to(tmp_path / "elsewhere")
    assert films_of(tmp_path / "runs")["recordings"] == {}
    assert "a link" in str(runs_by_name(library_of(tmp_path / "runs"))["run"]["notes"])
    assert get(client, film("runs/run", recording.file)).status_code == 404


# --- Serving ----------------------------------------------------------------------------------------------------------


def test_films_are_served_whole_and_in_ranges(tmp_path: Path, client: Client) -> None:
    run = write_run(tmp_path / "a run")
    (recording,) = write_films(run, [0])
    content = (run / "videos" / recording.file).read_bytes()
    address = film("a run", recording.file)
    whole = get(client, address)
    assert (whole.status_code, whole.data) == (200, content)
    assert whole.headers["Content-Type"] == "image/gif"
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    size = len(content)
    for asked, first, last in (("10-19", 10, 19), (f"{size - 5}-", size - 5, size - 1), ("-7", size - 7, size - 1)):
        part = get(client, address, Range=f"bytes={asked}")
        assert part.status_code == 206
        assert part.data == content[first : last + 1]
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    assert get(client, address, Range=f"bytes={size}-").status_code == 416
    assert client.head(address, buffered=True).headers["Content-Length"] == str(size)
    assert get(client, address, **{"If-None-Match": whole.headers["ETag"]}).status_code == 304
    still = get(client, film("a run", recording.thumbnail))
    assert (still.status_code, still.headers["Content-Type"]) == (200, "image/png")
    assert get(client, film("a run", "sheet-0.png")).status_code == 200
    assert client.post(address).status_code == 404


NAMES = [
    "../front.json", "..", "index.json", "../videos/index.json", "/etc/passwd", "policy-0.mp4", "", "front.json",
    "../../secret.gif", "%2e%2e/front.json", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_only_files_of_the_index_are_served(name: str, tmp_path: Path, client: Client) -> None:
    run = write_run(tmp_path / "run")
    write_films(run, [0])
    (tmp_path / "secret.gif").write_bytes(b"GIF89a")
    for folder in ("run", "", "..", str(tmp_path), "nowhere"):
        assert get(client, film(folder, name)).status_code == 404
    assert get(client, "/film").status_code == 404


# --- The page as one file ---------------------------------------------------------------------------------------------


def test_a_page_holds_the_films_only_where_it_is_asked_to(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(ValueError, match="no policy of these runs is recorded: morl watch RUN --all 9"):
        write_page([run], tmp_path / "none.html", videos=True)
    assert not (tmp_path / "none.html").exists()
    recordings = write_films(run, [0, 3])
    without = write_page([run], tmp_path / "without.html")
    assert without.videos == 0
    assert recordings[0].file not in (tmp_path / "without.html").read_text()
    assert "media-src" not in (tmp_path / "without.html").read_text()
    size = write_page([run], tmp_path / "with.html", videos=True)
    assert size.videos == 2
    assert size.size == (tmp_path / "with.html").stat().st_size > without.size
    assert "media-src data:" in (tmp_path / "with.html").read_text()
    assert page_data(library_of(tmp_path), videos=True)["files"]["run"].keys() == {
        name for recording in recordings for name in (recording.file, recording.thumbnail)
    } | {"sheet-0.png"}


def test_a_page_that_would_open_nowhere_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    write_films(run, [0, 3])
    monkeypatch.setattr(page, "MOST_VIDEO_BYTES", 1_000)
    with pytest.raises(ValueError, match="too much for a page that a browser opens"):
        write_page([run], tmp_path / "page.html", videos=True)
    assert not (tmp_path / "page.html").exists()


def test_the_command_states_the_size(tmp_path: Path, morl_cli: Callable[..., tuple[int, str, str]]) -> None:
    run = write_run(tmp_path / "run")
    write_films(run, [0, 3])
    file = tmp_path / "page.html"
    code, out, _ = morl_cli("front", run, "--html", file, "--videos")
    assert code == 0
    assert f"page written to {file} ({file.stat().st_size / 1e6:.1f} MB, 2 videos inside)" in out
    code, _, err = morl_cli("front", run, "--videos")
    assert code == 2
    assert err.startswith("morl: --videos is given without --html")


# --- In a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(visited: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Open a page of all runs in the folder `runs`, films inside."""

    def open_page(videos: bool = True, **options: Any) -> Any:
        (tmp_path / "front.html").write_text(self_contained_page(library_of(tmp_path / "runs"), videos))
        shown = visited(tmp_path / "front.html", **options)
        shown.locator(".plot .main-svg").first.wait_for()
        shown.wait_for_timeout(300)
        return shown

    return open_page


def chosen_row(shown: Any) -> int:
    script = "async () => (await import('board/choice.js')).choice().best.row"
    return int(shown.evaluate(script))


PLAYS = "(video) => !video.error && video.readyState >= 2 && !video.paused"


def test_the_film_of_the_chosen_policy_plays_in_its_card(tmp_path: Path, opened: Callable[..., Any]) -> None:
    pytest.importorskip("imageio_ffmpeg", reason=NEEDS_FFMPEG)
    run = write_run(tmp_path / "runs" / "run")
    write_films(run, list(range(8)), ".mp4")
    shown = opened()
    video = shown.locator(".card video")
    video.wait_for()
    shown.wait_for_function(f"({PLAYS})(document.querySelector('.card video'))")
    assert video.evaluate("(video) => [video.muted, video.loop, video.controls]") == [True, True, True]
    row = chosen_row(shown)
    assert f"row {row} of" in video.get_attribute("aria-label")
    assert shown.inner_text(".card .film .small").startswith("Seed 0, 20 steps: speed ")
    assert shown.locator(".card .code pre").count() == 2  # Python and shell: nothing is left to be recorded
    before = video.get_attribute("src")
    video.evaluate("(video) => video.kept = true")
    shown.fill("#weight-0", str(min(1.0, float(shown.input_value("#weight-0")) + 0.001)))
    shown.wait_for_timeout(200)
    if chosen_row(shown) == row:
        assert video.evaluate("(video) => video.kept")  # it plays on while the card changes
    shown.fill("#weight-0", "1")
    shown.wait_for_function("(before) => document.querySelector('.card video').src !== before", arg=before)
    assert f"row {chosen_row(shown)} of" in video.get_attribute("aria-label")


def test_thumbnails_lie_along_the_front_and_follow_the_pointer(tmp_path: Path, opened: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "run")
    write_films(run, [0, 2, 4, 6])
    shown = opened()
    thumbnails = shown.locator(".thumbnail")
    assert thumbnails.count() == 4
    speeds = [float(text.split()[1]) for text in thumbnails.locator("span span:first-child").all_text_contents()]
    assert speeds == sorted(speeds)
    assert thumbnails.locator("img").evaluate_all("(all) => all.every((one) => one.complete && one.naturalWidth)")
    thumbnails.nth(1).click()
    shown.wait_for_function("document.querySelector('.card h3').textContent.includes('by hand')")
    assert chosen_row(shown) == 2
    assert thumbnails.nth(1).get_attribute("aria-pressed") == "true"
    points = shown.evaluate(
        """() => { const plot = document.querySelector('.plot'), frame = plot.getBoundingClientRect();
        const { xaxis, yaxis } = plot._fullLayout;
        const trace = plot.data.find((t) => t.mode === 'markers' && t.x.length === 8);
        return Array.from(trace.x, (x, k) => [x, frame.left + xaxis._offset + xaxis.d2p(x),
            frame.top + yaxis._offset + yaxis.d2p(trace.y[k])]).sort((a, b) => a[0] - b[0]); }"""
    )
    shown.mouse.move(points[4][1] - 3, points[4][2])
    shown.mouse.move(points[4][1], points[4][2])  # exactly where the outline has a corner too
    shown.locator(".tooltip .pointed").wait_for()
    assert shown.locator(".thumbnail.near").count() == 1
    assert "near" in thumbnails.nth(2).get_attribute("class")
    shown.mouse.move(points[7][1], points[7][2])  # not recorded itself: its neighbor is lit
    shown.wait_for_function("!document.querySelector('.tooltip .pointed')")
    assert "near" in thumbnails.nth(3).get_attribute("class")
    shown.mouse.move(points[7][1], points[7][2] + 200)
    shown.wait_for_function("!document.querySelector('.thumbnail.near')")


def test_two_policies_play_side_by_side(tmp_path: Path, opened: Callable[..., Any]) -> None:
    pytest.importorskip("imageio_ffmpeg", reason=NEEDS_FFMPEG)
    for seed in range(2):
        run = write_run(tmp_path / "runs" / f"seed-{seed}", seed=seed)
        write_films(run, [0, 3, 7], ".mp4")
    shown = opened()
    section = shown.locator("section[aria-label='Side by side']")
    assert section.is_hidden()
    shown.locator(".thumbnail").first.click()
    shown.click("text=Hold to compare")
    shown.wait_for_selector("text=Select another policy: it plays here.")
    shown.locator(".thumbnail").last.click()
    shown.wait_for_function("document.querySelectorAll('.side-by-side video').length === 2")
    captions = section.locator("figcaption").all_inner_texts()
    assert captions[0].startswith("Held: row ")
    assert captions[1].startswith("Selected: row ")
    assert captions[0][6:] != captions[1][8:]
    section.locator("figure").first.scroll_into_view_if_needed()  # browsers begin what is in view
    for side in range(2):
        shown.wait_for_function(f"({PLAYS})(document.querySelectorAll('.side-by-side video')[{side}])")
    cells = section.locator("tbody tr").first.locator("td").all_inner_texts()
    held, other, difference = (float(cell.replace("\N{MINUS SIGN}", "-")) for cell in cells)
    assert difference == pytest.approx(other - held, rel=1e-3)
    shown.evaluate("document.querySelectorAll('.side-by-side video').forEach((video) => video.pause())")
    shown.click("text=Play both from the start")
    times = shown.evaluate("[...document.querySelectorAll('.side-by-side video')].map((v) => v.currentTime)")
    assert max(times) - min(times) < 0.2
    section.locator("text=Release").click()
    section.wait_for(state="hidden")
    assert shown.locator(".side-by-side video").count() == 0  # nothing plays where nobody sees it


def test_the_keyboard_alone_is_enough(tmp_path: Path, opened: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "run")
    write_films(run, [0, 2, 4, 6])
    shown = opened()
    label = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"

    def tab_to(words: str) -> None:
        for _ in range(80):
            shown.keyboard.press("Tab")
            if words in str(shown.evaluate(label)):
                return
        raise AssertionError(f"the Tab key does not lead to {words!r}")

    tab_to("Look at row")
    shown.keyboard.press("End")
    shown.keyboard.press("Enter")
    shown.wait_for_timeout(200)
    assert chosen_row(shown) == 6
    assert "Look at row 6" in shown.evaluate(label)  # the focus stays where it was
    tab_to("Hold to compare")
    shown.keyboard.press("Space")
    shown.wait_for_timeout(200)
    assert shown.evaluate(label) == "Release"
    shown.locator(".thumbnail[tabindex='0']").focus()
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("Enter")
    shown.locator("section[aria-label='Side by side']").wait_for()
    shown.wait_for_timeout(200)
    assert chosen_row(shown) == 4
    captions = shown.locator(".side-by-side figcaption").all_inner_texts()
    assert captions == ["Held: row 6 of run", "Selected: row 4 of run"]
    shown.keyboard.press("Home")
    assert "Look at row 0" in shown.evaluate(label)


def test_what_is_not_recorded_shows_the_line_that_records_it(tmp_path: Path, opened: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "a run")
    shown = opened(videos=False)
    row = chosen_row(shown)
    lines = shown.locator(".card .code pre").all_inner_texts()
    assert lines[-1] == f"morl watch '{run.as_posix()}' --row {row} --record"
    assert shown.locator("section[aria-label='Recorded policies']").is_hidden()
    write_films(run, [row])
    shown = opened()
    assert shown.locator(".card .code pre").count() == 2
    damaged = next((run / "videos").glob("*.gif"))
    truncated(damaged)
    shown = opened()
    assert "bytes instead of" in shown.inner_text(".card .foot .note")
    assert shown.locator(".card .code pre").last.inner_text().endswith(f"--row {row} --record")


def test_a_file_that_no_browser_plays_is_a_sentence(tmp_path: Path, opened: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "run", points=[[1.0, 2.0]])
    (recording,) = write_films(run, [0])
    content = b"\0\0\0\x20ftypisom" + bytes(500)
    index = json.loads((run / "videos" / "index.json").read_text())
    index["videos"][0] |= {"file": "x.mp4", "bytes": len(content)}
    (run / "videos" / "index.json").write_text(json.dumps(index))
    (run / "videos" / "x.mp4").write_bytes(content)
    shown = opened()
    shown.wait_for_selector(".card .film .note")
    assert "cannot be played here" in shown.inner_text(".card .film .note")
    assert recording.thumbnail in os.listdir(run / "videos")


def test_a_front_of_one_point_and_one_of_200(tmp_path: Path, opened: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "point", points=[[3.0, 4.0]], steps=[10])
    write_films(run, [0])
    shown = opened()
    assert shown.locator(".thumbnail").count() == 1
    shown.click("text=Hold to compare")
    shown.wait_for_timeout(200)
    assert shown.locator(".side-by-side figcaption").all_inner_texts() == ["Held: row 0 of point"]
    assert "Select another policy: it plays here." in shown.inner_text(".side-by-side")
    shutil.rmtree(tmp_path / "runs")
    run = write_run(tmp_path / "runs" / "many", points=quarter_circle(200))
    write_films(run, list(range(200)))
    shown = opened()
    assert shown.locator(".thumbnail").count() == 200
    assert shown.locator(".thumbnail[tabindex='0']").count() == 1  # one stop for the Tab key, not 200
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    strip = shown.locator(".strip")
    shown.fill("#weight-0", "1")
    shown.wait_for_timeout(300)
    assert strip.evaluate("(strip) => strip.scrollLeft") > 1_000  # the chosen one is in view
    chosen = shown.locator(".thumbnail[aria-pressed='true']").bounding_box()
    frame = strip.bounding_box()
    assert frame["x"] <= chosen["x"] + 1
    assert chosen["x"] + chosen["width"] <= frame["x"] + frame["width"] + 1


def test_nothing_moves_for_those_who_want_no_motion(tmp_path: Path, opened: Callable[..., Any]) -> None:
    pytest.importorskip("imageio_ffmpeg", reason=NEEDS_FFMPEG)
    run = write_run(tmp_path / "runs" / "run", points=[[3.0, 4.0]], steps=[10])
    write_films(run, [0], ".mp4")
    shown = opened(reduced_motion="reduce")
    shown.wait_for_timeout(500)
    assert shown.locator(".card video").evaluate("(video) => video.paused && video.currentTime === 0")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_are_legible_in_both_themes(theme: str, tmp_path: Path, opened: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "runs" / "run")
    write_films(run, list(range(8)))
    shown = opened(color_scheme=theme)
    shown.click("text=Hold to compare")
    shown.locator(".thumbnail").first.click()
    shown.wait_for_timeout(200)
    contrast = """(node) => { const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number)
            .map((v) => (v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4));
            return .2126 * r + .7152 * g + .0722 * b; };
        let behind = node; while (/rgba\\(0, 0, 0, 0\\)|transparent/.test(getComputedStyle(behind).backgroundColor))
            behind = behind.parentElement ?? document.body;
        const [a, b] = [light(getComputedStyle(node).color), light(getComputedStyle(behind).backgroundColor)];
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }"""
    for place in (".thumbnail span span", "figcaption", ".film .small", ".hold", ".differences td", ".differences th"):
        for node in shown.locator(place).all():
            assert node.evaluate(contrast) >= 4.5, place
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shown.set_viewport_size({"width": 700, "height": 900})
    shown.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")


def test_tensorboard_plays_and_winds_them(tmp_path: Path, browser: Any) -> None:
    pytest.importorskip("imageio_ffmpeg", reason=NEEDS_FFMPEG)
    run = write_run(tmp_path / "runs" / "a run & more")
    write_films(run, list(range(8)), ".mp4")
    command = [sys.executable, "-u", "-c", START, "board", str(tmp_path / "runs"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = next(text for text in process.stdout if "http://" in text)
        address = line[line.index("http://") :].split()[0].split("#")[0]
        shown = browser.new_page()
        shown.goto(f"{address}data/plugin_entry.html?name=pareto")
        shown.locator(".card video").wait_for()
        shown.wait_for_function(f"({PLAYS})(document.querySelector('.card video'))")
        wound = """(video) => new Promise((done) => {
            video.onseeked = () => done(video.currentTime); video.currentTime = 1.5; })"""
        assert shown.locator(".card video").evaluate(wound) == pytest.approx(1.5, abs=0.6)
        link = shown.locator("section[aria-label='Recorded policies'] a")
        assert link.inner_text() == "Contact sheet"
        answer = shown.request.get(f"{address}data/plugin/pareto/{link.get_attribute('href')}")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        shown.close()
        process.terminate()
