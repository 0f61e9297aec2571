"""A browser's own `EventSource` on a bad connection, without any JavaScript of ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page

from tests.chromium import chromium
from tests.cutting import Cutter, cutting
from tests.listening import listening
from tests.serving import Lex, ids_of, lex, parse, without_ids

PAGE = """<!doctype html><title>A reader</title><link rel="icon" href="data:,"><script>
const seen = [];
let source;
function read(url) {
  source = new EventSource(url);
  for (const name of ["tool_use", "tool_call", "tool_output", "chunk", "error", "outcome",
                      "end"])
    source.addEventListener(name, event => {
      // A broken connection is an `error` too, without data.
      if (event.data !== undefined) seen.push([event.lastEventId, name, event.data]);
    });
}
</script>"""

RETRY_SECONDS = 1
"""The reconnection time that the stream tells the browser."""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page on another origin than the service."""
    async with chromium() as browser, page_server() as url:
        page = await browser.new_page()
        await page.goto(url)
        yield page


@asynccontextmanager
async def page_server() -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n"
        writer.write(f"{head}{PAGE}".encode())

    async with listening(answer) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def service_for(page: Page) -> AsyncIterator[Lex]:
    async with lex(cors_origins=page.url.rstrip("/")) as service:
        yield service


async def read_to_end(page: Page, cutter: Cutter, **params: str) -> list[list[str]]:
    """Every event that the page saw until the browser stopped reconnecting, and a while after."""
    await page.evaluate("url => read(url)", f"{cutter.url}/query?{urlencode(params)}")
    await page.wait_for_function("source.readyState == EventSource.CLOSED")
    asked = len(cutter.requests)
    await asyncio.sleep(3 * RETRY_SECONDS)
    assert len(cutter.requests) == asked, "it has not come back"
    seen: list[list[str]] = await page.evaluate("seen")
    return seen


def seen_in(stream: str) -> list[list[str]]:
    """The events of a resumable stream as a page sees them."""
    events = parse(without_ids(stream))
    return [[id_, *event] for id_, event in zip(ids_of(stream)[1:], events, strict=True)]


async def first_data(page: Page) -> asyncio.Event:
    """Is set when scripts of the page have received data of any answer."""
    received = asyncio.Event()
    inspector = await page.context.new_cdp_session(page)
    inspector.on("Network.dataReceived", lambda _: received.set())
    await inspector.send("Network.enable")
    return received


async def test_a_browser_that_is_cut_off_five_times_sees_every_event_once(page: Page) -> None:
    rounds: tuple[dict[str, Any], ...] = (
        {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
        {"text": "À Paris il a plu.\n\n- et\n- puis\n" * 12, "tokens_per_second": 12},
    )
    between_frames, before_the_head, in_a_frame = b"retry: 1000\n\n", 0, b"event: chunk\nda"
    in_a_character, in_an_id = "À".encode()[:1], b"\nid: "
    # Not within the head: a browser takes a closed half head for a whole one, and gives up.
    cuts = (between_frames, in_a_frame, before_the_head, in_a_character, in_an_id)
    async with service_for(page) as service, cutting(service.url, cuts) as cutter:
        service.standin.script(*rounds)
        # A busy browser drops what it has not read when a connection breaks. Without the id in the
        # first frame, it would have no turn to come back to.
        cutter.may_cut = (await first_data(page)).wait

        seen = await read_to_end(page, cutter, query="Weather?", session_id="s1")

        turn_id = seen[0][0].partition("-")[0]
        uncut = (await service.client.get(f"/turns/{turn_id}/events")).text
        session = (await service.client.get("/sessions/s1")).json()
    first, *again = [request.headers.get("last-event-id") for request in cutter.requests]
    assert seen == seen_in(uncut)
    assert cutter.times == 5
    assert first is None
    assert len(again) == 6, "after each cut, and after the end"
    assert None not in again
    assert again[-1] == seen[-1][0]
    assert session["turns"] == 1
    assert service.standin.stats.requests == len(rounds)


async def test_a_browser_that_is_refused_is_told_why_and_stays_away(page: Page) -> None:
    async with service_for(page) as service, cutting(service.url, ()) as cutter:
        seen = await read_to_end(page, cutter, query=" ")

    assert [name for _, name, _ in seen] == ["error", "end"]
    assert '"code": "invalid_field"' in seen[0][2]
    assert len(cutter.requests) == 2
    assert service.standin.stats.requests == 0
