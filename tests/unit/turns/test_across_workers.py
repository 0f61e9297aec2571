"""Follow, stop, delete and repeat turns that run on another worker with the same store."""

import asyncio
from collections.abc import Collection, Sequence

import pytest

from backend.aio.periodic import repeat
from backend.domain.conversation import ANONYMOUS, Outcome
from backend.domain.errors import SessionBusy
from backend.domain.events import Chunk
from backend.domain.turn_keys import TurnKey
from backend.llm.port import Text
from backend.storage.memory.sessions import MemorySessions
from backend.storage.ports.sessions import StopRequest
from tests.fakes import Clock, Scripted, says
from tests.unit.turns.turn_world import SlowSessions, World, broken_off, ended, read, until
from tests.waiting import waiting


def half_an_answer() -> Scripted:
    return Scripted([Text("Half"), asyncio.Event()])


def neighbour(world: World, *script: Scripted) -> World:
    return World(*script, sessions=world.sessions, worker="w2")


async def an_unfollowed_turn(world: World) -> str:
    turn_id, follower = await world.start(is_resumable=True)
    await anext(follower.batches())
    follower.leave()
    await world.turns.renew()
    return turn_id


async def test_a_turn_that_nobody_follows_gives_way_to_a_query_on_another_worker() -> None:
    one = World(half_an_answer())
    other = neighbour(one, says("Hello"))
    turn_id = await an_unfollowed_turn(one)

    asking = asyncio.create_task(other.ask("And?"))
    await asyncio.sleep(0)
    while not asking.done():
        await one.turns.renew()
        await asyncio.sleep(0.01)

    assert await asking == [Chunk("Hello"), *ended()]
    assert await one.outcome(turn_id) is Outcome.DISCONNECTED


async def test_of_two_queries_at_once_one_takes_the_place_of_a_turn_that_runs_elsewhere() -> None:
    is_one_refused = asyncio.Event()
    one = World(half_an_answer())
    other = neighbour(one, Scripted([is_one_refused, *says("Hello").steps]))
    await an_unfollowed_turn(one)

    both = [asyncio.create_task(other.ask("And?")) for _ in range(2)]
    while not any(asking.done() for asking in both):
        await one.turns.renew()
        await asyncio.sleep(0.01)
    is_one_refused.set()
    answers = await asyncio.gather(*both, return_exceptions=True)

    assert [Chunk("Hello"), *ended()] in answers
    assert sum(isinstance(each, SessionBusy) for each in answers) == 1


async def test_a_turn_that_is_followed_is_busy_on_every_worker_at_once() -> None:
    one = World(half_an_answer())
    other = neighbour(one, says("Hello"))
    await one.start(is_resumable=True)
    await one.turns.renew()

    async with asyncio.timeout(4):  # less than the time-out for a worker that may be dead
        with pytest.raises(SessionBusy):
            await other.start()

    await one.turns.close()


async def test_a_turn_that_was_refused_never_counts_as_holding_its_session() -> None:
    sessions = SlowSessions()
    one = World(half_an_answer(), sessions=sessions)
    starts = [asyncio.create_task(one.start(query)) for query in ("Hi", "Me too")]
    await until(lambda: one.turns.free_slots == 8)
    holder, other = one.turns._running

    sessions.gate.set()
    await asyncio.wait(starts)

    assert (holder.is_claimed, other.is_claimed) == (True, False)
    await one.turns.close()


async def test_a_turn_whose_worker_does_not_listen_stays_busy() -> None:
    one = World(half_an_answer())
    other = World(says("Hello"), sessions=one.sessions, worker="w2", remote_timeout_seconds=0.1)
    await an_unfollowed_turn(one)

    with pytest.raises(SessionBusy):
        await other.start()

    assert other.turns.free_slots == 10
    await one.turns.close()


async def test_who_comes_back_before_the_worker_looked_keeps_the_turn() -> None:
    one = World(half_an_answer())
    other = World(says("Hello"), sessions=one.sessions, worker="w2", remote_timeout_seconds=0.1)
    turn_id = await an_unfollowed_turn(one)
    with pytest.raises(SessionBusy):
        await other.start()

    await one.turns.follow(ANONYMOUS, turn_id)
    await one.turns.renew()

    assert await one.outcome(turn_id) is None
    await one.turns.close()


class SlowRenewals(MemorySessions):
    """Takes what a worker says at once, and answers it later."""

    def __init__(self) -> None:
        super().__init__(lease_seconds=15)
        self.renewed, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def renew(
        self, worker: str, *, unfollowed: Collection[str] = (), followed: Collection[TurnKey] = ()
    ) -> Sequence[StopRequest]:
        requests = await super().renew(worker, unfollowed=unfollowed, followed=followed)
        self.renewed.set()
        await self.gate.wait()
        return requests


async def test_who_comes_back_while_the_worker_is_asked_to_give_it_up_keeps_the_turn() -> None:
    sessions = SlowRenewals()
    one = World(half_an_answer(), sessions=sessions)
    turn_id = await an_unfollowed_turn(one)
    await sessions.request_end("anonymous", "s1", unless_read=True)
    sessions.renewed.clear()
    sessions.gate.clear()
    renewing = asyncio.create_task(one.turns.renew())
    await sessions.renewed.wait()

    await one.turns.follow(ANONYMOUS, turn_id)
    sessions.gate.set()
    await renewing
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

    assert await read(rest) == [Chunk("lo"), *ended()]
    assert await one.outcome(turn_id) is Outcome.COMPLETED
    await other.turns.close()


async def test_the_store_hears_at_once_that_somebody_reads_elsewhere() -> None:
    one = World(half_an_answer())
    other = neighbour(one)
    turn_id, _ = await one.start(is_resumable=True)
    renewing = asyncio.create_task(
        repeat(other.turns.renew, every_seconds=60, name="renew", sooner=other.turns.wake)
    )

    await other.turns.follow(ANONYMOUS, turn_id)

    async with waiting():
        while not await one.sessions.is_followed(TurnKey(ANONYMOUS.owner, turn_id)):
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

    assert await read(follower) == broken_off(Outcome.CANCELLED)
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

    async with asyncio.timeout(4):  # less than the time-out for a worker that may be dead
        await other.turns.stop_session("anonymous", "s1")

    await lost.turns.close()


async def test_the_store_hears_at_once_that_the_last_reader_left_or_came_back() -> None:
    world = World(half_an_answer())
    turn_id, follower = await world.start(is_resumable=True)
    renewing = asyncio.create_task(
        repeat(world.turns.renew, every_seconds=60, name="renew", sooner=world.turns.wake)
    )

    async def is_unread() -> bool:
        return bool(await world.sessions.request_end("anonymous", "s1", unless_read=True))

    assert not await is_unread()
    follower.leave()
    async with waiting():
        while not await is_unread():
            await asyncio.sleep(0.01)
    await world.turns.follow(ANONYMOUS, turn_id)
    async with waiting():
        while await is_unread():
            await asyncio.sleep(0.01)

    assert await world.outcome(turn_id) is None
    renewing.cancel()
    await world.turns.close()
