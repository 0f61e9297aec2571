"""A client that asks and resumes, with retries."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import aiohttp

from loadtests.asked import Asked
from loadtests.chaos.questions import Slots
from loadtests.chaos.record import Reading, Record
from loadtests.chaos.stage import Stage
from loadtests.chaos.talking import Broken, Line, Refused, Socket, socket_to, streaming

PERSISTENCE_SECONDS = 12.0
"""Time for which a client retries."""
PAUSE_SECONDS = (0.2, 1.0)


@dataclass
class Crowd:
    """The state that clients share: the servers, the record, and the open connections."""

    stage: Stage
    record: Record
    slots: Slots
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    lines: set[Line] = field(default_factory=set)

    def cut_all(self) -> int:
        """Break all open connections. Returns their number."""
        for line in list(self.lines):
            line.break_off()
        return len(self.lines)


class Asker:
    """Asks for one client, and records every answer at once."""

    def __init__(self, crowd: Crowd, chance: random.Random) -> None:
        self._crowd = crowd
        self._chance = chance
        self._record = crowd.record

    @property
    def url(self) -> str:
        """The address of a random instance."""
        return self._chance.choice(self._crowd.stage.urls)

    @property
    def _http(self) -> aiohttp.ClientSession:
        return self._crowd.stage.http

    async def ask(
        self,
        asked: Asked,
        session_id: str,
        *,
        is_resumable: bool = False,
        key: str | None = None,
        leaves_after: int | None = None,
        is_harmless: bool = False,
    ) -> Reading | None:
        """Ask, with retries. Returns what was read, or None without an answer."""
        body = {"query": asked.query(is_real=False), "session_id": session_id}
        given = {
            "json": {**body, "resume": is_resumable},
            "headers": {"Idempotency-Key": key} if key else {},
        }
        async for _ in self._tries():
            try:
                async with streaming(self._http, "POST", f"{self.url}/query", **given) as stream:
                    reading = Reading(stream.turn_id, session_id, is_resumable)
                    self._record.begin(reading)
                    await self._read(stream, reading, leaves_after)
                    return reading
            except Refused as refusal:
                self._record.refused[refusal.code] += 1
            except Broken:
                self._record.broken += 1
                if not (key or is_harmless):
                    return None  # the question may have arrived
        return None

    async def join(self, reading: Reading) -> None:
        """Resume until the turn is over."""
        url = f"/turns/{reading.turn_id}/events"
        async for _ in self._tries():
            if reading.is_over or reading.is_gone:
                return
            headers = {"Last-Event-ID": reading.last_id or f"{reading.turn_id}-0"}
            reading.joins += 1
            leaves_after = self._chance.choice((None, self._chance.randint(1, 15)))
            try:
                async with streaming(self._http, "GET", self.url + url, headers=headers) as stream:
                    await self._read(stream, reading, leaves_after)
            except Refused as refusal:
                self._note(reading, refusal)
            except Broken:
                self._record.broken += 1

    def _note(self, reading: Reading, refusal: Refused) -> None:
        """Record a refusal. A turn that was not read to its end must not be gone."""
        if refusal.status in (204, 404, 410):
            reading.is_gone = True
            reading.problems.append(f"{refusal} behind {reading.last_id}, which is not its end")
        self._record.refused[refusal.code] += 1

    async def ask_on_socket(self, asked: Asked, session_id: str) -> Reading | None:
        reading: Reading | None = None
        async for _ in self._tries():
            try:
                async with socket_to(self._http, f"{self.url}/ws/sessions/{session_id}") as socket:
                    if reading is None:
                        await socket.ask(asked.query(is_real=False))
                        reading = await self._begun(socket, session_id)
                    else:
                        reading.joins += 1
                        await socket.resume(str(reading.last_id))
                    await self._read(socket, reading, None)
            except Refused as refusal:
                self._record.refused[refusal.code] += 1
            except Broken:
                self._record.broken += 1
                if reading is None:
                    return None
            if reading is not None and reading.is_over:
                return reading
        return reading

    async def _begun(self, socket: Socket, session_id: str) -> Reading:
        """Start a reading. The first event on a WebSocket names its turn."""
        async with aclosing(socket.frames()) as frames:
            first = await anext(frames)
        reading = self._record.begin(Reading(socket.turn_id, session_id, is_resumable=True))
        reading.take(first)
        return reading

    async def _read(self, line: Line, reading: Reading, leaves_after: int | None) -> None:
        """Read until the stream ends or breaks, or the client leaves. Raises Refused."""
        left = math.inf if leaves_after is None else leaves_after
        self._crowd.lines.add(line)
        try:
            async with aclosing(line.frames()) as frames:
                async for frame in frames:
                    reading.take(frame)
                    left -= bool(frame.event)
                    if left <= 0:
                        return
        except Broken:
            self._record.broken += 1
        finally:
            self._crowd.lines.discard(line)

    async def _tries(self) -> AsyncIterator[int]:
        """Yield the number of each try, with pauses, until the time is over."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PERSISTENCE_SECONDS
        number = 0
        while loop.time() < give_up_at:
            yield number
            number += 1
            await self.pause()

    async def pause(self) -> None:
        await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))
