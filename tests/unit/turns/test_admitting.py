"""Each admitted query releases its admission, however its turn ends."""

import asyncio
from collections.abc import Sequence

import pytest

from backend.domain.errors import Overloaded, SessionBusy, TooManyRequests
from backend.domain.events import Chunk
from backend.domain.usage import ModelCall
from backend.llm.port import Text
from tests.fakes import Scripted, says
from tests.unit.turns.turn_world import SlowSessions, World, ended, read, until


class NotedAdmission:
    """Records which turns hold an admission."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open
        self.entered = 0
        self.inside: set[str] = set()
        self.settled: list[str] = []

    async def enter(self, turn_id: str) -> None:
        if not self.is_open:
            raise TooManyRequests(retry_after=1)
        self.entered += 1
        self.inside.add(turn_id)

    async def settle(self, turn_id: str, _: Sequence[ModelCall]) -> None:
        self.settled.append(turn_id)

    def leave(self, turn_id: str) -> None:
        self.inside.discard(turn_id)


async def test_a_turn_is_inside_from_its_start_to_its_end() -> None:
    gate, admission = asyncio.Event(), NotedAdmission()
    world = World(Scripted([gate, *says("Hello").steps]))

    turn_id, follower = await world.start(admission=admission)
    inside = set(admission.inside)
    gate.set()
    await read(follower)
    await until(lambda: not admission.inside)

    assert inside == {turn_id}
    assert admission.settled == [turn_id]


async def test_a_query_that_is_not_admitted_begins_nothing() -> None:
    admission, world = NotedAdmission(), World(says("Hello"))
    admission.is_open = False

    with pytest.raises(TooManyRequests):
        await world.start(admission=admission)

    assert world.turns.free_slots == 10
    assert world.model.requests == []


async def test_the_slot_of_a_client_that_leaves_early_is_released() -> None:
    admission, world = NotedAdmission(), World(Scripted([Text("Half"), asyncio.Event()]))
    _, follower = await world.start(admission=admission)

    follower.leave()

    await until(lambda: not admission.inside)


async def test_a_query_that_is_refused_after_it_entered_leaves() -> None:
    admission, world = NotedAdmission(), World(Scripted([asyncio.Event()]), max_streams=2)
    await world.start()

    with pytest.raises(SessionBusy):
        await world.start(admission=admission)
    await until(lambda: not admission.inside)
    await world.start(session_id="s2")
    with pytest.raises(Overloaded):
        await world.start(session_id="s3", admission=admission)

    # A full worker refuses before it asks for admission.
    assert admission.entered == len(admission.settled) == 1
    await world.turns.close()


async def test_a_query_that_is_cancelled_at_its_claim_leaves() -> None:
    admission, slow = NotedAdmission(), SlowSessions()
    world = World(says("Hello"), sessions=slow)
    starting = asyncio.create_task(world.start(admission=admission))
    await until(lambda: len(admission.inside) == 1)

    starting.cancel()
    await asyncio.wait([starting])
    slow.gate.set()

    await until(lambda: not admission.inside and len(admission.settled) == 1)


async def test_a_query_that_joins_or_replays_a_turn_need_not_enter() -> None:
    gate, admission = asyncio.Event(), NotedAdmission()
    world = World(Scripted([gate, *says("Hello").steps]))
    _, first = await world.start(admission=admission, idempotency_key="k")
    admission.is_open = False

    _, joined = await world.start(admission=admission, idempotency_key="k")
    gate.set()
    events = [await read(first), await read(joined)]
    _, replayed = await world.start(admission=admission, idempotency_key="k")

    assert [*events, await read(replayed)] == [[Chunk("Hello"), *ended()]] * 3
    assert admission.entered == 1
