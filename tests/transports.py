"""One interface to all transports of Lex, so that one suite tests them all."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect

from tests.serving import Lex, ids_of, parse
from tests.waiting import waiting

Seen = tuple[str, Any]
"""An event and its data, a string or an object."""


class Reader(Protocol):
    """A client that reads one turn. `turn_id` and `last_id` are those of the last event."""

    turn_id: str
    last_id: str

    async def next(self) -> Seen:
        """The next event."""
        ...

    async def rest(self) -> list[Seen]:
        """All events up to `end`."""
        ...


class Transport(Protocol):
    def ask(
        self, service: Lex, query: str, session_id: str
    ) -> AbstractAsyncContextManager[Reader]: ...

    def resume(
        self, service: Lex, last_id: str, session_id: str
    ) -> AbstractAsyncContextManager[Reader]: ...

    async def refused(self, service: Lex, query: str, session_id: str) -> str:
        """Ask a question that is refused; returns the code of the refusal."""
        ...


@dataclass
class _Reader:
    events: AsyncIterator[tuple[str, Seen]]
    turn_id: str = ""
    last_id: str = ""
    seen: list[Seen] = field(default_factory=list)

    async def next(self) -> Seen:
        async with waiting():
            self.last_id, seen = await anext(self.events)
        self.turn_id = self.last_id.partition("-")[0]
        return seen

    async def rest(self) -> list[Seen]:
        seen = [await self.next()]
        while seen[-1][0] != "end":
            seen.append(await self.next())
        return seen


class ServerSentEvents:
    @asynccontextmanager
    async def ask(self, service: Lex, query: str, session_id: str) -> AsyncIterator[Reader]:
        body = {"query": query, "session_id": session_id, "resume": True}
        async with service.client.stream("POST", "/query", json=body) as answer:
            assert answer.status_code == 200
            yield _Reader(self._events(answer.aiter_text()))

    @asynccontextmanager
    async def resume(self, service: Lex, last_id: str, session_id: str) -> AsyncIterator[Reader]:  # noqa: ARG002
        url = f"/turns/{last_id.partition('-')[0]}/events"
        headers = {"Last-Event-ID": last_id}
        async with service.client.stream("GET", url, headers=headers) as answer:
            yield _Reader(self._events(answer.aiter_text()))

    async def refused(self, service: Lex, query: str, session_id: str) -> str:
        body = {"query": query, "session_id": session_id}
        answer = await service.client.post("/query", json=body)
        return str(answer.json()["code"])

    async def _events(self, texts: AsyncIterator[str]) -> AsyncIterator[tuple[str, Seen]]:
        received = ""
        async for text in texts:
            received += text
            *frames, received = received.split("\n\n")
            for frame in frames:
                if "event: " in frame:
                    (id_,) = ids_of(frame)
                    ((event, data),) = parse(frame.rpartition("\n")[0] + "\n\n")
                    is_object = event in ("tool_call", "tool_output", "error", "outcome")
                    yield id_, (event, json.loads(data) if is_object else data)


class WebSockets:
    @asynccontextmanager
    async def ask(self, service: Lex, query: str, session_id: str) -> AsyncIterator[Reader]:
        async with self._connected(service, session_id) as socket:
            await socket.send(json.dumps({"type": "query", "query": query}))
            yield _Reader(self._events(socket))

    @asynccontextmanager
    async def resume(self, service: Lex, last_id: str, session_id: str) -> AsyncIterator[Reader]:
        async with self._connected(service, session_id) as socket:
            await socket.send(json.dumps({"type": "resume", "last_event_id": last_id}))
            yield _Reader(self._events(socket))

    async def refused(self, service: Lex, query: str, session_id: str) -> str:
        async with self._connected(service, session_id) as socket:
            await socket.send(json.dumps({"type": "query", "query": query}))
            refusal = json.loads(await socket.recv())
        assert "id" not in refusal
        return str(refusal["data"]["code"])

    def _connected(
        self, service: Lex, session_id: str
    ) -> AbstractAsyncContextManager[ClientConnection]:
        return connect(f"{service.url.replace('http', 'ws')}/ws/sessions/{session_id}", proxy=None)

    async def _events(self, socket: ClientConnection) -> AsyncIterator[tuple[str, Seen]]:
        async for text in socket:
            body = json.loads(text)
            is_of_round = body["type"] in ("chunk", "tool_use", "tool_call", "tool_output")
            assert list(body) == ["type", "id", "turn", "data", *["round"] * is_of_round]
            assert body["id"].startswith(f"{body['turn']}-")
            if body["type"] in ("tool_call", "tool_output"):  # on streams, it is in the data
                body["data"]["round"] = body["round"]
            yield body["id"], (body["type"], body["data"])
