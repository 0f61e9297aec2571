"""Creating, reading and deleting sessions, with their messages and turns."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from backend.domain.conversation import LastTurn, Message, Outcome, ToolCall, now
from backend.domain.errors import SessionNotFound, TurnNotFound
from backend.domain.usage import Usage
from backend.storage.factory import open_stores
from backend.storage.ports.sessions import Ending, NewTurn
from backend.storage.ports.stores import Stores
from tests.contract.conversations import (
    EVERYTHING,
    OWNER,
    a_tool_round,
    ending,
    new_turn,
    said,
    say,
)
from tests.waiting import TIME_SCALE

BEFORE_AND_AFTER_FINISHING = True


async def test_a_created_session_is_empty(stores: Stores) -> None:
    created = await stores.sessions.create(OWNER, "s1")

    assert created == await stores.sessions.get(OWNER, "s1")
    assert (created.id, created.turns, created.usage) == ("s1", 0, Usage())
    assert created.last_turn_at is None
    assert created.summary is None
    assert await stores.sessions.messages(OWNER, "s1") == []
    assert await stores.sessions.turns(OWNER, "s1") == []


async def test_creating_a_session_again_changes_nothing(stores: Stores) -> None:
    await say(stores.sessions, new_turn(), "Hi")
    before = await stores.sessions.get(OWNER, "s1")

    again = await stores.sessions.create(OWNER, "s1")

    assert again == before


async def test_the_first_claim_makes_the_session(stores: Stores) -> None:
    turn = new_turn("Hello")

    claim = await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    assert claim.history == ()
    assert claim.characters_per_token == 4
    assert (await stores.sessions.get(OWNER, "s1")).turns == 1
    [stored] = await stores.sessions.messages(OWNER, "s1")
    assert (stored.position, stored.turn_id, stored.message) == (1, turn.id, Message.user("Hello"))


async def test_a_claim_may_insist_on_an_existing_session(stores: Stores) -> None:
    await stores.sessions.create(OWNER, "existing")

    with pytest.raises(SessionNotFound):
        await stores.sessions.claim(
            new_turn(session_id="unknown", creates_session=False), history_tokens=EVERYTHING
        )
    await stores.sessions.claim(
        new_turn(session_id="existing", creates_session=False), history_tokens=EVERYTHING
    )

    with pytest.raises(SessionNotFound):
        await stores.sessions.get(OWNER, "unknown")


async def test_an_unknown_session_is_not_found(stores: Stores) -> None:
    sessions = stores.sessions

    with pytest.raises(SessionNotFound):
        await sessions.get(OWNER, "unknown")
    with pytest.raises(SessionNotFound):
        await sessions.messages(OWNER, "unknown")
    with pytest.raises(SessionNotFound):
        await sessions.turns(OWNER, "unknown")
    with pytest.raises(SessionNotFound):
        await sessions.delete(OWNER, "unknown")


async def test_owners_do_not_see_each_other(stores: Stores) -> None:
    mine, theirs = new_turn("Mine", owner="me"), new_turn("Theirs", owner="them")

    await stores.sessions.claim(mine, history_tokens=EVERYTHING)
    await stores.sessions.claim(theirs, history_tokens=EVERYTHING)

    [message] = await stores.sessions.messages("me", "s1")
    assert message.message.content == "Mine"
    assert [turn.id for turn in await stores.sessions.turns("them", "s1")] == [theirs.id]
    with pytest.raises(TurnNotFound):
        await stores.sessions.turn("me", theirs.id)
    with pytest.raises(TurnNotFound):
        await stores.sessions.turn_with_log("me", theirs.id)
    with pytest.raises(SessionNotFound):
        await stores.sessions.get("somebody else", "s1")


async def test_a_running_turn_has_no_outcome_and_no_log(stores: Stores) -> None:
    turn = new_turn()

    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    record = await stores.sessions.turn(OWNER, turn.id)
    assert (record.id, record.session_id) == (turn.id, "s1")
    assert (record.outcome, record.finished_at, record.usage) == (None, None, Usage())
    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log is None


async def test_the_end_of_a_turn_stores_everything_at_once(stores: Stores) -> None:
    turn, before = new_turn("Weather?"), now()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    messages = [*a_tool_round(), Message.assistant("It is 34°C 🌞.")]

    stored = await stores.sessions.finish(
        Ending(
            owner=turn.owner,
            turn_id=turn.id,
            outcome=Outcome.FAILED,
            messages=messages,
            log=b"\x00\xff the log",
            error_code="upstream_timeout",
            finish_reason="length",
            model="a-model",
            rounds=2,
            usage=Usage(900, 60),
            first_chunk_seconds=0.25,
            characters_per_token=3.5,
        )
    )

    assert stored
    kept = await stores.sessions.messages(OWNER, "s1")
    assert [message.position for message in kept] == [1, 2, 3, 4]
    assert [message.message for message in kept] == [Message.user("Weather?"), *messages]
    assert {message.turn_id for message in kept} == {turn.id}
    record = await stores.sessions.turn(OWNER, turn.id)
    assert (record.outcome, record.error_code) == (Outcome.FAILED, "upstream_timeout")
    assert record.finish_reason == "length"
    assert (record.model, record.rounds, record.usage) == ("a-model", 2, Usage(900, 60))
    assert record.first_chunk_seconds == 0.25
    assert record.finished_at is not None
    assert before <= record.started_at <= record.finished_at <= now()
    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log == b"\x00\xff the log"
    session = await stores.sessions.get(OWNER, "s1")
    assert (session.turns, session.usage) == (1, Usage(900, 60))
    assert session.last_turn_at == record.finished_at
    assert session.last_turn == LastTurn(turn.id, Outcome.FAILED, "length")
    assert [listed.finish_reason for listed in await stores.sessions.turns(OWNER, "s1")] == [
        "length"
    ]


async def test_a_session_tells_how_its_newest_turn_ended(stores: Stores) -> None:
    first, second = new_turn(), new_turn()
    created = await stores.sessions.create(OWNER, "s1")
    told = [created.last_turn]

    for turn in (first, second):
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
        told.append((await stores.sessions.get(OWNER, "s1")).last_turn)
        outcome, reason = (
            (Outcome.COMPLETED, "stop") if turn is first else (Outcome.CANCELLED, None)
        )
        await stores.sessions.finish(replace(ending(turn), outcome=outcome, finish_reason=reason))
        told.append((await stores.sessions.get(OWNER, "s1")).last_turn)

    assert told == [
        None,
        LastTurn(first.id, None, None),
        LastTurn(first.id, Outcome.COMPLETED, "stop"),
        LastTurn(second.id, None, None),
        LastTurn(second.id, Outcome.CANCELLED, None),
    ]


async def test_the_usage_of_a_session_is_that_of_its_turns(stores: Stores) -> None:
    for _ in range(3):
        turn = new_turn()
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
        await stores.sessions.finish(
            Ending(
                owner=turn.owner,
                turn_id=turn.id,
                outcome=Outcome.COMPLETED,
                messages=[],
                log=b"",
                usage=Usage(2_000_000_000, 5),
            )
        )

    session = await stores.sessions.get(OWNER, "s1")
    assert (session.turns, session.usage) == (3, Usage(6_000_000_000, 15))


async def test_an_ending_that_was_stored_unnoticed_gets_the_log_that_its_client_saw(
    stores: Stores,
) -> None:
    turn, lost = new_turn(), new_turn(session_id="s2", worker="w2")
    await say(stores.sessions, turn, "First")
    await stores.sessions.claim(lost, history_tokens=EVERYTHING)
    await stores.sessions.retire("w2")
    await stores.sessions.get(OWNER, "s2")  # closes it

    async def finish_again(turn: NewTurn) -> bool:
        again = replace(ending(turn, Message.assistant("Second")), may_be_stored=True)
        return await stores.sessions.finish(replace(again, log=b"with an error"))

    replaced = [await finish_again(each) for each in (turn, lost, new_turn())]

    assert replaced == [True, False, False]
    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log == b"with an error"
    contents = [m.message.content for m in await stores.sessions.messages(OWNER, "s1")]
    assert contents == ["Hello", "First"]
    await stores.sessions.purge_logs(kept_seconds=-3600)
    assert await finish_again(turn)
    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log is None


async def test_a_turn_ends_once(stores: Stores) -> None:
    turn = new_turn()
    await say(stores.sessions, turn, "First")

    again = await stores.sessions.finish(ending(turn, Message.assistant("Second")))

    assert not again
    contents = [m.message.content for m in await stores.sessions.messages(OWNER, "s1")]
    assert contents == ["Hello", "First"]
    assert not await stores.sessions.finish(ending(new_turn()))


async def test_messages_come_in_pages(stores: Stores) -> None:
    for number in range(3):
        await say(stores.sessions, new_turn(f"Q{number}"), f"A{number}")

    first = await stores.sessions.messages(OWNER, "s1", limit=4)
    second = await stores.sessions.messages(OWNER, "s1", after=first[-1].position, limit=4)
    third = await stores.sessions.messages(OWNER, "s1", after=second[-1].position, limit=4)

    assert [m.message.content for m in first] == ["Q0", "A0", "Q1", "A1"]
    assert [m.message.content for m in second] == ["Q2", "A2"]
    assert list(third) == []


async def test_turns_come_oldest_first(stores: Stores) -> None:
    ids = [f"t{number}" for number in (3, 1, 2)]
    for turn_id in ids:
        await say(stores.sessions, new_turn(id=turn_id))

    turns = await stores.sessions.turns(OWNER, "s1")

    assert [turn.id for turn in turns] == ids


async def test_times_are_kept_in_utc(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.finish(ending(turn, Message.assistant("Hi")))

    session = await stores.sessions.get(OWNER, "s1")
    messages = await stores.sessions.messages(OWNER, "s1")

    assert session.created_at.tzinfo is UTC
    assert messages[1].message.created_at.tzinfo is UTC


@pytest.mark.parametrize("wrong_by", [timedelta(days=40), timedelta(days=-40), timedelta()])
async def test_a_worker_whose_clock_is_wrong_stores_times_of_the_database(
    sql_url: str, wrong_by: timedelta
) -> None:
    stores = await open_stores(sql_url, lease_seconds=60, migrate=True)
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await asyncio.sleep(0.2)
    answers = (*a_tool_round(), Message.assistant("It is hot."))
    round_ = [replace(message, created_at=now() + wrong_by) for message in answers]

    await stores.sessions.finish(ending(turn, *round_))

    record = await stores.sessions.turn(OWNER, turn.id)
    stored = await stores.sessions.messages(OWNER, "s1")
    session = await stores.sessions.get(OWNER, "s1")
    await stores.close()
    assert record.finished_at
    assert record.finished_at - record.started_at >= timedelta(seconds=0.2)
    assert abs(now() - record.finished_at) < timedelta(seconds=TIME_SCALE * 10)
    assert session.created_at <= record.started_at < record.finished_at == session.last_turn_at
    times = [one.message.created_at for one in stored]
    assert times == sorted(times)
    assert record.started_at == times[0]
    assert times[-1] <= record.finished_at


async def test_a_message_is_as_old_as_its_worker_says(sql_url: str) -> None:
    stores = await open_stores(sql_url, lease_seconds=60, migrate=True)
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await asyncio.sleep(0.3)
    early = Message.assistant("Hi")
    await asyncio.sleep(0.3)

    await stores.sessions.finish(ending(turn, early))

    record = await stores.sessions.turn(OWNER, turn.id)
    _, stored = await stores.sessions.messages(OWNER, "s1")
    await stores.close()
    assert record.finished_at
    assert record.started_at < stored.message.created_at < record.finished_at
    assert record.finished_at - stored.message.created_at >= timedelta(seconds=0.29)


async def test_any_id_that_is_allowed_can_be_used(stores: Stores) -> None:
    longest = "A" + "z9._:-" * 21 + "x"
    owner = "auth0|ö'\"%_\\" + "x" * 240

    await say(stores.sessions, new_turn(owner=owner, session_id=longest), "Hi")

    assert len(longest) == 128
    assert (await stores.sessions.get(owner, longest)).turns == 1
    with pytest.raises(SessionNotFound):
        await stores.sessions.get(owner, longest.upper())


async def test_tool_calls_come_back_as_they_were_written(stores: Stores) -> None:
    calls = [
        ToolCall("call_1", "get_weather", '{"city": "München 🚗", "x": "\\u0000"}'),
        ToolCall("call_2", "get_weather", 'not "JSON" at all {'),
    ]
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    messages = [Message.assistant("", calls), *(Message.tool(call, "{}") for call in calls)]

    await stores.sessions.finish(ending(turn, *messages))

    kept = await stores.sessions.messages(OWNER, "s1", after=1)
    assert [message.message for message in kept] == messages


async def test_a_deleted_session_is_forgotten(stores: Stores) -> None:
    turn = new_turn("Old", id="old")
    await say(stores.sessions, turn, "Old answer")

    await stores.sessions.delete(OWNER, "s1")

    with pytest.raises(SessionNotFound):
        await stores.sessions.messages(OWNER, "s1")
    with pytest.raises(TurnNotFound):
        await stores.sessions.turn(OWNER, "old")
    claim = await say(stores.sessions, new_turn("New"), "New answer")
    assert said(claim) == []
    contents = [m.message.content for m in await stores.sessions.messages(OWNER, "s1")]
    assert contents == ["New", "New answer"]


async def test_a_turn_of_a_deleted_session_ends_in_nothing(stores: Stores) -> None:
    turn = new_turn("Old")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.delete(OWNER, "s1")
    successor = new_turn("New")
    await stores.sessions.claim(successor, history_tokens=EVERYTHING)

    stored = await stores.sessions.finish(ending(turn, Message.assistant("Late")))

    assert not stored
    contents = [m.message.content for m in await stores.sessions.messages(OWNER, "s1")]
    assert contents == ["New"]
    assert await stores.sessions.finish(ending(successor))


async def test_a_store_that_is_open_answers(stores: Stores) -> None:
    await stores.ping()


async def test_sessions_are_forgotten_by_the_time_of_their_last_turn(stores: Stores) -> None:
    await say(stores.sessions, new_turn(session_id="spoken"), "Hi.")
    await stores.sessions.create(OWNER, "silent")

    await stores.sessions.purge_sessions(kept_seconds=60)
    kept = [await stores.sessions.get(OWNER, session_id) for session_id in ("spoken", "silent")]
    await asyncio.sleep(0.01)
    await stores.sessions.purge_sessions(kept_seconds=0)

    assert [session.id for session in kept] == ["spoken", "silent"]
    for session_id in ("spoken", "silent"):
        with pytest.raises(SessionNotFound):
            await stores.sessions.messages(OWNER, session_id)


async def test_a_purge_spares_what_has_begun_since(stores: Stores) -> None:
    await say(stores.sessions, new_turn(session_id="old"), "Hi.")
    await asyncio.sleep(0.1)
    between = time.monotonic()
    await asyncio.sleep(1)  # so late may a purge be executed on a busy machine
    await say(stores.sessions, new_turn(session_id="new"), "Hi.")
    await stores.sessions.claim(new_turn(session_id="running"), history_tokens=EVERYTHING)

    kept_seconds = time.monotonic() - between
    purges = [stores.sessions.purge_sessions(kept_seconds=kept_seconds) for _ in range(4)]
    await asyncio.gather(*purges)

    assert (await stores.sessions.get(OWNER, "new")).turns == 1
    assert (await stores.sessions.get(OWNER, "running")).turns == 1
    with pytest.raises(SessionNotFound):
        await stores.sessions.get(OWNER, "old")
