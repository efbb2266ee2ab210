"""Hooks of the site (mkdocs.yml): links to files of the repository, equations as MathML, generated pages.

The pages read well on a code host too, so they are plain Markdown; what only the site needs is done here.
"""

import html
import logging
import os
import re
import sys
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

from generated_pages import generated_pages

ROOT = Path(__file__).resolve().parents[2]
LOG = logging.getLogger("mkdocs.hooks.site")

ROOT_PAGES = {"CONTRIBUTING.md": "design/contributing.md", "CHANGELOG.md": "design/changelog.md"}
"""Page at the top of the repository -> where the site shows it."""

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(\s*```\w+) .*$", re.MULTILINE)
FENCED = re.compile(r"(^\s*```.*?^\s*```)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated from the code, and those at the top of the repository."""
    for path, text in generated_pages().items():
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

    blocks = FENCED.split(FENCE.sub(r"\1", markdown))
    return "".join(block if block.lstrip().startswith("```") else LINK.sub(resolved, block) for block in blocks)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its equations as MathML, which browsers show without a script."""
    content = INLINE.sub(lambda found: convert(html.unescape(found[1])), content)
    return DISPLAY.sub(lambda found: convert(html.unescape(found[1]), display="block"), content)
