"""A test bed for turns, and session stores with faults."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.agent.flush_pace import FlushPace
from backend.agent.loop import Assistant, Turn
from backend.domain.conversation import ANONYMOUS, Caller, Message, Outcome
from backend.domain.errors import StorageError
from backend.domain.events import End, Event, TokenUsage, TurnOutcome
from backend.storage.memory.sessions import MemorySessions
from backend.storage.memory.stores import memory_stores
from backend.storage.memory.usage import MemoryUsage
from backend.storage.ports.sessions import Claim, Ending, NewTurn, SessionStore, StoredTurn
from backend.storage.ports.usage import UsageStore
from backend.tools.registry import Tool, Toolbox
from backend.turns.event_log import Follower
from backend.turns.kinds import Kind
from backend.turns.limits import TurnLimits
from backend.turns.shared_logs import SharedLogs
from backend.turns.turns import Turns
from tests.fakes import Scripted, ScriptedModel, a_context, echo
from tests.waiting import waiting


class World:
    """Turns over a memory store and a scripted model."""

    def __init__(
        self,
        *script: Scripted,
        tools: tuple[Tool, ...] = (echo,),
        sessions: SessionStore | None = None,
        worker: str = "w1",
        shared_logs: SharedLogs | None = None,
        usage: UsageStore | None = None,
        **bounds: float,
    ) -> None:
        self.model = ScriptedModel(script)
        self.drain_begun = asyncio.Event()
        self.sessions = sessions or memory_stores(lease_seconds=15).sessions
        assistant = Assistant(
            model=self.model, toolbox=Toolbox(tools, timeout_seconds=5), pace=FlushPace(0)
        )

        def open_turn(caller: Caller, query: str) -> Turn:
            return Turn(assistant, context=a_context(caller), prompt="You are Lex.", query=query)

        front_end = replace(assistant, toolbox=Toolbox((), timeout_seconds=5), purpose="front_end")
        self.usage = usage or MemoryUsage()

        def open_ephemeral(caller: Caller, query: str) -> Turn:
            return Turn(front_end, context=a_context(caller), prompt="Do it.", query=query)

        self.turns = Turns(
            sessions=self.sessions,
            open_turn=open_turn,
            worker=worker,
            limits=TurnLimits(
                max_streams=int(bounds.get("max_streams", 10)),
                timeout_seconds=bounds.get("timeout_seconds", 60),
                grace_seconds=bounds.get("grace_seconds", 30),
                remote_timeout_seconds=bounds.get("remote_timeout_seconds", 5),
            ),
            shared_logs=shared_logs,
            on_drain=self.drain_begun.set,
            ephemeral=Kind.ephemeral(open_ephemeral, self.usage),
        )

    async def start(
        self, query: str = "Hi", *, session_id: str = "s1", **options: Any
    ) -> tuple[str, Follower]:
        options = {"creates_session": True, **options}
        follower = await self.turns.start(ANONYMOUS, session_id=session_id, query=query, **options)
        return follower.turn_id, follower

    async def ask(self, query: str = "Hi", *, session_id: str = "s1") -> list[Event]:
        _, follower = await self.start(query, session_id=session_id)
        return await read(follower)

    async def messages(self) -> list[Message]:
        stored = await self.sessions.messages("anonymous", "s1")
        return [one.message for one in stored]

    async def outcome(self, turn_id: str) -> Outcome | None:
        return (await self.sessions.turn("anonymous", turn_id)).outcome


def ended(
    outcome: Outcome = Outcome.COMPLETED,
    *,
    finish_reason: str | None = "stop",
    model: str | None = "scripted",
    rounds: int = 1,
    completions: int = 1,
) -> list[Event]:
    """Return the last two events of a turn. Complete scripted completions all use 15 tokens."""
    usage = TokenUsage(10 * completions, 5 * completions, 15 * completions)
    return [TurnOutcome(outcome.value, finish_reason, model, rounds, usage), End()]


def broken_off(outcome: Outcome, **more: Any) -> list[Event]:
    """Return the last two events of a turn whose first completion broke off."""
    return ended(outcome, **{"finish_reason": None, "model": None, "completions": 0, **more})


async def read(follower: Follower) -> list[Event]:
    events = [event async for batch in follower.batches() for event in batch.events]
    follower.leave()
    return events


async def until(holds: Callable[[], bool]) -> None:
    async with waiting():
        while not holds():
            await asyncio.sleep(0.001)


class SlowSessions(MemorySessions):
    def __init__(self) -> None:
        super().__init__(lease_seconds=15)
        self.gate = asyncio.Event()

    async def claim(self, turn: NewTurn, **sizes: int) -> Claim:
        await self.gate.wait()
        return await super().claim(turn, **sizes)


class DistantSessions(MemorySessions):
    """Yields to other tasks while it looks up a key, like every store that is not in memory."""

    async def turn_with_key(self, owner: str, session_id: str, key: str) -> StoredTurn | None:
        known = await super().turn_with_key(owner, session_id, key)
        await asyncio.sleep(0.001)
        return known


class FailingSessions(MemorySessions):
    def __init__(self, *, fails_to_claim: bool = False) -> None:
        super().__init__(lease_seconds=15)
        self.is_down = True
        self._fails_to_claim = fails_to_claim

    async def claim(self, turn: NewTurn, **sizes: int) -> Claim:
        if self._fails_to_claim:
            raise StorageError
        return await super().claim(turn, **sizes)

    async def finish(self, ending: Ending) -> bool:
        await asyncio.sleep(0)
        if self.is_down:
            raise StorageError
        return await super().finish(ending)


class CountedSessions(FailingSessions):
    """Counts the endings it is offered. Refuses all of them, or those of one session only."""

    def __init__(self) -> None:
        super().__init__()
        self.offers = 0
        self.takes_all_but: str | None = None

    async def finish(self, ending: Ending) -> bool:
        self.offers += 1
        turn = await self.turn("anonymous", ending.turn_id)
        self.is_down = self.takes_all_but in (None, turn.session_id)
        return await super().finish(ending)


class AwaySessions(FailingSessions):
    """Refuses a number of endings, and optionally leases; then it works again."""

    def __init__(
        self, error: Exception, *, times: int, leases_between_failures: int | None = None
    ) -> None:
        super().__init__()
        self.is_down = False
        self.takes_leases = True
        self._failures = [error] * times
        self._leases_between_failures = leases_between_failures
        self._leases = 0

    def recover(self) -> None:
        self._failures.clear()
        self._leases_between_failures = None

    async def renew_lease(self, worker: str) -> None:
        if not self.takes_leases or self._leases == self._leases_between_failures:
            self._leases = 0
            raise StorageError
        self._leases += 1
        await super().renew_lease(worker)

    async def finish(self, ending: Ending) -> bool:
        if self._failures:
            raise self._failures.pop()
        return await super().finish(ending)


class PickySessions(FailingSessions):
    """Refuses one text forever."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False

    async def finish(self, ending: Ending) -> bool:
        if any(message.content == "poison" for message in ending.messages):
            raise OverflowError("a number that the driver cannot hold")
        return await super().finish(ending)


class GarblingSessions(MemorySessions):
    """Returns logs that cannot be decoded."""

    async def turn_with_log(self, owner: str, turn_id: str) -> StoredTurn:
        turn = await super().turn_with_log(owner, turn_id)
        return turn if turn.is_running else replace(turn, log=b"neither an event nor a list")


class StumblingSessions(MemorySessions):
    """Blocks the look-up of a finished turn until `gate` is set. The first look-up then fails."""

    def __init__(self) -> None:
        super().__init__(lease_seconds=15)
        self.is_asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def turn_with_log(self, owner: str, turn_id: str) -> StoredTurn:
        turn = await super().turn_with_log(owner, turn_id)
        if turn.is_running:
            return turn
        is_first = not self.is_asked.is_set()
        self.is_asked.set()
        await self.gate.wait()
        if is_first:
            raise OverflowError("a number that the driver cannot hold")
        return turn


class MuteSessions(MemorySessions):
    """Commits the first claim, but reports a failure."""

    is_mute = True
    gate: asyncio.Event | None = None

    async def claim(self, turn: NewTurn, **sizes: int) -> Claim:
        claim = await super().claim(turn, **sizes)
        if self.gate is not None:
            await self.gate.wait()
        if self.is_mute:
            self.is_mute = False
            raise StorageError
        return claim
