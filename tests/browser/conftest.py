"""One browser for all tests of the chat page, and a context of its own for each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

from tests.browser.chat import Chat
from tests.chromium import chromium

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser lives in one event loop, and so do the tests that use it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    opened = await browser.new_context(viewport={"width": 1180, "height": 860})
    # A page that has failed to connect five times waits for ten seconds, and a half more.
    opened.set_default_timeout(60_000)
    try:
        yield opened
    finally:
        await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def chat(context: BrowserContext) -> AsyncIterator[Chat]:
    """Whatever is tested: no script breaks, no rule of the page's policy is broken, and nothing
    is asked of another host.
    """
    chat = await Chat.new(context)
    yield chat
    assert chat.broken == []
    assert chat.strangers == set()


@pytest.fixture(params=["sse", "websocket"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)
