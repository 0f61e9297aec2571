"""Who may hold a session, for how long, and how the session becomes free."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Iterable
from uuid import uuid4

import pytest

from backend.domain.conversation import Message, Outcome
from backend.domain.errors import SessionBusy, TurnNotFound
from backend.storage.memory.sessions import MemorySessions
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.stores import Stores
from tests.contract.conftest import SHORT_LEASE
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn, said
from tests.counting import Growth
from tests.waiting import waiting

BEFORE_AND_AFTER_FINISHING = True


async def test_a_held_session_is_busy_and_its_turn_unharmed(stores: Stores) -> None:
    first, second = new_turn("First"), new_turn("Second", worker="w2")
    await stores.sessions.claim(first, history_tokens=EVERYTHING)

    with pytest.raises(SessionBusy):
        await stores.sessions.claim(second, history_tokens=EVERYTHING)

    assert [turn.id for turn in await stores.sessions.turns(OWNER, "s1")] == [first.id]
    with pytest.raises(TurnNotFound):
        await stores.sessions.turn(OWNER, second.id)
    assert await stores.sessions.finish(ending(first, Message.assistant("Done")))


async def test_a_worker_does_not_take_over_from_itself(stores: Stores) -> None:
    await stores.sessions.claim(new_turn(worker="w1"), history_tokens=EVERYTHING)

    with pytest.raises(SessionBusy):
        await stores.sessions.claim(new_turn(worker="w1"), history_tokens=EVERYTHING)


async def test_the_end_of_a_turn_lets_go_of_the_session(stores: Stores) -> None:
    first = new_turn("First")
    await stores.sessions.claim(first, history_tokens=EVERYTHING)
    await stores.sessions.finish(ending(first, Message.assistant("Answer")))

    claim = await stores.sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)

    assert said(claim) == ["First", "Answer"]


async def test_a_claim_whose_worker_went_silent_is_taken_over(short_leases: Stores) -> None:
    sessions, lost = short_leases.sessions, new_turn("Lost", worker="killed")
    await sessions.claim(lost, history_tokens=EVERYTHING)
    await asyncio.sleep(SHORT_LEASE * 1.25)

    claim = await sessions.claim(new_turn("Next", worker="w2"), history_tokens=EVERYTHING)

    assert said(claim) == ["Lost"]
    record = await sessions.turn(OWNER, lost.id)
    assert (record.outcome, record.error_code) == (Outcome.FAILED, "worker_lost")
    assert record.finished_at is not None
    assert (await sessions.turn_with_log(OWNER, lost.id)).log is None


async def test_a_turn_that_was_taken_over_ends_in_nothing(short_leases: Stores) -> None:
    sessions, lost, successor = short_leases.sessions, new_turn("Lost"), new_turn("Next")
    await sessions.claim(lost, history_tokens=EVERYTHING)
    await sessions.retire(lost.worker)
    await sessions.claim(successor, history_tokens=EVERYTHING)

    stored = await sessions.finish(ending(lost, Message.assistant("Late")))

    assert not stored
    contents = [m.message.content for m in await sessions.messages(OWNER, "s1")]
    assert contents == ["Lost", "Next"]
    assert (await sessions.turn(OWNER, lost.id)).error_code == "worker_lost"
    assert await sessions.finish(ending(successor))


async def test_a_claim_holds_while_its_worker_renews(short_leases: Stores) -> None:
    sessions, turn = short_leases.sessions, new_turn(worker="alive")
    await sessions.claim(turn, history_tokens=EVERYTHING)

    for _ in range(6):
        await asyncio.sleep(SHORT_LEASE / 4)
        await sessions.renew("alive")

    with pytest.raises(SessionBusy):
        await sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)
    assert await sessions.finish(ending(turn))


async def test_a_claim_is_a_sign_of_life(short_leases: Stores) -> None:
    sessions, turn = short_leases.sessions, new_turn(worker="slow")
    await sessions.renew("slow")
    for _ in range(5):
        await asyncio.sleep(SHORT_LEASE / 4)
        await sessions.renew("w2")
    await sessions.claim(turn, history_tokens=EVERYTHING)

    with pytest.raises(SessionBusy):
        await sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)


async def test_what_a_retired_worker_held_is_free_at_once(stores: Stores) -> None:
    await stores.sessions.claim(new_turn("Held", worker="leaving"), history_tokens=EVERYTHING)
    await stores.sessions.renew("leaving")

    await stores.sessions.retire("leaving")

    claim = await stores.sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)
    assert said(claim) == ["Held"]


async def test_retiring_one_worker_leaves_the_others_alone(stores: Stores) -> None:
    await stores.sessions.claim(new_turn(worker="staying"), history_tokens=EVERYTHING)

    await stores.sessions.retire("leaving")

    with pytest.raises(SessionBusy):
        await stores.sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)


@pytest.mark.parametrize(
    "read", ["turn", "get", "turns", "messages", "turn_with_log", "turn_with_key"]
)
async def test_whatever_is_read_of_a_session_closes_the_turn_of_a_dead_worker(
    stores: Stores, read: str
) -> None:
    sessions, lost = stores.sessions, new_turn("Lost", worker="killed", idempotency_key="k")
    await sessions.claim(lost, history_tokens=EVERYTHING)
    await sessions.retire("killed")

    match read:
        case "turn":
            outcome = (await sessions.turn(OWNER, lost.id)).outcome
        case "get":
            last = (await sessions.get(OWNER, "s1")).last_turn
            outcome = last.outcome if last else None
        case "turns":
            outcome = (await sessions.turns(OWNER, "s1"))[-1].outcome
        case "messages":
            await sessions.messages(OWNER, "s1")
            outcome = (await sessions.turn(OWNER, lost.id)).outcome
        case "turn_with_log":
            outcome = (await sessions.turn_with_log(OWNER, lost.id)).record.outcome
        case _:
            found = await sessions.turn_with_key(OWNER, "s1", "k")
            outcome = found.record.outcome if found else None

    assert outcome is Outcome.FAILED
    record = await sessions.turn(OWNER, lost.id)
    assert record.error_code == "worker_lost"
    assert record.finished_at is not None


@pytest.mark.parametrize("read", ["turn", "get", "turns", "messages"])
async def test_reading_leaves_the_turn_of_a_living_worker_alone(stores: Stores, read: str) -> None:
    sessions, turn = stores.sessions, new_turn()
    await sessions.claim(turn, history_tokens=EVERYTHING)

    await getattr(sessions, read)(OWNER, turn.id if read == "turn" else "s1")

    assert (await sessions.turn(OWNER, turn.id)).outcome is None
    assert await sessions.finish(ending(turn))


async def test_reading_the_sessions_of_others_closes_nothing(stores: Stores) -> None:
    sessions, lost = stores.sessions, new_turn(worker="killed")
    await sessions.claim(lost, history_tokens=EVERYTHING)
    await sessions.retire("killed")

    with pytest.raises(TurnNotFound):
        await sessions.turn("somebody else", lost.id)

    assert await sessions.close_lost() == 1


async def test_turns_that_nobody_looks_up_are_closed_all_the_same(stores: Stores) -> None:
    sessions = stores.sessions
    lost = [new_turn(session_id=f"s{n}", worker="killed") for n in range(5)]
    held = new_turn(session_id="held", worker="alive")
    for turn in (*lost, held):
        await sessions.claim(turn, history_tokens=EVERYTHING)
    await sessions.retire("killed")

    closed = await sessions.close_lost()

    assert (closed, await sessions.close_lost()) == (5, 0)
    assert await sessions.running([turn.key for turn in (*lost, held)]) == {held.id}
    records = [await sessions.turn(OWNER, turn.id) for turn in lost]
    assert {record.error_code for record in records} == {"worker_lost"}


async def test_a_worker_that_was_only_slow_keeps_what_nobody_asked_for(
    short_leases: Stores,
) -> None:
    sessions, closed = short_leases.sessions, -1
    async with waiting():
        while True:
            begun, turn = time.monotonic(), new_turn(session_id=uuid4().hex, worker="frozen")
            await sessions.claim(turn, history_tokens=EVERYTHING)
            await asyncio.sleep(SHORT_LEASE * 1.25)
            closed = await sessions.close_lost()
            if time.monotonic() - begun < SHORT_LEASE * 2:
                break  # otherwise the test was so slow that the worker is rightly lost

    assert closed == 0
    assert await sessions.finish(ending(turn))


async def test_of_many_claims_of_a_new_session_one_wins(stores: Stores) -> None:
    turns = [new_turn(f"Q{n}", worker=f"w{n}") for n in range(20)]

    results = await _all(stores.sessions.claim(turn, history_tokens=EVERYTHING) for turn in turns)

    assert results == {"Claim": 1, "SessionBusy": 19}
    assert (await stores.sessions.get(OWNER, "s1")).turns == 1
    assert len(await stores.sessions.messages(OWNER, "s1")) == 1


async def test_of_many_claims_of_a_lost_session_one_wins(stores: Stores) -> None:
    lost = new_turn(worker="killed")
    await stores.sessions.claim(lost, history_tokens=EVERYTHING)
    await stores.sessions.retire("killed")
    turns = [new_turn(f"Q{n}", worker=f"w{n}") for n in range(20)]

    results = await _all(stores.sessions.claim(turn, history_tokens=EVERYTHING) for turn in turns)

    assert results == {"Claim": 1, "SessionBusy": 19}


async def test_claims_of_many_sessions_do_not_disturb_each_other(stores: Stores) -> None:
    turns = [new_turn(session_id=f"s{n}") for n in range(40)]

    claims = await _all(stores.sessions.claim(turn, history_tokens=EVERYTHING) for turn in turns)
    endings = await _all(stores.sessions.finish(ending(turn)) for turn in turns)

    assert claims == {"Claim": 40}
    assert endings == {"bool": 40}


async def test_the_end_and_the_takeover_of_a_turn_exclude_each_other(stores: Stores) -> None:
    for number in range(10):
        turn = new_turn(session_id=f"s{number}", worker=f"leaving-{number}")
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
        await stores.sessions.retire(turn.worker)
        successor = new_turn(session_id=turn.session_id)

        stored, claim = await asyncio.gather(
            stores.sessions.finish(ending(turn, Message.assistant("Answer"))),
            stores.sessions.claim(successor, history_tokens=EVERYTHING),
        )

        record = await stores.sessions.turn(OWNER, turn.id)
        assert said(claim) == (["Hello", "Answer"] if stored else ["Hello"])
        assert record.error_code == (None if stored else "worker_lost")


async def test_a_lease_is_measured_by_the_clock_it_is_given() -> None:
    seconds = 0.0
    sessions: SessionStore = MemorySessions(lease_seconds=15, clock=lambda: seconds)
    await sessions.claim(new_turn(), history_tokens=EVERYTHING)

    seconds = 14.9
    with pytest.raises(SessionBusy):
        await sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)
    seconds = 15.0
    claim = await sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)

    assert said(claim) == ["Hello"]


async def _all(calls: Iterable[Awaitable[object]]) -> Counter[str]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(type(result).__name__ for result in results)


async def test_workers_with_a_lease_are_counted(short_leases: Stores) -> None:
    sessions = short_leases.sessions
    await sessions.renew_lease("silent")
    await asyncio.sleep(SHORT_LEASE * 1.25)
    await sessions.renew_lease("w1")
    await sessions.renew_lease("w2")
    both = await sessions.live_workers()

    await sessions.retire("w2")

    assert (both, await sessions.live_workers()) == (2, 1)


async def test_a_lost_turn_is_counted_once_by_whoever_closes_it(short_leases: Stores) -> None:
    growth, sessions = Growth(), short_leases.sessions
    lost = [new_turn(session_id=f"s{number}", worker="killed") for number in range(6)]
    for turn in lost:
        await sessions.claim(turn, history_tokens=EVERYTHING)
    await sessions.retire("killed")

    await asyncio.gather(
        sessions.close_lost(),
        sessions.close_lost(),
        *(sessions.turn(OWNER, turn.id) for turn in lost),
        *(sessions.get(OWNER, turn.session_id) for turn in lost),
        sessions.claim(new_turn(session_id="s0", worker="w2"), history_tokens=EVERYTHING),
        sessions.delete(OWNER, "s1"),
        return_exceptions=True,
    )

    assert growth.of("lex_turns_lost_total") == len(lost)
