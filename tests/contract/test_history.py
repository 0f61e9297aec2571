"""The history that a claim returns for the model, and what stands for the part that was cut."""

from datetime import date, time

from backend.domain.conversation import Message, Outcome, ToolCall
from backend.storage.ports.appointments import Appointment, BookedBy, Booking
from backend.storage.ports.sessions import Claim, Earlier, Ending, NewTurn
from backend.storage.ports.side_effects import SideEffect
from backend.storage.ports.stores import Stores
from tests.contract.conversations import EVERYTHING, a_tool_round, ending, new_turn, said, say


async def test_the_history_is_what_was_said_before_oldest_first(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1"), "A1")
    await say(stores.sessions, new_turn("Q2"), "A2")

    claim = await say(stores.sessions, new_turn("Q3"), "A3")

    assert said(claim) == ["Q1", "A1", "Q2", "A2"]


async def test_the_history_begins_at_the_same_turn_until_it_is_full(stores: Stores) -> None:
    """Each turn has 10 characters, of which 9 turns fit."""
    begins = []
    for number in range(10, 40):
        claim = await _claimed(stores, f"Q{number}", room=90)
        begins.append(said(claim)[0] if claim.history else None)

    # A cut leaves four turns, so that five more fit before the next one.
    assert begins[:10] == [None, *["Q10"] * 9]
    assert begins[10:] == [f"Q{first}" for first in (16, 22, 28, 34) for _ in range(6)][:20]


async def test_a_cut_leaves_whole_turns_that_fill_half_the_room(stores: Stores) -> None:
    call_and_output = a_tool_round()
    turn = new_turn("Weather?")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.finish(ending(turn, *call_and_output, Message.assistant("Sunny")))
    whole = sum(m.characters for m in (*call_and_output, Message.user("Weather?Sunny")))
    await _claimed(stores, "12345", answer="12345")

    fits = await _claimed(stores, "", answer="", room=whole + 10)
    does_not = await _claimed(stores, "", answer="", room=whole + 9)

    assert said(fits)[0] == "Weather?"
    assert said(does_not)[:2] == ["12345", "12345"]


async def test_what_was_cut_stays_cut_even_if_there_is_room_again(stores: Stores) -> None:
    for number in (1, 2):
        await _claimed(stores, f"Q{number}")
    cut = await _claimed(stores, "Q3", room=15)

    later = await _claimed(stores, "Q4", room=1000)

    assert said(cut)[0] == "Q2"
    assert said(later)[0] == "Q2"


async def test_a_newest_turn_that_fits_alone_survives_a_cut(stores: Stores) -> None:
    await _claimed(stores, "Q1")
    await _claimed(stores, "Q2", answer="x" * 78)

    assert said(await _claimed(stores, "Q3", room=80))[0] == "Q2"


async def test_a_newest_turn_that_does_not_fit_leaves_nothing(stores: Stores) -> None:
    await _claimed(stores, "small")
    await _claimed(stores, "Q2", answer="large" * 100)

    claim = await _claimed(stores, "Q3", room=40)

    assert claim.history == ()
    assert said(await _claimed(stores, "Q4"))[0] == "Q3"


async def test_prompt_and_query_take_their_part_of_the_room(stores: Stores) -> None:
    await _claimed(stores, "Q1")
    await _claimed(stores, "Q2")
    turn = new_turn("Q3")

    claim = await stores.sessions.claim(turn, history_tokens=10, beside_characters=21)
    await stores.sessions.finish(ending(turn))

    assert said(claim)[0] == "Q2"


async def test_the_summary_of_what_was_cut_changes_only_with_a_cut(stores: Stores) -> None:
    earlier = []
    for number in range(10, 26):
        claim = await _claimed(stores, f"Q{number}", room=90)
        earlier.append(claim.earlier.summary)
        await _summarize(stores, f"Up to {number}")

    # The ninth turn fills the room, and the tenth finds it too small.
    assert earlier == [None] * 10 + ["Up to 19"] * 6


async def test_a_cut_does_not_wait_for_a_summary_which_follows_later(stores: Stores) -> None:
    for number in range(10, 20):
        await _claimed(stores, f"Q{number}", room=90)
    cut = await _claimed(stores, "Q20", room=90)
    await _summarize(stores, "Late")

    told = await _claimed(stores, "Q21", room=90)
    await _summarize(stores, "Later still")
    same = await _claimed(stores, "Q22", room=90)

    assert said(cut)[0] == said(told)[0] == "Q16"
    assert [claim.earlier.summary for claim in (cut, told, same)] == [None, "Late", "Late"]


async def test_bookings_of_turns_that_were_cut_are_told_from_the_store(stores: Stores) -> None:
    booked = []
    claim = Claim(history=(), characters_per_token=4)
    for number in range(10, 32):
        turn = new_turn(f"Q{number}")
        claim = await stores.sessions.claim(turn, history_tokens=23)
        if number in (10, 11, 20, 31):
            booked.append(await _book(stores, turn, number))
        await stores.sessions.finish(ending(turn, Message.assistant("Yes :-) ")))

    first = int(said(claim)[0][1:])
    assert 20 < first < 31
    assert list(claim.earlier.bookings) == booked[:3]


async def test_a_session_that_was_never_cut_has_nothing_earlier(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await _book(stores, turn, 1)
    await stores.sessions.finish(ending(turn))

    assert (await _claimed(stores, "Next")).earlier == Earlier()


async def test_the_budget_follows_what_the_upstream_reports(stores: Stores) -> None:
    turn = new_turn("Q1")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.finish(
        Ending(
            owner=turn.owner,
            turn_id=turn.id,
            outcome=Outcome.COMPLETED,
            messages=[Message.assistant("x" * 18)],
            log=b"",
            characters_per_token=2.0,
        )
    )

    too_small = await stores.sessions.claim(probe := new_turn(), history_tokens=9)
    await stores.sessions.finish(ending(probe))
    await stores.sessions.delete(probe.owner, probe.session_id)

    assert too_small.characters_per_token == 2.0
    assert too_small.history == ()


async def test_a_ratio_is_kept_until_another_is_reported(stores: Stores) -> None:
    reporting, silent = new_turn(), new_turn()
    await stores.sessions.claim(reporting, history_tokens=0)
    await stores.sessions.finish(
        Ending(
            owner=reporting.owner,
            turn_id=reporting.id,
            outcome=Outcome.COMPLETED,
            messages=[],
            log=b"",
            characters_per_token=2.5,
        )
    )
    await stores.sessions.claim(silent, history_tokens=0)
    await stores.sessions.finish(ending(silent))

    claim = await stores.sessions.claim(new_turn(), history_tokens=0)

    assert claim.characters_per_token == 2.5


async def test_a_long_history_comes_complete(stores: Stores) -> None:
    for number in range(100):
        await say(stores.sessions, new_turn(f"Q{number}"), f"A{number}")

    claim = await _claimed(stores, "Next")

    assert said(claim) == [text for n in range(100) for text in (f"Q{n}", f"A{n}")]


async def _claimed(
    stores: Stores, query: str, *, answer: str | None = None, room: int = 4 * EVERYTHING
) -> Claim:
    """Run a turn, of 10 characters by default, in this room of characters; return its claim."""
    turn = new_turn(query)
    claim = await stores.sessions.claim(
        turn, history_tokens=EVERYTHING, beside_characters=4 * EVERYTHING - room
    )
    answer = "a" * (10 - len(query)) if answer is None else answer
    await stores.sessions.finish(ending(turn, Message.assistant(answer)))
    return claim


async def _summarize(stores: Stores, text: str) -> None:
    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=EVERYTHING)
    assert idle
    assert await stores.summaries.store(idle, text)


async def _book(stores: Stores, turn: NewTurn, number: int) -> Booking:
    appointment = Appointment(
        user_id="u1",
        dealership_id="ginza",
        date=date(2026, 12, number % 31 + 1),
        time=time(10),
        car_model="Aurora",
    )
    call = ToolCall("c1", "schedule_appointment", "{}")
    side_effect = SideEffect(turn=turn.key, call=call, messages=(Message.assistant("", [call]),))
    return await stores.appointments.book(appointment, by=BookedBy(side_effect, lambda _: "{}"))
