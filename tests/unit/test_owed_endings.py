"""Whatever a store does, streams end, sessions become free, and nothing is lost for long."""

import asyncio

import pytest

from backend.completion import Text
from backend.conversation import Message, Outcome
from backend.errors import (
    SessionBusy,
    SessionNotFound,
    StorageError,
    UpstreamUnavailable,
)
from backend.events import End
from backend.owed import WHOLE_TRIES
from tests.fakes import Scripted, says
from tests.unit.turn_world import (
    FailingSessions,
    MuteSessions,
    PickySessions,
    World,
    read,
    until,
)


async def test_an_ending_that_the_store_would_not_take_is_stored_later() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)

    events = await world.ask()
    assert [event.event for event in events] == ["chunk", "error", "end"]
    with pytest.raises(SessionBusy):
        await world.start()
    await world.turns.store_owed()
    with pytest.raises(SessionBusy):
        await world.start()
    sessions.is_down = False
    await world.turns.store_owed()

    assert await world.said() == [Message.user("Hi"), Message.assistant("Hello")]
    assert (await world.ask("Again"))[-1] == End()


async def test_an_ending_that_can_never_be_stored_does_not_hold_up_the_others() -> None:
    sessions = PickySessions()
    world = World(says("poison"), says("Hello"), sessions=sessions)
    poisoned = await world.ask(session_id="s1")
    sessions.is_down = True
    await world.ask(session_id="s2")
    await until(lambda: world.turns.free_slots == 10)
    sessions.is_down = False

    for _ in range(WHOLE_TRIES + 1):
        await world.turns.store_owed()

    assert [event.event for event in poisoned] == ["chunk", "error", "end"]
    (lost,) = await sessions.turns("anonymous", "s1")
    assert (lost.outcome, lost.error_code) == (Outcome.COMPLETED, None)
    (kept,) = await sessions.messages("anonymous", "s2", after=1)
    assert kept.message.content == "Hello"
    for session_id in ("s1", "s2"):
        assert (await world.ask(session_id=session_id))[-1] == End()


async def test_however_long_the_store_is_away_no_answer_is_lost_for_it() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)
    await world.ask()
    await until(lambda: world.turns.free_slots == 10)

    for _ in range(2 * WHOLE_TRIES):
        await world.turns.store_owed()
    sessions.is_down = False
    await world.turns.store_owed()

    assert await world.said() == [Message.user("Hi"), Message.assistant("Hello")]


async def test_a_stream_whose_claim_was_taken_over_does_not_end_as_a_success() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    _, follower = await world.start()
    await world.sessions.delete("anonymous", "s1")

    gate.set()
    events = await read(follower)

    assert [event.event for event in events] == ["chunk", "chunk", "error", "end"]


async def test_a_claim_that_was_committed_without_an_answer_is_let_go() -> None:
    sessions = MuteSessions(lease_seconds=15)
    world = World(says("Hello"), sessions=sessions)
    with pytest.raises(StorageError):
        await world.start()
    with pytest.raises(SessionBusy):
        await world.start()

    await world.turns.store_owed()

    assert (await world.ask())[-1] == End()
    lost, answered = await sessions.turns("anonymous", "s1")
    assert (lost.outcome, answered.outcome) == (Outcome.FAILED, Outcome.COMPLETED)


async def test_closing_stores_what_is_still_owed() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)
    await world.ask()
    sessions.is_down = False

    await world.turns.close()

    assert await world.said() == [Message.user("Hi"), Message.assistant("Hello")]


async def test_a_check_may_refuse_a_turn_before_anything_is_begun() -> None:
    world = World(says("Hello"))

    def refuse() -> None:
        raise UpstreamUnavailable(retry_after=3)

    world.turns._check = refuse

    with pytest.raises(UpstreamUnavailable):
        await world.start()

    assert world.turns.free_slots == 10
    with pytest.raises(SessionNotFound):
        await world.sessions.get("anonymous", "s1")


async def test_a_store_that_fails_at_the_claim_is_a_refusal_and_costs_no_slot() -> None:
    world = World(says("Hello"), sessions=FailingSessions(fails_to_claim=True))

    with pytest.raises(StorageError):
        await world.start()
    await asyncio.sleep(0)

    assert world.turns.free_slots == 10
