"""The documentation does not rot: its links lead somewhere and its Python examples are Python."""

import ast
import doctest
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("envs/*.md"), *ROOT.glob("agents/*.md")])
CODE_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
IN_SITE = {ROOT / "docs" / page for page in re.findall(r"[\w/]+\.md", NAV)}
"""Pages of the site. Building it generates some (docs/_site/generated_pages.py) and fails where one is missing."""
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    prose = CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target, _ in LINK.findall(prose):
        if "://" not in target:
            found = Path(os.path.normpath(page.parent / target))
            assert found.exists() or found in IN_SITE, target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_are_python(page: Path) -> None:
    for language, code in CODE_BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python" and not code.startswith(">>>"):
            ast.parse(textwrap.dedent(code), filename=page.name)
    assert doctest.testfile(str(page), module_relative=False).failed == 0


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and anchor leads somewhere, every generated page is generated."""
    pytest.importorskip("material", reason="the extra docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=280
    )
    assert (built.returncode, built.stderr) == (0, "")
    for page in (tmp_path / "site").glob("**/*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]*src=\"https?:|<link[^>]*href=\"https?:", text), page
        assert 'class="arithmatex"' not in text, f"{page}: an equation was not converted"
