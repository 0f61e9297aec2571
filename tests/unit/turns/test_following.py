"""Resume, join, replay and stop turns, on the same worker or on another one."""

import asyncio

import pytest

from backend.domain.conversation import ANONYMOUS, Caller, Message, Outcome
from backend.domain.errors import LogGone, PastTheEnd, StorageError, TurnNotFound
from backend.domain.events import Chunk, End, Failure
from backend.llm.port import Text
from backend.storage.memory.sessions import MemorySessions
from backend.turns.event_log import Batch, Lost, Place
from tests.fakes import Clock, Scripted, calls, says
from tests.unit.turns.turn_world import (
    DistantSessions,
    FailingSessions,
    GarblingSessions,
    MuteSessions,
    PickySessions,
    StumblingSessions,
    World,
    broken_off,
    ended,
    read,
    until,
)
from tests.waiting import within_limit


async def test_a_resumable_turn_outlives_its_follower_and_is_read_on() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, follower = await world.start(is_resumable=True)
    await anext(follower.batches())

    follower.leave()
    rest = await world.turns.follow(ANONYMOUS, turn_id, after=1)
    gate.set()

    assert await read(rest) == [Chunk("lo"), *ended()]
    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_a_resumable_turn_that_nobody_comes_back_to_is_given_up() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), grace_seconds=0.05)
    turn_id, follower = await world.start(is_resumable=True)

    follower.leave()
    await until(lambda: world.turns.free_slots == 10)

    assert await world.outcome(turn_id) is Outcome.DISCONNECTED
    assert world.model.open_completions == 0


async def test_whoever_comes_back_in_time_ends_the_grace() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]), grace_seconds=0.1)
    turn_id, follower = await world.start(is_resumable=True)
    follower.leave()

    back = await world.turns.follow(ANONYMOUS, turn_id)
    await asyncio.sleep(0.2)
    gate.set()

    assert await read(back) == [Chunk("Hel"), Chunk("lo"), *ended()]


async def test_several_followers_watch_one_turn() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, first = await world.start()
    second = await world.turns.follow(ANONYMOUS, turn_id)

    first.leave()
    gate.set()

    assert await read(second) == [Chunk("Hel"), Chunk("lo"), *ended()]


async def test_a_finished_turn_is_replayed_from_the_store() -> None:
    world = World(calls(("echo", '{"word": "x"}')), says("Done."))
    turn_id, follower = await world.start()
    events = await read(follower)

    replays = [
        await read(await world.turns.follow(ANONYMOUS, turn_id, after=after))
        for after in range(len(events) + 1)
    ]

    assert replays == [events[after:] for after in range(len(events) + 1)]


async def test_who_has_read_everything_is_at_the_end_at_once() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, first = await world.start()
    await anext(first.batches())

    early = await world.turns.follow(ANONYMOUS, turn_id, after=1)
    is_early_at_end = early.is_at_end
    gate.set()
    await read(first)
    await until(lambda: world.turns.free_slots == 10)
    late = await world.turns.follow(ANONYMOUS, turn_id, after=4)

    assert (is_early_at_end, late.is_at_end) == (False, True)
    assert await read(early) == [Chunk("lo"), *ended()]


@pytest.mark.parametrize("place", [2, 900_000_001, Lost(0), Lost(1)])
async def test_a_place_that_a_turn_does_not_have_is_refused(place: Place) -> None:
    gate = asyncio.Event()
    world = World(Scripted([gate, *says("Hi").steps]))
    turn_id, follower = await world.start()

    for _ in ("while it runs", "afterwards"):
        with pytest.raises(PastTheEnd):
            await world.turns.follow(ANONYMOUS, turn_id, after=place if gate.is_set() else 1)
        gate.set()
        await read(follower)
        await until(lambda: world.turns.free_slots == 10)
        place = 4 if place == 2 else place

    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_who_waits_at_a_place_that_a_turn_does_not_have_hears_where_it_stands() -> None:
    gate = asyncio.Event()
    one = World(Scripted([gate, *says("Hi").steps]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, _ = await one.start(is_resumable=True)

    follower = await other.turns.follow(ANONYMOUS, turn_id, after=7)
    gate.set()
    (notice,) = [batch async for batch in follower.batches()]
    (error_place, error), (end_place, end) = notice.placed()

    assert isinstance(error, Failure)
    assert (error.code, end) == ("invalid_field", End())
    assert (error_place, end_place) == (7, 7)


async def test_who_has_read_an_end_that_is_not_stored_yet_gets_an_end_all_the_same() -> None:
    sessions = FailingSessions()
    one = World(says("Hi"), sessions=sessions)
    other = World(says("unused"), sessions=sessions, worker="w2")
    turn_id, first = await one.start(is_resumable=True)
    events = await read(first)
    await until(lambda: one.turns.free_slots == 10)

    follower = await other.turns.follow(ANONYMOUS, turn_id, after=len(events))
    sessions.is_down = False
    await one.turns.store_endings()
    (notice,) = [batch async for batch in follower.batches()]

    assert list(notice.placed()) == [(len(events), End())]


@pytest.mark.parametrize("after", [0, 1, 7])
async def test_a_log_that_could_not_be_stored_is_lost_to_whoever_comes_back(after: int) -> None:
    sessions = PickySessions()
    world = World(says("poison"), sessions=sessions)
    turn_id, follower = await world.start()
    await read(follower)
    await until(lambda: world.turns.free_slots == 10)
    for _ in range(4):
        await world.turns.store_endings()

    back = await world.turns.follow(ANONYMOUS, turn_id, after=after)
    (notice,) = [batch async for batch in back.batches()]

    assert [place for place, _ in notice.placed()] == [Lost(1), Lost(2), Lost(3)]
    error, *end = notice.events
    assert isinstance(error, Failure)
    assert error.code == "storage_unavailable"
    assert end == broken_off(Outcome.COMPLETED, rounds=0)


async def test_a_turn_is_found_only_in_its_session() -> None:
    gate = asyncio.Event()
    world = World(Scripted([gate, *says("Hi").steps]))
    turn_id, follower = await world.start()

    for _ in ("while it runs", "afterwards"):
        with pytest.raises(TurnNotFound):
            await world.turns.follow(ANONYMOUS, turn_id, session_id="s2")
        (await world.turns.follow(ANONYMOUS, turn_id, session_id="s1")).leave()
        gate.set()
        await read(follower)
        await until(lambda: world.turns.free_slots == 10)


async def test_only_who_waits_for_another_worker_has_the_lease_renewed() -> None:
    gate = asyncio.Event()
    one = World(Scripted([gate, *says("Hi").steps]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, first = await one.start(is_resumable=True)

    (await one.turns.follow(ANONYMOUS, turn_id)).leave()
    is_renewed_here = one.turns.wake.is_set()
    waiting = await other.turns.follow(ANONYMOUS, turn_id)
    is_renewed_there = other.turns.wake.is_set()
    other.turns.wake.clear()
    gate.set()
    await asyncio.gather(read(first), read(waiting))
    (await other.turns.follow(ANONYMOUS, turn_id)).leave()

    assert (is_renewed_here, is_renewed_there) == (False, True)
    assert not other.turns.wake.is_set()


async def test_a_log_that_was_forgotten_is_gone() -> None:
    world = World(says("Hello"))
    turn_id, follower = await world.start()
    await read(follower)
    await until(lambda: world.turns.free_slots == 10)
    await world.sessions.purge_logs(kept_seconds=-3600)

    with pytest.raises(LogGone):
        await world.turns.follow(ANONYMOUS, turn_id)


@pytest.mark.parametrize("turn_id", ["unknown", None])
async def test_another_owners_turn_does_not_exist(turn_id: str | None) -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    started, _ = await world.start()
    stranger = Caller(owner="stranger")

    for ask in (world.turns.follow, world.turns.stop):
        with pytest.raises(TurnNotFound):
            await ask(stranger, turn_id or started)

    await world.turns.close()


async def test_a_turn_of_another_worker_is_waited_for_and_then_replayed() -> None:
    gate = asyncio.Event()
    one = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, follower = await one.start(is_resumable=True)
    await anext(follower.batches())

    waiting = asyncio.create_task(read(await other.turns.follow(ANONYMOUS, turn_id, after=1)))
    gate.set()

    assert await waiting == [Chunk("lo"), *ended()]
    await other.turns.close()


async def test_a_reader_who_waits_for_a_log_that_cannot_be_read_hears_of_it() -> None:
    gate = asyncio.Event()
    one = World(Scripted([gate, *says("Hi").steps]), sessions=GarblingSessions(lease_seconds=15))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, _ = await one.start(is_resumable=True)

    follower = await other.turns.follow(ANONYMOUS, turn_id)
    gate.set()
    error, end = await read(follower)

    assert isinstance(error, Failure)
    assert (error.code, end) == (LogGone.code, End())


async def test_a_reader_who_waits_is_not_forgotten_when_the_lookup_breaks() -> None:
    gate = asyncio.Event()
    sessions = StumblingSessions()
    sessions.gate.set()
    one = World(Scripted([gate, *says("Hi").steps]), sessions=sessions)
    other = World(says("unused"), sessions=sessions, worker="w2")
    turn_id, _ = await one.start(is_resumable=True)

    follower = await other.turns.follow(ANONYMOUS, turn_id)
    gate.set()

    assert await within_limit(read(follower)) == [Chunk("Hi"), *ended()]
    await other.turns.close()


async def test_a_turn_whose_worker_was_lost_ends_with_an_error_wherever_one_had_read_to() -> None:
    clock = Clock()
    sessions = MemorySessions(lease_seconds=15, clock=clock)
    lost = World(Scripted([Text("Half"), asyncio.Event()]), sessions=sessions)
    other = World(says("unused"), sessions=sessions, worker="w2")
    turn_id, _ = await lost.start(is_resumable=True)
    clock.sleep(16)

    follower = await other.turns.follow(ANONYMOUS, turn_id, after=7)
    batches = [batch async for batch in follower.batches()]

    (error_place, error), (end_place, end) = batches[0].placed()
    assert isinstance(error, Failure)
    assert (error.code, error.retryable, end) == ("worker_lost", True, End())
    assert (error_place, end_place) == (Lost(1), Lost(2))
    rest = await other.turns.follow(ANONYMOUS, turn_id, after=error_place)
    assert [batch async for batch in rest.batches()] == [Batch(Lost(1), [End()])]
    assert (await other.turns.follow(ANONYMOUS, turn_id, after=end_place)).is_at_end
    with pytest.raises(PastTheEnd):
        await other.turns.follow(ANONYMOUS, turn_id, after=Lost(3))
    await lost.turns.close()


async def test_stopping_a_turn_keeps_what_was_said_and_ends_its_stream() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start()
    await anext(follower.batches())

    await world.turns.stop(ANONYMOUS, turn_id)
    await world.turns.stop(ANONYMOUS, turn_id)

    assert await read(follower) == broken_off(Outcome.CANCELLED)
    assert world.model.open_completions == 0
    assert (await world.messages())[-1] == Message.assistant("Half")
    assert await world.outcome(turn_id) is Outcome.CANCELLED


async def test_a_turn_of_another_worker_is_stopped_at_its_next_renewal() -> None:
    one = World(Scripted([Text("Half"), asyncio.Event()]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, follower = await one.start()
    await anext(follower.batches())

    await other.turns.stop(ANONYMOUS, turn_id)
    await other.turns.renew()
    assert await one.outcome(turn_id) is None
    await one.turns.renew()

    assert await read(follower) == broken_off(Outcome.CANCELLED)
    assert await one.outcome(turn_id) is Outcome.CANCELLED


async def test_a_turn_that_nobody_follows_gives_way_to_the_next_query() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), says("Hello"))
    turn_id, follower = await world.start(is_resumable=True)
    await anext(follower.batches())
    follower.leave()

    events = await world.ask("And?")

    assert events == [Chunk("Hello"), *ended()]
    assert await world.outcome(turn_id) is Outcome.DISCONNECTED


async def test_a_key_joins_the_turn_that_it_started_and_replays_it_later() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, first = await world.start(idempotency_key="k")

    joined_id, joined = await world.start(idempotency_key="k")
    gate.set()
    events = [await read(first), await read(joined)]
    replayed_id, replayed = await world.start(idempotency_key="k")

    assert joined_id == replayed_id == turn_id
    assert [*events, await read(replayed)] == [[Chunk("Hel"), Chunk("lo"), *ended()]] * 3
    assert len(world.model.requests) == 1
    await until(lambda: world.turns.free_slots == 10)


async def test_a_key_comes_back_to_a_resumable_turn_that_nobody_follows() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, first = await world.start(idempotency_key="k", is_resumable=True)
    await anext(first.batches())
    first.leave()

    again_id, again = await world.start(idempotency_key="k", is_resumable=True)
    gate.set()

    assert again_id == turn_id
    assert await read(again) == [Chunk("Hel"), Chunk("lo"), *ended()]


async def test_of_many_who_come_with_one_key_at_once_one_takes_a_slot() -> None:
    world = World(says("Hello"), sessions=DistantSessions(lease_seconds=15), max_streams=1)

    started = await asyncio.gather(*(world.start(idempotency_key="k") for _ in range(10)))
    answers = [await read(follower) for _, follower in started]

    assert len({turn_id for turn_id, _ in started}) == 1
    assert answers == [[Chunk("Hello"), *ended()]] * 10


async def test_a_key_of_a_finished_turn_leaves_a_later_one_alone() -> None:
    gate = asyncio.Event()
    world = World(says("Hello"), Scripted([Text("Hel"), gate, *says("lo").steps]))
    first_id, first = await world.start(idempotency_key="k")
    await read(first)
    await until(lambda: world.turns.free_slots == 10)
    later_id, later = await world.start(is_resumable=True)
    await anext(later.batches())
    later.leave()

    again_id, again = await world.start(idempotency_key="k")
    gate.set()

    assert again_id == first_id
    assert await read(again) == [Chunk("Hello"), *ended()]
    await until(lambda: world.turns.free_slots == 10)
    assert await world.outcome(later_id) is Outcome.COMPLETED


@pytest.mark.parametrize("is_drained", [False, True])
async def test_a_key_of_a_finished_turn_is_known_when_no_turn_is_taken(is_drained: bool) -> None:
    world = World(says("Hello"), Scripted([Text("Half"), asyncio.Event()]), max_streams=1)
    first_id, first = await world.start(idempotency_key="k")
    await read(first)
    await until(lambda: world.turns.free_slots == 1)
    await world.start(session_id="s2")
    if is_drained:
        await world.turns.drain(accept_seconds=0, drain_seconds=0)

    again_id, again = await world.start(idempotency_key="k")

    assert again_id == first_id
    assert await read(again) == [Chunk("Hello"), *ended()]
    await world.turns.close()


async def test_superseding_takes_no_more_than_one_slot() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), max_streams=2)
    _, follower = await world.start(is_resumable=True)
    await anext(follower.batches())
    follower.leave()

    starts = [world.start("Me") for _ in range(10)]
    results = await asyncio.gather(*starts, return_exceptions=True)

    assert world.turns.free_slots >= 0
    assert len([result for result in results if isinstance(result, tuple)]) == 1
    await world.turns.close()


async def test_an_answer_that_nobody_read_to_its_end_is_not_replayed_as_a_whole_one() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start(idempotency_key="k")
    await anext(follower.batches())
    follower.leave()
    await until(lambda: world.turns.free_slots == 10)

    _, replayed = await world.start(idempotency_key="k")
    events = await read(replayed)

    assert events[0] == Chunk("Half")
    assert isinstance(events[1], Failure)
    assert events[1].code == "interrupted"
    assert events[2:] == broken_off(Outcome.DISCONNECTED)
    assert await world.outcome(turn_id) is Outcome.DISCONNECTED


async def test_who_joins_a_turn_whose_claim_fails_is_refused_as_the_first() -> None:
    sessions = MuteSessions(lease_seconds=15)
    sessions.gate = asyncio.Event()
    world = World(says("Hello"), sessions=sessions)
    starting = asyncio.create_task(world.start(idempotency_key="k"))
    await until(lambda: world.turns.free_slots == 9)

    joining = asyncio.create_task(world.start(idempotency_key="k"))
    await asyncio.sleep(0)
    sessions.gate.set()

    for start in (starting, joining):
        with pytest.raises(StorageError):
            await start
