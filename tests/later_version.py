"""A worker of a later version of Lex, whose turns have an event that is unknown to this version."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from backend.domain.conversation import Outcome
from backend.storage.factory import open_stores
from backend.storage.ports.sessions import Ending, NewTurn, SessionStore
from backend.storage.ports.shared_logs import SharedBatch

TURN_ID = "0123456789abcdef"
SESSION_ID = "s1"

INVENTED: dict[str, Any] = {"event": "citation", "sources": [{"url": "https://example.com"}, None]}
EVENTS: list[dict[str, Any]] = [
    {"event": "chunk", "text": "Hel"},
    INVENTED,
    {"event": "chunk", "text": "lo"},
    {"event": "end"},
]
KNOWN = [(1, ("chunk", "Hel")), (3, ("chunk", "lo")), (4, ("end", ""))]
"""The events that this version must show, with their positions."""


def encoded(begin: int = 0, end: int | None = None) -> bytes:
    return msgspec.json.encode(EVENTS[begin:end])


def batch(begin: int, end: int) -> SharedBatch:
    return SharedBatch(TURN_ID, begin, end, encoded(begin, end))


@dataclass
class LaterWorker:
    """Runs one turn, from its creation to its `finish`."""

    sessions: SessionStore

    async def finish(self) -> None:
        outcome = Outcome.COMPLETED
        await self.sessions.finish(
            Ending(owner="anonymous", turn_id=TURN_ID, outcome=outcome, messages=(), log=encoded())
        )


@asynccontextmanager
async def later_worker(database_url: str) -> AsyncIterator[LaterWorker]:
    stores = await open_stores(database_url, lease_seconds=60, migrate=True)
    turn = NewTurn(
        id=TURN_ID,
        owner="anonymous",
        session_id=SESSION_ID,
        worker="later",
        query="Hi",
        creates_session=True,
    )
    await stores.sessions.claim(turn, history_tokens=1000)
    yield LaterWorker(stores.sessions)
    await stores.close()
