"""Every picture of the documentation stands on a page, and a script makes it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
sys.path.insert(0, str(ROOT / "docs" / "_site"))

import board_pictures  # noqa: E402
import moving_picture  # noqa: E402
import pictures  # noqa: E402
from chromium import CHROMIUM  # noqa: E402

MADE = {
    *board_pictures.NAMES,
    *(f"environments-{family}.png" for family in pictures.FAMILIES),
    *re.findall(r"docs/pictures/(\S+)", str(moving_picture.__doc__)),
}
LINKED = re.compile(r"!\[[^\]]+\]\((?:[\w./]*/)?pictures/([\w.-]+)\)")
QUICK = "board-watch.png"
"""Records policies, and shows two of them."""


def pages() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    yield from ROOT.glob("docs/**/*.md")


def test_every_picture_is_made_by_a_script_and_stands_on_a_page() -> None:
    there = {file.name for file in PICTURES.iterdir()}
    linked = {name for page in pages() for name in LINKED.findall(page.read_text(encoding="utf-8"))}
    assert there == MADE
    assert there == linked


def test_the_contributors_page_names_each_script() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for script in (board_pictures, moving_picture, pictures):
        assert f"`python docs/_site/{Path(str(script.__file__)).name}" in text


def test_runs_of_pictures_are_all_used() -> None:
    used = {run for picture in board_pictures.BOARD.values() for run in picture.runs}
    assert used == set(board_pictures.RUNS)


def test_an_unknown_picture_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["board_pictures.py", "board-fold.jpg"])
    with pytest.raises(SystemExit):
        board_pictures.main()
    assert "PICTURE is board-fold.jpg, but must be among board-fold.png, " in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in board_pictures.NAMES],
)
def test_the_script_draws_a_picture_of_the_board(name: str, tmp_path: Path) -> None:
    """In a process of its own: Playwright starts once in a process, and the tests of the board may have started it."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[dev]'")
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed: pip install '.[video]'")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium-headless-shell (.ci/run tries to)")
    code = f"import pathlib, board_pictures; board_pictures.draw([{name!r}], pathlib.Path(), total_steps=1_000)"
    site = str(Path(board_pictures.__file__).parent)
    path = os.pathsep.join([site, os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, check=True)
    with Image.open(tmp_path / name) as drawn, Image.open(PICTURES / name) as stored:
        assert drawn.width == stored.width
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 50  # something is on it
