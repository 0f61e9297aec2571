"""What the instrumentation of FastAPI sees of a request, and what goes past it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry import server_span

SECRET = "s3cret"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


class Broken:
    """A middleware that fails before anybody can answer for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/broken":
            raise RuntimeError(SECRET)
        await self._app(scope, receive, send)


@pytest.fixture
def app(spans: InMemorySpanExporter) -> Iterator[FastAPI]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    app.add_middleware(Broken)

    @app.get("/sessions/{session_id}")
    async def show(session_id: str) -> str:
        return session_id

    @app.get("/slow/{session_id}")
    async def wait(session_id: str) -> None:  # noqa: ARG001 - it is in the path
        await asyncio.Event().wait()

    @app.websocket("/ws/{session_id}")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        for number in range(3):
            await socket.send_text(str(number))
        await socket.close()

    server_span.instrument(app, provider)
    yield app
    server_span.leave_alone(app)


@asynccontextmanager
async def asking(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("10.1.2.3", 4))
    async with httpx.AsyncClient(transport=transport, base_url="http://lex:8000") as client:
        yield client


def one(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


async def test_the_span_of_a_request_says_this_and_nothing_else(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    async with asking(app) as client:
        answer = await client.get(f"/sessions/{SECRET}", params={"query": SECRET})

    assert answer.json() == SECRET
    assert one(spans).name == "GET /sessions/{session_id}"
    assert dict(one(spans).attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/sessions/{session_id}",
        "server.address": "lex:8000",
        "server.port": 8000,
        "url.path": "/sessions/{session_id}",
        "url.scheme": "http",
    }


async def test_a_trace_that_is_brought_along_goes_on(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{7:032x}-{8:016x}-01"}
    async with asking(app) as client:
        await client.get("/sessions/s1", headers=headers)

    parent = one(spans).parent
    assert parent is not None
    assert (parent.trace_id, parent.span_id) == (7, 8)


async def test_what_is_not_there_has_no_route(app: FastAPI, spans: InMemorySpanExporter) -> None:
    async with asking(app) as client:
        answer = await client.get(f"/{SECRET}")

    assert answer.status_code == 404
    assert one(spans).name == "GET"
    assert (one(spans).attributes or {})["url.path"] == "unknown"


async def test_who_fails_before_all_others_is_answered_for_and_told_of(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    async with asking(app) as client:
        answer = await client.get("/broken")

    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert not one(spans).status.is_ok
    assert (one(spans).attributes or {})["http.response.status_code"] == 500


async def test_a_request_that_came_to_no_answer_is_named_all_the_same(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    async with asking(app) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.get(f"/slow/{SECRET}")

    assert one(spans).name == "GET /slow/{session_id}"
    assert SECRET not in repr(one(spans).attributes)


async def test_of_a_websocket_it_is_told_that_it_was_let_in_and_no_message(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    scope = {
        "type": "websocket",
        "path": f"/ws/{SECRET}",
        "headers": [],
        "query_string": SECRET.encode(),
        "scheme": "ws",
        "server": ("lex", 8000),
        "subprotocols": [],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)

    assert [message.get("text") for message in sent] == [None, "0", "1", "2", None]
    assert one(spans).name == "HTTP /ws/{session_id}"
    assert dict(one(spans).attributes or {}) == {
        "http.response.status_code": 101,
        "http.route": "/ws/{session_id}",
        "server.address": "lex:8000",
        "server.port": 8000,
        "url.path": "/ws/{session_id}",
        "url.scheme": "ws",
    }


async def test_probes_have_no_span(app: FastAPI, spans: InMemorySpanExporter) -> None:
    async with asking(app) as client:
        for path in server_span.PROBES:
            await client.get(path)

    assert not spans.get_finished_spans()


async def test_who_asks_when_nothing_is_traced_any_more_is_answered(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    server_span.leave_alone(app)
    async with asking(app) as client:
        answer = await client.get("/sessions/s1")

    assert answer.json() == "s1"
    assert not spans.get_finished_spans()
