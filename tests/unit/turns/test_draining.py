"""Turns while the server drains."""

import asyncio

import pytest

from backend.domain.conversation import ANONYMOUS, Message, Outcome
from backend.domain.errors import Draining
from backend.domain.events import Chunk, End, Failure
from backend.llm.port import Text
from tests.fakes import Scripted, says
from tests.unit.turns.turn_world import StumblingSessions, World, broken_off, ended, read, until
from tests.waiting import within_limit


async def test_a_drain_waits_for_the_turns_that_run_and_takes_no_more() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    _, follower = await world.start()

    draining = asyncio.create_task(world.turns.drain(accept_seconds=0, drain_seconds=60))
    await until(lambda: world.turns.is_draining)
    await asyncio.sleep(0.01)
    with pytest.raises(Draining):
        await world.start(session_id="s2")
    was_drained = world.turns.drained.is_set()
    gate.set()
    await draining

    assert await read(follower) == [Chunk("Hel"), Chunk("lo"), *ended()]
    assert (was_drained, world.turns.drained.is_set()) == (False, True)


async def test_a_drain_that_is_over_waits_for_nothing_more() -> None:
    world = World(says("Hello"))
    await world.ask()
    before = asyncio.all_tasks()

    await world.turns.drain(accept_seconds=0, drain_seconds=60)
    await asyncio.sleep(0)

    assert asyncio.all_tasks() <= before


async def test_a_drain_takes_turns_for_a_little_while() -> None:
    world = World(says("Hello"))

    draining = asyncio.create_task(world.turns.drain(accept_seconds=60, drain_seconds=60))
    await until(lambda: world.turns.is_draining)
    events = await world.ask()
    world.turns.hurry()
    await draining

    assert events == [Chunk("Hello"), *ended()]


async def test_a_drain_is_announced_before_anything_is_waited_for() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    _, follower = await world.start()
    was_announced = world.drain_begun.is_set()

    draining = asyncio.create_task(world.turns.drain(accept_seconds=60, drain_seconds=60))
    await within_limit(world.drain_begun.wait())

    assert not was_announced
    assert not draining.done()
    world.turns.hurry()
    await draining
    follower.leave()


async def test_a_turn_that_outlasts_the_drain_ends_with_an_error_and_is_stored() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start()
    await anext(follower.batches())

    await world.turns.drain(accept_seconds=0, drain_seconds=0.05)

    error, *end = await read(follower)
    assert isinstance(error, Failure)
    assert (error.code, error.retryable) == ("server_draining", True)
    assert end == broken_off(Outcome.CANCELLED)
    record = await world.sessions.turn("anonymous", turn_id)
    assert (record.outcome, record.error_code) == (Outcome.CANCELLED, "server_draining")
    assert (await world.messages())[-1] == Message.assistant("Half")


async def test_a_drain_in_a_hurry_stops_at_once() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    _, follower = await world.start()
    draining = asyncio.create_task(world.turns.drain(accept_seconds=60, drain_seconds=60))
    await until(lambda: world.turns.is_draining)

    world.turns.hurry()
    await within_limit(draining)

    assert (await read(follower))[-2:] == broken_off(Outcome.CANCELLED)


@pytest.mark.parametrize("comes_late", [False, True])
async def test_readers_of_a_turn_on_another_worker_are_sent_elsewhere_and_miss_nothing(
    comes_late: bool,
) -> None:
    gate = asyncio.Event()
    one = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, first = await one.start(is_resumable=True)
    await anext(first.batches())
    if comes_late:
        await other.turns.drain(accept_seconds=0, drain_seconds=0)
    remote = await other.turns.follow(ANONYMOUS, turn_id, after=1)
    if not comes_late:
        await other.turns.drain(accept_seconds=0, drain_seconds=0)

    (notice,) = [batch async for batch in remote.batches()]
    remote.leave()
    (place, error), (last_place, end) = notice.placed()
    back = await one.turns.follow(ANONYMOUS, turn_id, after=last_place)
    gate.set()

    assert isinstance(error, Failure)
    assert (error.code, error.retryable, end) == ("server_draining", True, End())
    assert place == last_place == 1
    assert await read(back) == [Chunk("lo"), *ended()]


async def test_a_worker_that_leaves_looks_at_turns_of_others_no_more() -> None:
    one = World(Scripted([Text("Half"), asyncio.Event()]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, _ = await one.start(is_resumable=True)
    before = asyncio.all_tasks()
    remote = await other.turns.follow(ANONYMOUS, turn_id)

    await other.turns.drain(accept_seconds=0, drain_seconds=0)
    remote.leave()

    assert asyncio.all_tasks() <= before
    await one.turns.close()


async def test_a_reader_whose_turn_ends_elsewhere_during_the_drain_gets_a_notice_as_well() -> None:
    gate = asyncio.Event()
    sessions = StumblingSessions()
    one = World(Scripted([gate, *says("Hi").steps]), sessions=sessions)
    other = World(says("unused"), sessions=sessions, worker="w2")
    turn_id, _ = await one.start(is_resumable=True)
    remote = await other.turns.follow(ANONYMOUS, turn_id)
    gate.set()
    await within_limit(sessions.is_asked.wait())

    await other.turns.drain(accept_seconds=0, drain_seconds=0)
    error, end = await within_limit(read(remote))

    assert isinstance(error, Failure)
    assert (error.code, end) == ("server_draining", End())
