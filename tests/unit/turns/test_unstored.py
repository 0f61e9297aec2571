"""However the store fails, streams end, sessions become free, and endings are stored later."""

import asyncio

import pytest

from backend.domain.conversation import ANONYMOUS, Message, Outcome
from backend.domain.errors import (
    NotStorable,
    SessionBusy,
    SessionNotFound,
    StorageError,
    UpstreamUnavailable,
)
from backend.domain.events import End
from backend.llm.port import Text
from backend.turns.unstored import WHOLE_TRIES
from tests.fakes import Scripted, says
from tests.unit.turns.turn_world import (
    AwaySessions,
    CountedSessions,
    FailingSessions,
    MuteSessions,
    PickySessions,
    World,
    broken_off,
    ended,
    read,
    until,
)


async def test_an_ending_that_the_store_would_not_take_is_stored_later() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)

    turn_id, follower = await world.start()
    events = await read(follower)
    assert [event.event for event in events] == ["chunk", "error", "outcome", "end"]
    assert events[-2:] == ended(Outcome.COMPLETED)
    with pytest.raises(SessionBusy):
        await world.start()
    await world.turns.store_endings()
    with pytest.raises(SessionBusy):
        await world.start()
    sessions.is_down = False
    await world.turns.store_endings()

    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello")]
    assert await world.outcome(turn_id) is Outcome.COMPLETED
    assert await read(await world.turns.follow(ANONYMOUS, turn_id)) == events
    assert (await world.ask("Again"))[-1] == End()


async def test_a_shutdown_may_come_while_endings_are_being_stored() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)
    await world.ask()
    await until(lambda: world.turns.free_slots == 10)
    sessions.is_down = False

    await asyncio.gather(world.turns.store_endings(), world.turns.store_endings())

    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello")]


async def test_an_ending_that_can_never_be_stored_does_not_hold_up_the_others() -> None:
    sessions = PickySessions()
    world = World(says("poison"), says("Hello"), sessions=sessions)
    poisoned_id, follower = await world.start(session_id="s1")
    poisoned = await read(follower)
    sessions.is_down = True
    await world.ask(session_id="s2")
    await until(lambda: world.turns.free_slots == 10)
    sessions.is_down = False

    for _ in range(WHOLE_TRIES + 1):
        await world.turns.store_endings()

    assert [event.event for event in poisoned] == ["chunk", "error", "outcome", "end"]
    (lost,) = await sessions.turns("anonymous", "s1")
    assert (lost.outcome, lost.error_code) == (Outcome.COMPLETED, None)
    replay = await read(await world.turns.follow(ANONYMOUS, poisoned_id))
    assert [event.event for event in replay] == ["error", "outcome", "end"]
    assert replay[1:] == broken_off(Outcome.COMPLETED, rounds=0)
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
        await world.turns.store_endings()
    sessions.is_down = False
    await world.turns.store_endings()

    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello")]


@pytest.mark.parametrize("error", [StorageError(), OSError("no descriptor"), MemoryError()])
@pytest.mark.parametrize("times", range(1, 3 * WHOLE_TRIES))
async def test_a_store_that_returns_in_the_middle_of_an_attempt_gets_the_whole_answer(
    error: Exception, times: int
) -> None:
    world = World(says("Hello"), sessions=AwaySessions(error, times=times))
    turn_id, follower = await world.start()
    await read(follower)
    await until(lambda: world.turns.free_slots == 10)

    for _ in range(times):
        await world.turns.store_endings()

    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello")]
    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_a_store_that_goes_away_meanwhile_is_not_asked_for_every_ending() -> None:
    sessions = CountedSessions()
    world = await _with_unstored(sessions, "s1", "s2", "s3", "s4")

    sessions.offers = 0
    await world.turns.store_endings()

    assert sessions.offers == 1


async def test_an_ending_over_which_the_store_fails_does_not_hold_up_the_others() -> None:
    sessions = CountedSessions()
    world = await _with_unstored(sessions, "s1", "s2", "s3")

    sessions.takes_all_but = "s1"
    for _ in range(2):
        await world.turns.store_endings()

    others = [(await sessions.turns("anonymous", id_))[0].outcome for id_ in ("s2", "s3")]
    assert others == [Outcome.COMPLETED] * 2


async def _with_unstored(sessions: CountedSessions, *session_ids: str) -> World:
    world = World(*(says("Hello") for _ in session_ids), sessions=sessions)
    for session_id in session_ids:
        await world.ask(session_id=session_id)
    await until(lambda: world.turns.free_slots == 10)
    return world


async def test_an_ending_is_not_given_up_while_the_store_takes_nothing_else() -> None:
    sessions = AwaySessions(NotStorable(), times=2 * WHOLE_TRIES)
    world = World(says("Hello"), sessions=sessions)
    await world.ask()
    await until(lambda: world.turns.free_slots == 10)

    sessions.takes_leases = False
    for _ in range(4 * WHOLE_TRIES):
        await world.turns.store_endings()
    sessions.takes_leases = True
    with pytest.raises(SessionBusy):
        await world.start()
    sessions.recover()
    await world.turns.store_endings()

    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello")]


async def test_an_ending_is_not_given_up_for_failures_after_which_the_store_fails_too() -> None:
    sessions = AwaySessions(NotStorable(), times=10 * WHOLE_TRIES, leases_between_failures=1)
    world = World(says("Hello"), sessions=sessions)
    await world.ask()
    await until(lambda: world.turns.free_slots == 10)

    for _ in range(4 * WHOLE_TRIES):
        await world.turns.store_endings()
    sessions.recover()
    await world.turns.store_endings()

    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello")]


async def test_a_stream_whose_claim_was_taken_over_does_not_end_as_a_success() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    _, follower = await world.start()
    await world.sessions.delete("anonymous", "s1")

    gate.set()
    events = await read(follower)

    assert [event.event for event in events[:-2]] == ["chunk", "chunk", "error"]
    assert events[-2:] == ended(Outcome.FAILED)


async def test_a_claim_that_was_committed_without_an_answer_is_let_go() -> None:
    sessions = MuteSessions(lease_seconds=15)
    world = World(says("Hello"), sessions=sessions)
    with pytest.raises(StorageError):
        await world.start()
    with pytest.raises(SessionBusy):
        await world.start()

    await world.turns.store_endings()

    assert (await world.ask())[-1] == End()
    lost, answered = await sessions.turns("anonymous", "s1")
    assert (lost.outcome, answered.outcome) == (Outcome.FAILED, Outcome.COMPLETED)


async def test_closing_stores_what_is_still_unstored() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)
    await world.ask()
    sessions.is_down = False

    await world.turns.close()

    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello")]


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
