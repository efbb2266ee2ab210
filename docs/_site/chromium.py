"""Debian's chromium without a window, driven by Playwright: for pictures of the Pareto tab and for its tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
"""Without what windows need, a page takes a fifth less time."""
CHROMIUM = next(filter(Path.exists, BROWSERS), BROWSERS[0])
"""The first of them that is there."""
ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader"]  # WebGL without a graphics card, for the 3-D scatter


@contextmanager
def started() -> Iterator[Any]:
    """Start the browser, yield it, and close it.

    Raises:
        ImportError: Playwright is not installed.
        FileNotFoundError: the browser is not installed.
    """
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        raise FileNotFoundError(f"no browser at {CHROMIUM}: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
