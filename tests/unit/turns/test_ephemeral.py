"""Turns that are not stored."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from backend.domain.conversation import ANONYMOUS, Message, Outcome
from backend.domain.errors import Overloaded, SessionNotFound, StorageError, TurnNotFound
from backend.domain.events import Chunk
from backend.domain.usage import ModelCall, Usage
from backend.llm.port import Finish, Text
from backend.storage.memory.usage import MemoryUsage
from backend.turns.event_log import Follower
from backend.turns.shared_logs import SharedLogs
from tests.fakes import MemoryLogs, Scripted, says
from tests.unit.turns.turn_world import World, ended, read, until

GIVEN = [Message.user("A red car?"), Message.assistant("Yes, the Aurora.")]
CALL = ModelCall(model="scripted", purpose="front_end", usage=Usage(10, 5))


async def ephemeral(world: World, query: str = "A title?", **options: Any) -> tuple[str, Follower]:
    return await world.start(query, is_stored=False, given=GIVEN, **options)


async def test_it_answers_from_what_was_given_without_tools_and_stores_nothing() -> None:
    world = World(says("Red cars"))

    turn_id, follower = await ephemeral(world)

    assert await read(follower) == [Chunk("Red cars"), *ended()]
    [request] = world.model.requests
    assert (request.prompt, request.tools, request.purpose) == ("Do it.", (), "front_end")
    assert [message.content for message in request.messages] == [
        "A red car?",
        "Yes, the Aurora.",
        "A title?",
    ]
    await until(lambda: world.turns.free_slots == 10)
    with pytest.raises(TurnNotFound):
        await world.sessions.turn("anonymous", turn_id)
    with pytest.raises(TurnNotFound):
        await world.turns.follow(ANONYMOUS, turn_id)
    for session_id in ("s1", follower.session_id):
        with pytest.raises(SessionNotFound):
            await world.sessions.get("anonymous", session_id)


async def test_it_neither_needs_the_session_nor_holds_it() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("a"), gate, Finish(reason="stop", model="scripted")]))
    _, of_session = await world.start("Hi")

    _, follower = await ephemeral(world)
    gate.set()

    assert (await read(follower))[-1] == (await read(of_session))[-1]
    assert [message.content for message in await world.messages()] == ["Hi", "a"]


async def test_a_turn_of_the_session_that_nobody_reads_goes_on_beside_it() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("a"), gate, Finish(reason="stop", model="scripted")]), says("T"))
    turn_id, of_session = await world.start("Hi", is_resumable=True)
    await until(lambda: world.model.open_completions == 1)
    of_session.leave()

    _, follower = await ephemeral(world)
    await read(follower)

    assert await world.outcome(turn_id) is None
    gate.set()
    await until(lambda: world.turns.free_slots == 10)
    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_a_given_history_is_cut_to_what_fits() -> None:
    world = World(says("Long"))
    given = [Message.user(f"{number} " * 3000) for number in range(100)]

    _, follower = await world.start("A title?", is_stored=False, given=given)
    await read(follower)

    [request] = world.model.requests
    assert 0 < len(request.messages) - 1 < 20
    assert request.messages[-2].content.startswith("99")


async def test_it_holds_a_slot_and_drains_like_every_turn() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("a"), gate, Finish(reason="stop", model="m")]), max_streams=1)
    _, follower = await ephemeral(world)

    with pytest.raises(Overloaded):
        await ephemeral(world)
    draining = asyncio.create_task(world.turns.drain(accept_seconds=0, drain_seconds=60))
    await world.drain_begun.wait()
    assert not draining.done()
    gate.set()

    assert (await read(follower))[0] == Chunk("a")
    await draining


async def test_it_can_be_stopped() -> None:
    world = World(Scripted([Text("a"), asyncio.Event()]))
    turn_id, follower = await ephemeral(world)
    await until(lambda: world.model.open_completions == 1)

    await world.turns.stop(ANONYMOUS, turn_id)

    assert [event.event for event in await read(follower)] == ["chunk", "outcome", "end"]
    assert world.model.open_completions == 0


async def test_it_ends_as_soon_as_its_reader_leaves_and_is_not_shared() -> None:
    logs = MemoryLogs({})
    shared_logs = SharedLogs(logs, worker="w1")
    shared_logs.open()
    world = World(Scripted([Text("a"), asyncio.Event()]), shared_logs=shared_logs)
    _, follower = await ephemeral(world, is_resumable=True)
    await until(lambda: world.model.open_completions == 1)

    follower.leave()

    await until(lambda: world.turns.free_slots == 10)
    await shared_logs.close()
    assert world.model.open_completions == 0
    assert logs.kept == {}


async def test_a_key_does_not_join_what_is_not_stored() -> None:
    world = World(says("Stored"), says("One"), says("Two"))
    _, of_session = await world.start("Hi", idempotency_key="k")
    await read(of_session)

    texts = []
    for _ in range(2):
        _, follower = await ephemeral(world, idempotency_key="k")
        texts.append((await read(follower))[0])

    assert texts == [Chunk("One"), Chunk("Two")]


class FailingUsage(MemoryUsage):
    is_down = True

    async def enter(self, owner: str, calls: Sequence[ModelCall]) -> None:
        if self.is_down:
            raise StorageError
        await super().enter(owner, calls)


async def test_calls_that_could_not_be_entered_are_entered_later() -> None:
    usage, gate = FailingUsage(), asyncio.Event()
    script = Scripted([Text("Red cars"), gate, Finish(reason="stop", model="scripted")])
    world = World(script, usage=usage)
    _, follower = await ephemeral(world)
    await until(lambda: world.model.open_completions == 1)
    world.model.requests[0].calls.append(CALL)
    gate.set()

    assert [event.event for event in await read(follower)] == ["chunk", "error", "outcome", "end"]
    await until(lambda: world.turns.free_slots == 10)
    usage.is_down = False
    await world.turns.store_endings()
    await world.turns.store_endings()

    [entered] = await usage.by_day(date.min, date.max, owner="anonymous")
    assert (entered.purpose, entered.spent.calls) == ("front_end", 1)
