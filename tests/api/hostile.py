"""Shared parts of the tests with hostile input: one service gets them all."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.credentials import WITH_SECRET
from tests.raw import wire
from tests.serving import Lex, lex, parse
from tests.waiting import waiting

ONE_LOOP = pytest.mark.asyncio(loop_scope="module")

MAX_BODY = 4096


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked() -> AsyncIterator[Lex]:
    async with lex(max_query_chars=100, max_body_bytes=MAX_BODY) as running:
        await running.ask("Hello", "afterwards")
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def owned() -> AsyncIterator[Lex]:
    """A service that requires tokens."""
    async with lex(**WITH_SECRET, max_query_chars=100, max_body_bytes=MAX_BODY) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def service(attacked: Lex) -> AsyncIterator[Lex]:
    yield attacked
    await assert_still_there(attacked)


async def assert_still_there(service: Lex, headers: dict[str, str] | None = None) -> None:
    """Assert that the service answers, and nothing of the attack still runs."""
    answer = await service.client.post("/query", json={"query": "Hello"}, headers=headers)
    events = parse(answer.text)
    assert [name for name, _ in events][-1] == "end"
    assert "error" not in [name for name, _ in events]
    async with waiting():
        while (await service.client.get("/readyz")).json()["free_slots"] != 2000:
            await asyncio.sleep(0.01)


async def exchange(service: Lex, data: bytes, *, is_all: bool = True) -> bytes:
    """Send bytes, and return the answer until the server closes. `is_all` ends our side."""
    async with wire(service) as line:
        await line.send(data)
        if is_all:
            line.writer.write_eof()
        return await line.rest()


def statuses(said: bytes) -> list[int]:
    """Return the status of each response in these bytes."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]
