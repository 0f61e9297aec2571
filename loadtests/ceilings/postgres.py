"""Where one Postgres ends: the CPU and the log that it takes for each claim and each ending.

Turns of many owners are claimed and ended, in rounds on a database with partitions and on one
without, side by side. The disk does not count: Postgres does not wait for it here.
"""

import asyncio
import os
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, text

from backend.domain.conversation import Message, Outcome
from backend.domain.turn_keys import new_turn_id
from backend.domain.usage import ModelCall, Usage
from backend.storage.ports.sessions import Ending, NewTurn, SessionStore
from backend.storage.sql.database import Database
from backend.storage.sql.stores import open_sql
from loadtests.bench.processes import Server
from tests.contract.schemas import leave_unfinished
from tests.postgres import PostgresServer, keeping_postgres, postgres_of

ROUNDS = 10

TURNS = 400
"""Turns in a round. Each has its own owner and session."""

AT_ONCE = 4
"""Transactions at once: the default pool of one worker."""

CALL = ModelCall(
    model="llama-3.3-70b-versatile",
    purpose="turn",
    usage=Usage(1_200, 300),
    is_estimated=False,
    cost=None,
)
ANSWER = Message.assistant("The Apex GT has a range of 480 km, and you can see it on Monday. " * 20)
LOG = b"[" + b'["chunk","The Apex GT has a range of 480 km."],' * 100 + b"]"

_numbers = count(1)


@dataclass
class Side:
    """A database, and what a claim and an ending took in each round."""

    name: str
    sessions: SessionStore
    database: Database
    milliseconds: dict[str, list[float]] = field(default_factory=lambda: {"claim": [], "end": []})
    log_bytes: dict[str, list[float]] = field(default_factory=lambda: {"claim": [], "end": []})

    async def round(self, server: Server) -> None:
        turns = [_new_turn(next(_numbers)) for _ in range(TURNS)]
        with_history = [self.sessions.claim(turn, history_tokens=6_000) for turn in turns]
        await self._measure("claim", server, with_history)
        await self._measure("end", server, [self.sessions.finish(_ending(turn)) for turn in turns])

    async def _measure(self, what: str, server: Server, work: Sequence[Awaitable[object]]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(each: Awaitable[object]) -> None:
            async with gate:
                await each

        written = await self.database.run(_written)
        seconds = server.cpu_seconds
        await asyncio.gather(*map(one, work))
        self.milliseconds[what].append(1000 * (server.cpu_seconds - seconds) / TURNS)
        self.log_bytes[what].append((await self.database.run(_written) - written) / TURNS)

    def line(self) -> str:
        claim, end = (statistics.median(self.milliseconds[what]) for what in ("claim", "end"))
        cells = [
            self.name,
            *(_spread(self.milliseconds[what], "{:.2f}") for what in ("claim", "end")),
            f"{1000 / (claim + end):.0f}",
            f"{sum(statistics.median(each) for each in self.log_bytes.values()) / 1000:.1f}",
        ]
        return f"| {' | '.join(cells)} |"


def _new_turn(number: int) -> NewTurn:
    owner = f"user:{number}"
    return NewTurn(
        id=new_turn_id(owner),
        owner=owner,
        session_id="showroom",
        worker="ceiling",
        query="What is the range of the Apex GT, and when can I see it?",
        creates_session=True,
    )


def _ending(turn: NewTurn) -> Ending:
    return Ending(
        owner=turn.owner,
        turn_id=turn.id,
        outcome=Outcome.COMPLETED,
        messages=(ANSWER,),
        log=LOG,
        model=CALL.model,
        rounds=1,
        usage=CALL.usage,
        calls=(CALL,),
        first_chunk_seconds=0.3,
    )


def _written(connection: Connection) -> float:
    """Bytes in the write-ahead log since the server's start."""
    query = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8"
    return float(connection.execute(text(query)).scalar_one())


def _postmaster(connection: Connection) -> int:
    directory = connection.execute(text("SHOW data_directory")).scalar_one()
    return int(Path(directory, "postmaster.pid").read_text().split()[0])


def _spread(values: Sequence[float], form: str) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{form.format(middle)} ({form.format(least)} … {form.format(most)})"


@asynccontextmanager
async def _side(name: str, server: PostgresServer, *, is_finished: bool) -> AsyncIterator[Side]:
    with server.database() as url:
        if not is_finished:
            leave_unfinished(url)
        stores = await open_sql(url, lease_seconds=60, migrate=True)
        try:
            yield Side(name, stores.sessions, stores.database)
        finally:
            await stores.close()


async def measure() -> None:
    with keeping_postgres() as keeper:
        postgres = postgres_of(keeper, "ceiling")
        async with AsyncExitStack() as stack:
            sides = [
                await stack.enter_async_context(_side(name, postgres, is_finished=is_finished))
                for name, is_finished in (("by day", True), ("plain", False))
            ]
            pid = await sides[0].database.run(_postmaster)
            server = Server("", pid, log=Path(os.devnull))
            for number in range(ROUNDS + 1):
                for side in sides:
                    await side.round(server)
                if number == 0:  # the first round fills caches
                    for side in sides:
                        side.milliseconds = {"claim": [], "end": []}
                        side.log_bytes = {"claim": [], "end": []}
                sys.stderr.write(f"round {number} of {ROUNDS}\n")
            print("| tables | claim, ms | ending, ms | turns a second on a core | written, kB |")
            print("|---|--:|--:|--:|--:|")
            for side in sides:
                print(side.line())
