"""A browser for the tests of the Pareto tab: Debian's chromium without a window, by Playwright."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_site"))

from chromium import CHROMIUM, started


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[dev]'")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium-headless-shell (.ci/run tries to)")
    with started() as browser:
        yield browser


@pytest.fixture
def visited(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file of the page, in a context of its own; whatever goes wrong in it fails the test."""
    errors: list[str] = []
    contexts = []

    def visit(file: Path, *, width: int = 1400, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []
