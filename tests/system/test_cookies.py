"""The session cookie in a real browser, whose origin headers `origins` relies on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page

from tests.chromium import chromium
from tests.credentials import WITH_SECRET, token
from tests.serving import Lex, lex

EXCHANGE = """
async ([lex, token]) => (await fetch(`${lex}/auth/session`, {
    method: "POST", headers: {Authorization: `Bearer ${token}`}, credentials: "include",
}).catch(() => ({status: 0}))).status
"""
FETCH = """
async ([lex, path, method]) => (await fetch(lex + path, {method, credentials: "include"})
    .catch(() => ({status: 0}))).status
"""
EVENT_SOURCE = """
([lex]) => new Promise(resolve => {
    const url = `${lex}/query?query=Hello&session_id=s1`;
    const source = new EventSource(url, {withCredentials: true});
    const close = said => { source.close(); resolve(said); };
    source.addEventListener("end", () => close("end"));
    const code = event => event.data ? JSON.parse(event.data).code : "?";
    source.addEventListener("error", event => close(code(event)));
})
"""
SOCKET = """
([lex]) => new Promise(resolve => {
    const socket = new WebSocket(lex.replace("http", "ws") + "/ws/sessions/s1");
    socket.onopen = () => socket.send("Hello");
    socket.onclose = event => resolve(event.code);
    socket.onmessage = event => {
        if (JSON.parse(event.data).type === "end") resolve("end");
    };
})
"""


@asynccontextmanager
async def page_of_a_site(host: str) -> AsyncIterator[str]:
    """Serve a page on this host; yields its origin."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<title>A page</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with chromium() as browser:
        yield await browser.new_page()


async def tries(page: Page, service_url: str) -> dict[str, Any]:
    """The results of a page's requests to the service, by kind of request."""
    return {
        "get": await page.evaluate(FETCH, [service_url, "/sessions/s1", "GET"]),
        "post": await page.evaluate(FETCH, [service_url, "/sessions", "POST"]),
        "event source": await page.evaluate(EVENT_SOURCE, [service_url]),
        "socket": await page.evaluate(SOCKET, [service_url]),
    }


async def sign_in(page: Page, service: Lex) -> None:
    """Sign in on the service's own page."""
    await page.goto(f"{service.url}/docs")
    assert await page.evaluate(EXCHANGE, [service.url, token("alice")]) == 200
    assert await page.evaluate("document.cookie") == ""


async def test_the_services_own_page_talks_with_the_cookie(page: Page) -> None:
    async with lex(**WITH_SECRET) as service:
        await page.goto(f"{service.url}/docs")
        before = await tries(page, service.url)
        await sign_in(page, service)
        await tries(page, service.url)
        signed_in = await tries(page, service.url)
        await page.evaluate(FETCH, [service.url, "/auth/session", "DELETE"])
        after = await tries(page, service.url)

    refused = {"get": 401, "post": 401, "event source": "not_authenticated", "socket": 1008}
    assert before == after == refused
    assert signed_in == {"get": 200, "post": 201, "event source": "end", "socket": "end"}


async def test_a_listed_page_on_the_same_site_talks_with_the_cookie(page: Page) -> None:
    async with (
        page_of_a_site("127.0.0.1") as origin,
        lex(**WITH_SECRET, cors_origins=origin) as service,
    ):
        await page.goto(origin)
        exchanged = await page.evaluate(EXCHANGE, [service.url, token("alice")])
        await tries(page, service.url)
        signed_in = await tries(page, service.url)

    assert exchanged == 200
    assert signed_in == {"get": 200, "post": 201, "event source": "end", "socket": "end"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same site", "another site"])
async def test_a_strange_page_comes_to_nothing_with_the_cookie(page: Page, host: str) -> None:
    async with page_of_a_site(host) as origin, lex(**WITH_SECRET) as service:
        await sign_in(page, service)
        await page.goto(origin)

        came_to = await tries(page, service.url)
        link = f"{service.url}/query?query=Book+it&session_id=s1"
        await page.evaluate("link => { location.href = link }", link)
        await page.wait_for_url(link)
        followed = await page.inner_text("body")

    assert came_to == {"get": 0, "post": 0, "event source": "?", "socket": 1008}
    assert "not_authenticated" in followed
    assert service.standin.stats.requests == 0
