"""Train runs, and draw the pictures of them: python docs/_site/board_pictures.py [PICTURE ...] [--folder FOLDER].

Draws docs/pictures/board-*.png, which show the Pareto tab, and watch-sheet.png, the contact sheet of `morl watch RUN
--all`. All runs together need two and a half minutes of processor time. They are trained in a temporary folder, or in
FOLDER/runs, where those that are there already are used again. Needs chromium and the extras `dev` and `video`.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chromium import started
from PIL import Image

import morl
from morl.board.page import write_page

PICTURES = Path(__file__).resolve().parents[1] / "pictures"
COLORS = 128
PATIENCE = 300_000
"""Milliseconds until an action that does not succeed is an error; machines that build pictures may be busy."""
LOOKS = 60
"""So many screenshots, half a second apart, until a page that does not stop to change is an error."""
SECONDS = 1.4
"""Moment of videos that is shown; the middle of shorter ones."""
STOP_VIDEOS = f"""async () => {{
  for (const video of document.querySelectorAll("video")) {{
    video.controls = false;
    video.autoplay = false;
    video.pause();
    const moment = Math.min({SECONDS}, video.duration / 2);
    if (Math.abs(video.currentTime - moment) < 0.01) continue;
    video.currentTime = moment;
    if (video.seeking) await new Promise((resolve) => video.addEventListener("seeked", resolve, {{ once: true }}));
  }}
}}"""


@dataclass(frozen=True)
class Training:
    """Runs of PD-MORL with one setting."""

    env: str
    total_steps: int
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `morl.train_seeds`."""
    videos: int = 0
    """So many policies of the first seed are recorded."""


RUNS = {
    "plain": Training("deep-sea-treasure-v0", 30_000, (0, 1, 2), {"config": {"relabeled_share": 0.0}}),
    "relabeled": Training("deep-sea-treasure-v0", 30_000, (0, 1, 2), videos=9),
    "fruit": Training("fruit-tree-v0", 8_000, settings={"env_options": {"depth": 5}, "evaluate_every": 500}),
    "docking": Training("lab/docking-v0", 20_000, videos=9),
}
"""Folder below `runs` -> what is trained there."""


def train(name: str, total_steps: int | None = None) -> list[Path]:
    """Train and record the runs of a name, unless they are there; return their folders, seed by seed.

    Args:
        name: of `RUNS`.
        total_steps: default: those of the training.
    """
    training = RUNS[name]
    parent = Path("runs", name)
    folders = [parent / f"seed-{seed}" for seed in training.seeds]
    if not all((folder / "front.json").exists() for folder in folders):
        steps = total_steps or training.total_steps
        morl.train_seeds(
            "pd-morl",
            training.env,
            training.seeds,
            total_steps=steps,
            run_dir=parent,
            overwrite=True,
            **training.settings,
        )
    if training.videos and not (folders[0] / "videos").exists():
        morl.load(folders[0]).record(policies=training.videos)
    return folders


@dataclass(frozen=True)
class Picture:
    """A picture of the Pareto tab."""

    runs: tuple[str, ...]
    """Of `RUNS`."""
    act: Callable[[Any], None]
    """Brings the opened page into the state that is shown."""
    height: int
    """In pixels, like the width: no line of text is cut."""
    width: int = 1280
    theme: str = "light"
    seeds: int = 1
    """So many runs of each name are shown."""


def folded(page: Any) -> None:
    """Fold the seeds, at an earlier step."""
    page.check("#fold")
    page.fill("#weight-0", "0.7")
    steps = page.locator("#time")
    steps.fill(str(int(steps.get_attribute("max") or 0) * 2 // 5))


def filtered(page: Any) -> None:
    """Drag a box over the upper part of the first axis."""
    axis = page.locator(".plot .nsewdrag").bounding_box()
    page.mouse.move(axis["x"] + 0.01 * axis["width"], axis["y"] + 0.02 * axis["height"])
    page.mouse.down()
    page.mouse.move(axis["x"] + 0.1 * axis["width"], axis["y"] + 0.5 * axis["height"], steps=4)
    page.mouse.up()


def middle_selected(page: Any) -> None:
    """Select the recorded policy in the middle of the front."""
    thumbnails = page.locator(".thumbnail")
    thumbnails.first.wait_for()
    thumbnails.nth((thumbnails.count() - 1) // 2).click()


def side_by_side(page: Any) -> None:
    """Hold the last policy, and select the one in the middle."""
    page.locator(".thumbnail").last.click()
    page.click("text=Hold to compare")
    middle_selected(page)
    page.wait_for_selector(".side-by-side figure >> nth=1")
    page.locator("section[aria-label='Recorded policies']").evaluate("(part) => part.scrollIntoView()")


def compared(page: Any) -> None:
    """Answer four questions."""
    page.click("text=Choose by comparing")
    for number, key in enumerate(("l", "r", "l", "r"), start=1):
        page.wait_for_selector(f"h2:has-text('Question {number}:')")
        page.keyboard.press(key)
    page.wait_for_selector("h2:has-text('Question 5:')")


BOARD = {
    "board-fold.png": Picture(("plain", "relabeled"), folded, height=880, seeds=3),
    "board-parallel.png": Picture(("fruit",), filtered, height=880),
    "board-space.png": Picture(("docking",), middle_selected, height=860, theme="dark"),
    "board-watch.png": Picture(("relabeled",), side_by_side, height=749),
    "board-compare.png": Picture(("fruit",), compared, width=1400, height=792, theme="dark"),
}
SHEET = "watch-sheet.png"
POLICIES_ON_SHEET = 5
NAMES = (*BOARD, SHEET)


def settled(page: Any) -> bytes:
    """Return a PNG file of a page once it no longer changes.

    Raises:
        RuntimeError: it still changes after `LOOKS` screenshots.
    """
    page.wait_for_function("[...document.querySelectorAll('video')].every((video) => video.readyState >= 2)")
    pixels = b""
    for _ in range(LOOKS):
        page.evaluate(STOP_VIDEOS)
        latest: bytes = page.screenshot()
        if latest == pixels:
            return pixels
        pixels = latest
        page.wait_for_timeout(500)
    raise RuntimeError(f"the page still changes after {LOOKS} screenshots")


def shot(picture: Picture, folders: Sequence[Path], browser: Any) -> Image.Image:
    """Return the Pareto tab with some runs.

    Args:
        picture: what is shown of it.
        folders: run folders.
        browser: as `chromium.started` yields it.

    Raises:
        RuntimeError: the page reported an error.
    """
    file = Path("page.html").absolute()
    write_page(list(folders), file, videos=any((folder / "videos").exists() for folder in folders))
    size = {"width": picture.width, "height": picture.height}
    context = browser.new_context(viewport=size, color_scheme=picture.theme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    page.locator(".plot .main-svg").first.wait_for()
    page.locator(".curves .main-svg").first.wait_for()
    picture.act(page)
    page.mouse.move(0, 0)  # no tooltip
    pixels = settled(page)
    context.close()
    if errors:
        raise RuntimeError(f"the page reported: {'; '.join(errors)}")
    return Image.open(io.BytesIO(pixels)).convert("RGB")


def contact_sheet(folder: Path) -> Image.Image:
    """Return the contact sheet of some policies of a run."""
    recorded = morl.load(folder).record(policies=POLICIES_ON_SHEET)
    return Image.open(recorded.folder / str(recorded.sheet)).convert("RGB")


def draw(names: Sequence[str], target: Path, total_steps: int | None = None) -> None:
    """Train what pictures show, in the working directory, and write them.

    Args:
        names: of `NAMES`.
        target: folder of the pictures.
        total_steps: of each run; default: those of `RUNS`.
    """
    images = {}
    with started() as browser:
        for name in names:
            if name in BOARD:
                picture = BOARD[name]
                folders = [folder for run in picture.runs for folder in train(run, total_steps)[: picture.seeds]]
                images[name] = shot(picture, folders, browser)
    if SHEET in names:
        images[SHEET] = contact_sheet(train("relabeled", total_steps)[0])
    for name, image in images.items():
        image.quantize(COLORS, dither=Image.Dither.NONE).save(target / name, optimize=True)


def main() -> None:
    """Draw some pictures, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"default: {', '.join(NAMES)}")
    parser.add_argument("--folder", type=Path, help="keep the runs below this folder")
    arguments = parser.parse_args()
    unknown = sorted({*arguments.pictures} - {*NAMES})
    if unknown:
        parser.error(f"PICTURE is {', '.join(unknown)}, but must be among {', '.join(NAMES)}")
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(contextlib.chdir(folder))
        draw(arguments.pictures or NAMES, PICTURES)


if __name__ == "__main__":
    main()
