"""A browser for the tests of the Pareto tab: Debian's chromium without a window, by Playwright."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
"""The first that is there is used: without what windows need, a page takes a fifth less time."""
ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader"]  # WebGL without a graphics card, for the 3-D scatter


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[dev]'")
    found = next(filter(Path.exists, BROWSERS), None)
    if found is None:
        pytest.skip(f"no browser at {BROWSERS[0]}: apt-get install chromium-headless-shell (.ci/run tries to)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()


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
