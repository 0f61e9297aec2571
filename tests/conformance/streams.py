"""What one client receives: the answer of a request, or the messages of a WebSocket."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

READ_SECONDS = 30.0


@dataclass(frozen=True)
class Event:
    name: str
    data: Any
    """An object for events with JSON, as far as it can be read; otherwise the text."""
    id: str | None = None


@dataclass
class Stream:
    """The events so far. `is_whole`: it was read to its end."""

    has_ids: bool
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes = b""
    events: list[Event] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    is_whole: bool = False
    closed: int | None = None
    """The code with which the server closed a WebSocket."""

    def read(self, count: int | None) -> None:
        """Receive at least so many events, or all.

        Raises: httpx.HTTPError, ConnectionClosed, TimeoutError.
        """
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    @property
    def is_stream(self) -> bool:
        """Whether this is a stream, as opposed to a refusal, 204 and a resource in JSON."""
        return self.status == 200 and "json" not in self.headers.get("content-type", "")

    @property
    def text(self) -> str:
        return self.raw.decode(errors="replace")

    @property
    def frames(self) -> list[str]:
        """What stands between empty lines, without a last frame that did not arrive whole."""
        return self.text.split("\n\n")[:-1]

    @property
    def comments(self) -> int:
        return len(re.findall(r"(?m)^:", self.text))

    @property
    def said(self) -> str:
        return "".join(str(event.data) for event in self.events if event.name == "chunk")

    @property
    def last_id(self) -> str:
        return next((event.id for event in reversed(self.events) if event.id), "")

    @property
    def turn(self) -> str:
        return self.headers.get("x-turn-id", "") or self.last_id.partition("-")[0]


class HttpStream(Stream):
    """The answer of one request. It is read as it comes."""

    def __init__(
        self, response: httpx.Response, *, has_ids: bool, json_events: Sequence[str]
    ) -> None:
        super().__init__(has_ids, response.status_code, response.headers)
        self._response = response
        self._json_events = json_events
        self._pieces = response.iter_bytes()

    def read(self, count: int | None) -> None:
        for piece in self._pieces:
            self.raw += piece
            if self.is_stream:
                self.events = parse(self.text, self._json_events)
                if count is not None and len(self.events) >= count:
                    return
        self.is_whole = True

    def close(self) -> None:
        self._response.close()


class SocketStream(Stream):
    """The messages of one connection, since the last one that the client sent for a new turn."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(has_ids=True)
        self._opened = ExitStack()
        self._socket = self._opened.enter_context(
            connect(url, additional_headers=headers, proxy=None)
        )

    def send(self, message: Any) -> None:
        """Send a message. If no turn is being read, the stream begins again."""
        if self.is_whole or not self.last_id:
            self.events, self.messages, self.is_whole = [], [], False
        with suppress(ConnectionClosed):  # `read` tells the code of the close
            self._socket.send(message if isinstance(message, str) else json.dumps(message))

    def read(self, count: int | None) -> None:
        limit = time.monotonic() + READ_SECONDS
        while count is None or len(self.events) < count:
            try:
                text = self._socket.recv(timeout=limit - time.monotonic())
            except ConnectionClosed as error:
                self.closed = error.rcvd.code if error.rcvd else 1006
                return
            body = json.loads(text)
            self.messages.append(body)
            data = body.get("data")
            if isinstance(data, dict) and "round" in body:
                data = {**data, "round": body["round"]}
            self.events.append(Event(body.get("type"), data, body.get("id")))
            self.is_whole = body.get("type") == "end"
            if self.is_whole or "id" not in body:
                return

    def close(self) -> None:
        self._opened.close()


def parse(text: str, json_events: Sequence[str]) -> list[Event]:
    """The events of a stream by the rules of the HTML standard, as forgiving as a browser."""
    events: list[Event] = []
    name, data, id_ = "message", [], None
    whole, ending, _ = re.sub(r"\r\n?", "\n", text).rpartition("\n")
    for line in (whole + ending).split("\n")[:-1]:
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match key:
            case "event":
                name = value
            case "data":
                data.append(value)
            case "id":
                id_ = value
            case "" if not line:
                if data:
                    events.append(_event(name, "\n".join(data), id_, json_events))
                name, data, id_ = "message", [], None
    return events


def _event(name: str, data: str, id_: str | None, json_events: Sequence[str]) -> Event:
    if name in json_events:
        with suppress(ValueError):
            return Event(name, json.loads(data), id_)
    return Event(name, data, id_)
