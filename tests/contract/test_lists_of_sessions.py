"""The list of an owner's sessions, their titles, and the ids of messages."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from backend.domain.conversation import Message
from backend.domain.errors import SessionNotFound
from backend.storage.ports.sessions import SessionPlace, SessionStore, place_of
from backend.storage.ports.stores import Stores
from backend.storage.sql.claims import new_session
from backend.storage.sql.database import Database
from backend.storage.sql.look_ups import UNUSED_BEHIND, USED_BEHIND
from backend.storage.sql.migrate import migrate
from backend.storage.sql.tables import sessions as sessions_table
from tests.contract.conversations import EVERYTHING, OWNER, a_tool_round, ending, new_turn, say

BEFORE_AND_AFTER_FINISHING = True


async def listed(sessions: SessionStore, *, limit: int = 100) -> list[str]:
    """The ids of all sessions, read in pages."""
    ids: list[str] = []
    after: SessionPlace | None = None
    while page := await sessions.of_owner(OWNER, after=after, limit=limit):
        ids += [session.id for session in page]
        after = place_of(page[-1])
    return ids


async def test_the_last_used_session_comes_first(stores: Stores) -> None:
    for session_id in ("a", "b", "c"):
        await say(stores.sessions, new_turn(session_id=session_id), "Hi")
    await stores.sessions.create(OWNER, "d")
    await say(stores.sessions, new_turn(session_id="a"), "Hi")
    await say(stores.sessions, new_turn(session_id="e", owner="somebody"), "Hi")

    assert await listed(stores.sessions) == ["a", "d", "c", "b"]
    assert [each.id for each in await stores.sessions.of_owner("somebody", limit=9)] == ["e"]
    assert await stores.sessions.of_owner("nobody", limit=9) == []


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_have_each_session_once(stores: Stores, limit: int) -> None:
    ids = [f"s{number}" for number in range(5)]
    # At once, so that some may have been used at the same time.
    await asyncio.gather(*(stores.sessions.create(OWNER, each) for each in ids))

    found = await listed(stores.sessions, limit=limit)

    assert sorted(found) == ids
    assert found == await listed(stores.sessions)


async def test_a_session_that_is_used_between_two_pages_hides_no_other(stores: Stores) -> None:
    for session_id in ("a", "b", "c"):
        await stores.sessions.create(OWNER, session_id)
    first = await stores.sessions.of_owner(OWNER, limit=1)

    await say(stores.sessions, new_turn(session_id="a"), "Hi")
    rest = await stores.sessions.of_owner(OWNER, after=place_of(first[0]), limit=9)

    assert [session.id for session in (*first, *rest)] == ["c", "b"]


async def test_the_title_is_the_first_question_until_it_is_set(stores: Stores) -> None:
    sessions = stores.sessions
    created = await sessions.create(OWNER, "s1")
    await say(sessions, new_turn("  Which  cars\ndo you have?"), "Two.")
    await say(sessions, new_turn("And prices?"), "None.")
    by_default = await sessions.get(OWNER, "s1")
    await sessions.rename(OWNER, "s1", title="Cars")
    renamed, [in_list] = await sessions.get(OWNER, "s1"), await sessions.of_owner(OWNER, limit=1)
    await sessions.rename(OWNER, "s1", title=None)

    assert created.title is None
    assert by_default.title == "Which cars do you have?"
    assert renamed.title == in_list.title == "Cars"
    assert await sessions.get(OWNER, "s1") == by_default
    for owner, session_id in (("somebody", "s1"), (OWNER, "s2")):
        with pytest.raises(SessionNotFound):
            await sessions.rename(owner, session_id, title="Mine")


async def test_the_title_is_not_what_an_assistant_has_said(stores: Stores) -> None:
    given = [Message.assistant("How can I help?"), Message.user(" " * 900 + "Cars?")]

    await say(stores.sessions, replace(new_turn("Which?"), given=given), "Two.")

    assert (await stores.sessions.get(OWNER, "s1")).title == "Cars?"


async def test_a_title_set_while_a_turn_runs_stays_and_is_no_use(stores: Stores) -> None:
    sessions, turn = stores.sessions, new_turn()
    await sessions.claim(turn, history_tokens=EVERYTHING)
    await sessions.create(OWNER, "newer")

    await sessions.rename(OWNER, "s1", title="During")
    before = await listed(sessions)
    await sessions.finish(ending(turn, Message.assistant("Hi")))

    assert before == ["newer", "s1"]
    assert [each.title for each in await sessions.of_owner(OWNER, limit=9)] == ["During", None]


async def test_a_session_names_its_running_turn(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    running, [in_list] = (
        await stores.sessions.get(OWNER, "s1"),
        await stores.sessions.of_owner(OWNER, limit=1),
    )
    await stores.sessions.finish(ending(turn, Message.assistant("Hi")))

    assert running.running_turn_id == in_list.running_turn_id == turn.id
    assert (await stores.sessions.get(OWNER, "s1")).running_turn_id is None


async def test_the_turn_of_a_dead_worker_does_not_run(stores: Stores) -> None:
    alive = new_turn(session_id="s2", worker="w2")
    await stores.sessions.claim(new_turn(), history_tokens=EVERYTHING)
    await stores.sessions.claim(alive, history_tokens=EVERYTHING)
    await stores.sessions.retire("w1")

    [other, session] = await stores.sessions.of_owner(OWNER, limit=2)

    assert other.running_turn_id == alive.id
    assert session.running_turn_id is None
    assert session.last_turn is not None
    assert session.last_turn.outcome == "failed"


async def test_messages_are_numbered_within_their_turn(stores: Stores) -> None:
    first, second = new_turn("Weather?"), new_turn("And there?")
    for turn in (first, second):
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
        messages = (*a_tool_round(), Message.assistant("Sunny."))
        await stores.sessions.finish(ending(turn, *messages))
    ids = [f"{turn.id}-{number}" for turn in (first, second) for number in (1, 2, 3, 4)]

    whole = await stores.sessions.messages(OWNER, "s1")
    parts = [
        await stores.sessions.messages(OWNER, "s1", after=after, limit=3)
        for after in range(len(ids))
    ]

    assert [stored.id for stored in whole] == ids
    assert [[stored.id for stored in part] for part in parts] == [
        ids[after : after + 3] for after in range(len(ids))
    ]


async def test_given_messages_and_those_after_a_replaced_turn_are_numbered(stores: Stores) -> None:
    given = [Message.user("Hello"), Message.assistant("Hi"), Message.user("Cars?")]
    first = replace(new_turn("Which?"), given=given)
    await say(stores.sessions, first, "Two.")
    second = replace(new_turn("Which now?"), replaces=first.id)
    await say(stores.sessions, second, "Three.")

    messages = await stores.sessions.messages(OWNER, "s1")

    assert [stored.number for stored in messages] == [1, 2, 1, 1, 2]
    assert [stored.id for stored in messages][-2:] == [f"{second.id}-1", f"{second.id}-2"]


def test_pages_are_read_from_indexes(sql_url: str) -> None:
    migrate(sql_url)
    database = Database(sql_url)

    def plans(connection: Connection) -> list[str]:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        new = [
            new_session(OWNER, f"s{n}")
            | {"created_at": at, "last_turn_at": at + timedelta(minutes=n) if n % 2 else None}
            for n in range(3000)
        ]
        connection.execute(sessions_table.insert(), new)
        connection.execute(text("ANALYZE"))
        explain = "EXPLAIN QUERY PLAN" if sql_url.startswith("sqlite") else "EXPLAIN"
        found = []
        for page in (USED_BEHIND, UNUSED_BEHIND):
            values = page.params(owner=OWNER, at=at + timedelta(days=1), session_id="s9", limit=50)
            query = values.compile(connection, compile_kwargs={"literal_binds": True})
            rows = connection.execute(text(f"{explain} {query}"))
            found.append("\n".join(map(str, rows)))
        return found

    used, unused = database.transact(plans)
    database.dispose()

    assert "sessions_last_used" in used
    assert "sessions_unused" in unused
    for found in (used, unused):
        assert "TEMP B-TREE" not in found
        assert not re.search("Sort Key: .*(last_turn_at|created_at)", found)
