"""Pages of docs/results: every table is written by a command, but on the one page of what was measured by hand."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
BY_HAND = RESULTS / "by_hand.md"
WITHOUT_NUMBERS = {RESULTS / "index.md"}
WHOLE_PAGES = re.compile(
    r"`make results STUDY=[\w-]+` writes this page|--write docs/results/[\w-]+\.md|makes this page"
)
"""How a page says that a command writes all of it."""
WRITTEN = re.compile(
    r"<!-- (?:output of: [^\n]+|benchmark|reliability: begin) -->.*?"
    r"<!-- (?:end of output|end of benchmark|reliability: end) -->",
    re.DOTALL,
)
NUMBERS = re.compile(r"^\|.*\|[^|]*\d+\.\d", re.MULTILINE)
HASH = re.compile(r"(?<![\w/.-])(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{7,12}\+?(?![\w.-])")


def scripts() -> ModuleType:
    """Import benchmarks/_page.py."""
    spec = importlib.util.spec_from_file_location("result_page", ROOT / "benchmarks" / "_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def typed(page: Path) -> str:
    """Return the text of a page that no command writes; of a page that a command writes whole, nothing."""
    text = page.read_text(encoding="utf-8")
    return "" if WHOLE_PAGES.search(text) and page not in WITHOUT_NUMBERS else WRITTEN.sub("", text)


@pytest.mark.parametrize("page", sorted(set(RESULTS.glob("*.md")) - {BY_HAND}), ids=lambda page: page.stem)
def test_tables_are_written_by_commands(page: Path) -> None:
    assert not NUMBERS.findall(typed(page)), "a table outside the output of a command: move it to by_hand.md"


@pytest.mark.parametrize(
    "page", sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {BY_HAND}), ids=lambda page: page.stem
)
def test_commits_are_named_only_where_commands_write_them(page: Path) -> None:
    named = [found for found in HASH.findall(typed(page)) if found != "1232c27"]  # of PG-MORL's models
    assert not named, "text names a commit: state what is true now, or move the measurement to by_hand.md"


def test_commands_of_pages_exist() -> None:
    for page in RESULTS.glob("*.md"):
        for command in re.findall(r"<!-- output of: ([^\n]+?) -->", page.read_text(encoding="utf-8")):
            words = shlex.split(command)
            assert words[0] == "python"
            assert (ROOT / words[1]).is_file(), f"{page.name} names {words[1]}, which does not exist"


def test_a_block_is_replaced_by_what_its_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = "two rows\\n| a |\\n|---|\\n| 1.5 |\\nlast"
    command = f"python -c \"print('{printed}')\""
    page = tmp_path / "page.md"
    page.write_text(
        f"# Title\n\n<!-- output of: {command} -->\nold\n<!-- end of output -->\n\nbelow\n", encoding="utf-8"
    )
    module = scripts()
    monkeypatch.setattr(sys, "argv", ["_page.py", str(page)])
    module.main()
    text = page.read_text(encoding="utf-8")
    assert f"<!-- output of: {command} -->\ntwo rows\n\n| a |\n|---|\n| 1.5 |\n\nlast\n\n`{command}`, 20" in text
    assert text.endswith("<!-- end of output -->\n\nbelow\n")
    assert "old" not in text


def test_text_without_a_table_is_a_code_block() -> None:
    assert scripts().markdown("a   1\nb   2\n") == "```text\na   1\nb   2\n```"


def test_pages_of_finished_runs_name_their_machines(tmp_path: Path) -> None:
    system = {"processor": "Processor A", "cores": 2, "python": "3.11.7", "morl": "0.1.0", "commit": "0123abc"}
    folders = []
    for number, changes in enumerate([{}, {}, {"processor": "Processor B", "commit": None}]):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        text = json.dumps({**system, "packages": {"numpy": "2.4.6"}, **changes})
        (folders[-1] / "system.json").write_text(text, encoding="utf-8")
    assert scripts().origin_of_runs(folders) == (
        "Trained on Processor A, 2 cores and Processor B, 2 cores; Python 3.11.7, morl 0.1.0, numpy 2.4.6;"
        " commit 0123abc, unknown."
    )
