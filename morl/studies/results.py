"""`make results`: run the studies of configs/studies, and write their tables to docs/results.

    python -m morl.studies.results [STUDY ...] [--no-run]

Each study makes one page: its tables and curves, the commands, which runs were made by which commit on which machine,
and which were not made. The runs are those that the file plans; those that exist are reused. A page is not replaced by
one with fewer finished runs, so that the pages of studies whose run folders lie on another machine stay as they are.

A figure elsewhere in the documentation quotes a cell of such a page, between two comments that name it:

    <!-- result PAGE / CELL / CELL / COLUMN -->0.953 (0.941 to 0.962)<!-- /result -->

It is the cell in COLUMN of the first table of docs/results/PAGE.md that has a row which begins with these cells.
Writing pages writes the quotations again, and a test compares them.
"""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from morl.studies.curves import page_picture
from morl.studies.plan import STUDY, read_study
from morl.studies.reading import read_results
from morl.studies.table_forms import markdown_lines
from morl.studies.tables import study_tables

if TYPE_CHECKING:
    from morl.studies.indicators import ListedRun, StudyResults

CONFIGS = Path("configs/studies")
PAGES = Path("docs/results")
QUOTATION = re.compile(r"<!-- result ([^\n]+?) -->(.*?)<!-- /result -->")
FINISHED = re.compile(r"^Finished: (\d+) of \d+ runs\.$", re.MULTILINE)


@dataclass(frozen=True)
class Arguments:
    """Run studies and write their pages."""

    studies: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of files in configs/studies, without .toml. Default: all."""
    run: bool = True
    """Train the runs that are missing. --no-run: write pages of what is finished."""
    folder: Path = Path("studies")
    """Folder of all studies."""


def main(arguments: Arguments) -> None:
    """Run studies and write their pages; what quotes them is written again."""
    files = study_files(arguments.studies)
    for file in files:
        if arguments.run:
            run_study(file, arguments.folder)
        _say(write_page(file, arguments.folder, PAGES))
    pages = [Path("README.md"), *sorted(Path("docs").glob("**/*.md"))]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        quoted = with_quotations(text, PAGES)
        if quoted != text:
            page.write_text(quoted, encoding="utf-8")
            _say(f"{page}: quotations written again")


def run_study(file: Path, folder: Path) -> None:
    """Train the runs of a study that are missing, in a process of its own, which Ctrl-C reaches as well.

    A study whose runs fail still has a page: it says which, and why. So how the process ends is not looked at.

    Args:
        file: the study.toml.
        folder: where studies lie.
    """
    words = [sys.executable, "-m", "morl", "study", str(file), "--folder", str(folder)]
    with subprocess.Popen(words) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()  # it saves its runs
            raise


def study_files(names: Sequence[str]) -> list[Path]:
    """Return the files of studies.

    Args:
        names: without .toml; none: all.

    Raises:
        ValueError: there is no such study.
    """
    known = {file.stem: file for file in sorted(CONFIGS.glob("*.toml"))}
    for name in names:
        if name not in known:
            raise ValueError(f"study is {name!r}, but must be one of {', '.join(known)}")
    return [known[name] for name in names or known]


def write_page(file: Path, folder: Path, pages: Path) -> str:
    """Write the page of a study, and its picture, unless it has fewer finished runs than the page that is there.

    The page has the runs that the file plans now, whatever study.json lists. Where run folders have other settings than
    the file, no page is written.

    Args:
        file: the study.toml.
        folder: where studies lie.
        pages: where pages lie.

    Returns:
        What was done, in one sentence.
    """
    page = pages / f"{file.stem}.md"
    try:
        planned = read_study(file, folder)
        results = read_results(planned.folder / STUDY, planned)
        text = page_of(results, file)
    except ValueError as error:
        return f"{page}: not written, because {error}"
    before = FINISHED.search(page.read_text(encoding="utf-8")) if page.is_file() else None
    finished = len(results.listed) - len(results.unfinished)
    if before is not None and int(before[1]) > finished:
        return f"{page}: not written, because it has {before[1]} finished runs, and {planned.folder} has {finished}"
    pages.mkdir(parents=True, exist_ok=True)
    page.with_suffix(".png").write_bytes(page_picture(results))
    page.write_text(text, encoding="utf-8")
    return f"{page}: {finished} of {len(results.listed)} runs"


def page_of(results: "StudyResults", file: Path) -> str:
    """Return the page of a study, in Markdown.

    Args:
        results: of its finished runs.
        file: the study.toml, whose first lines, comments, introduce the page.

    Raises:
        ValueError: no run is finished.
    """
    title, introduction = introduction_of(file)
    finished = len(results.listed) - len(results.unfinished)
    lines = [
        f"# {title}",
        "",
        f"<!-- `make results STUDY={file.stem}` writes this page. -->",
        "",
        *([introduction, ""] if introduction else []),
        f"The study is [configs/studies/{file.name}](../../configs/studies/{file.name});"
        f" `make results STUDY={file.stem}` trains what is missing and writes this page."
        " How to read it: [tables and statistics](../guide/statistics.md).",
        "",
        f"Finished: {finished} of {len(results.listed)} runs.",
        "",
        f"![Curves and performance profiles]({file.stem}.png)",
        "",
        study_tables(results).to_markdown(),
        "## Which runs these are",
        "",
        _provenance(results),
    ]
    return "\n".join(lines).rstrip() + "\n"


CELL_BORDER = re.compile(r"(?<!\\)\|")
"""Between two cells of a row, and before the first and after the last."""


def quoted_cell(page: str, keys: Sequence[str], column: str) -> str:
    """Return a cell of a page.

    Args:
        page: in Markdown.
        keys: the first cells of its row.
        column: title of its column.

    Raises:
        ValueError: no table of the page has such a row and column.
    """
    titles: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in CELL_BORDER.split(line.strip())[1:-1]] if line.startswith("|") else []
        if not cells:
            titles = []
        elif not titles:
            titles = cells
        elif cells[: len(keys)] == list(keys) and column in titles[len(keys) :]:
            return cells[titles.index(column)]
    raise ValueError(f"no table has a row that begins with {' | '.join(keys)} and a column {column}")


def with_quotations(text: str, pages: Path) -> str:
    """Return a text whose quotations are what the pages hold now.

    Args:
        text: in Markdown.
        pages: the folder of the pages.

    Raises:
        ValueError: a quotation names a page or a cell that does not exist.
    """

    def quotation(found: re.Match[str]) -> str:
        page, *keys = [part.strip() for part in found[1].split(" / ")]
        file = pages / f"{page}.md"
        if len(keys) < 2 or not file.is_file():
            raise ValueError(f"result {found[1]!r} must be PAGE / CELL / ... / COLUMN, of a page in {pages}")
        try:
            cell = quoted_cell(file.read_text(encoding="utf-8"), keys[:-1], keys[-1])
        except ValueError as error:
            raise ValueError(f"result {found[1]!r}: {error}") from error
        return f"<!-- result {found[1]} -->{cell}<!-- /result -->"

    return QUOTATION.sub(quotation, text)


def introduction_of(file: Path) -> tuple[str, str]:
    """Return title and first paragraph: the comments that a study begins with."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return (lines[0].rstrip(".") if lines else file.stem), "\n".join(lines[1:]).strip()


def _provenance(results: "StudyResults") -> str:
    """Return which seeds of each cell are finished, by which commits, in how many minutes, and on which machines."""
    measured = {run.listed: run for problem in results.problems for runs in problem.runs.values() for run in runs}
    cells: dict[tuple[str, str], list[ListedRun]] = {}
    for run in results.listed:
        cells.setdefault((run.env, run.variant), []).append(run)
    titles = ["environment", "variant", "seeds", "unfinished seeds", "commit", "minutes, all seeds"]
    rows = []
    for (env, variant), runs in cells.items():
        finished = [measured[run] for run in runs if run in measured]
        missing = [run for run in runs if run not in measured]
        commits = sorted({str(run.system.get("commit") or "unknown") for run in finished})
        minutes = sum(run.wall_seconds for run in finished) / 60.0
        seeds = _seeds([run.listed for run in finished])
        rows.append([env, variant, seeds, _seeds(missing), ", ".join(commits) or "-", f"{minutes:.1f}"])
    machines = Counter(_machine(run.system) for run in measured.values())
    notes = [f"runs on {machine}: {count}" for machine, count in machines.most_common()]
    reasons = Counter(results.unfinished.values()).most_common()
    notes += [f"unfinished runs, {reason}: {count}" for reason, count in reasons]
    notes.append('a "+" after a commit: files differed from it')
    return markdown_lines(titles, rows, notes)


def _machine(system: Mapping[str, object]) -> str:
    packages = system.get("packages")
    named = packages if isinstance(packages, Mapping) else {}
    versions = ", ".join(f"{name} {version}" for name, version in named.items())
    machine = f"{system.get('processor', 'an unknown processor')}, {system.get('cores', 'unknown')} cores"
    return f"{machine} (Python {system.get('python', 'unknown')}, morl {system.get('morl', 'unknown')}, {versions})"


def _seeds(runs: "Sequence[ListedRun]") -> str:
    """Return seeds in few letters: "0 to 4", "0, 2"."""
    seeds = sorted(run.seed for run in runs)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "-"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except ValueError as mistake:
        sys.exit(f"error: {mistake}")
    except KeyboardInterrupt:
        sys.exit("interrupted; started again, studies are resumed")
