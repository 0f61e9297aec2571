"""Broken servers: Lex with one defect each, which the address selects: `/broken/<defect>/query`."""

import json
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
    paths that begin with it, and `closes` is the code of all closes.
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
    closes: int | None = None
    encoding: str = "utf-8"


class Broken:
    """Serves `app` unchanged, and with each defect under an address of its own."""

    def __init__(self, app: ASGIApp, defects: Mapping[str, Defect]) -> None:
        self._app = app
        self._defects = defects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope.get("path", "").startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        name, _, path = scope["path"].removeprefix(PREFIX).partition("/")
        defect = self._defects[name]
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
                headers = {key: value for key, value in headers.items() if key != "content-length"}
                await self._head(status, headers)
                await self._send({**message, "body": body.encode()})
            case "websocket.close" if self._defect.closes is not None:
                await self._send({**message, "code": self._defect.closes})
            case "websocket.send":
                for text in self._defect.message(json.loads(message["text"])):
                    await self._send({**message, "text": text})
            case _:
                await self._send(message)

    async def _head(self, status: int, headers: Headers) -> None:
        listed = [(key.encode(), value.encode()) for key, value in headers.items()]
        await self._send({**self._start, "status": status, "headers": listed})
