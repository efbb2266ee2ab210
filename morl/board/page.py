"""The page as one file that opens offline: the same front end, with its data and Plotly inside."""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

from morl.board import answers
from morl.board.library import Library
from morl.board.plugin import FRONT_END, plotly_file
from morl.board.text import printable

HISTORY_NUMBERS = 500_000
"""Numbers in all histories of a page (2 MB)."""
STEPS_FOLDED = 40
"""Training steps at which a page has the seeds folded into one."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data:; style-src 'unsafe-inline'; img-src data: blob:"
)
"""The page may load nothing, from nowhere; Plotly builds its shaders' programs with eval."""

_IMPORT = re.compile(r'(\bfrom\s+|\bimport\s*\(?)"\./([\w-]+\.js)"')


def self_contained_page(library: Library) -> str:
    """Return the HTML of a page that shows all runs of a library and loads nothing."""
    modules = {file.name: file.read_text(encoding="utf-8") for file in sorted(FRONT_END.glob("*.js"))}
    imports = {f"board/{name}": _data_address(source) for name, source in modules.items()}
    style = (FRONT_END / "style.css").read_text(encoding="utf-8")
    data = json.dumps(page_data(library), allow_nan=False).replace("<", "\\u003c")  # no text in it ends the element
    plotly = _inside_script(plotly_file().read_text(encoding="utf-8"))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Pareto fronts</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{style}</style>",
        f'<script type="importmap">{json.dumps({"imports": imports})}</script>',
        f'<script type="application/json" id="morl-data">{data}</script>',
        # Text at first: index.js has it evaluated when the first picture is painted.
        f'<script type="text/plain" id="morl-plotly">{plotly}</script>',
        '</head><body><script type="module">import { render } from "board/index.js"; render();</script></body></html>',
    ]
    return "\n".join(parts) + "\n"


def page_data(library: Library) -> dict[str, Any]:
    """Return all answers that a page without a server may need, computed beforehand."""
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
            "folds": {"reported": answers.folds(library, names), **folds},
        }


def write_page(runs: list[Path], file: Path) -> None:
    """Write the page of some run folders; those without a front are listed on it with the reason.

    Raises:
        ValueError: no folder is a run with a front, or the file's name does not end in .html.
        OSError: the file cannot be written.
    """
    if file.suffix != ".html":
        raise ValueError(f"html is {str(file)!r}, but must end in .html")
    library = Library(runs={run.as_posix(): run for run in runs})
    library.refresh()
    if all(folder.reported is None for folder in library.folders.values()):
        reasons = "; ".join(f"{folder.directory}: {', '.join(folder.notes)}" for folder in library.folders.values())
        raise ValueError(f"there is no front to show: {printable(reasons, 1_000)}")
    file.write_text(self_contained_page(library), encoding="utf-8")


def _data_address(source: str) -> str:
    """Return a module as a data: address, its imports renamed to the names of the import map."""
    renamed = _IMPORT.sub(r'\1"board/\2"', source)
    return "data:text/javascript;base64," + base64.b64encode(renamed.encode()).decode()


def _inside_script(source: str) -> str:
    """Return JavaScript in which no text can end the script element that it stands in."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", source, flags=re.IGNORECASE)
