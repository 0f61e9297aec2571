"""Who has entered leaves again, however the turn ends; who joins another turn is not asked."""

import asyncio

import pytest

from backend.completion import Text
from backend.errors import Overloaded, SessionBusy, TooManyRequests
from backend.events import Chunk, End
from tests.fakes import Scripted, says
from tests.unit.turn_world import SlowSessions, World, read, until


class Door:
    """Notes who is inside."""

    def __init__(self) -> None:
        self.is_open = True
        self.entered = 0
        self.inside: set[str] = set()

    async def enter(self, turn_id: str) -> None:
        if not self.is_open:
            raise TooManyRequests(retry_after=1)
        self.entered += 1
        self.inside.add(turn_id)

    def leave(self, turn_id: str) -> None:
        self.inside.discard(turn_id)


async def test_a_turn_is_inside_from_its_start_to_its_end() -> None:
    gate, door = asyncio.Event(), Door()
    world = World(Scripted([gate, *says("Hello").steps]))

    turn_id, follower = await world.start(admission=door)
    inside = set(door.inside)
    gate.set()
    await read(follower)
    await until(lambda: not door.inside)

    assert inside == {turn_id}


async def test_whoever_is_not_let_in_has_begun_nothing() -> None:
    door, world = Door(), World(says("Hello"))
    door.is_open = False

    with pytest.raises(TooManyRequests):
        await world.start(admission=door)

    assert world.turns.free_slots == 10
    assert world.model.requests == []


async def test_whoever_leaves_early_is_let_out() -> None:
    door, world = Door(), World(Scripted([Text("Half"), asyncio.Event()]))
    _, follower = await world.start(admission=door)

    follower.leave()

    await until(lambda: not door.inside)


async def test_whoever_is_refused_behind_the_door_is_let_out() -> None:
    door, world = Door(), World(Scripted([asyncio.Event()]), max_streams=2)
    await world.start()

    with pytest.raises(SessionBusy):
        await world.start(admission=door)
    await until(lambda: not door.inside)
    await world.start(session_id="s2")
    with pytest.raises(Overloaded):
        await world.start(session_id="s3", admission=door)

    # A worker that is full does not even ask.
    assert door.entered == 1
    await world.turns.close()


async def test_whoever_is_cancelled_at_the_claim_is_let_out() -> None:
    door, slow = Door(), SlowSessions()
    world = World(says("Hello"), sessions=slow)
    starting = asyncio.create_task(world.start(admission=door))
    await until(lambda: len(door.inside) == 1)

    starting.cancel()
    await asyncio.wait([starting])
    slow.gate.set()

    await until(lambda: not door.inside)


async def test_whoever_joins_or_replays_a_turn_is_not_asked() -> None:
    gate, door = asyncio.Event(), Door()
    world = World(Scripted([gate, *says("Hello").steps]))
    _, first = await world.start(admission=door, idempotency_key="k")
    door.is_open = False

    _, joined = await world.start(admission=door, idempotency_key="k")
    gate.set()
    events = [await read(first), await read(joined)]
    _, replayed = await world.start(admission=door, idempotency_key="k")

    assert [*events, await read(replayed)] == [[Chunk("Hello"), End()]] * 3
    assert door.entered == 1
