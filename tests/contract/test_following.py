"""The part of a store by which any worker can follow, stop and repeat a turn."""

import asyncio

import pytest

from backend.domain.conversation import Message, Outcome
from backend.domain.errors import SessionBusy, TurnNotFound
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import WORKER_LOST, AlreadyStarted, Holder, StopRequest
from backend.storage.ports.stores import Stores
from tests.contract.conftest import SHORT_LEASE
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn, say
from tests.waiting import waiting

BEFORE_AND_AFTER_FINISHING = True


async def test_a_turn_that_runs_is_closed_by_nobody(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    stored = await stores.sessions.turn_with_log(OWNER, turn.id)

    assert stored.is_running
    assert await stores.sessions.finish(ending(turn))


async def test_a_turn_whose_worker_is_gone_is_closed_as_lost(short_leases: Stores) -> None:
    turn = new_turn()
    await short_leases.sessions.claim(turn, history_tokens=EVERYTHING)
    await asyncio.sleep(SHORT_LEASE * 1.5)

    lost = await short_leases.sessions.turn_with_log(OWNER, turn.id)

    assert (lost.record.outcome, lost.record.error_code) == (Outcome.FAILED, WORKER_LOST)
    assert (lost.is_running, lost.is_lost, lost.log) == (False, True, None)
    assert not await short_leases.sessions.finish(ending(turn))
    await say(short_leases.sessions, new_turn(worker="w2"), "Free.")


async def test_looking_up_belongs_to_the_owner(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    with pytest.raises(TurnNotFound):
        await stores.sessions.turn_with_log("somebody else", turn.id)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_who_reads_or_stops_a_turn_learns_its_trace(stores: Stores) -> None:
    sessions, turn = stores.sessions, new_turn(traceparent=TRACE)
    await sessions.claim(turn, history_tokens=EVERYTHING)

    running = await sessions.turn_with_log(OWNER, turn.id)
    stopped = await sessions.request_stop(OWNER, turn.id)
    ended = await sessions.request_end(OWNER, "s1")
    await sessions.finish(ending(turn))
    finished = await sessions.turn_with_log(OWNER, turn.id)

    assert running.record.traceparent == finished.record.traceparent == TRACE
    assert stopped == ended == Holder(turn.id, "w1", TRACE)


async def test_a_turn_without_a_trace_has_none(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).record.traceparent is None


async def test_who_only_looks_at_turns_does_not_look_for_traces(stores: Stores) -> None:
    turn = new_turn(traceparent=TRACE)
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    (listed,) = await stores.sessions.turns(OWNER, "s1")

    assert listed.traceparent is None
    assert (await stores.sessions.turn(OWNER, turn.id)).traceparent is None


async def test_a_worker_hears_at_its_renewal_which_of_its_turns_are_to_stop(stores: Stores) -> None:
    mine, other = new_turn(worker="w1"), new_turn(worker="w2", session_id="s2")
    for turn in (mine, other):
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    assert list(await stores.sessions.renew("w1")) == []

    await stores.sessions.request_stop(OWNER, mine.id)

    asked = StopRequest(mine.id, Outcome.CANCELLED)
    assert list(await stores.sessions.renew("w1")) == [asked]
    assert list(await stores.sessions.renew("w2")) == []
    await stores.sessions.finish(ending(mine))
    assert list(await stores.sessions.renew("w1")) == []


async def test_only_the_owner_may_stop_a_turn(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    for owner, turn_id in (("somebody else", turn.id), (OWNER, "unknown")):
        with pytest.raises(TurnNotFound):
            await stores.sessions.request_stop(owner, turn_id)

    assert list(await stores.sessions.renew("w1")) == []


async def test_asking_to_stop_tells_which_worker_is_to_hear_of_it(stores: Stores) -> None:
    turn = new_turn(worker="w1")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    of_turn = await stores.sessions.request_stop(OWNER, turn.id)
    of_session = await stores.sessions.request_end(OWNER, "s1")

    assert of_turn == of_session == Holder(turn.id, "w1")


async def test_only_a_turn_that_nobody_reads_can_be_asked_to_give_way(stores: Stores) -> None:
    turn = new_turn(worker="w1")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    while_read = await stores.sessions.request_end(OWNER, "s1", unless_read=True)
    await stores.sessions.renew("w1", unfollowed=[turn.id])
    by_a_stranger = await stores.sessions.request_end("stranger", "s1", unless_read=True)
    while_unread = await stores.sessions.request_end(OWNER, "s1", unless_read=True)

    assert (while_read, by_a_stranger) == (None, None)
    assert while_unread == Holder(turn.id, "w1")
    asked = await stores.sessions.renew("w1", unfollowed=[turn.id])
    assert list(asked) == [StopRequest(turn.id, Outcome.DISCONNECTED)]


async def test_who_reads_a_turn_elsewhere_keeps_it_from_giving_way(stores: Stores) -> None:
    sessions, turn = stores.sessions, new_turn(worker="w1")
    await sessions.claim(turn, history_tokens=EVERYTHING)
    await sessions.renew("w1", unfollowed=[turn.id])

    await sessions.renew("w2", followed=[turn.key])

    assert await sessions.is_followed(turn.key)
    assert await sessions.request_end(OWNER, "s1", unless_read=True) is None


async def test_who_has_not_said_so_for_a_lease_reads_nothing_any_more(short_leases: Stores) -> None:
    sessions, turn = short_leases.sessions, new_turn(worker="w1")
    await sessions.claim(turn, history_tokens=EVERYTHING)
    await sessions.renew("w1", unfollowed=[turn.id])
    await sessions.renew("w2", followed=[turn.key])

    assert await sessions.is_followed(turn.key)
    async with waiting():
        while await sessions.is_followed(turn.key):
            await asyncio.sleep(SHORT_LEASE / 4)
            await sessions.renew("w1", unfollowed=[turn.id])

    asked = await sessions.request_end(OWNER, "s1", unless_read=True)
    assert asked == Holder(turn.id, "w1")


async def test_a_turn_that_is_read_again_is_no_longer_asked_to_give_way(stores: Stores) -> None:
    turn = new_turn(worker="w1")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.renew("w1", unfollowed=[turn.id])
    await stores.sessions.request_end(OWNER, "s1", unless_read=True)

    read_again = await stores.sessions.renew("w1")
    unfollowed_again = await stores.sessions.renew("w1", unfollowed=[turn.id])

    assert (list(read_again), list(unfollowed_again)) == ([], [])


async def test_who_comes_back_to_a_turn_does_not_take_back_that_it_is_to_stop(
    stores: Stores,
) -> None:
    turn = new_turn(worker="w1")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.renew("w1", unfollowed=[turn.id])
    await stores.sessions.request_stop(OWNER, turn.id)
    await stores.sessions.request_end(OWNER, "s1", unless_read=True)

    read_again = await stores.sessions.renew("w1")

    assert list(read_again) == [StopRequest(turn.id, Outcome.CANCELLED)]


async def test_a_turn_runs_until_it_ends_or_its_worker_is_gone(stores: Stores) -> None:
    ended, lost, lives = [new_turn(worker=f"w{n}", session_id=f"s{n}") for n in range(3)]
    for turn in (ended, lost, lives):
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.finish(ending(ended))
    await stores.sessions.retire(lost.worker)

    running = await stores.sessions.running(
        [ended.key, lost.key, lives.key, TurnKey(OWNER, "unknown")]
    )

    assert running == {lives.id}
    assert await stores.sessions.running([]) == frozenset()


async def test_a_free_session_has_nothing_to_end(stores: Stores) -> None:
    await say(stores.sessions, new_turn(), "Done.")

    assert await stores.sessions.request_end(OWNER, "s1") is None
    assert await stores.sessions.request_end(OWNER, "unknown") is None


async def test_a_key_starts_one_turn_while_it_runs_and_afterwards(stores: Stores) -> None:
    first = new_turn(idempotency_key="k")
    again = new_turn(idempotency_key="k")
    await stores.sessions.claim(first, history_tokens=EVERYTHING)

    for _ in range(2):
        with pytest.raises(AlreadyStarted) as started:
            await stores.sessions.claim(again, history_tokens=EVERYTHING)
        assert started.value.turn_id == first.id
        await stores.sessions.finish(ending(first))

    assert len(await stores.sessions.turns(OWNER, "s1")) == 1


async def test_a_key_finds_its_turn_while_it_runs_and_afterwards(stores: Stores) -> None:
    turn = new_turn("Asked?", idempotency_key="k", traceparent=TRACE)
    before = await stores.sessions.turn_with_key(OWNER, "s1", "k")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    running = await stores.sessions.turn_with_key(OWNER, "s1", "k")
    await stores.sessions.finish(ending(turn, Message.assistant("Answered.")))
    await say(stores.sessions, new_turn("Something else?"), "Something else.")
    ended = await stores.sessions.turn_with_key(OWNER, "s1", "k")

    assert before is None
    for stored, log in ((running, None), (ended, b"log")):
        assert stored is not None
        assert (stored.record.id, stored.record.traceparent) == (turn.id, TRACE)
        assert (stored.query, stored.log) == ("Asked?", log)

    for owner, session_id, key in (
        (OWNER, "s1", "other"),
        (OWNER, "s2", "k"),
        ("somebody else", "s1", "k"),
    ):
        assert await stores.sessions.turn_with_key(owner, session_id, key) is None


async def test_a_key_whose_worker_is_gone_finds_a_turn_that_was_lost(short_leases: Stores) -> None:
    await short_leases.sessions.claim(new_turn(idempotency_key="k"), history_tokens=EVERYTHING)
    await asyncio.sleep(SHORT_LEASE * 1.5)

    lost = await short_leases.sessions.turn_with_key(OWNER, "s1", "k")

    assert lost is not None
    assert (lost.is_running, lost.is_lost) == (False, True)


async def test_a_key_counts_in_its_session_only(stores: Stores) -> None:
    await say(stores.sessions, new_turn(idempotency_key="k"), "One.")
    await say(stores.sessions, new_turn(idempotency_key="k", session_id="s2"), "Two.")
    await say(stores.sessions, new_turn(idempotency_key="k", owner="other"), "Three.")
    await say(stores.sessions, new_turn(idempotency_key="other"), "Four.")

    assert len(await stores.sessions.turns(OWNER, "s1")) == 2


async def test_of_many_claims_with_one_key_one_starts(stores: Stores) -> None:
    claims = [
        stores.sessions.claim(new_turn(idempotency_key="k"), history_tokens=EVERYTHING)
        for _ in range(20)
    ]

    results = await asyncio.gather(*claims, return_exceptions=True)

    refused = [result for result in results if isinstance(result, AlreadyStarted | SessionBusy)]
    assert len(refused) == 19
    assert all(isinstance(result, AlreadyStarted) for result in refused)


async def test_logs_are_purged_by_the_time_of_their_end(stores: Stores) -> None:
    turn = new_turn()
    await say(stores.sessions, turn, "Hi.")

    await stores.sessions.purge_logs(kept_seconds=60)
    kept = (await stores.sessions.turn_with_log(OWNER, turn.id)).log
    await asyncio.sleep(0.01)
    await stores.sessions.purge_logs(kept_seconds=0)
    purged = (await stores.sessions.turn_with_log(OWNER, turn.id)).log

    assert (kept, purged) == (b"log", None)
    assert (await stores.sessions.turn(OWNER, turn.id)).outcome is Outcome.COMPLETED
