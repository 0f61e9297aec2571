"""Lex behind a real nginx: with default settings, with compression, and as in compose.

The last shows which requests and headers the proxy must keep out.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.otlp import collecting
from tests.raw import connected
from tests.serving import Lex, lex, parse, text_of
from tests.shipped_nginx import Nginx, shipped_nginx
from tests.system.conftest import Proxying
from tests.waiting import waiting


async def test_the_first_chunk_passes_while_the_rest_is_still_to_come(nginx: Proxying) -> None:
    async with lex() as service, nginx(service.url) as url, httpx.AsyncClient() as client:
        service.standin.script({"text": "one two three four", "tokens_per_second": 2})
        loop = asyncio.get_running_loop()
        received, times = "", []

        async with client.stream("POST", f"{url}/query", json={"query": "Count"}) as stream:
            async for text in stream.aiter_text():
                received += text
                times.append(loop.time())

    assert text_of(parse(received)) == "one two three four"
    assert times[-1] - times[0] > 1


async def test_a_client_that_leaves_the_proxy_closes_the_upstream_call(nginx: Proxying) -> None:
    async with lex() as service, nginx(service.url) as url:
        service.standin.script({"text": "one two three four", "tokens_per_second": 2})

        async with (
            httpx.AsyncClient() as client,
            client.stream("POST", f"{url}/query", json={"query": "Count"}) as stream,
        ):
            await anext(stream.aiter_text())

        await service.standin.stats.until(lambda stats: stats.closed_in_mid_stream == 1)


async def test_heartbeats_pass_while_the_upstream_is_silent(nginx: Proxying) -> None:
    async with lex(heartbeat_seconds=0.2) as service, nginx(service.url) as url:
        service.standin.script({"text": "late", "first_token_after": 1})

        async with (
            httpx.AsyncClient() as client,
            client.stream("POST", f"{url}/query", json={"query": "Think"}) as stream,
        ):
            received = [text async for text in stream.aiter_text()]

    assert received[:3] == [": \n\n"] * 3
    assert text_of(parse("".join(received))) == "late"


SILENCE_SECONDS = 40
IMPATIENT = "proxy_read_timeout 5s"
FROM_THE_START: dict[str, Any] = {"text": "late", "first_token_after": SILENCE_SECONDS}
IN_MID_ANSWER: dict[str, Any] = {
    "text": "one two three",
    "fault": {"kind": "stall", "after_tokens": 1, "seconds": SILENCE_SECONDS},
}


async def test_only_heartbeats_keep_a_silent_stream_from_an_impatient_proxy(
    nginx: Proxying,
) -> None:
    patience: dict[str, Any] = {"upstream_first_byte_seconds": 60, "upstream_gap_seconds": 60}
    async with AsyncExitStack() as stack:
        urls = []
        for heartbeat_seconds in (2, 6):
            service = await stack.enter_async_context(
                lex(heartbeat_seconds=heartbeat_seconds, **patience)
            )
            service.standin.script(FROM_THE_START, contains="Think", times=None)
            service.standin.script(IN_MID_ANSWER, contains="Count", times=None)
            urls.append(await stack.enter_async_context(nginx(service.url, IMPATIENT)))
        beating, mute = urls

        received = await asyncio.gather(
            *(asked(url, query) for url in (beating, mute) for query in ("Think", "Count"))
        )

    thought, counted, thought_in_vain, counted_in_vain = received
    assert text_of(parse(thought)) == "late"
    assert text_of(parse(counted)) == "one two three"
    assert min(thought.count(": \n\n"), counted.count(": \n\n")) >= SILENCE_SECONDS / 2 - 2
    assert thought_in_vain == ""
    assert text_of(parse(counted_in_vain)) == "one"


async def asked(url: str, query: str) -> str:
    """Everything that arrives until the stream ends or breaks."""
    received = ""
    try:
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("POST", f"{url}/query", json={"query": query}) as stream,
        ):
            async for text in stream.aiter_text():
                received += text
    except httpx.RemoteProtocolError:
        assert "event: end" not in received
    return received


@pytest.fixture
async def limited() -> AsyncIterator[Lex]:
    """A service that trusts the proxy's client addresses, and answers each client only once."""
    async with lex(rate_limit_client="1/day", forwarded_allow_ips="127.0.0.1") as service:
        yield service


@pytest.fixture
async def shipped(limited: Lex, tmp_path: Path) -> AsyncIterator[Nginx]:
    async with shipped_nginx(tmp_path, limited.url) as running:
        yield running


SMUGGLED = (
    b"POST /query HTTP/1.1\r\nHost: lex\r\nContent-Type: application/json\r\n"
    b"X-Forwarded-For: 203.0.113.9\r\nContent-Length: 44\r\n\r\n"
    b'{"query": "Hello", "session_id": "smuggled"}'
)
UPGRADES = ["h2c", "HTTP/2.0", "TLS/1.0", "websocket", "WebSocket", "h2c, websocket"]


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_a_body_is_no_second_request(limited: Lex, shipped: Nginx, upgrade: str) -> None:
    head = (
        f"POST /query HTTP/1.1\r\nHost: lex\r\nContent-Length: {len(SMUGGLED)}\r\n"
        f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n"
    ).encode()

    async with connected(int(shipped.lex.rpartition(":")[2])) as line:
        await line.send(head + b"\r\n")
        await limited.client.get("/livez")
        await line.send(SMUGGLED)
        answer = await line.head()

    assert answer.startswith(b"HTTP/1.1 422 ")
    assert (await limited.client.get("/sessions/smuggled")).status_code == 404


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_whoever_asks_for_an_upgrade_is_answered_and_counted(
    shipped: Nginx, upgrade: str
) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": upgrade}

    async with httpx.AsyncClient(base_url=shipped.lex, headers=headers) as client:
        first = await client.post("/query", json={"query": "Hello"})
        second = await client.post("/query", json={"query": "Hello"})

    assert parse(first.text)[-1] == ("end", "")
    assert second.status_code == 429


async def test_curl_asks_for_http_2_through_the_proxy(shipped: Nginx) -> None:
    program = shutil.which("curl")
    assert program
    asked = ["--http2", "--silent", "--noproxy", "*", "--json", json.dumps({"query": "Hello"})]

    running = await asyncio.create_subprocess_exec(
        program, *asked, f"{shipped.lex}/query", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await running.communicate()

    assert parse(said.decode())[-1] == ("end", "")


async def test_a_websocket_passes_the_proxy(shipped: Nginx) -> None:
    url = f"{shipped.lex.replace('http', 'ws')}/ws/sessions/s1"
    events: list[str] = []

    async with connect(url, proxy=None) as socket, waiting():
        await socket.send("Hello")
        while "end" not in events:
            events.append(json.loads(await socket.recv())["type"])

    assert "error" not in events


async def test_a_trace_begins_behind_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "x=y", "baggage": "k=v"}
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with (
            lex(trace_context="follow") as service,
            shipped_nginx(tmp_path, service.url) as running,
            httpx.AsyncClient(base_url=running.lex, headers=outside) as client,
        ):
            await client.post("/query", json={"query": "Hello"})
            url = f"{running.lex.replace('http', 'ws')}/ws/sessions/s1"
            async with connect(url, proxy=None, additional_headers=outside):
                pass

    servers = [span for span in collector.spans if span.kind == "server"]
    assert len(servers) == 2
    for span in servers:
        assert span.trace_id != "a" * 32
        assert (span.parent_id, span.links) == ("", [])
