"""Published clients for event streams, unmodified, on connections that are cut at many places.

All of them ask with POST, and resume by sending the same request with `Last-Event-ID`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import httpx_sse
import pytest
import sseclient

from tests.conformance.exchanges import load
from tests.conformance.replay import replaying
from tests.cutting import WITHIN_HEAD, Cut, Cutter, cutting
from tests.processes import ROOT, environment
from tests.serving import Lex, ids_of, lex, parse, without_ids
from tests.waiting import within_limit

PACKAGES = ROOT / ".venv/npm/clients/node_modules"
CLIENTS = ROOT / "tests/system/clients"
NODE = ROOT / ".venv/bin/node"

LOOK_UP: dict[str, Any] = {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}
ANSWERS = {
    "In lines?": "À Paris il a plu.\n\n- et\n- puis\n" * 3,
    "In one line?": "À Paris il a plu, et puis il a fait beau. " * 3,
}
CUTS = 50

Seen = list[list[str]]
"""Events as a client reports them: id, name and data."""


class Stream(NamedTuple):
    base: str
    session: str
    query: str

    @property
    def request(self) -> dict[str, Any]:
        return {
            "method": "POST",
            "url": f"{self.base}/query",
            "json": {"query": self.query, "session_id": self.session, "resume": True},
        }

    def headers(self, last_event_id: str | None) -> dict[str, str]:
        last = {"Last-Event-ID": last_event_id} if last_event_id else {}
        return {"Idempotency-Key": self.session, **last}


Read = Callable[[Sequence[Stream]], Awaitable[list[Seen]]]


def by_node(name: str) -> Read:
    """Read all streams in one process of Node."""

    async def read(streams: Sequence[Stream]) -> list[Seen]:
        assert PACKAGES.exists(), "the clients are missing: make test-system fetches them"
        running = await asyncio.create_subprocess_exec(
            *(str(NODE), str(CLIENTS / "main.mjs"), name),
            json.dumps([stream._asdict() for stream in streams]),
            stdout=asyncio.subprocess.PIPE,
            env=environment(PACKAGES=str(PACKAGES)),
        )
        said, _ = await running.communicate()
        assert running.returncode == 0
        seen: list[Seen] = json.loads(said)
        return seen

    return read


async def by_httpx_sse(streams: Sequence[Stream]) -> list[Seen]:
    async with httpx.AsyncClient(timeout=60) as client:
        return await asyncio.gather(*(_httpx_sse(client, stream) for stream in streams))


async def _httpx_sse(client: httpx.AsyncClient, stream: Stream) -> Seen:
    seen: Seen = []
    while not _is_over(seen):
        headers = stream.headers(seen[-1][0] if seen else None)
        try:
            async with httpx_sse.aconnect_sse(client, **stream.request, headers=headers) as source:
                assert source.response.status_code == 200
                async for event in source.aiter_sse():
                    if event.event != "message":  # the frame that only has an id
                        seen.append([event.id or "", event.event, event.data])
        except httpx.TransportError:
            pass  # this connection ended, but the stream goes on
    return seen


async def by_sseclient(streams: Sequence[Stream]) -> list[Seen]:
    with httpx.Client(timeout=60) as client:
        return await asyncio.gather(
            *(asyncio.to_thread(_sseclient, client, stream) for stream in streams)
        )


def _sseclient(client: httpx.Client, stream: Stream) -> Seen:
    seen: Seen = []
    while not _is_over(seen):
        headers = stream.headers(seen[-1][0] if seen else None)
        try:
            with client.stream(**stream.request, headers=headers) as answer:
                assert answer.status_code == 200
                for event in sseclient.SSEClient(answer.iter_raw()).events():
                    seen.append([event.id or "", event.event, event.data])
        except httpx.TransportError:
            pass
    return seen


def _is_over(seen: Seen) -> bool:
    return bool(seen) and seen[-1][1] == "end"


class BesideAnId(Cutter):
    """Never cuts between an id and the line feed that ends its frame.

    A client that stores the id before it reports the event would lose that event.
    """

    def place(self, cut: Cut | None, answered: bytearray) -> int | None:
        place = super().place(cut, answered)
        if place is not None and re.search(rb"\nid: [^\n]+\n\Z", answered[:place]):
            return place - 1
        return place


class Client(NamedTuple):
    read: Read
    cutter: type[Cutter] = Cutter
    query: str = "In lines?"


CLIENTS_BY_NAME = {
    "fetch-event-source": Client(by_node("fetch_event_source"), BesideAnId, "In one line?"),
    "eventsource": Client(by_node("eventsource")),
    "eventsource-client": Client(by_node("eventsource_client")),
    "eventsource-parser": Client(by_node("eventsource_parser")),
    "httpx-sse": Client(by_httpx_sse),
    "sseclient-py": Client(by_sseclient),
}


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex(max_streams=10 * CUTS, chunk_flush_ms=10) as service:
        for query, text in ANSWERS.items():
            rounds = (LOOK_UP, {"text": text, "tokens_per_second": 200})
            service.standin.script(*rounds, contains=query, times=None)
        yield service


IN_THE_END: tuple[Cut, ...] = (b"event: end\n", b"event: end\ndata: \nid: ", b"\r\n0\r\n")
"""Cuts within the last frame and after it: the client has read everything, but cannot know."""

FRAME_BYTES = 60
"""The most bytes by which each chunk lengthens an answer, in addition to its text."""


async def places(service: Lex, query: str) -> list[Cut]:
    """Cuts from within the head of an answer to its end, even if its text is one chunk."""
    stream = Stream(service.url, "uncut", query)
    answer = await service.client.request(**stream.request, headers=stream.headers(None))
    least = len(answer.content) - FRAME_BYTES * answer.text.count("event: chunk\n")
    spread = CUTS - len(IN_THE_END)
    steps = [WITHIN_HEAD + n * (least - WITHIN_HEAD) // spread for n in range(spread)]
    return [*steps, *IN_THE_END]


@pytest.mark.parametrize("name", CLIENTS_BY_NAME)
async def test_a_client_that_is_cut_anywhere_sees_every_event_once(service: Lex, name: str) -> None:
    client = CLIENTS_BY_NAME[name]
    async with AsyncExitStack() as stack:
        cutters = [
            await stack.enter_async_context(cutting(service.url, [place], client.cutter))
            for place in await places(service, client.query)
        ]
        streams = [Stream(cutter.url, f"s{n}", client.query) for n, cutter in enumerate(cutters)]

        seen = await client.read(streams)

        cut = sum(cutter.times for cutter in cutters)
    whole = await asyncio.gather(*(uncut(service, events) for events in seen))
    sessions = [await service.client.get(f"/sessions/{stream.session}") for stream in streams]
    assert cut == CUTS
    assert seen == whole
    assert [session.json()["turns"] for session in sessions] == [1] * CUTS
    assert service.standin.stats.requests == 2 * (1 + CUTS)


async def uncut(service: Lex, seen: Seen) -> Seen:
    """The same turn, read over one connection."""
    turn_id = seen[0][0].partition("-")[0]
    replay = (await service.client.get(f"/turns/{turn_id}/events")).text
    events = parse(without_ids(replay))
    return [[id_, *event] for id_, event in zip(ids_of(replay)[1:], events, strict=True)]


@pytest.mark.parametrize("name", ["eventsource", "eventsource_client", "eventsource_parser"])
async def test_a_client_reads_the_wires_of_the_conformance_suite(name: str) -> None:
    """`@microsoft/fetch-event-source` does not notice a connection that closes properly."""
    known = load().known
    with replaying() as server:
        streams = [Stream(f"{server.url}/{id_}", id_, "Hello") for id_ in server.wires]

        seen = await within_limit(by_node(name)(streams))

        verdicts = [server.verdicts(id_) for id_ in server.wires]
    reported = [[each[1:] for each in events if each[1] in known] for events in seen]
    assert reported == [list(map(list, wire.seen)) for wire in server.wires.values()]
    assert verdicts == [{id_: []} for id_ in server.wires]
