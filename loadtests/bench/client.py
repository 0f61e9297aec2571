"""A client that costs little: it asks, and notes when each chunk came. It is no HTTP client; a
stream is one connection whose bytes are searched, never parsed.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast
from urllib.parse import urlsplit

START_SECONDS = 60.0
"""After this a stream that has not begun has failed."""


@dataclass(frozen=True)
class Dialect:
    """How a server is asked, and by which bytes its chunks and its end are known."""

    path: str
    chunk: bytes
    end: bytes
    failure: bytes

    def request(self, script: dict[str, Any], session_id: str | None) -> bytes:
        query = f"[[script {json.dumps({'rounds': script['rounds']})}]]"
        body = json.dumps(self._body(query, session_id)).encode()
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:
        return {"query": query, **({"session_id": session_id} if session_id else {})}


class _GroqDialect(Dialect):
    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:  # noqa: ARG002 - it knows none
        return {
            "model": "llama-3.3-70b-versatile",
            "messages": [{"role": "user", "content": query}],
            "stream": True,
        }


LEX = Dialect("/query", b"event: chunk\n", b"event: end\n", b"event: error\n")
GROQ = _GroqDialect("/openai/v1/chat/completions", b'{"content":"', b"[DONE]", b'"error"')
OPENAI = _GroqDialect("/chat/completions", b'"content":"', b"[DONE]", b'"error"')
"""As servers speak it that pass on what Groq says in words of their own."""


@dataclass
class Stream:
    """One answer. Times are of `time.perf_counter`."""

    asked_at: float = 0.0
    chunk_times: list[float] = field(default_factory=list)
    """Of each read that brought a chunk."""
    chunks: int = 0
    is_whole: bool = False
    failure: str = ""

    @property
    def first_chunk_seconds(self) -> float:
        return self.chunk_times[0] - self.asked_at

    @property
    def steps(self) -> list[tuple[float, float]]:
        """From each chunk to the next."""
        return list(pairwise(self.chunk_times))


class _Reader(asyncio.Protocol):
    def __init__(self, dialect: Dialect, request: bytes, stream: Stream) -> None:
        self._dialect = dialect
        self._request = request
        self._stream = stream
        self._rest = b""
        self._overlap = max(len(dialect.chunk), len(dialect.end), len(dialect.failure)) - 1
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one without being one.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        stream, dialect = self._stream, self._dialect
        seen = self._rest + data
        # What the overlap holds whole was counted with the read that brought it.
        if found := seen.count(dialect.chunk) - self._rest.count(dialect.chunk):
            stream.chunks += found
            stream.chunk_times.append(time.perf_counter())
        if dialect.failure in seen or (not stream.chunks and b" 200 OK\r\n" not in seen):
            self._fail(seen[-300:].decode(errors="replace"))
        elif dialect.end in seen:
            stream.is_whole = True
            self._transport.close()
        self._rest = seen[-self._overlap :] if stream.chunks else seen

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._stream.is_whole and not self._stream.failure:
            self._fail(f"cut: {exc}")
        if not self.ended.done():
            self.ended.set_result(None)

    def _fail(self, why: str) -> None:
        self._stream.failure = why
        self._transport.close()


class Client:
    """Asks one server."""

    def __init__(self, url: str, dialect: Dialect) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        self._dialect = dialect

    async def ask(self, script: dict[str, Any], *, session_id: str | None = None) -> Stream:
        stream = Stream()
        request = self._dialect.request(script, session_id)
        loop = asyncio.get_running_loop()
        stream.asked_at = time.perf_counter()
        try:
            async with asyncio.timeout(START_SECONDS):
                _, reader = await loop.create_connection(
                    lambda: _Reader(self._dialect, request, stream), self._host, self._port
                )
        except (OSError, TimeoutError) as error:
            stream.failure = f"no connection: {error!r}"
            return stream
        await reader.ended
        return stream

    async def burst(
        self, script: dict[str, Any], *, streams: int, starts_per_second: float
    ) -> list[Stream]:
        """So many streams, begun evenly, until the last has ended."""
        begun, asked = time.perf_counter(), []
        for number in range(streams):
            await asyncio.sleep(begun + number / starts_per_second - time.perf_counter())
            asked.append(asyncio.create_task(self.ask(script)))
        return await asyncio.gather(*asked)


def answers(tokens: int, *, tokens_per_second: float, **more: Any) -> dict[str, Any]:
    """The script of one answer."""
    return {"rounds": [{"tokens": tokens, "tokens_per_second": tokens_per_second, **more}]}


def looks_up_then_answers(tokens: int, *, tokens_per_second: float) -> dict[str, Any]:
    """The same behind one tool call."""
    call = {"name": "get_weather", "arguments": {"city": "Paris"}}
    script = answers(tokens, tokens_per_second=tokens_per_second)
    return {
        "rounds": [{"calls": [call], "tokens_per_second": tokens_per_second}, *script["rounds"]]
    }


def failures(streams: Sequence[Stream]) -> list[str]:
    return [stream.failure for stream in streams if not stream.is_whole]
