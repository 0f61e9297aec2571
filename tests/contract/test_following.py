"""What following, stopping and repeating a turn from any worker asks of a store."""

import asyncio
from datetime import timedelta

import pytest

from backend.conversation import Outcome, now
from backend.errors import SessionBusy, TurnNotFound
from backend.storage import WORKER_LOST, AlreadyStarted, Stores
from tests.contract.conftest import SHORT_LEASE
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn, say


async def test_a_turn_that_runs_is_settled_by_nobody(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    record = await stores.sessions.settle(OWNER, turn.id)

    assert record.outcome is None
    assert await stores.sessions.finish(ending(turn))


async def test_a_turn_whose_worker_is_gone_is_settled_as_lost(short_leases: Stores) -> None:
    turn = new_turn()
    await short_leases.sessions.claim(turn, history_tokens=EVERYTHING)
    await asyncio.sleep(SHORT_LEASE * 1.5)

    record = await short_leases.sessions.settle(OWNER, turn.id)

    assert (record.outcome, record.error_code) == (Outcome.FAILED, WORKER_LOST)
    assert await short_leases.sessions.turn_log(OWNER, turn.id) is None
    assert not await short_leases.sessions.finish(ending(turn))
    await say(short_leases.sessions, new_turn(worker="w2"), "Free.")


async def test_settling_belongs_to_the_owner(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    with pytest.raises(TurnNotFound):
        await stores.sessions.settle("somebody else", turn.id)


async def test_a_worker_hears_at_its_renewal_which_of_its_turns_are_to_stop(stores: Stores) -> None:
    mine, other = new_turn(worker="w1"), new_turn(worker="w2", session_id="s2")
    for turn in (mine, other):
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    assert list(await stores.sessions.renew("w1")) == []

    await stores.sessions.request_stop(OWNER, mine.id)

    assert list(await stores.sessions.renew("w1")) == [mine.id]
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


async def test_a_key_starts_one_turn_while_it_runs_and_afterwards(stores: Stores) -> None:
    first = new_turn(idempotency_key="k")
    again = new_turn(idempotency_key="k")
    await stores.sessions.claim(first, history_tokens=EVERYTHING)

    for _ in range(2):
        with pytest.raises(AlreadyStarted) as started:
            await stores.sessions.claim(again, history_tokens=EVERYTHING)
        assert started.value.turn_id == first.id
        await stores.sessions.finish(ending(first))

        assert await stores.sessions.turn_with_key(OWNER, "s1", "k") == first.id

    assert len(await stores.sessions.turns(OWNER, "s1")) == 1


async def test_a_turn_is_found_by_a_key_of_its_session_only(stores: Stores) -> None:
    await say(stores.sessions, new_turn(idempotency_key="k"), "One.")

    for place in (("somebody else", "s1", "k"), (OWNER, "s2", "k"), (OWNER, "s1", "other")):
        assert await stores.sessions.turn_with_key(*place) is None


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

    await stores.sessions.purge_logs(before=now() - timedelta(minutes=1))
    kept = await stores.sessions.turn_log(OWNER, turn.id)
    await stores.sessions.purge_logs(before=now() + timedelta(minutes=1))
    purged = await stores.sessions.turn_log(OWNER, turn.id)

    assert (kept, purged) == (b"log", None)
    assert (await stores.sessions.turn(OWNER, turn.id)).outcome is Outcome.COMPLETED
