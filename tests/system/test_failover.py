"""A standby becomes the primary under load: nothing acknowledged is lost, and nothing restarts."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, func, select

from backend.storage.sql.database import Database
from backend.storage.sql.tables import turns
from infrastructure.groq_standin import Standin
from tests.postgres_gate import postgres_gate
from tests.postgres_pair import PostgresPair, postgres_pair
from tests.processes import client_process, lex_process
from tests.serving import outcome_of, parse
from tests.waiting import waiting

CUSTOMERS = 10
NOBODY_WRITES_SECONDS = 1.5
"""The length of a fault: until somebody decides on the failover."""

TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'lex'
"""


@pytest.fixture
async def pair() -> AsyncIterator[PostgresPair]:
    async with postgres_pair() as pair:
        yield pair


@dataclass
class Customer:
    """Asks one question after the other, and notes each turn that ended well."""

    client: httpx.AsyncClient
    session_id: str
    acknowledged: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    async def ask_until(self, is_over: asyncio.Event) -> None:
        """Ask until it is over, and then until one more turn ended well."""
        async with waiting():
            number, is_late, is_well = 0, False, False
            while not (is_late and is_well):
                is_late = is_over.is_set()
                number += 1
                is_well = await self._ask(f"Question {number}")

    async def _ask(self, query: str) -> bool:
        body = {"query": query, "session_id": self.session_id}
        answer = await self.client.post("/query", json=body)
        if answer.status_code != 200:
            self.refused[answer.json()["code"]] += 1
            await asyncio.sleep(0.1)  # as a client that is told to come back later
            return False
        events = parse(answer.text)
        errors = [data for name, data in events if name == "error"]
        if errors or outcome_of(events)["outcome"] != "completed":
            self.refused.update(json.loads(each)["code"] for each in errors)
            return False
        self.acknowledged.append(query)
        return True

    async def forgotten(self) -> list[str]:
        """The acknowledged questions that are not in the history."""
        messages: list[dict[str, Any]] = (
            await self.client.get(f"/sessions/{self.session_id}/messages")
        ).json()["messages"]
        stored = {each["content"] for each in messages if each["role"] == "user"}
        return [query for query in self.acknowledged if query not in stored]


async def test_a_standby_takes_over_and_no_acknowledged_turn_is_lost(pair: PostgresPair) -> None:
    async with (
        Standin.serve() as standin,
        postgres_gate(pair.primary.url) as gate,
        AsyncExitStack() as stack,
    ):
        standin.script({"tokens": 5, "tokens_per_second": 50}, times=None)
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": pair.url,
            "LEASE_SECONDS": "3",
            "SUMMARY_IDLE_SECONDS": "0",
        }
        workers = [await stack.enter_async_context(lex_process(**variables)) for _ in range(2)]
        customers = [Customer(workers[n % 2], f"s{n}") for n in range(CUSTOMERS)]
        is_over = asyncio.Event()
        asking = [asyncio.create_task(each.ask_until(is_over)) for each in customers]

        outside = Database(gate.url)  # knows one address, which will move
        at_first = await stored(outside)
        await another_turn_each(customers)
        ((terminated,),) = await pair.primary.execute(TERMINATE)
        await another_turn_each(customers)
        await pair.primary.configure("default_transaction_read_only = on")
        await asyncio.sleep(NOBODY_WRITES_SECONDS)
        await pair.primary.configure("default_transaction_read_only = off")
        await another_turn_each(customers)
        await pair.primary.stop(signal.SIGQUIT)
        await asyncio.sleep(NOBODY_WRITES_SECONDS)
        await pair.promote()
        is_over.set()
        await asyncio.gather(*asking)

        gate.lead_to(pair.standby.url)
        moved = await stored(outside)
        await outside.close()
        forgotten = [await each.forgotten() for each in customers]
        assert all(client_process(each).returncode is None for each in workers)

    assert terminated > 0
    assert moved > at_first
    assert forgotten == [[]] * CUSTOMERS
    refused = sum((each.refused for each in customers), Counter())
    assert set(refused) <= {"storage_unavailable", "session_busy"}
    # Only a commit whose answer was lost is refused. Its session is busy until the next renewal.
    assert refused["storage_unavailable"] <= CUSTOMERS


async def stored(database: Database) -> int:
    """The number of turns in the database."""

    def count(connection: Connection) -> int:
        return int(connection.scalar(select(func.count()).select_from(turns)) or 0)

    return await database.run(count)


async def another_turn_each(customers: list[Customer]) -> None:
    """Wait until each customer had one more turn that ended well."""
    before = [len(each.acknowledged) for each in customers]
    async with waiting():
        while any(
            len(each.acknowledged) == count for each, count in zip(customers, before, strict=True)
        ):
            await asyncio.sleep(0.02)
