"""Lex behind a real proxy, in its default settings and with compression on."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx

from tests.serving import lex, parse, text_of
from tests.system.conftest import Proxying


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
    """What arrives until the stream ends or breaks."""
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
