"""Lex on a real socket, in the test's own event loop, in front of the stand-in for Groq."""

import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from backend.connections import Connection, WebSocketConnection
from backend.main import create_app
from backend.settings import Settings
from backend.tools import TOOLS
from backend.tools.registry import Tool
from infrastructure.groq_standin import Standin


@dataclass(frozen=True)
class Lex:
    """A running service: its address, a client for it, and the upstream it talks to."""

    url: str
    client: httpx.AsyncClient
    standin: Standin

    async def ask(self, query: str, session_id: str = "s1") -> list[tuple[str, str]]:
        """A whole stream, as pairs of event and data."""
        body = {"query": query, "session_id": session_id}
        answer = await self.client.post("/query", json=body)
        assert answer.status_code == 200, answer.text
        return parse(answer.text)


def parse(stream: str) -> list[tuple[str, str]]:
    """The frames of a stream; comments are dropped. Only the framing that we promise is read."""
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


def without_ids(stream: str) -> str:
    """A resumable stream as the plain one that it would have been."""
    opening, _, rest = stream.partition("\n\n")
    assert re.fullmatch(r"id: \w+-\d+\nretry: 1000", opening), opening
    return re.sub(r"^id: .*\n", "", rest, flags=re.MULTILINE)


def text_of(events: list[tuple[str, str]]) -> str:
    return "".join(data for event, data in events if event == "chunk")


def settings(**given: Any) -> Settings:
    defaults = {
        "groq_api_key": "test",
        "database_url": "memory://",
        "log_level": "WARNING",
        # There, and out of the way.
        "rate_limit_session": "1000000/day",
        "rate_limit_client": "1000000/day",
        "max_streams_per_client": 100_000,
    }
    return Settings(_env_file=None, **{**defaults, **given})


@asynccontextmanager
async def serve(app: FastAPI, *, http: type[Connection] = Connection) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app,
        port=0,
        http=http,
        ws=WebSocketConnection,
        log_config=None,
        timeout_graceful_shutdown=5,
        access_log=False,
        proxy_headers=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # Without its main loop, which looks for a signal ten times a second and no oftener.
    await server.startup()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.shutdown()


@asynccontextmanager
async def lex(
    *, tools: Sequence[Tool] = TOOLS, http: type[Connection] = Connection, **given: Any
) -> AsyncIterator[Lex]:
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(Standin.serve())
        given.setdefault("groq_base_url", standin.url)
        app = create_app(settings(**given), tools=tools)
        url = await stack.enter_async_context(serve(app, http=http))
        limits = httpx.Limits(max_connections=None)
        # An empty context: reading the system's certificates takes 30 ms, for plain HTTP.
        client = httpx.AsyncClient(
            base_url=url, timeout=30, limits=limits, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
        yield Lex(url, await stack.enter_async_context(client), standin)
