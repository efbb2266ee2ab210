"""The page as one file that opens offline: the same front end, with its data and Plotly inside."""

import base64
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from morl.board import answers
from morl.board.library import Library
from morl.board.plugin import FRONT_END, plotly_file
from morl.board.text import printable
from morl.output_files import check_output_file, checked_path

HISTORY_NUMBERS = 500_000
"""Numbers in all histories of a page (2 MB)."""
STEPS_FOLDED = 40
"""Training steps at which a page has the seeds folded into one."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data:; style-src 'unsafe-inline'; img-src data: blob:"
)
"""The page may load nothing, from nowhere; Plotly builds its shaders' programs with eval."""
MEDIA = "; media-src data:"
"""What a page with videos may do beside: play what is inside it."""

MOST_VIDEO_BYTES = 200 * 2**20
"""Bytes of all videos in a page."""


class PageSize(NamedTuple):
    """How large a page is."""

    size: int
    """In bytes."""
    videos: int


_IMPORT = re.compile(r'(\bfrom\s+|\bimport\s*\(?)"\./([\w-]+\.js)"')


def self_contained_page(library: Library, videos: bool = False) -> str:
    """Return the HTML of a page that shows all runs of a library and loads nothing.

    Args:
        library: the runs.
        videos: whether the recorded videos are inside.
    """
    modules = {file.name: file.read_text(encoding="utf-8") for file in sorted(FRONT_END.glob("*.js"))}
    imports = {f"board/{name}": _data_address(source) for name, source in modules.items()}
    style = (FRONT_END / "style.css").read_text(encoding="utf-8")
    data = json.dumps(page_data(library, videos), allow_nan=False).replace(
        "<", "\\u003c"
    )  # no text in it ends the element
    plotly = _inside_script(plotly_file().read_text(encoding="utf-8"))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Pareto fronts</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY + (MEDIA if videos else ""))}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{style}</style>",
        f'<script type="importmap">{json.dumps({"imports": imports})}</script>',
        f'<script type="application/json" id="morl-data">{data}</script>',
        # Text at first: index.js has it evaluated when the first picture is painted.
        f'<script type="text/plain" id="morl-plotly">{plotly}</script>',
        '</head><body><script type="module">import { render } from "board/index.js"; render();</script></body></html>',
    ]
    return "\n".join(parts) + "\n"


def page_data(library: Library, videos: bool = False) -> dict[str, Any]:
    """Return all answers that a page without a server may need, computed beforehand.

    Args:
        library: the runs.
        videos: whether the recorded videos are among them.
    """
    with library.lock:
        library.refresh()
        names = list(library.folders)
        for folder in library.folders.values():
            try:
                folder.read_history_to_its_end()
            except Exception as error:
                folder.blame(error)
        histories = answers.histories(library, names, HISTORY_NUMBERS)
        steps = sorted({step for run in histories.values() for step in run["steps"]})
        every = max(1, -(-len(steps) // STEPS_FOLDED))
        folds: dict[str, Any] = {str(step): answers.folds(library, names, step) for step in steps[::-1][::every]}
        return {
            "runs": answers.listing(library),
            "fronts": answers.fronts(library, names),
            "histories": histories,
            "curves": answers.curves(library, names),
            "films": answers.films(library, names) if videos else {},
            "files": recorded_files(library) if videos else {},
            "folds": {"reported": answers.folds(library, names), **folds},
        }


def recorded_files(library: Library) -> dict[str, dict[str, str]]:
    """Return videos and thumbnails of all runs as data: addresses, by the run's name and the file's.

    Raises:
        ValueError: all together are too large for a page.
    """
    found: dict[str, dict[str, str]] = {}
    total = 0
    for run, folder in library.folders.items():
        found[run] = {}
        for name in sorted(folder.films.names()):
            with folder.films.open(name) as file:
                content = file.read(MOST_VIDEO_BYTES - total + 1)
            total += len(content)
            if total > MOST_VIDEO_BYTES:
                raise ValueError(
                    f"videos is True, but those of these runs have more than {MOST_VIDEO_BYTES / 2**20:.0f} MB,"
                    " too much for a page that a browser opens: give fewer runs"
                )
            found[run][name] = f"data:{folder.films.kind(name)};base64,{base64.b64encode(content).decode()}"
    return found


def write_page(runs: Sequence[str | Path], file: str | Path, videos: bool = False) -> PageSize:
    """Write the page of some run folders and return its size; folders without a front are listed with the reason.

    Args:
        runs: run folders.
        file: ends in .html.
        videos: whether the recorded videos are put into it.

    Raises:
        ValueError: no folder is a run with a front, the file's name does not end in .html, nothing can be written
            there, or no policy is recorded.
        OSError: the file cannot be written.
    """
    page = check_output_file("file", file, (".html",))
    folders = [checked_path("runs", run) for run in runs]
    library = Library(runs={folder.as_posix(): folder for folder in folders})
    library.refresh()
    if all(folder.reported is None for folder in library.folders.values()):
        reasons = "; ".join(f"{folder.directory}: {', '.join(folder.notes)}" for folder in library.folders.values())
        raise ValueError(f"there is no front to show: {printable(reasons, 1_000)}")
    count = sum(len(folder.films.by_row) for folder in library.folders.values()) if videos else 0
    if videos and not count:
        raise ValueError("videos is True, but no policy of these runs is recorded: morl watch RUN --all 9 records some")
    content = self_contained_page(library, videos).encode()
    page.write_bytes(content)
    return PageSize(len(content), count)


def _data_address(source: str) -> str:
    """Return a module as a data: address, its imports renamed to the names of the import map."""
    renamed = _IMPORT.sub(r'\1"board/\2"', source)
    return "data:text/javascript;base64," + base64.b64encode(renamed.encode()).decode()


def _inside_script(source: str) -> str:
    """Return JavaScript in which no text can end the script element that it stands in."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", source, flags=re.IGNORECASE)
