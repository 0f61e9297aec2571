"""Turns that take the place of earlier ones, and histories that a caller gives."""

import asyncio
import os
import random
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest

from backend.domain.conversation import Message, Outcome, ToolCall
from backend.domain.errors import NothingToReplace, SessionBusy, SessionNotFound
from backend.storage.factory import open_stores
from backend.storage.ports.appointments import Appointment, BookedBy, Booking
from backend.storage.ports.sessions import AlreadyStarted, Claim, Earlier, NewTurn
from backend.storage.ports.side_effects import SideEffect
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
from tests.contract.reuse import ReusedDatabases

SEQUENCES = int(os.environ.get("REPLACING_SEQUENCES", "2"))
STEPS = 30


async def test_a_turn_and_all_later_ones_make_place_for_the_one_that_replaces(
    stores: Stores,
) -> None:
    for number in (1, 2, 3):
        await say(stores.sessions, new_turn(f"Q{number}", id=f"t{number}"), f"A{number}")

    claim = await say(stores.sessions, new_turn("Q4", id="t4", replaces="t2"), "A4")

    assert said(claim) == ["Q1", "A1"]
    assert await the_history(stores) == [
        (1, "t1", "Q1"),
        (2, "t1", "A1"),
        (3, "t4", "Q4"),
        (4, "t4", "A4"),
    ]
    assert said(await say(stores.sessions, new_turn("Q5"), "A5")) == ["Q1", "A1", "Q4", "A4"]


async def test_replaced_turns_keep_their_records_and_logs(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1", id="t1"), "A1")
    await say(stores.sessions, new_turn("Q2", id="t2", replaces="t1"), "A2")

    session = await stores.sessions.get(OWNER, "s1")
    stored = await stores.sessions.turn_with_log(OWNER, "t1")

    assert (session.turns, session.last_turn and session.last_turn.id) == (2, "t2")
    assert [turn.id for turn in await stores.sessions.turns(OWNER, "s1")] == ["t1", "t2"]
    assert (stored.record.outcome, stored.log) == (Outcome.COMPLETED, b"log")


@pytest.mark.parametrize("replaced", ["unknown", "theirs", "elsewhere", "gone"])
async def test_only_a_turn_of_the_history_can_be_replaced(stores: Stores, replaced: str) -> None:
    await say(stores.sessions, new_turn("Q", id="theirs", owner="them"), "A")
    await say(stores.sessions, new_turn("Q", id="elsewhere", session_id="s2"), "A")
    await say(stores.sessions, new_turn("Q", id="gone"), "A")
    await say(stores.sessions, new_turn("Q2", replaces="gone"), "A2")

    with pytest.raises(NothingToReplace):
        await stores.sessions.claim(new_turn("Q3", replaces=replaced), history_tokens=EVERYTHING)

    assert [text for _, _, text in await the_history(stores)] == ["Q2", "A2"]
    assert (await stores.sessions.get(OWNER, "s1")).turns == 2


async def test_a_session_that_does_not_exist_is_not_made_to_replace_in_it(stores: Stores) -> None:
    with pytest.raises(NothingToReplace):
        await stores.sessions.claim(new_turn(replaces="t1"), history_tokens=EVERYTHING)
    with pytest.raises(SessionNotFound):
        await stores.sessions.claim(
            new_turn(replaces="t1", creates_session=False), history_tokens=EVERYTHING
        )

    with pytest.raises(SessionNotFound):
        await stores.sessions.get(OWNER, "s1")


async def test_a_busy_session_loses_nothing(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1", id="t1"), "A1")
    running = new_turn("Q2", id="t2")
    await stores.sessions.claim(running, history_tokens=EVERYTHING)

    for replaced in ("t1", "t2"):
        with pytest.raises(SessionBusy):
            await stores.sessions.claim(new_turn(replaces=replaced), history_tokens=EVERYTHING)

    assert await stores.sessions.finish(ending(running, Message.assistant("A2")))
    assert [text for _, _, text in await the_history(stores)] == ["Q1", "A1", "Q2", "A2"]


async def test_of_many_that_replace_one_turn_exactly_one_does(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1", id="t1"), "A1")
    rivals = [new_turn(f"R{number}", replaces="t1") for number in range(5)]

    claims = await asyncio.gather(
        *(stores.sessions.claim(rival, history_tokens=EVERYTHING) for rival in rivals),
        return_exceptions=True,
    )

    won = [rival for rival, claim in zip(rivals, claims, strict=True) if not _failed(claim)]
    assert len(won) == 1
    assert all(isinstance(claim, SessionBusy) for claim in claims if _failed(claim))
    assert await the_history(stores) == [(1, won[0].id, won[0].query)]


async def test_a_repeated_key_replaces_nothing_again(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1", id="t1", idempotency_key="k1"), "A1")
    again = new_turn("Q2", id="t2", idempotency_key="k2", replaces="t1")
    await say(stores.sessions, again, "A2")
    await say(stores.sessions, new_turn("Q3"), "A3")

    with pytest.raises(AlreadyStarted) as error:
        await stores.sessions.claim(replace(again, id="t4"), history_tokens=EVERYTHING)

    assert error.value.turn_id == "t2"
    assert [text for _, _, text in await the_history(stores)] == ["Q2", "A2", "Q3", "A3"]


async def test_the_key_of_a_replaced_turn_still_names_it_and_its_question(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1", id="t1", idempotency_key="k1"), "A1")
    await say(stores.sessions, new_turn("Q2", id="t2", idempotency_key="k2"), "A2")
    await say(stores.sessions, new_turn("Q3", replaces="t1"), "A3")

    for number in (1, 2):
        known = await stores.sessions.turn_with_key(OWNER, "s1", key=f"k{number}")
        assert known
        assert (known.record.id, known.query, known.log) == (f"t{number}", f"Q{number}", b"log")


@pytest.mark.parametrize("given", [(), (Message.user("G1"),)], ids=["", "given"])
async def test_bookings_of_replaced_turns_are_told_though_the_history_is_whole(
    stores: Stores, given: tuple[Message, ...]
) -> None:
    kept, replaced = new_turn("Q1", id="t1", given=given), new_turn("Q2", id="t2")
    bookings = []
    for number, turn in enumerate((kept, replaced), start=1):
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
        bookings.append(await book(stores, turn, number))
        await stores.sessions.finish(ending(turn, *a_tool_round()))

    claim = await say(stores.sessions, new_turn("Q3", replaces="t2"), "A3")
    later = await say(stores.sessions, new_turn("Q4"), "A4")

    assert claim.earlier == later.earlier
    assert claim.earlier.bookings == (bookings[1],), "the history tells of the first one"


async def test_a_lost_turn_is_closed_before_it_is_replaced(short_leases: Stores) -> None:
    stores = short_leases
    lost = new_turn("Q1", id="t1", worker="dead")
    await stores.sessions.claim(lost, history_tokens=EVERYTHING)
    booking = await book(stores, lost, 1)
    await stores.sessions.retire("dead")

    claim = await say(stores.sessions, new_turn("Q2", id="t2", replaces="t1"), "A2")

    assert (list(claim.history), claim.earlier) == ([], Earlier(bookings=(booking,)))
    assert [text for _, _, text in await the_history(stores)] == ["Q2", "A2"]
    assert (await stores.sessions.turn(OWNER, "t1")).outcome is Outcome.FAILED


async def test_a_turn_that_replaced_and_was_lost_leaves_its_question(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1", id="t1"), "A1")
    await stores.sessions.claim(
        new_turn("Q2", id="t2", worker="dead", replaces="t1"), history_tokens=EVERYTHING
    )
    await stores.sessions.retire("dead")

    assert await the_history(stores) == [(1, "t2", "Q2")]
    assert said(await say(stores.sessions, new_turn("Q3"), "A3")) == ["Q2"]


async def test_a_summary_that_knows_of_replaced_turns_is_dropped_and_written_anew(
    stores: Stores,
) -> None:
    await say(stores.sessions, new_turn("Q1", id="t1"), "A1")
    await summarize(stores, "One")
    await say(stores.sessions, new_turn("Q2", id="t2"), "A2")
    await say(stores.sessions, new_turn("Q3", id="t3", replaces="t2"), "A3")
    kept = (await stores.sessions.get(OWNER, "s1")).summary
    await say(stores.sessions, new_turn("Q4", replaces="t1"), "A4")
    dropped = (await stores.sessions.get(OWNER, "s1")).summary

    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=EVERYTHING)

    assert (kept, dropped) == ("One", None)
    assert idle
    assert (idle.summary, said(idle)) == (None, ["Q4", "A4"])


async def test_a_summary_in_the_making_of_what_is_replaced_is_not_stored(stores: Stores) -> None:
    """Even if it is wanted because the history is about to be cut, and so outlives other turns."""
    for number in range(10, 18):
        await answered(stores, f"Q{number}", room=90)
    idle = await stores.summaries.claim(
        idle_seconds=1000, claim_seconds=60, history_tokens=EVERYTHING
    )
    [*_, last] = await stores.sessions.turns(OWNER, "s1")

    await answered(stores, "Q20", room=90, replaces=last.id)

    assert idle, "it was wanted"
    assert not await stores.summaries.store(idle, "Of what is gone")
    assert (await stores.sessions.get(OWNER, "s1")).summary is None


@pytest.mark.parametrize("summary", ["All of them", None])
async def test_what_was_cut_from_the_history_comes_back_when_all_behind_it_goes(
    stores: Stores, summary: str | None
) -> None:
    for number in range(10, 20):
        await answered(stores, f"Q{number}", room=90)
    if summary:
        await summarize(stores, summary)
    cut = await answered(stores, "Q20", room=90)
    fourth = (await stores.sessions.turns(OWNER, "s1"))[3]

    again = await answered(stores, "Q21", room=90, replaces=fourth.id)

    assert (said(cut)[0], cut.earlier.summary) == ("Q16", summary)
    assert [text for text in said(again) if text.startswith("Q")] == ["Q10", "Q11", "Q12"]
    assert again.earlier == Earlier()


async def test_a_summary_in_the_prompt_that_knows_of_replaced_turns_leaves_it(
    stores: Stores,
) -> None:
    """A summary that came after the cut also knows of turns that are still in the history."""
    for number in range(10, 21):
        await answered(stores, f"Q{number}", room=90)
    await summarize(stores, "Up to Q20")
    told = await answered(stores, "Q21", room=90)
    [*_, of_q20, _] = await stores.sessions.turns(OWNER, "s1")

    again = await answered(stores, "Q22", room=90, replaces=of_q20.id)

    assert (said(told)[0], told.earlier.summary) == ("Q16", "Up to Q20")
    assert (said(again)[0], again.earlier.summary) == ("Q16", None)


async def test_given_messages_come_first_and_are_no_turn(stores: Stores) -> None:
    given = [Message.user("G1"), Message.assistant("G2"), Message.user("G3"), Message.user("G4")]

    claim = await say(stores.sessions, new_turn("Q1", id="t1", given=given), "A1")
    next_one = await say(stores.sessions, new_turn("Q2", id="t2"), "A2")

    assert [[m.content for m in turn] for turn in claim.history] == [["G1", "G2"], ["G3"], ["G4"]]
    assert claim.earlier == next_one.earlier == Earlier(is_given=True)
    assert said(next_one) == ["G1", "G2", "G3", "G4", "Q1", "A1"]
    assert (await the_history(stores))[:6] == [
        (1, "given-1", "G1"),
        (2, "given-1", "G2"),
        (3, "given-2", "G3"),
        (4, "given-3", "G4"),
        (5, "t1", "Q1"),
        (6, "t1", "A1"),
    ]
    assert (await stores.sessions.get(OWNER, "s1")).turns == 2
    assert [turn.id for turn in await stores.sessions.turns(OWNER, "s1")] == ["t1", "t2"]


async def test_a_summary_knows_which_turns_were_given(stores: Stores) -> None:
    given = [Message.user("G1"), Message.assistant("G2"), Message.user("G3")]
    await say(stores.sessions, new_turn("Q1", given=given), "A1")

    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=EVERYTHING)

    assert idle
    assert (len(idle.history), idle.given_turns) == (3, 2)


async def test_a_session_that_exists_takes_no_given_messages(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1"), "A1")

    claim = await say(stores.sessions, new_turn("Q2", given=[Message.user("Mine")]), "A2")

    assert (said(claim), claim.earlier) == (["Q1", "A1"], Earlier())


async def test_given_messages_are_cut_like_all_others(stores: Stores) -> None:
    given = [
        Message.user(f"{number:05}") if number % 2 else Message.assistant(f"{number:05}")
        for number in range(1, 201)
    ]

    claim = await answered(stores, "Q1", room=90, given=given)
    await summarize(stores, "Long talk")
    later = [await answered(stores, f"Q{number}", room=90) for number in range(2, 12)]

    assert said(claim) == [f"{number:05}" for number in range(193, 201)]
    assert claim.earlier.is_given
    assert later[0].earlier == Earlier(summary="Long talk", is_given=True)
    assert said(later[-1])[0].startswith("Q")
    assert not later[-1].earlier.is_given, "nothing given is left in the history"


async def test_given_messages_can_be_replaced(stores: Stores) -> None:
    given = [
        Message.user("G1"),
        Message.assistant("G2"),
        Message.user("G3"),
        Message.assistant("G4"),
    ]
    await say(stores.sessions, new_turn("Q1", given=given), "A1")

    claim = await say(stores.sessions, new_turn("Q2", replaces="given-2"), "A2")

    assert said(claim) == ["G1", "G2"]


@pytest.mark.parametrize("message", a_tool_round())
def test_what_a_tool_said_cannot_be_given(message: Message) -> None:
    with pytest.raises(ValueError, match="tool"):
        new_turn(given=[message])


@dataclass
class World:
    """One store in a random sequence, whose texts are the same in every store."""

    stores: Stores
    seen: list[object] = field(default_factory=list)
    number: int = 0

    async def step(self, choice: random.Random) -> None:
        self.number += 1
        stores, sessions = self.stores, self.stores.sessions
        history = await the_history(stores) if self.number > 1 else []
        ids = list(dict.fromkeys(turn_id for _, turn_id, _ in history))
        replaced = choice.choice(ids) if ids and choice.random() < 0.3 else None
        turn = new_turn(
            f"Q{self.number}",
            id=f"t{self.number}",
            worker=choice.choice(["dead", "w1", "w1"]),
            idempotency_key=f"k{self.number}" if choice.random() < 0.5 else None,
            replaces=replaced,
            given=[Message.user("G1"), Message.assistant("G2"), Message.user("G3")],
        )
        claim = await sessions.claim(
            turn,
            history_tokens=EVERYTHING,
            beside_characters=4 * EVERYTHING - choice.randint(40, 90),
        )
        if choice.random() < 0.2:
            await book(stores, turn, self.number)
        if turn.worker == "dead":
            await sessions.retire("dead")
            await sessions.get(OWNER, "s1")
        else:
            await sessions.finish(ending(turn, Message.assistant(f"A{self.number}")))
        if choice.random() < 0.3:
            await self.summarize()
        bookings = [booking.appointment.date for booking in claim.earlier.bookings]
        self.seen.append((said(claim), replace(claim.earlier, bookings=()), bookings))
        await self.check(claim.earlier.summary)

    async def summarize(self) -> None:
        idle = await self.stores.summaries.claim(
            idle_seconds=0, claim_seconds=60, history_tokens=EVERYTHING
        )
        if idle and idle.history:
            known = [idle.summary] if idle.summary else []
            text = " ".join([*known, *(turn[0].content for turn in idle.history)])
            assert await self.stores.summaries.store(idle, text)
        elif idle:
            await self.stores.summaries.postpone(idle, seconds=None, failures=0)

    async def check(self, told: str | None) -> None:
        history = await the_history(self.stores)
        session = await self.stores.sessions.get(OWNER, "s1")
        self.seen.append((history, session.summary, session.turns))
        assert [position for position, _, _ in history] == list(range(1, len(history) + 1))
        texts = {text for _, _, text in history}
        for summary in (told, session.summary):
            assert set((summary or "").split()) <= texts, "a summary tells of what was replaced"
        assert session.turns == self.number


async def test_random_conversations_are_the_same_in_every_store(
    migrated_file: Path, migrated_databases: ReusedDatabases, tmp_path: Path
) -> None:
    for seed in range(SEQUENCES):
        shutil.copyfile(migrated_file, tmp_path / f"{seed}.db")
        async with AsyncExitStack() as stack:
            urls = ["memory://", f"sqlite:///{tmp_path}/{seed}.db"]
            urls.append(stack.enter_context(migrated_databases.database()))
            worlds = []
            for url in urls:
                stores = await open_stores(url, lease_seconds=60, migrate=True)
                stack.push_async_callback(stores.close)
                world = World(stores)
                choice = random.Random(seed)  # noqa: S311 - a repeatable sequence, not a secret
                for _ in range(STEPS):
                    await world.step(choice)
                worlds.append(world.seen)

            assert worlds[0] == worlds[1] == worlds[2], f"seed {seed}"


async def the_history(stores: Stores) -> list[tuple[int, str, str]]:
    stored = await stores.sessions.messages(OWNER, "s1")
    return [(each.position, each.turn_id, each.message.content) for each in stored]


async def answered(stores: Stores, query: str, *, room: int, **more: Any) -> Claim:
    """Run a turn of 10 characters in this room of characters; return its claim."""
    turn = replace(new_turn(query), **more)
    claim = await stores.sessions.claim(
        turn, history_tokens=EVERYTHING, beside_characters=4 * EVERYTHING - room
    )
    await stores.sessions.finish(ending(turn, Message.assistant("a" * (10 - len(query)))))
    return claim


async def summarize(stores: Stores, text: str) -> None:
    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=EVERYTHING)
    assert idle
    assert await stores.summaries.store(idle, text)


async def book(stores: Stores, turn: NewTurn, number: int) -> Booking:
    appointment = Appointment(
        user_id="u1",
        dealership_id="ginza",
        date=date(2026, 12, number % 31 + 1),
        time=time(10 + number // 31),
        car_model="Aurora",
    )
    call = ToolCall("c1", "schedule_appointment", "{}")
    side_effect = SideEffect(turn=turn.key, call=call, messages=(Message.assistant("", [call]),))
    return await stores.appointments.book(appointment, by=BookedBy(side_effect, lambda _: "{}"))


def _failed(claim: object) -> bool:
    return isinstance(claim, BaseException)
