"""The documentation does not rot: links lead somewhere, Python examples run, commands are accepted, the site builds.

A Python block runs here, one page in one process, with fewer steps of training; a page in `RUN_ELSEWHERE` has a test of
its own; a block that says `notest: why` is only parsed. Of commands, all arguments are checked against the agent, the
environment and the options, and nothing is trained.
"""

import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from morl.envs import specs
from morl.experiment.cli import train
from morl.experiment.commands import SCHEMAS
from morl.experiment.parsing import parse

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("envs/*.md"), *ROOT.glob("agents/*.md")])
CODE_BLOCK = re.compile(r"^```(\w*) ?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
IN_SITE = {ROOT / "docs" / page for page in re.findall(r"[\w/]+\.md", NAV)}
"""Pages of the site. Building it generates some (docs/_site/generated_pages.py) and fails where one is missing."""
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
RUN_ELSEWHERE = {
    "docs/guide/your_environment.md": "test_examples.py",
    "docs/guide/your_agent.md": "test_examples.py",
    "docs/guide/networks_and_spaces.md": "test_examples.py",
    "docs/guide/callbacks_and_loggers.md": "test_callbacks_page.py",
    "docs/guide/deploy.md": "test_policy_export.py",
}
"""Page whose Python blocks another test runs -> that test."""
FEWER_STEPS = "1_000"
COMMAND = re.compile(
    r"(?<![\w./-])(?:\.venv/bin/)?morl (?:train|resume|evaluate|choose|watch|export|front|board|list|study|tune)\b.*"
)
STAND_INS = {
    "$seed": "0",
    "$task": "halfcheetah",
    "--seed S": "--seed 0",
    "YOUR-ENV": "deep-sea-treasure-v0",
    " ENV": " deep-sea-treasure-v0",
    "AGENT ": "c-morl ",
    "RUN RUN ...": "RUN RUN",
    "--config runs/pd-morl/minecart-v0/seed-0/config.toml": "",
    "custom_env:van-v0": "deep-sea-treasure-v0",  # test_examples.py registers it, and an id can be registered once
    "my_module:Reinforce": "custom_agent:Reinforce",
}
"""What commands leave open -> what stands for it here."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Return the words after the language, and the code, of each block in a language."""
    found = CODE_BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(words, textwrap.dedent(code)) for named, words, code in found if named == language]


def examples(page: Path) -> list[str]:
    """Return the Python blocks that run here."""
    return [code for words, code in blocks(page, "python") if not words and not code.startswith(">>>")]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command of morl, without the first one."""
    for _, code in blocks(page, "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            for found in COMMAND.findall(line):
                text = found
                for open_word, stand_in in STAND_INS.items():
                    text = text.replace(open_word, stand_in)
                lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
                lexer.whitespace_split = True
                words = list(lexer)
                end = next((place for place, word in enumerate(words) if word in {";", "&&", "|"}), len(words))
                yield words[words.index("morl") + 1 if "morl" in words else 1 : end]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    prose = CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target, _ in LINK.findall(prose):
        if "://" not in target:
            found = Path(os.path.normpath(page.parent / target))
            assert found.exists() or found in IN_SITE, target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_are_python(page: Path) -> None:
    for words, code in blocks(page, "python"):
        if not code.startswith(">>>"):
            ast.parse(code, filename=page.name)
        assert not words.startswith("notest") or len(words) > len("notest: "), f"say why in {page.name}"
    assert doctest.testfile(str(page), module_relative=False).failed == 0


@pytest.mark.usefixtures("without_figures")
@pytest.mark.filterwarnings("ignore:pd-morl at step", "ignore:c-morl.*total_steps is")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page) and name_of(page) not in RUN_ELSEWHERE], ids=name_of
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where pickle looks for the classes of the page
    for code in examples(page):
        shorter = re.sub(r"(total_steps\"?[=:] ?)[\d_]+", rf"\g<1>{FEWER_STEPS}", code)
        shorter = re.sub(r"\.learn\([\d_]+\)", ".learn(64)", shorter)
        exec(compile(shorter, str(page), "exec"), vars(module))


@pytest.mark.parametrize("page", [page for page in PAGES if any(True for _ in commands(page))], ids=name_of)
def test_commands_are_accepted(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    for name, *args in commands(page):
        assert name in SCHEMAS, name
        if "--help" in args:
            continue
        if name == "train":
            spec = specs.get(args[1].rpartition(":")[2])
            if spec is None or not spec.requires:
                with contextlib.redirect_stdout(io.StringIO()):
                    train([*args, "--help"])  # resolves all settings, and trains nothing
        else:
            parse(SCHEMAS[name], args, f"morl {name}")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_files_and_verbs_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folders = "morl|envs|agents|configs|benchmarks|examples|tests|docs"
    for named in re.findall(rf"(?<![\w/.(-])(?:{folders})/[\w./-]*\w\.(?:py|toml|md|ipynb|js|css)\b", text):
        assert (ROOT / named).exists() or (ROOT / named) in IN_SITE, f"{page.name} names {named}, which does not exist"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for verb in re.findall(
        r"(?:^|`)make (\w+)", "\n".join([*re.findall(r"`[^`]+`", text), *dict(blocks(page, "bash")).values()])
    ):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), f"{page.name} names make {verb}"


def test_troubleshooting_quotes_messages_of_the_code() -> None:
    page = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text(encoding="utf-8")
    sources = [file for folder in ("morl", "agents", "envs") for file in (ROOT / folder).rglob("*.py")]
    texts = [
        node.value
        for file in sources
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    everything = "\0".join(texts)
    quoted = re.findall(r"^\| `([^`|]+)` \|", page, re.MULTILINE)
    assert len(quoted) > 20
    for message in quoted:
        for fragment in message.split("..."):
            assert fragment.strip(" ,:") in everything, f"no message of the code says {fragment.strip()!r}"


def test_the_evidence_of_the_first_page_stands_on_the_page_it_links() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| \[[^\]]+\]\((docs/results/[\w-]+\.md)[^)]*\) \|$", README, re.MULTILINE
    )
    assert len(rows) > 8
    for _, reached, page in rows:
        text = (ROOT / page).read_text(encoding="utf-8")
        for figure in re.findall(r"\d[\d,.]*(?:e\d+)?", reached):
            assert figure.rstrip(",.") in text, f"{page} does not state {figure}"


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
