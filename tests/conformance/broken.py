"""Broken servers: Lex with one defect each, which the address selects: `/broken/<defect>/query`."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "/broken/"

Headers = dict[str, str]


def _same(text: str) -> str:
    return text


@dataclass(frozen=True)
class Defect:
    """`must` is the MUST that it breaks, which one exchange shows over one transport.

    `head` changes the headers of a stream, `stream` each of its writes. `message` turns a message
    of a WebSocket into several, or none. `answer` changes the status, headers and body of any other
    answer, and `request` the values of headers that the client sends. `where` restricts changes to
    paths that begin with it.
    """

    must: str
    exchange: str
    over: str
    stream: Callable[[str], str] = _same
    message: Callable[[dict[str, Any]], list[str]] = lambda body: [json.dumps(body)]
    answer: Callable[[int, Headers, str], tuple[int, Headers, str]] = lambda *parts: parts
    head: Callable[[Headers], Headers] = lambda headers: headers
    request: Mapping[str, Callable[[str], str | None]] = field(default_factory=dict)
    where: str = "/"
    encoding: str = "utf-8"


def swap(pattern: str, replacement: str, count: int = 0) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, replacement, text, count=count, flags=re.DOTALL)


def without(name: str) -> Callable[[Headers], Headers]:
    return lambda headers: {key: value for key, value in headers.items() if key != name}


FRAME = r"event: {}\n(?:(?!\n\n).)*\n\n"
END = FRAME.format("end")


def output_first(text: str) -> str:
    """Put an output behind the first of two calls. The real one follows, so O4 breaks as well."""
    call = (
        r'(event: tool_call\ndata: {"id": ("[^"]*"), "name": ("[^"]*")[^\n]*\n\n)(event: tool_use)'
    )
    output = r'event: tool_output\ndata: {"name": \3, "output": {}, "id": \2}\n\n'
    return re.sub(call, rf"\1{output}\4", text, count=1)


def dropped(_: str) -> None:
    """The server never sees the header."""


def moved(by: int) -> Callable[[str], str]:
    """Resume from a place nearby."""
    return lambda id_: f"{id_.rpartition('-')[0]}-{int(id_.rpartition('-')[2]) + by}"


def ok(_: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
    return 200, headers, body


def bare(status: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
    problem = {key: value for key, value in json.loads(body).items() if key != "code"}
    return status, headers, json.dumps(problem)


def late(status: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
    return status, without("retry-after")(headers), body


def as_failed(status: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
    return status, headers, body.replace('"outcome":"completed"', '"outcome":null')


def dumped(body: dict[str, Any]) -> list[str]:
    data = body["data"]
    return [json.dumps({**body, "data": data if isinstance(data, str) else json.dumps(data)})]


def without_turn(body: dict[str, Any]) -> list[str]:
    return [json.dumps({key: value for key, value in body.items() if key != "turn"})]


def twice(body: dict[str, Any]) -> list[str]:
    return [json.dumps(body)] * (2 if body["type"] == "end" else 1)


DEAF: Mapping[str, Callable[[str], str | None]] = {"last-event-id": dropped}

DEFECTS: Mapping[str, Defect] = {
    "media-type": Defect(
        "F1", "short-answer", "plain", head=lambda h: {**h, "content-type": "text/plain"}
    ),
    "crlf": Defect("F2", "short-answer", "plain", stream=swap("\n", "\r\n")),
    "latin-1": Defect("F2", "lines", "plain", encoding="latin-1"),
    "data-first": Defect(
        "F3", "short-answer", "resumable", stream=swap(r"(event: \w+\n)(data: [^\n]*\n)", r"\2\1")
    ),
    "id-first": Defect(
        "F3", "short-answer", "resumable", stream=swap(r"(event: \w+.*?\n)(id: \S+\n)", r"\2\1")
    ),
    "no-space": Defect("F4", "short-answer", "plain", stream=swap(r"data: \n", "data:\n")),
    "lines-joined": Defect("F5", "lines", "plain", stream=swap(r"\ndata: ", " ")),
    "lines-cut": Defect("F5", "lines", "resumable", stream=swap(r"(?<=\n)data: - b\n", "")),
    "no-turn-id": Defect("F6", "short-answer", "plain", head=without("x-turn-id")),
    "cached": Defect("F7", "short-answer", "plain", head=without("cache-control")),
    "heartbeat-event": Defect(
        "H1", "heartbeats", "resumable", stream=swap("^: \n\n$", "event: ping\ndata: \n\n")
    ),
    "call-without-id": Defect(
        "E2", "one-tool", "plain", stream=swap('"id": "[^"]*", "name"', '"name"')
    ),
    "output-as-text": Defect(
        "E3", "one-tool", "plain", stream=swap('"output": {[^}]*}', '"output": "mild"')
    ),
    "outcome-without-usage": Defect(
        "E5", "short-answer", "plain", stream=swap(', "usage".*?}', "")
    ),
    "end-with-data": Defect(
        "E6", "short-answer", "plain", stream=swap("end\ndata: ", "end\ndata: bye")
    ),
    "no-end": Defect("O1", "short-answer", "plain", stream=swap(END, "")),
    "two-ends": Defect("O1", "short-answer", "plain", stream=swap(f"({END})", r"\1\1")),
    "event-after-end": Defect(
        "O1", "short-answer", "plain", stream=swap(f"({END})", "\\1event: stats\ndata: 1\n\n")
    ),
    "no-outcome": Defect("O2", "short-answer", "plain", stream=swap(FRAME.format("outcome"), "")),
    "no-tool-use": Defect("O3", "one-tool", "plain", stream=swap(FRAME.format("tool_use"), "")),
    "output-between-calls": Defect("O3", "two-tools", "plain", stream=output_first),
    "no-output": Defect(
        "O4", "two-tools", "plain", stream=swap(FRAME.format("tool_output"), "", 1)
    ),
    "output-twice": Defect(
        "O4", "one-tool", "plain", stream=swap(f"({FRAME.format('tool_output')})", r"\1\1")
    ),
    "text-after-error": Defect(
        "O5",
        "error-at-once",
        "plain",
        stream=swap(f"({FRAME.format('error')})", "\\1event: chunk\ndata: Sorry\n\n"),
    ),
    "no-opening": Defect(
        "I1", "short-answer", "resumable", stream=swap(r"id: \S+\nretry: \d+\n\n", "")
    ),
    "one-id": Defect("I2", "one-tool", "resumable", stream=swap(r"-\d+\n", "-1\n")),
    "ids-of-another-turn": Defect(
        "I2", "short-answer", "resumable", stream=swap(r"id: \w{4}", "id: 0000")
    ),
    "other-data-in-replay": Defect(
        "I3",
        "two-readers",
        "resumable",
        stream=swap('"outcome": "completed"', '"outcome": "failed"'),
        where="/turns/",
    ),
    "ids-unasked": Defect(
        "I4", "short-answer", "plain", stream=swap("data: ([^\n]*)\n\n", "data: \\1\nid: x-1\n\n")
    ),
    "resume-repeats-an-event": Defect(
        "R1",
        "cut-and-followed",
        "resumable",
        request={"last-event-id": moved(-1)},
    ),
    "resume-skips-an-event": Defect(
        "R1",
        "cut-and-followed",
        "resumable",
        request={"last-event-id": moved(1)},
    ),
    "resume-asks-again": Defect("R2", "cut-and-repeated", "resumable", request=DEAF),
    "no-204": Defect("R4", "read-to-the-end", "event_source", request=DEAF),
    "any-place": Defect("R6", "place-that-does-not-exist", "resumable", request=DEAF),
    "key-ignored": Defect(
        "K1", "key-replays-a-finished-turn", "plain", request={"idempotency-key": dropped}
    ),
    "key-takes-any-question": Defect(
        "K2", "key-with-another-question", "plain", request={"idempotency-key": dropped}
    ),
    "refusal-with-200": Defect("P1", "empty-question", "plain", answer=ok),
    "problem-without-code": Defect("P1", "empty-question", "message", answer=bare),
    "refusal-that-ends-at-once": Defect(
        "P2", "empty-question", "event_source", stream=swap(END, "")
    ),
    "no-retry-after": Defect("P6", "too-many-questions", "plain", answer=late),
    "error-without-retryable": Defect(
        "X1", "error-at-once", "plain", stream=swap(', "retryable": (true|false)', "")
    ),
    "retry-after-as-text": Defect(
        "X1",
        "error-at-once",
        "plain",
        stream=swap('"retryable"', '"retry_after": "1", "retryable"'),
    ),
    "text-lost-before-error": Defect(
        "X2", "error-in-mid-answer", "plain", stream=swap(FRAME.format("chunk"), "")
    ),
    "failing-tool-as-error": Defect(
        "X3", "failing-tool", "plain", stream=swap("event: tool_output", "event: error")
    ),
    "not-stored": Defect("T1", "stored-before-the-end", "plain", answer=as_failed),
    "length-hidden": Defect("T2", "cut-by-a-limit", "plain", stream=swap('"length"', '"stop"')),
    "stop-looks-complete": Defect("S3", "stop", "resumable", stream=swap("cancelled", "completed")),
    "socket-data-as-text": Defect("W1", "socket-messages", "websocket", message=dumped),
    "socket-without-turn": Defect("W1", "socket-messages", "websocket", message=without_turn),
    "socket-with-two-ends": Defect(
        "O1", "socket-goes-on-after-a-refusal", "websocket", message=twice
    ),
    "refusal-with-turn": Defect(
        "W3",
        "empty-question",
        "websocket",
        message=lambda body: [json.dumps({"turn": "0", **body})],
    ),
}


class Broken:
    """Serves `app` unchanged, and with each defect under an address of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope.get("path", "").startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        name, _, path = scope["path"].removeprefix(PREFIX).partition("/")
        defect = DEFECTS[name]
        # Without the extension, all of the response goes through `send`.
        changed: Scope = {
            **scope,
            "path": f"/{path}",
            "raw_path": f"/{path}".encode(),
            "extensions": {},
        }
        changed["headers"] = list(_requested(defect, scope["headers"]))
        applies = f"/{path}".startswith(defect.where)
        await self._app(changed, receive, _Changing(defect, send) if applies else send)


def _requested(
    defect: Defect, headers: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    for key, value in headers:
        change = defect.request.get(key.decode(), _same)
        if (changed := change(value.decode())) is not None:
            yield key, changed.encode()


class _Changing:
    """Sends what a defect makes of a response."""

    def __init__(self, defect: Defect, send: Send) -> None:
        self._defect = defect
        self._send = send
        self._start: Message = {}
        self._headers: Headers = {}
        self._is_stream = False

    async def __call__(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self._start = message
                self._headers = {k.decode(): v.decode() for k, v in message["headers"]}
                kind = self._headers.get("content-type", "")
                self._is_stream = kind.startswith("text/event-stream")
                if self._is_stream:
                    await self._head(message["status"], self._defect.head(self._headers))
            case "http.response.body" if self._is_stream:
                text = self._defect.stream(message["body"].decode())
                encoded = text.encode(self._defect.encoding, errors="replace")
                await self._send({**message, "body": encoded})
            case "http.response.body":
                given = self._start["status"], self._headers, message.get("body", b"").decode()
                status, headers, body = self._defect.answer(*given)
                await self._head(status, without("content-length")(headers))
                await self._send({**message, "body": body.encode()})
            case "websocket.send":
                for text in self._defect.message(json.loads(message["text"])):
                    await self._send({**message, "text": text})
            case _:
                await self._send(message)

    async def _head(self, status: int, headers: Headers) -> None:
        listed = [(key.encode(), value.encode()) for key, value in headers.items()]
        await self._send({**self._start, "status": status, "headers": listed})
