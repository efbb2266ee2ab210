"""Hooks of the site (mkdocs.yml): links to files of the repository, equations as SVG, generated pages.

The pages read well on a code host too, so they are plain Markdown; what only the site needs is done here.
"""

import html
import logging
import os
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

from equations import svg_of
from generated_pages import generated_pages
from notebooks import page as notebook_page
from notebooks import read as read_notebook

ROOT = Path(__file__).resolve().parents[2]
LOG = logging.getLogger("mkdocs.hooks.site")

ROOT_PAGES = {"CONTRIBUTING.md": "design/contributing.md", "CHANGELOG.md": "design/changelog.md"}
"""Page at the top of the repository -> where the site shows it."""

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(\s*```\w+) .*$", re.MULTILINE)
LAB = re.compile(r"<!-- lab: (\S+) -->")
FENCED = re.compile(r"(^\s*```.*?^\s*```)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated from the code, and those at the top of the repository."""
    pages = generated_pages()
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        pages[f"examples/{notebook.stem}.md"] = notebook_page(read_notebook(notebook), notebook.name)
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    for source, path in ROOT_PAGES.items():
        text = moved_links((ROOT / source).read_text(encoding="utf-8"), path)
        files.append(File.generated(config, path, content=text))
    return files


def moved_links(text: str, path: str) -> str:
    """Return a page of the repository's top with its links as they must be at another place.

    Args:
        text: Markdown.
        path: of the new place, under docs/.
    """
    folder = f"docs/{os.path.dirname(path)}"

    def moved(link: re.Match[str]) -> str:
        if "://" in link[2]:
            return link[0]
        return f"[{link[1]}]({os.path.relpath(link[2], folder)}{link[3] or ''})"

    return LINK.sub(moved, text)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links to files outside docs/ as their paths, and fences without the words for tests."""
    folder = f"docs/{os.path.dirname(page.file.src_uri)}"

    def resolved(link: re.Match[str]) -> str:
        if "://" in link[2] or link[2].startswith("mailto:"):
            return link[0]
        target = os.path.normpath(os.path.join(folder, link[2]))
        if target in ROOT_PAGES:
            shown = os.path.relpath(f"docs/{ROOT_PAGES[target]}", folder)
            return f"[{link[1]}]({shown}{link[3] or ''})"
        if target.startswith("docs/"):
            return link[0]
        if not (ROOT / target).exists():
            LOG.warning("%s links to %s, which does not exist", page.file.src_uri, target)
        named = link[1].strip("`")
        return f"`{target}`" if target.endswith(named.removeprefix("../")) else f"{link[1]} (`{target}`)"

    markdown = LAB.sub(lambda found: lab_table(found[1]), markdown)
    blocks = FENCED.split(FENCE.sub(r"\1", markdown))
    return "".join(block if block.lstrip().startswith("```") else LINK.sub(resolved, block) for block in blocks)


def lab_table(agent: str) -> str:
    """Return the table of one agent out of the results of the lab.

    Args:
        agent: as the page of results names it.
    """
    for section in (ROOT / "docs" / "results" / "lab.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        if title.strip() == agent:
            return "\n".join(line for line in text.splitlines() if line.startswith("|"))
    LOG.warning("results/lab.md has no section %s", agent)
    return ""


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its equations as SVG, which browsers show without a script."""
    content = INLINE.sub(lambda found: svg_of(html.unescape(found[1])), content)
    return DISPLAY.sub(lambda found: f"<p>{svg_of(html.unescape(found[1]))}</p>", content)
