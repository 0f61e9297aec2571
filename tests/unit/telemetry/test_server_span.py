"""What FastAPI's instrumentation sees of a request, and what it must not see."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry import server_span

SECRET = "s3cret"
SCOPE = {
    "headers": [],
    "query_string": SECRET.encode(),
    "scheme": "http",
    "server": ("lex", 8000),
    "subprotocols": [],
}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


class Broken:
    """A middleware that fails outside the application's error handling."""

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
    async def wait(session_id: str) -> str:
        app.state.is_waiting.set()
        await asyncio.Event().wait()
        return session_id

    @app.get("/breaking/{session_id}")
    async def write_and_break(session_id: str) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "begun"
            raise RuntimeError(session_id)

        return StreamingResponse(body())

    @app.websocket("/no/{session_id}")
    async def refuse(socket: WebSocket) -> None:
        await socket.close()

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


async def test_a_trace_that_is_brought_along_is_linked(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{7:032x}-{8:016x}-01"}
    async with asking(app) as client:
        await client.get("/sessions/s1", headers=headers)

    span = one(spans)
    assert span.parent is None
    assert [(link.context.trace_id, link.context.span_id) for link in span.links] == [(7, 8)]


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
    assert (one(spans).attributes or {})["error.type"] == "RuntimeError"
    assert SECRET not in one(spans).to_json()


async def test_of_an_answer_that_breaks_the_type_of_the_error_is_told_and_not_what_it_says(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    async with asking(app) as client:
        answer = await client.get(f"/breaking/{SECRET}")

    assert (answer.status_code, answer.text) == (200, "begun")
    assert one(spans).name == "GET /breaking/{session_id}"
    assert (one(spans).attributes or {})["error.type"] == "RuntimeError"
    assert not one(spans).status.is_ok
    assert SECRET not in one(spans).to_json()


async def test_a_head_that_cannot_be_sent_is_no_second_answer(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message["type"])
        raise ConnectionResetError

    scope = {**SCOPE, "type": "http", "method": "GET", "path": "/sessions/s1"}
    with pytest.raises(ConnectionResetError):
        await app(scope, receive, send)

    assert sent == ["http.response.start"]
    assert (one(spans).attributes or {})["error.type"] == "ConnectionResetError"


async def test_a_request_that_came_to_no_answer_is_named_all_the_same(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    app.state.is_waiting = asyncio.Event()
    async with asking(app) as client:
        asked = asyncio.create_task(client.get(f"/slow/{SECRET}"))
        await app.state.is_waiting.wait()
        asked.cancel()
        await asyncio.wait([asked])

    assert one(spans).name == "GET /slow/{session_id}"
    assert SECRET not in one(spans).to_json()


async def frames(app: FastAPI, path: str) -> list[Message]:
    """The messages that the application sends to a silent WebSocket."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({**SCOPE, "type": "websocket", "path": path}, receive, send)
    return sent


async def test_of_a_websocket_it_is_told_that_it_was_let_in_and_no_message(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    sent = await frames(app, f"/ws/{SECRET}")

    assert [message.get("text") for message in sent] == [None, "0", "1", "2", None]
    assert one(spans).name == "HTTP /ws/{session_id}"
    assert dict(one(spans).attributes or {}) == {
        "http.response.status_code": 101,
        "http.route": "/ws/{session_id}",
        "server.address": "lex:8000",
        "server.port": 8000,
        "url.path": "/ws/{session_id}",
        "url.scheme": "http",
    }


async def test_of_a_websocket_it_is_told_that_it_was_not_let_in(
    app: FastAPI, spans: InMemorySpanExporter
) -> None:
    assert [message["type"] for message in await frames(app, "/no/s1")] == ["websocket.close"]

    assert one(spans).name == "HTTP /no/{session_id}"
    assert (one(spans).attributes or {})["http.response.status_code"] == 403


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
