"""Lex behind a real proxy, in its default settings and with compression on."""

import asyncio

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
