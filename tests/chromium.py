"""Debian's Chromium, with the options that all browser tests use."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.waiting import LIMIT_SECONDS

PROGRAM = "/usr/bin/chromium"

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser whose pages wait for anything as long as other parts of the tests do."""
    assert shutil.which(PROGRAM), "chromium is missing: make system-deps"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=list(FLAGS))
        browser.on("context", _wait_long)
        try:
            yield browser
        finally:
            await browser.close()


def _wait_long(context: BrowserContext) -> None:
    context.set_default_timeout(1000 * LIMIT_SECONDS)
