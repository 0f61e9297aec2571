"""Clients that come and go. Each has customers with separate sessions."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count

import aiohttp

from loadtests.chaos import questions
from loadtests.chaos.asking import Asker, Crowd
from loadtests.chaos.record import Attempt, Reading

_users = count(1)


class Client:
    """One customer after the other. Chance decides their actions, not the checks."""

    def __init__(self, crowd: Crowd, chance: random.Random) -> None:
        self._crowd = crowd
        self._chance = chance
        self._record = crowd.record
        self._asker = Asker(crowd, chance)
        # The actions of customers, with weights.
        self._habits: dict[Callable[[str], Awaitable[bool]], int] = {
            self.talk: 3,
            self.look_up: 2,
            self.book: 7,
            self.repeat: 2,
            self.read_on: 3,
            self.converse: 2,
        }

    async def run(self) -> None:
        while not self._crowd.is_over.is_set():
            session_id = await self._new_session()
            for _ in range(self._chance.randint(1, 3)):
                (habit,) = self._chance.choices([*self._habits], [*self._habits.values()])
                self._record.asked[habit.__name__] += 1
                if self._crowd.is_over.is_set() or not await habit(session_id):
                    break
            await self._asker.pause()

    async def _new_session(self) -> str:
        """A session that is created with a call, or by its first question."""
        if self._chance.random() < 0.2:
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                async with self._crowd.stage.http.post(f"{self._asker.url}/sessions") as answer:
                    if answer.status == 201:
                        session_id = str((await answer.json())["session_id"])
                        self._record.sessions.add(session_id)
                        return session_id
        return f"chaos-{uuid.uuid4().hex}"

    async def talk(self, session_id: str) -> bool:
        """Read a plain stream; some customers leave in the middle.

        All habits return whether the customer stays in this session.
        """
        leaves_after = self._chance.choice((None, None, None, self._chance.randint(1, 12)))
        asked = questions.plain(self._chance)
        reading = await self._asker.ask(asked, session_id, leaves_after=leaves_after)
        return await self._stays(reading, session_id)

    async def look_up(self, session_id: str) -> bool:
        reading = await self._asker.ask(questions.with_tools(self._chance), session_id)
        return await self._stays(reading, session_id)

    async def book(self, session_id: str) -> bool:
        """Book a test drive.

        A customer without an answer asks something else. Another worker then takes over the
        session, while the first one may be about to book.
        """
        slot, user_id = self._crowd.slots.take(), f"chaos-{next(_users)}"
        attempt = self._record.attempts[user_id] = Attempt(user_id, session_id, slot)
        asked = questions.booking(self._chance, slot, user_id)
        is_resumable = self._chance.random() < 0.7
        reading = await self._asker.ask(asked, session_id, is_resumable=is_resumable)
        attempt.turn_id = reading.turn_id if reading else None
        if reading and is_resumable and self._chance.random() < 0.3:
            await self._asker.join(reading)
        return await self._stays(reading, session_id, comes_back=0.7)

    async def repeat(self, session_id: str) -> bool:
        """Ask the same question two or three times with one key, some at once."""
        key, asked = uuid.uuid4().hex, questions.plain(self._chance)

        async def once(after_seconds: float) -> Reading | None:
            await asyncio.sleep(after_seconds)
            reading = await self._asker.ask(asked, session_id, is_resumable=True, key=key)
            if reading:
                self._record.keys[session_id, key].add(reading.turn_id)
                await self._asker.join(reading)
            return reading

        delays = self._chance.choice(((0, 0), (0, 0, 0.5), (0, 1.5)))
        readings = await asyncio.gather(*map(once, delays))
        return await self._stays(readings[0], session_id)

    async def read_on(self, session_id: str) -> bool:
        """Read a resumable stream over a bad network."""
        asked = self._chance.choice((questions.plain, questions.with_tools))(self._chance)
        cut = self._chance.randint(1, 20)
        reading = await self._asker.ask(asked, session_id, is_resumable=True, leaves_after=cut)
        if reading:
            await self._asker.join(reading)
        return await self._stays(reading, session_id)

    async def converse(self, session_id: str) -> bool:
        """Have two turns over a WebSocket, with as many connections as needed."""
        for _ in range(2):
            reading = await self._asker.ask_on_socket(questions.plain(self._chance), session_id)
            if reading is None or not reading.is_over:
                return False
        return True

    async def _stays(
        self, reading: Reading | None, session_id: str, *, comes_back: float = 0.5
    ) -> bool:
        """A customer who was cut asks again in the session, or leaves it."""
        if reading and reading.is_over:
            return True
        if self._chance.random() >= comes_back:
            return False
        self._record.asked["come_back"] += 1
        again = await self._asker.ask(questions.hello(), session_id, is_harmless=True)
        return again is not None and again.is_over


@asynccontextmanager
async def crowding(crowd: Crowd, clients: int, seed: str) -> AsyncIterator[None]:
    """Run so many clients, and let them finish after the block."""
    tasks = [
        asyncio.create_task(Client(crowd, random.Random(f"{seed} client {number}")).run())
        for number in range(clients)
    ]
    try:
        yield
        crowd.is_over.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
