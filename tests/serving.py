"""Lex on a real socket in the test's own event loop, with the stand-in for Groq as upstream."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic_settings import InitSettingsSource

from backend.app.llm_providers import PROVIDERS, Provider
from backend.domain.conversation import now
from backend.main import create_app
from backend.server.protocols import HttpConnection, WebSocketConnection
from backend.settings import Settings
from backend.tools import TOOLS
from backend.tools.registry import Tool
from infrastructure.groq_standin import Standin
from tests.processes import NO_TLS


@dataclass(frozen=True)
class Lex:
    """A running service, with its URL, a client for it and its upstream."""

    url: str
    client: httpx.AsyncClient
    standin: Standin

    async def ask(self, query: str, session_id: str = "s1") -> list[tuple[str, str]]:
        """Ask, and return the whole stream as pairs of event and data."""
        body = {"query": query, "session_id": session_id}
        answer = await self.client.post("/query", json=body)
        assert answer.status_code == 200, answer.text
        return parse(answer.text)


def parse(stream: str) -> list[tuple[str, str]]:
    """The events of a stream without comments. Accepts only the framing that Lex promises."""
    events = []
    for frame in stream.split("\n\n")[:-1]:
        lines = [line for line in frame.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        name, *data = lines
        assert name.startswith("event: "), stream
        assert all(line.startswith("data: ") for line in data), stream
        events.append((name[7:], "\n".join(line[6:] for line in data)))
    assert stream.endswith("\n\n") or not stream, stream
    return events


def ids_of(stream: str) -> list[str]:
    return re.findall(r"^id: (.*)$", stream, re.MULTILINE)


def is_over(stream: str) -> bool:
    """Whether a resumable stream is complete, with its `end`."""
    return re.search(r"event: end\ndata: \nid: .+\n\n\Z", stream) is not None


def without_ids(stream: str) -> str:
    """Turn a resumable stream into the plain stream with the same events."""
    opening, _, rest = stream.partition("\n\n")
    assert re.fullmatch(r"id: \w+-(lost-)?\d+\nretry: 1000", opening), opening
    return re.sub(r"^id: .*\n", "", rest, flags=re.MULTILINE)


def outcome_of(events: list[tuple[str, str]]) -> dict[str, Any]:
    """The data of the `outcome` event, which must come once, right before `end`."""
    assert [event for event, _ in events].count("outcome") == 1, events
    (name, data), end = events[-2:]
    assert (name, end) == ("outcome", ("end", "")), events
    outcome: dict[str, Any] = json.loads(data)
    return outcome


def without_outcome(events: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The events without `outcome`. Checks that it is there."""
    outcome_of(events)
    return [*events[:-2], events[-1]]


def text_of(events: list[tuple[str, str]]) -> str:
    return "".join(data for event, data in events if event == "chunk")


def settings(**given: Any) -> Settings:
    defaults = {
        "groq_api_key": "test",
        "database_url": "memory://",
        "log_level": "WARNING",
        # The limits are active, but no test reaches them.
        "rate_limit_session": "1000000/day",
        "rate_limit_client": "1000000/day",
        "rate_limit_sessions": "1000000/day",
        "max_streams_per_client": 100_000,
        "max_readers_per_client": 100_000,
        "max_sockets_per_client": 100_000,
    }
    values = {**defaults, **given}
    # Without the environment and its files, which take 2 ms to read.
    return Settings(_build_sources=((InitSettingsSource(Settings, values),), values))


class _Server(uvicorn.Server):
    """Closes as soon as all is done; uvicorn would take up to 0.2 seconds longer."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        for listener in self.servers:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(self.config.timeout_graceful_shutdown):
            while self.server_state.connections or self.server_state.tasks:
                await asyncio.sleep(0.001)
        await self.lifespan.shutdown()


@asynccontextmanager
async def serve(app: FastAPI, *, http: type[HttpConnection] = HttpConnection) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app,
        port=0,
        http=http,
        ws=WebSocketConnection,
        log_config=None,
        # Longer than clients keep theirs, so that none reuses a connection as it is closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
        access_log=False,
        proxy_headers=False,
    )
    config.load()
    server = _Server(config)
    server.lifespan = config.lifespan_class(config)
    # Without the main loop, which checks for signals only ten times per second.
    await server.startup()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.shutdown()


@asynccontextmanager
async def lex(
    *,
    tools: Sequence[Tool] = TOOLS,
    http: type[HttpConnection] = HttpConnection,
    clock: Callable[[], datetime] = now,
    providers: Sequence[Provider] = PROVIDERS,
    **given: Any,
) -> AsyncIterator[Lex]:
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(Standin.serve())
        given.setdefault("groq_base_url", standin.url)
        app = create_app(settings(**given), tools=tools, clock=clock, providers=providers)
        url = await stack.enter_async_context(serve(app, http=http))
        limits = httpx.Limits(max_connections=None)
        client = httpx.AsyncClient(base_url=url, timeout=30, limits=limits, verify=NO_TLS)
        yield Lex(url, await stack.enter_async_context(client), standin)
