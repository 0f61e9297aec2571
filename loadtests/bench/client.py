"""A client that takes little CPU: it asks, and records when each chunk arrives.

It is not an HTTP client: it searches the bytes of a connection, and does not parse them.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from loadtests.bench.dialects import Dialect, Script

START_SECONDS = 60.0
"""Time-out for the first chunk of a stream."""


@dataclass
class Stream:
    """One answer. Times come from `time.perf_counter`."""

    asked_at: float
    ended_at: float = 0.0
    chunk_times: list[float] = field(default_factory=list)
    """The time of each read with a chunk."""
    is_whole: bool = False
    failure: str = ""

    @property
    def first_chunk_seconds(self) -> float:
        return self.chunk_times[0] - self.asked_at


class Reader(asyncio.Protocol):
    """Reads one stream until it ends or the client leaves."""

    def __init__(self, dialect: Dialect, request: bytes) -> None:
        self._dialect = dialect
        self._request = request
        self._rest = b""
        self._overlap = max(len(dialect.chunk), len(dialect.end), len(dialect.failure)) - 1
        self._transport: asyncio.Transport | None = None
        self.stream = Stream(asked_at=time.perf_counter())
        self.begun = asyncio.Event()
        """Set with the first chunk, or at the end of a stream without one."""
        self.ended = asyncio.Event()

    async def begin(self, seconds: float) -> None:
        """Wait for the first chunk, at most for these seconds."""
        try:
            await asyncio.wait_for(self.begun.wait(), seconds)
        except TimeoutError:
            self._fail(f"no chunk within {seconds:g} s")

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport behaves like one, but is not a subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        stream, dialect = self.stream, self._dialect
        seen = self._rest + data
        # A chunk in the overlap was counted with the read before.
        if seen.count(dialect.chunk) > self._rest.count(dialect.chunk):
            stream.chunk_times.append(time.perf_counter())
            self.begun.set()
        if dialect.failure in seen or (not stream.chunk_times and b" 200 OK\r\n" not in seen):
            self._fail(seen[-300:].decode(errors="replace"))
        elif dialect.end in seen:
            stream.is_whole = True
            self.leave()
        self._rest = seen[-self._overlap :] if stream.chunk_times else seen

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"cut: {exc}")
        self._end()

    def refused(self, error: Exception) -> None:
        """Record that there was no connection."""
        self._fail(f"no connection: {error!r}")
        self._end()

    def _fail(self, why: str) -> None:
        if not self.stream.is_whole and not self.stream.failure:
            self.stream.failure = why
        self.leave()

    def _end(self) -> None:
        self.stream.ended_at = time.perf_counter()
        self.begun.set()
        self.ended.set()


class Client:
    """Asks one server."""

    def __init__(self, url: str, dialect: Dialect) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        self._dialect = dialect

    async def open(self, script: Script, *, session_id: str | None = None) -> Reader:
        reader = Reader(self._dialect, self._dialect.request(script, session_id))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(START_SECONDS):
                await loop.create_connection(lambda: reader, self._host, self._port)
        except (OSError, TimeoutError) as error:
            reader.refused(error)
        return reader

    async def ask(self, script: Script, *, session_id: str | None = None) -> Stream:
        reader = await self.open(script, session_id=session_id)
        await reader.ended.wait()
        return reader.stream

    async def burst(
        self, script: Script, *, streams: int, starts_per_second: float
    ) -> list[Stream]:
        """Start so many streams at an even rate, and wait until the last has ended."""
        begun, asked = time.perf_counter(), []
        for number in range(streams):
            await asyncio.sleep(begun + number / starts_per_second - time.perf_counter())
            asked.append(asyncio.create_task(self.ask(script)))
        return await asyncio.gather(*asked)

    async def keep_asking(self, script: Script, *, at_once: int, seconds: float) -> list[Stream]:
        """Keep so many streams open for so long, and read the last ones to their end.

        Each stream follows another one, so a slow server gets fewer queries and is never overrun.
        """
        until = time.perf_counter() + seconds
        got: list[Stream] = []

        async def ask_on() -> None:
            while time.perf_counter() < until:
                got.append(await self.ask(script))

        await asyncio.gather(*(ask_on() for _ in range(at_once)))
        return got

    async def hold(self, script: Script, *, streams: int, at_once: int) -> list[Reader]:
        """Open so many streams, `at_once` at a time, each after the first chunk of another."""
        left = iter(range(streams))
        held: list[Reader] = []

        async def open_on() -> None:
            for _ in left:
                held.append(reader := await self.open(script))
                await reader.begin(START_SECONDS)

        await asyncio.gather(*(open_on() for _ in range(at_once)))
        return held


def failures(streams: Sequence[Stream]) -> list[str]:
    return [stream.failure for stream in streams if not stream.is_whole]
