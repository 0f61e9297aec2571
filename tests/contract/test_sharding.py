"""A database that is sharded by owner, such as Citus, can run every statement.

No such database can be had for tests. So this test reads the statements, and compares them with
the limits in the documentation of Citus ("SQL Support and Workarounds"). A query with FOR UPDATE
needs an equality on the column that shards. UPDATE, DELETE and RETURNING take no volatile function.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from backend.domain.conversation import Message
from backend.domain.turn_keys import TurnKey
from backend.storage.factory import open_stores
from backend.storage.ports.budgets import Amount, Budget
from backend.storage.ports.sessions import SessionPlace
from backend.storage.ports.stores import Stores
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn, say
from tests.contract.test_appointments import MINE
from tests.contract.test_fencing import by
from tests.contract.test_partitions import call_of
from tests.postgres import PostgresServer

BY_OWNER = ("sessions", "turns", "messages", "turn_logs", "usage_days")

OVER_ALL_SHARDS = (
    # A worker's own turns, once per renewal of its lease.
    r"UPDATE turns SET is_deserted=.* WHERE turns\.worker =",
    r"SELECT turns\.id, turns\.stop_as\s+FROM turns\s+WHERE turns\.worker =",
    # Lost turns, sessions without a summary, and what is too old: background work.
    r"SELECT turns\.owner, turns\.id\s+FROM turns JOIN sessions",
    r"SELECT sessions\.owner, sessions\.id\s+FROM sessions\s+WHERE",
    r"SELECT turn_logs\.owner, turn_logs\.turn_id, turn_logs\.finished_at",
    r"SELECT turns\.owner, turns\.id\s+FROM turns\s+WHERE turns\.log IS NOT NULL",
    r"DELETE FROM usage_days WHERE usage_days\.day <",
    # The operator's report.
    r"SELECT usage_days\.(day|owner), .* FROM usage_days\s+WHERE usage_days\.day BETWEEN",
)
_VOLATILE = re.compile(r"clock_timestamp|random\(|now\(\)")


@pytest.fixture
def statements() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(re.sub(r"\s+", " ", statement))

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


async def everything(stores: Stores) -> None:
    """Use each operation of each store."""
    sessions = stores.sessions
    await sessions.create(OWNER, "s1")
    turn = new_turn(idempotency_key="key", traceparent="00-1-2-01")
    await sessions.claim(turn, history_tokens=EVERYTHING)
    booking = await stores.appointments.book(MINE, by=by(turn))
    await sessions.renew("w1", unfollowed=[turn.id])
    await sessions.renew("w2", followed=[turn.key])
    await sessions.is_followed(turn.key)
    await sessions.running([turn.key, TurnKey("other", "t2")])
    await sessions.request_end(OWNER, "s1", unless_read=True)
    await sessions.request_stop(OWNER, turn.id)
    await sessions.finish(replace(ending(turn), calls=[call_of(3)]))
    await sessions.turn_with_key(OWNER, "s1", key="key")
    await sessions.turn_with_log(OWNER, turn.id)
    await sessions.turn(OWNER, turn.id)
    await sessions.turns(OWNER, "s1")
    await sessions.messages(OWNER, "s1")
    await sessions.get(OWNER, "s1")
    await sessions.rename(OWNER, "s1", title="Cars")
    [session] = await sessions.of_owner(OWNER, limit=1)
    await sessions.of_owner(OWNER, after=SessionPlace(session.last_used_at, "s1"), limit=1)
    for number in range(4):
        await say(sessions, new_turn("Question" * 30, session_id="s1"), f"Answer {number} " * 60)
    await sessions.claim(new_turn("Cut", session_id="s1"), history_tokens=300)
    await sessions.request_end(OWNER, "s1")
    given = [Message.user("A red one?"), Message.assistant("Yes.")]
    await say(sessions, new_turn("Given", id="t1", session_id="s4", given=given), "Hi.")
    await say(sessions, new_turn("Again", session_id="s4", replaces="t1"), "Hello.")
    await stores.usage.enter(OWNER, [call_of(1)])
    await sessions.live_workers()
    await sessions.retire("w1")
    await sessions.close_lost()
    await say(sessions, new_turn("Lost", session_id="s2", worker="w3"), "Hi.")
    await sessions.claim(new_turn("Lost", session_id="s2", worker="w3"), history_tokens=9)
    await sessions.retire("w3")
    await sessions.get(OWNER, "s2")
    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=9)
    assert idle
    await stores.summaries.postpone(idle, seconds=0, failures=1, calls=[call_of(1)])
    again = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=9)
    assert again
    assert await stores.summaries.store(again, "Short.", calls=[call_of(1)])
    await sessions.purge_logs(kept_seconds=0)
    await sessions.purge_logs(kept_seconds=2 * 86400)
    await sessions.purge_sessions(kept_seconds=0)
    await sessions.create(OWNER, "s3")
    await sessions.delete(OWNER, "s3")
    first, last = booking.appointment.date.replace(year=2000), booking.appointment.date
    for owner in (OWNER, None):
        await stores.usage.by_day(first, last, owner=owner)
        await stores.usage.by_owner(first, last, owner=owner, limit=9)
    await stores.usage.purge(kept_days=1)
    budget = Budget(key="k", limit=10, seconds=60)
    await stores.budgets.reserve("t1", [Amount(budget, 1)], expires_seconds=60)
    await stores.budgets.settle("t1", [Amount(budget, 1)])
    await stores.budgets.used([budget])
    await stores.budgets.purge()


async def test_every_statement_can_be_sharded_by_owner(
    postgres: PostgresServer, statements: list[str]
) -> None:
    with postgres.database() as url:
        stores = await open_stores(url, lease_seconds=60, migrate=True)
        statements.clear()  # those of the migration
        await everything(stores)
        await stores.close()

    kinds = {re.sub(r"%\(\w+\)s", "?", statement) for statement in statements}
    assert len(kinds) > 50
    for statement in kinds:
        check(statement)
    seldom_seen = [
        pattern for pattern in OVER_ALL_SHARDS if not any(re.match(pattern, each) for each in kinds)
    ]
    assert seldom_seen == []


def check(statement: str) -> None:
    kind = statement.split(" ", 1)[0]
    tables = set(re.findall(r"(?:FROM|JOIN|INTO|UPDATE) (\w+)", statement)) & set(BY_OWNER)
    is_of_one_owner = re.search(r"\.owner (= %|= \?|IN \()", statement) is not None
    if "FOR UPDATE" in statement and tables:
        assert is_of_one_owner, statement
    if kind in ("UPDATE", "DELETE"):
        assert not _VOLATILE.search(statement), statement
    assert not _VOLATILE.search(statement.partition(" ON CONFLICT ")[2]), statement
    assert not _VOLATILE.search(statement.partition(" RETURNING ")[2]), statement
    if tables and kind == "INSERT":
        assert re.match(r"INSERT INTO \w+ \([^)]*\bowner\b", statement), statement
    elif tables and not is_of_one_owner:
        assert any(re.match(pattern, statement) for pattern in OVER_ALL_SHARDS), statement
