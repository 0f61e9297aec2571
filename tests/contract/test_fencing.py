"""A turn has side effects only while it holds its session, and the next turn knows of them."""

import asyncio
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import Connection, select

from backend.domain.conversation import INTERRUPTED, Message, Outcome, Role, ToolCall, as_json
from backend.storage.factory import open_stores
from backend.storage.ports.appointments import BookedBy, Booking, SlotTaken
from backend.storage.ports.sessions import NewTurn
from backend.storage.ports.side_effects import ClaimLost, SideEffect
from backend.storage.ports.stores import Stores
from backend.storage.ports.summaries import IdleSession
from backend.storage.sql.database import Database
from backend.storage.sql.stores import open_sql
from backend.storage.sql.tables import turns
from backend.turns.endings import minimal_ending
from tests.contract.conversations import EVERYTHING, OWNER, ending, flat, new_turn
from tests.contract.test_appointments import MINE

BEFORE_AND_AFTER_FINISHING = True

CALL = ToolCall("call_1", "schedule_appointment", '{"time": "10:00"}')
OTHER = ToolCall("call_2", "schedule_appointment", '{"time": "11:00"}')
WEATHER = ToolCall("call_3", "get_weather", '{"city": "Zürich"}')
THEIRS = replace(MINE, date=date(2030, 5, 7))


def output_of(booking: Booking) -> str:
    return as_json({"confirmation_id": booking.confirmation_id})


def by(turn: NewTurn, call: ToolCall = CALL, *messages: Message) -> BookedBy:
    said = messages or (Message.assistant("One moment.", [call]),)
    return BookedBy(SideEffect(turn=turn.key, call=call, messages=said), output_of)


async def begin(stores: Stores, turn: NewTurn) -> NewTurn:
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    return turn


async def lose(stores: Stores, turn: NewTurn) -> NewTurn:
    """Let the turn's worker die, and the next turn take over its session."""
    await stores.sessions.retire(turn.worker)
    return await begin(stores, new_turn("Next", worker="w2", session_id=turn.session_id))


async def history(stores: Stores) -> list[Message]:
    stored = await stores.sessions.messages(OWNER, "s1")
    assert [each.position for each in stored] == list(range(1, len(stored) + 1))
    return [each.message for each in stored]


async def test_a_booking_names_its_turn(stores: Stores) -> None:
    turn = await begin(stores, new_turn())

    booking = await stores.appointments.book(MINE, by=by(turn))

    assert booking.turn_id == turn.id
    assert await stores.appointments.of_user("123") == [booking]


@pytest.mark.parametrize(
    "loss", ["taken over", "closed as lost", "deleted", "ended", "never begun"]
)
async def test_a_turn_without_its_session_books_nothing(stores: Stores, loss: str) -> None:
    turn = new_turn()
    if loss != "never begun":
        await begin(stores, turn)
    match loss:
        case "taken over":
            await lose(stores, turn)
        case "closed as lost":
            await stores.sessions.retire(turn.worker)
            await stores.sessions.turn_with_log(OWNER, turn.id)
        case "deleted":
            await stores.sessions.delete(OWNER, "s1")
        case "ended":
            await stores.sessions.finish(ending(turn))

    with pytest.raises(ClaimLost):
        await stores.appointments.book(MINE, by=by(turn))

    assert await stores.appointments.of_user("123") == []


async def test_a_turn_without_its_session_is_not_told_of_a_booking_either(stores: Stores) -> None:
    turn = await begin(stores, new_turn())
    booking = await stores.appointments.book(MINE, by=by(turn))
    successor = await lose(stores, turn)

    with pytest.raises(ClaimLost):
        await stores.appointments.book(MINE, by=by(turn))

    assert await stores.appointments.book(MINE, by=by(successor)) == booking


async def test_a_turn_whose_lease_ran_out_books_while_nobody_has_taken_it_over(
    short_leases: Stores,
) -> None:
    turn = await begin(short_leases, new_turn())
    await short_leases.sessions.retire(turn.worker)

    booking = await short_leases.appointments.book(MINE, by=by(turn))

    successor = await lose(short_leases, turn)
    repeated = await short_leases.appointments.book(MINE, by=by(successor))
    assert repeated == booking


@pytest.mark.parametrize("how", ["by the next turn", "by whoever reads it"])
async def test_the_repair_of_a_lost_turn_keeps_what_it_did(stores: Stores, how: str) -> None:
    turn = await begin(stores, new_turn("Book it"))
    booking = await stores.appointments.book(MINE, by=by(turn))
    if how == "by whoever reads it":
        await stores.sessions.retire(turn.worker)
        await stores.sessions.turn_with_log(OWNER, turn.id)
    await stores.sessions.retire(turn.worker)

    claim = await stores.sessions.claim(new_turn("And?", worker="w2"), history_tokens=EVERYTHING)

    told = [
        Message.user("Book it"),
        Message.assistant("One moment.", [CALL]),
        Message.tool(CALL, output_of(booking)),
    ]
    assert flat(claim.history) == told
    assert await history(stores) == [*told, Message.user("And?")]
    record = await stores.sessions.turn(OWNER, turn.id)
    assert (record.outcome, record.error_code) == (Outcome.FAILED, "worker_lost")
    stored = await stores.sessions.messages(OWNER, "s1")
    assert [each.turn_id for each in stored[:3]] == [turn.id] * 3
    times = [each.message.created_at for each in stored]
    assert times == sorted(times)


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_repair_that_tells_of_a_booking_makes_the_session_due_for_a_summary(
    stores: Stores, is_stored: bool
) -> None:
    turn = await begin(stores, new_turn("Book it"))
    booking = await stores.appointments.book(MINE, by=by(turn))
    await stores.sessions.retire(turn.worker)
    without = await claim_idle(stores)
    if is_stored:
        await stores.summaries.store(without, "They wanted to book.")

    await stores.sessions.turn_with_log(OWNER, turn.id)

    with_booking = await claim_idle(stores)
    assert [message.role for message in flat(without.history)] == [Role.USER]
    assert flat(with_booking.history)[-1] == Message.tool(CALL, output_of(booking))
    assert not await stores.summaries.store(without, "They wanted to book.")


async def test_a_repair_that_adds_nothing_leaves_the_summary_as_it_is(stores: Stores) -> None:
    turn = await begin(stores, new_turn())
    await stores.sessions.retire(turn.worker)
    await stores.summaries.store(await claim_idle(stores), "They greeted.")

    await stores.sessions.turn_with_log(OWNER, turn.id)

    due = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=1000)
    assert due is None


async def claim_idle(stores: Stores) -> IdleSession:
    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=1000)
    assert idle is not None
    return idle


async def test_what_follows_a_repair_is_stored_behind_it(stores: Stores) -> None:
    turn = await begin(stores, new_turn("Book it"))
    await stores.appointments.book(MINE, by=by(turn))
    successor = await lose(stores, turn)

    await stores.sessions.finish(ending(successor, Message.assistant("It is booked.")))
    claim = await stores.sessions.claim(new_turn(), history_tokens=EVERYTHING)

    roles = [message.role for message in flat(claim.history)]
    assert roles == ["user", "assistant", "tool", "user", "assistant"]
    assert len(await history(stores)) == 6


async def test_calls_that_ran_side_by_side_all_have_an_output_after_the_repair(
    stores: Stores,
) -> None:
    turn = await begin(stores, new_turn())
    asked = Message.assistant("", [CALL, OTHER, WEATHER])

    first, second = await asyncio.gather(
        stores.appointments.book(MINE, by=by(turn, CALL, asked)),
        stores.appointments.book(THEIRS, by=by(turn, OTHER, asked)),
    )

    await lose(stores, turn)
    _, said, *outputs, _ = await history(stores)
    assert said == asked
    assert {output.tool_call_id: output.content for output in outputs} == {
        "call_1": output_of(first),
        "call_2": output_of(second),
        "call_3": as_json(INTERRUPTED),
    }


async def test_rounds_that_use_the_same_ids_are_all_repaired(stores: Stores) -> None:
    turn = await begin(stores, new_turn())
    asked = Message.assistant("First.", [CALL, replace(OTHER, name="get_weather")])
    first = await stores.appointments.book(MINE, by=by(turn, CALL, asked))
    done = (asked, Message.tool(CALL, output_of(first)), Message.tool(OTHER, "{}"))
    again = Message.assistant("Second.", [replace(CALL, arguments="{}"), OTHER])

    second = await stores.appointments.book(THEIRS, by=by(turn, OTHER, *done, again))

    await lose(stores, turn)
    _, *told, _ = await history(stores)
    assert told == [
        *done,
        again,
        Message.tool(OTHER, output_of(second)),
        Message.tool(CALL, as_json(INTERRUPTED)),
    ]


async def test_a_booking_that_comes_late_takes_nothing_from_later_rounds(stores: Stores) -> None:
    turn = await begin(stores, new_turn())
    asked = Message.assistant("First.", [CALL])
    unanswered = Message.tool(CALL, as_json({"error": {"code": "timed_out"}}))
    again = Message.assistant("Second.", [OTHER])
    second = await stores.appointments.book(THEIRS, by=by(turn, OTHER, asked, unanswered, again))

    late = await stores.appointments.book(MINE, by=by(turn, CALL, asked))

    await lose(stores, turn)
    _, *told, _ = await history(stores)
    assert told == [asked, unanswered, again, Message.tool(OTHER, output_of(second))]
    assert set(await stores.appointments.of_user("123")) == {late, second}


async def test_a_turn_that_ends_says_itself_what_it_did(sql_url: str) -> None:
    stores = await open_stores(sql_url, lease_seconds=60, migrate=True)
    turn = await begin(stores, new_turn("Book it"))
    await stores.appointments.book(MINE, by=by(turn))

    await stores.sessions.finish(ending(turn, Message.assistant("Done.")))

    assert await history(stores) == [Message.user("Book it"), Message.assistant("Done.")]
    await stores.close()
    database = Database(sql_url)
    assert database.transact(_journal_of, turn.id) is None
    database.dispose()


async def test_an_ending_that_is_given_up_takes_nothing_back_that_was_done(stores: Stores) -> None:
    turn = await begin(stores, new_turn())
    booking = await stores.appointments.book(MINE, by=by(turn))

    await stores.sessions.finish(minimal_ending(turn.key, Outcome.COMPLETED, None))

    *_, output = await history(stores)
    assert output == Message.tool(CALL, output_of(booking))


@pytest.mark.parametrize("text", ["a NUL: \x00", "half a character: \ud83d"])
@pytest.mark.parametrize("end", ["minimal", "repair"])
async def test_what_the_history_could_not_hold_keeps_no_turn_from_ending(
    sql_url: str, text: str, end: str
) -> None:
    stores = await open_stores(sql_url, lease_seconds=60, migrate=True)
    turn = await begin(stores, new_turn())
    asked = replace(CALL, arguments=as_json({"time": text}) + text)
    booking = await stores.appointments.book(
        MINE, by=by(turn, asked, Message.assistant(text, [asked]))
    )

    if end == "minimal":
        await stores.sessions.finish(minimal_ending(turn.key, Outcome.COMPLETED, None))
    else:
        await lose(stores, turn)

    _, said, output, *_ = await history(stores)
    assert said.content == text[:-1] + "\N{REPLACEMENT CHARACTER}"
    assert output.content == output_of(booking)
    await stores.close()


async def test_a_lost_turn_that_cannot_be_stored_does_not_hold_up_the_others(sql_url: str) -> None:
    stores = await open_sql(sql_url, lease_seconds=60, migrate=True)
    lost = [await begin(stores, new_turn(session_id=f"s{number}")) for number in range(3)]
    for number, turn in enumerate(lost):
        wanted = replace(MINE, dealership_id=f"house-{number}")
        await stores.appointments.book(wanted, by=by(turn))
    await stores.database.run(_spoil_journal, lost[0].id)
    await stores.sessions.retire("w1")

    closed = await stores.sessions.close_lost()

    others = [await stores.sessions.turn(OWNER, turn.id) for turn in lost[1:]]
    await stores.close()
    assert closed == 2
    assert [turn.outcome for turn in others] == [Outcome.FAILED] * 2


async def test_a_slot_that_was_taken_leaves_nothing_to_repair(stores: Stores) -> None:
    await stores.appointments.book(replace(MINE, user_id="456"))
    turn = await begin(stores, new_turn("Book it"))

    with pytest.raises(SlotTaken):
        await stores.appointments.book(MINE, by=by(turn))

    await lose(stores, turn)
    assert await history(stores) == [Message.user("Book it"), Message.user("Next")]


async def test_a_booking_and_a_takeover_exclude_each_other(stores: Stores) -> None:
    for number in range(20):
        turn = await begin(stores, new_turn(session_id=f"s{number}", worker=f"w-{number}"))
        await stores.sessions.retire(turn.worker)
        wanted = replace(MINE, user_id=f"user-{number}", dealership_id=f"house-{number}")
        successor = new_turn("Next", session_id=turn.session_id, worker="w2")

        booked, claim = await asyncio.gather(
            stores.appointments.book(wanted, by=by(turn)),
            stores.sessions.claim(successor, history_tokens=EVERYTHING),
            return_exceptions=True,
        )

        kept = await stores.appointments.of_user(wanted.user_id)
        assert not isinstance(claim, BaseException)
        told = [message.content for message in flat(claim.history) if message.tool_call_id]
        if isinstance(booked, Booking):
            assert (kept, told) == ([booked], [output_of(booked)])
        else:
            assert isinstance(booked, ClaimLost)
            assert (kept, told) == ([], [])


def _spoil_journal(connection: Connection, turn_id: str) -> None:
    this = turns.c.id == turn_id
    entry, *others = connection.scalar(select(turns.c.journal).where(this)) or []
    spoiled = [{**entry, "content": "half a character: \ud83d"}, *others]
    connection.execute(turns.update().where(this).values(journal=spoiled))


def _journal_of(connection: Connection, turn_id: str) -> object:
    return connection.scalar(select(turns.c.journal).where(turns.c.id == turn_id))
