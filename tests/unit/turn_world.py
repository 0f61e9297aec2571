"""Turns over a memory store and a scripted model, and stores that misbehave."""

import asyncio
from collections.abc import Callable
from typing import Any

from backend.conversation import ANONYMOUS, Caller, Message, Outcome
from backend.errors import (
    StorageError,
)
from backend.events import Event
from backend.log import Follower
from backend.sharing import Sharing
from backend.storage.memory import MemorySessions, memory_stores
from backend.storage.ports.sessions import Claim, Ending, NewTurn, SessionStore
from backend.tools.registry import Tool, Toolbox
from backend.turn import Assistant, Turn
from backend.turns import Turns
from tests.fakes import Scripted, ScriptedModel, a_desk, echo


class World:
    """Turns over a memory store and a scripted model."""

    def __init__(
        self,
        *script: Scripted,
        tools: tuple[Tool, ...] = (echo,),
        sessions: SessionStore | None = None,
        worker: str = "w1",
        sharing: Sharing | None = None,
        **bounds: float,
    ) -> None:
        self.model = ScriptedModel(script)
        self.drain_begun = asyncio.Event()
        self.sessions = sessions or memory_stores(lease_seconds=15).sessions
        assistant = Assistant(
            model=self.model, toolbox=Toolbox(tools, timeout_seconds=5), flush_seconds=0
        )

        def open_turn(caller: Caller, query: str) -> Turn:
            return Turn(assistant, desk=a_desk(caller), prompt="You are Lex.", query=query)

        self.turns = Turns(
            sessions=self.sessions,
            open_turn=open_turn,
            worker=worker,
            grace_seconds=bounds.get("grace_seconds", 30),
            timeout_seconds=bounds.get("timeout_seconds", 60),
            max_streams=int(bounds.get("max_streams", 10)),
            patience_seconds=bounds.get("patience_seconds", 5),
            sharing=sharing,
            on_drain=self.drain_begun.set,
        )

    async def start(
        self, query: str = "Hi", *, session_id: str = "s1", **options: Any
    ) -> tuple[str, Follower]:
        follower = await self.turns.start(
            ANONYMOUS, session_id=session_id, query=query, creates_session=True, **options
        )
        return follower.turn_id, follower

    async def ask(self, query: str = "Hi", *, session_id: str = "s1") -> list[Event]:
        _, follower = await self.start(query, session_id=session_id)
        return await read(follower)

    async def said(self) -> list[Message]:
        stored = await self.sessions.messages("anonymous", "s1")
        return [one.message for one in stored]

    async def outcome(self, turn_id: str) -> Outcome | None:
        return (await self.sessions.turn("anonymous", turn_id)).outcome


async def read(follower: Follower) -> list[Event]:
    events = [event async for batch in follower.batches() for event in batch.events]
    follower.leave()
    return events


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


class SlowSessions(MemorySessions):
    def __init__(self) -> None:
        super().__init__(lease_seconds=15)
        self.gate = asyncio.Event()

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        await self.gate.wait()
        return await super().claim(turn, history_tokens=history_tokens)


class DistantSessions(MemorySessions):
    """Takes a moment to look up a key, as every store does that is not in memory."""

    async def turn_with_key(self, owner: str, session_id: str, key: str) -> str | None:
        known = await super().turn_with_key(owner, session_id, key)
        await asyncio.sleep(0.001)
        return known


class FailingSessions(MemorySessions):
    def __init__(self, *, fails_to_claim: bool = False) -> None:
        super().__init__(lease_seconds=15)
        self.is_down = True
        self._fails_to_claim = fails_to_claim

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        if self._fails_to_claim:
            raise StorageError
        return await super().claim(turn, history_tokens=history_tokens)

    async def finish(self, ending: Ending) -> bool:
        if self.is_down:
            raise StorageError
        return await super().finish(ending)


class PickySessions(FailingSessions):
    """Chokes on one text for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False

    async def finish(self, ending: Ending) -> bool:
        if any(message.content == "poison" for message in ending.messages):
            raise OverflowError("a number that the driver cannot hold")
        return await super().finish(ending)


class GarblingSessions(MemorySessions):
    """Its logs cannot be read."""

    async def turn_log(self, owner: str, turn_id: str) -> bytes | None:
        await super().turn_log(owner, turn_id)
        return b"neither an event nor a list of them"


class StumblingSessions(MemorySessions):
    """Looking up a log takes until `gate` is set, and breaks the first time."""

    def __init__(self) -> None:
        super().__init__(lease_seconds=15)
        self.is_asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def turn_log(self, owner: str, turn_id: str) -> bytes | None:
        is_first = not self.is_asked.is_set()
        self.is_asked.set()
        await self.gate.wait()
        if is_first:
            raise OverflowError("a number that the driver cannot hold")
        return await super().turn_log(owner, turn_id)


class MuteSessions(MemorySessions):
    """Commits the first claim, and loses its answer."""

    is_mute = True
    gate: asyncio.Event | None = None

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        claim = await super().claim(turn, history_tokens=history_tokens)
        if self.gate is not None:
            await self.gate.wait()
        if self.is_mute:
            self.is_mute = False
            raise StorageError
        return claim
