"""Two workers with one store: who reads, stops, deletes and asks anew, wherever a turn runs."""

import asyncio

import pytest

from backend.completion import Text
from backend.conversation import ANONYMOUS, Outcome
from backend.errors import SessionBusy
from backend.events import Chunk, End
from backend.recurring import repeat
from backend.storage.memory import MemorySessions
from tests.fakes import Clock, Scripted, says
from tests.unit.turn_world import SlowSessions, World, read, until


def half_an_answer() -> Scripted:
    return Scripted([Text("Half"), asyncio.Event()])


def neighbour(world: World, *script: Scripted) -> World:
    return World(*script, sessions=world.sessions, worker="w2")


async def a_deserted_turn(world: World) -> str:
    turn_id, follower = await world.start(is_resumable=True)
    await anext(follower.batches())
    follower.leave()
    await world.turns.renew()
    return turn_id


async def test_a_turn_that_nobody_follows_gives_way_to_a_query_on_another_worker() -> None:
    one = World(half_an_answer())
    other = neighbour(one, says("Hello"))
    turn_id = await a_deserted_turn(one)

    asking = asyncio.create_task(other.ask("And?"))
    await asyncio.sleep(0)
    while not asking.done():
        await one.turns.renew()
        await asyncio.sleep(0.01)

    assert await asking == [Chunk("Hello"), End()]
    assert await one.outcome(turn_id) is Outcome.DISCONNECTED


async def test_of_two_queries_at_once_one_takes_the_place_of_a_turn_that_runs_elsewhere() -> None:
    one = World(half_an_answer())
    other = neighbour(one, says("Hello"))
    await a_deserted_turn(one)

    both = asyncio.gather(other.ask("And?"), other.ask("And?"), return_exceptions=True)
    while not both.done():
        await one.turns.renew()
        await asyncio.sleep(0.01)

    assert [Chunk("Hello"), End()] in await both
    assert sum(isinstance(each, SessionBusy) for each in await both) == 1


async def test_a_turn_that_is_followed_is_busy_on_every_worker_at_once() -> None:
    one = World(half_an_answer())
    other = neighbour(one, says("Hello"))
    await one.start(is_resumable=True)
    await one.turns.renew()

    async with asyncio.timeout(1):
        with pytest.raises(SessionBusy):
            await other.start()

    await one.turns.close()


async def test_a_turn_whose_worker_does_not_listen_stays_busy() -> None:
    one = World(half_an_answer())
    other = World(says("Hello"), sessions=one.sessions, worker="w2", patience_seconds=0.1)
    await a_deserted_turn(one)

    with pytest.raises(SessionBusy):
        await other.start()

    assert other.turns.free_slots == 10
    await one.turns.close()


async def test_who_comes_back_before_the_worker_looked_keeps_the_turn() -> None:
    one = World(half_an_answer())
    other = World(says("Hello"), sessions=one.sessions, worker="w2", patience_seconds=0.1)
    turn_id = await a_deserted_turn(one)
    with pytest.raises(SessionBusy):
        await other.start()

    await one.turns.follow(ANONYMOUS, turn_id)
    await one.turns.renew()

    assert await one.outcome(turn_id) is None
    await one.turns.close()


async def test_a_reader_on_another_worker_outlasts_the_grace_and_the_next_query() -> None:
    gate = asyncio.Event()
    clock = Clock()
    sessions = MemorySessions(lease_seconds=15, clock=clock)
    one = World(
        Scripted([Text("Hel"), gate, *says("lo").steps]), sessions=sessions, grace_seconds=0.05
    )
    other = neighbour(one)
    turn_id, follower = await one.start(is_resumable=True)
    await anext(follower.batches())
    rest = await other.turns.follow(ANONYMOUS, turn_id, after=1)
    await other.turns.renew()

    follower.leave()
    await asyncio.sleep(0.2)
    with pytest.raises(SessionBusy):
        await one.start()
    gate.set()

    assert await read(rest) == [Chunk("lo"), End()]
    assert await one.outcome(turn_id) is Outcome.COMPLETED
    await other.turns.close()


async def test_the_store_hears_at_once_that_somebody_reads_elsewhere() -> None:
    one = World(half_an_answer())
    other = neighbour(one)
    turn_id, _ = await one.start(is_resumable=True)
    renewing = asyncio.create_task(
        repeat(other.turns.renew, every_seconds=60, name="renew", sooner=other.turns.news)
    )

    await other.turns.follow(ANONYMOUS, turn_id)

    async with asyncio.timeout(5):
        while not await one.sessions.is_followed(turn_id):
            await asyncio.sleep(0.01)
    renewing.cancel()
    await other.turns.close()
    await one.turns.close()


async def test_the_grace_counts_on_when_the_reader_elsewhere_is_gone() -> None:
    clock = Clock()
    sessions = MemorySessions(lease_seconds=15, clock=clock)
    one = World(half_an_answer(), sessions=sessions, grace_seconds=0.05)
    other = neighbour(one)
    turn_id, follower = await one.start(is_resumable=True)
    await anext(follower.batches())
    rest = await other.turns.follow(ANONYMOUS, turn_id, after=1)
    await other.turns.renew()
    follower.leave()

    rest.leave()
    await other.turns.renew()
    clock.sleep(16)

    await until(lambda: one.turns.free_slots == 10)
    assert await one.outcome(turn_id) is Outcome.DISCONNECTED
    await other.turns.close()


async def test_a_session_is_stopped_wherever_it_runs_before_it_is_forgotten() -> None:
    one = World(half_an_answer())
    other = neighbour(one)
    turn_id, follower = await one.start()
    await anext(follower.batches())

    stopping = asyncio.create_task(other.turns.stop_session("anonymous", "s1"))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    await one.turns.renew()
    await stopping

    assert await read(follower) == [End()]
    assert await one.outcome(turn_id) is Outcome.CANCELLED
    assert one.model.open_completions == 0


async def test_a_session_is_stopped_elsewhere_also_while_it_is_wanted_here() -> None:
    sessions = SlowSessions()
    sessions.gate.set()
    one = World(half_an_answer(), sessions=sessions)
    other = neighbour(one)
    turn_id, _ = await one.start()
    sessions.gate.clear()
    wanting = asyncio.create_task(other.start())
    await until(lambda: other.turns.free_slots == 9)

    stopping = asyncio.create_task(other.turns.stop_session("anonymous", "s1"))
    sessions.gate.set()
    while not stopping.done():
        await one.turns.renew()
        await asyncio.sleep(0.01)

    with pytest.raises(SessionBusy):
        await wanting
    assert await one.outcome(turn_id) is Outcome.CANCELLED


async def test_what_a_lost_worker_ran_is_not_waited_for() -> None:
    clock = Clock()
    sessions = MemorySessions(lease_seconds=15, clock=clock)
    lost = World(half_an_answer(), sessions=sessions)
    other = neighbour(lost)
    await lost.start()
    clock.sleep(16)

    async with asyncio.timeout(1):
        await other.turns.stop_session("anonymous", "s1")

    await lost.turns.close()


async def test_the_store_hears_at_once_that_the_last_reader_left_or_came_back() -> None:
    world = World(half_an_answer())
    turn_id, follower = await world.start(is_resumable=True)
    renewing = asyncio.create_task(
        repeat(world.turns.renew, every_seconds=60, name="renew", sooner=world.turns.news)
    )

    async def is_unread() -> bool:
        return bool(await world.sessions.request_end("anonymous", "s1", unless_read=True))

    assert not await is_unread()
    follower.leave()
    async with asyncio.timeout(5):
        while not await is_unread():
            await asyncio.sleep(0.01)
    await world.turns.follow(ANONYMOUS, turn_id)
    async with asyncio.timeout(5):
        while await is_unread():
            await asyncio.sleep(0.01)

    assert await world.outcome(turn_id) is None
    renewing.cancel()
    await world.turns.close()
