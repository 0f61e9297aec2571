"""Concurrent requests with one `Idempotency-Key`: one starts the turn, and all get it."""

import asyncio
from typing import Any

import pytest

from backend.domain.conversation import ANONYMOUS, Caller, Outcome
from backend.domain.errors import (
    KeyReused,
    Overloaded,
    ServiceError,
    SessionBusy,
    SessionNotFound,
    StorageError,
    TooManyRequests,
)
from backend.domain.events import Chunk
from backend.llm.port import Text
from tests.fakes import Scripted, says
from tests.unit.turns.test_admitting import NotedAdmission
from tests.unit.turns.turn_world import (
    DistantSessions,
    FailingSessions,
    SlowSessions,
    World,
    ended,
    read,
    until,
)

AT_ONCE = 12


async def outcomes(world: World, **options: Any) -> list[object]:
    """Send many requests with one key at once; return the turn or the refusal of each."""
    starts = [world.start(idempotency_key="k", **options) for _ in range(AT_ONCE)]
    results = await asyncio.gather(*starts, return_exceptions=True)
    return [type(each) if isinstance(each, BaseException) else each[0] for each in results]


async def test_on_a_busy_session_all_are_refused_alike() -> None:
    world = World(
        Scripted([Text("Half"), asyncio.Event()]), sessions=DistantSessions(lease_seconds=15)
    )
    await world.start("Something else")

    results = await outcomes(world)

    assert results == [SessionBusy] * AT_ONCE
    await world.turns.close()


@pytest.mark.parametrize(
    ("refusal", "options"),
    [
        (TooManyRequests, {"admission": NotedAdmission(is_open=False)}),
        (Overloaded, {"session_id": "s2"}),
    ],
)
async def test_before_the_claim_all_are_refused_alike(
    refusal: type[ServiceError], options: dict[str, Any]
) -> None:
    world = World(
        Scripted([asyncio.Event()]), sessions=DistantSessions(lease_seconds=15), max_streams=1
    )
    if refusal is Overloaded:
        await world.start()

    assert await outcomes(world, **options) == [refusal] * AT_ONCE
    await world.turns.close()


async def test_a_store_that_fails_fails_for_all() -> None:
    world = World(says("Hello"), sessions=FailingSessions(fails_to_claim=True))

    assert await outcomes(world) == [StorageError] * AT_ONCE


async def test_in_a_session_that_does_not_exist_all_are_refused_alike() -> None:
    world = World(says("Hello"), sessions=DistantSessions(lease_seconds=15))

    results = await outcomes(world, creates_session=False)

    assert results == [SessionNotFound] * AT_ONCE


async def test_one_enters_and_all_read_one_turn_from_its_start() -> None:
    admission, world = (
        NotedAdmission(),
        World(says("Hello"), sessions=DistantSessions(lease_seconds=15)),
    )
    starts = [world.start(idempotency_key="k", admission=admission) for _ in range(AT_ONCE)]

    started = await asyncio.gather(*starts)
    answers = await asyncio.gather(*(read(follower) for _, follower in started))

    assert len({turn_id for turn_id, _ in started}) == 1
    assert answers == [[Chunk("Hello"), *ended()]] * AT_ONCE
    assert (admission.entered, len(world.model.requests)) == (1, 1)


async def test_on_two_workers_one_asks_and_all_read_one_turn_from_its_start() -> None:
    sessions = DistantSessions(lease_seconds=15)
    one = World(says("Hello"), sessions=sessions)
    other = World(says("Hello"), sessions=sessions, worker="w2")
    starts = [world.start(idempotency_key="k") for world in (one, other) for _ in range(5)]

    started = await asyncio.gather(*starts)
    answers = await asyncio.gather(*(read(follower) for _, follower in started))

    assert len({turn_id for turn_id, _ in started}) == 1
    assert answers == [[Chunk("Hello"), *ended()]] * 10
    assert len(one.model.requests) + len(other.model.requests) == 1
    await other.turns.close()
    await one.turns.close()


async def test_who_joins_waits_until_the_session_is_held() -> None:
    slow = SlowSessions()
    world = World(says("Hello"), sessions=slow)
    starting = asyncio.create_task(world.start(idempotency_key="k"))
    await until(lambda: world.turns.free_slots == 9)

    joining = asyncio.create_task(world.start(idempotency_key="k"))
    await asyncio.sleep(0.01)
    has_joined_early = joining.done()
    slow.gate.set()

    assert not has_joined_early
    assert (await joining)[0] == (await starting)[0]


async def test_if_the_first_leaves_before_its_turn_begins_the_next_one_asks() -> None:
    world = World(says("Hello"), sessions=DistantSessions(lease_seconds=15))
    starts = [asyncio.create_task(world.start(idempotency_key="k")) for _ in range(3)]
    await asyncio.sleep(0)

    starts[0].cancel()
    (one, _), (other, follower) = await asyncio.gather(*starts[1:])

    assert one == other
    assert await read(follower) == [Chunk("Hello"), *ended()]
    assert len(world.model.requests) == 1


async def test_if_the_first_leaves_during_the_claim_the_others_keep_the_turn() -> None:
    slow = SlowSessions()
    world = World(says("Hello"), sessions=slow)
    starts = [asyncio.create_task(world.start(idempotency_key="k")) for _ in range(3)]
    await until(lambda: world.turns.free_slots == 9)

    starts[0].cancel()
    await asyncio.wait(starts[:1])
    slow.gate.set()
    answers = [await read((await start)[1]) for start in starts[1:]]

    assert answers == [[Chunk("Hello"), *ended()]] * 2


async def test_a_key_is_refused_for_another_question_at_any_time() -> None:
    slow = SlowSessions()
    world = World(says("Hello"), sessions=slow)
    starting = asyncio.create_task(world.start("One", idempotency_key="k"))
    await asyncio.sleep(0)

    async def ask_another() -> None:
        with pytest.raises(KeyReused):
            await world.start("Two", idempotency_key="k")

    await ask_another()
    await until(lambda: world.turns.free_slots == 9)
    await ask_another()
    slow.gate.set()
    turn_id, follower = await starting
    await ask_another()
    await read(follower)
    await until(lambda: world.turns.free_slots == 10)
    await ask_another()

    assert await world.outcome(turn_id) is Outcome.COMPLETED
    assert len(await world.messages()) == 2


async def test_a_key_is_refused_for_another_question_on_another_worker() -> None:
    sessions = DistantSessions(lease_seconds=15)
    one = World(says("Hello"), sessions=sessions)
    other = World(says("Hello"), sessions=sessions, worker="w2")

    results = await asyncio.gather(
        one.start("One", idempotency_key="k"),
        other.start("Two", idempotency_key="k"),
        return_exceptions=True,
    )

    assert [type(each) for each in results].count(KeyReused) == 1
    assert len(one.model.requests) + len(other.model.requests) <= 1
    await other.turns.close()
    await one.turns.close()


async def test_a_key_that_was_refused_is_free() -> None:
    gate = asyncio.Event()
    world = World(Scripted([gate, *says("Hel").steps]), says("lo"))
    _, first = await world.start()
    with pytest.raises(SessionBusy):
        await world.start("One", idempotency_key="k")
    gate.set()
    await read(first)

    _, follower = await world.start("Two", idempotency_key="k")

    assert await read(follower) == [Chunk("lo"), *ended()]


async def test_a_key_tells_its_turn_without_starting_one() -> None:
    sessions = SlowSessions()
    world = World(Scripted([Text("Half"), asyncio.Event()]), sessions=sessions)
    starting = asyncio.create_task(world.start(idempotency_key="k"))
    await until(lambda: world.turns.free_slots == 9)

    before = await world.turns.turn_of_key(ANONYMOUS, "s1", "k")
    sessions.gate.set()
    turn_id, _ = await starting
    running = await world.turns.turn_of_key(ANONYMOUS, "s1", "k")
    await world.turns.close()

    assert before is None, "the turn may still be refused"
    assert running == turn_id == await world.turns.turn_of_key(ANONYMOUS, "s1", "k")
    for caller, session_id, key in (
        (Caller(owner="them"), "s1", "k"),
        (ANONYMOUS, "s2", "k"),
        (ANONYMOUS, "s1", "other"),
    ):
        assert await world.turns.turn_of_key(caller, session_id, key) is None
