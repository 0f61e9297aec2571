"""Reading along on another worker, with shared logs that come, go, fail and lose things."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from backend.completion import Text
from backend.conversation import ANONYMOUS, Outcome
from backend.events import Chunk, End, Event, encode
from backend.log import EventLog
from backend.recurring import repeat
from backend.sharing import MOST_AT_ONCE, Sharing
from backend.storage.ports.shared_logs import News, SharedBatch
from tests.fakes import MemoryLogs, Scripted, says
from tests.unit.turn_world import World, read, until

Kept = dict[str, list[SharedBatch]]


@asynccontextmanager
async def shared(logs: MemoryLogs, worker: str) -> AsyncIterator[Sharing]:
    sharing = Sharing(logs, worker=worker)
    sharing.open()
    try:
        yield sharing
    finally:
        await sharing.close()


@asynccontextmanager
async def two_workers(*script: Scripted) -> AsyncIterator[tuple[World, World, MemoryLogs]]:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    async with shared(logs, "w1") as of_one, shared(MemoryLogs(kept), "w2") as of_other:
        one = World(*script, sharing=of_one)
        other = World(says("Other"), sessions=one.sessions, worker="w2", sharing=of_other)
        keeping = asyncio.create_task(
            repeat(one.turns.renew, every_seconds=60, name="renew", sooner=one.turns.news)
        )
        yield one, other, logs
        keeping.cancel()
        await one.turns.close()
        await other.turns.close()


async def test_who_follows_on_another_worker_reads_along() -> None:
    gate = asyncio.Event()
    script = Scripted([Text("Hel"), gate, *says("lo").steps])
    async with two_workers(script) as (one, other, _):
        turn_id, _ = await one.start(is_resumable=True)
        follower = await other.turns.follow(ANONYMOUS, turn_id)

        batches = follower.batches()
        first = await anext(batches)
        assert await one.outcome(turn_id) is None
        gate.set()
        rest = [event async for batch in batches for event in batch.events]

    assert (first.after, list(first.events)) == (0, [Chunk("Hel")])
    assert rest == [Chunk("lo"), End()]


async def test_who_comes_back_on_another_worker_reads_on_from_where_it_was() -> None:
    gate = asyncio.Event()
    script = Scripted([Text("One"), Text("Two"), Text("Three"), gate, *says("Four").steps])
    async with two_workers(script) as (one, other, _):
        turn_id, _ = await one.start(is_resumable=True)
        follower = await other.turns.follow(ANONYMOUS, turn_id, after=2)

        first = await anext(follower.batches())
        gate.set()
        rest = await read(follower)

    assert (first.after, first.events[0]) == (2, Chunk("Three"))
    assert rest == [Chunk("Four"), End()]


async def test_a_plain_turn_is_not_shared() -> None:
    async with two_workers(says("Hello")) as (one, _, logs):
        await one.ask()

    assert logs.writes == []


async def test_a_stop_on_another_worker_is_heard_at_once() -> None:
    async with two_workers(Scripted([Text("Half"), asyncio.Event()])) as (one, other, _):
        turn_id, follower = await one.start(is_resumable=True)

        async with asyncio.timeout(5):
            await other.turns.stop(ANONYMOUS, turn_id)
            events = await read(follower)

        assert events[-1] == End()
        assert await one.outcome(turn_id) is Outcome.CANCELLED


async def test_a_reader_elsewhere_goes_on_through_a_failure_and_misses_nothing() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    script = Scripted(
        [Text("1"), gates[0], Text("2"), gates[1], Text("3"), gates[2], *says("4").steps]
    )
    async with two_workers(script) as (one, other, logs):
        turn_id, _ = await one.start(is_resumable=True)
        follower = await other.turns.follow(ANONYMOUS, turn_id)
        batches = follower.batches()
        received: list[Event] = [*(await anext(batches)).events]
        logs.is_down = True
        logs.kept.clear()  # it comes back empty
        gates[0].set()
        await asyncio.sleep(0.1)
        logs.is_down = False
        gates[1].set()
        while len(received) < 3:
            received += (await anext(batches)).events
        assert await one.outcome(turn_id) is None
        gates[2].set()
        received += await read(follower)

    assert received == [Chunk("1"), Chunk("2"), Chunk("3"), Chunk("4"), End()]


@pytest.mark.parametrize("fault", ["a gap", "a foreign format", "another length", "never up"])
async def test_what_the_shared_log_lacks_comes_from_the_store(fault: str) -> None:
    gate = asyncio.Event()
    async with two_workers(Scripted([Text("Hel"), gate, *says("lo").steps])) as (one, other, logs):
        logs.is_down = fault == "never up"
        turn_id, _ = await one.start(is_resumable=True)
        if fault != "never up":
            await until(lambda: turn_id in logs.kept)
            logs.kept[turn_id] = [
                {
                    "a gap": SharedBatch(turn_id, 1, 2, encode([Chunk("lo")])),
                    "a foreign format": SharedBatch(turn_id, 0, 1, b'[{"event": "new"}]'),
                    "another length": SharedBatch(turn_id, 0, 2, encode([Chunk("Hel")])),
                }[fault]
            ]
        follower = await other.turns.follow(ANONYMOUS, turn_id)
        gate.set()

        assert await read(follower) == [Chunk("Hel"), Chunk("lo"), End()]


@pytest.mark.parametrize("seed", range(5))
async def test_the_shared_log_and_the_store_say_nothing_twice(seed: int) -> None:
    """Whichever of them brings the end, at whatever moment."""
    chance = random.Random(seed)  # noqa: S311 - any moments will do
    texts = [f"{number} " for number in range(40)]
    gates = [asyncio.Event() for _ in texts]
    steps = [step for text, gate in zip(texts, gates, strict=True) for step in (Text(text), gate)]
    async with two_workers(Scripted([*steps, *says("!").steps])) as (one, other, logs):
        other.turns._replays._look_seconds = 0.005
        turn_id, _ = await one.start(is_resumable=True)
        starts = sorted(chance.sample(range(5), 3))
        following = [
            asyncio.create_task(read(await other.turns.follow(ANONYMOUS, turn_id, after=start)))
            for start in starts
        ]
        for gate in gates:
            logs.is_down = chance.random() < 0.3
            gate.set()
            await asyncio.sleep(chance.random() * 0.01)
        heard = await asyncio.gather(*following)

    whole = [*map(Chunk, texts), Chunk("!"), End()]
    assert heard == [whole[start:] for start in starts]


async def test_many_changes_between_two_writes_are_one_batch_a_log() -> None:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    async with shared(logs, "w1") as sharing:
        written = [EventLog(f"t{number}") for number in range(3)]
        for log in written:
            sharing.share(log)
            for number in range(50):
                log.append(Chunk(str(number)))
        await until(lambda: len(kept) == 3)

    assert [[batch.last for batch in kept[log.turn_id]] for log in written] == [[50]] * 3


async def test_however_many_logs_change_all_the_time_each_is_written_in_its_turn() -> None:
    logs = MemoryLogs({})
    async with shared(logs, "w1") as sharing:
        written = [EventLog(f"t{number}") for number in range(3 * MOST_AT_ONCE)]
        for log in written:
            sharing.share(log)
        while len(logs.writes) < 3:
            for log in written:
                log.append(Chunk("more"))
            await asyncio.sleep(0.001)

    first = {batch.turn_id for batches in logs.writes[:3] for batch in batches}
    assert first == {log.turn_id for log in written}


async def test_logs_that_end_while_nothing_can_be_written_are_not_kept() -> None:
    logs = MemoryLogs({})
    logs.is_down = True
    async with shared(logs, "w1") as sharing:
        for number in range(20):
            log = EventLog(f"t{number}")
            sharing.share(log)
            log.append(End())
            log.close()
        await until(lambda: not sharing._outbox._written)
        logs.is_down = False
        sharing.nudge("w2")
        await until(lambda: "w2" in logs.kept)

    assert list(logs.kept) == ["w2"]


async def test_a_worker_that_leaves_shares_its_last_words() -> None:
    kept: Kept = {}
    async with shared(MemoryLogs(kept), "w1") as sharing:
        log = EventLog("t1")
        sharing.share(log)
        log.append(Chunk("Bye"))
        log.append(End())
        log.close()

    assert kept["t1"][-1].last == 2


class WaitingLogs(MemoryLogs):
    """Answers a read, as it was asked, when the gate is opened."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept)
        self.asked: list[Mapping[str, int]] = []
        self.gate = asyncio.Event()

    async def read(self, worker: str, after: Mapping[str, int]) -> News:
        self.asked.append(after)
        await self.gate.wait()
        return await super().read(worker, after)


async def test_who_comes_while_others_are_read_for_misses_nothing() -> None:
    events = [Chunk("1"), Chunk("2"), Chunk("3")]
    logs = WaitingLogs(
        {
            "t1": [
                SharedBatch("t1", 0, 2, encode(events[:2])),
                SharedBatch("t1", 2, 3, encode(events[2:])),
            ]
        }
    )
    first, second = EventLog("t1", begins_after=2), EventLog("t1")
    async with shared(logs, "w2") as sharing:
        sharing.fill(first)
        await until(lambda: {"t1": 2} in logs.asked)
        sharing.fill(second)
        logs.gate.set()

        await until(lambda: second.events == events)

    assert first.events == events[2:]


async def test_between_two_batches_of_a_read_others_have_their_turn() -> None:
    batches = [SharedBatch("t1", after, after + 1, encode([Chunk("word")])) for after in range(50)]
    log, seen = EventLog("t1"), set()
    async with shared(MemoryLogs({"t1": batches}), "w2") as sharing:
        sharing.fill(log)
        while log.last < len(batches):
            seen.add(log.last)
            await asyncio.sleep(0)

    assert seen == set(range(50))


async def test_who_left_is_not_read_for_any_more() -> None:
    async with two_workers(Scripted([Text("Half"), asyncio.Event()])) as (one, other, _):
        turn_id, _ = await one.start(is_resumable=True)
        follower = await other.turns.follow(ANONYMOUS, turn_id)
        await anext(follower.batches())

        follower.leave()

        assert other.turns._replays.followed == frozenset()
        sharing = other.turns._sharing
        assert sharing is not None
        assert not sharing._mirrors


async def test_what_is_forgotten_is_kept_nowhere_though_the_logs_fail_meanwhile() -> None:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    async with shared(logs, "w1") as sharing:
        for turn_id in ("gone", "kept"):
            log = EventLog(turn_id)
            sharing.share(log)
            log.append(Chunk("Hello"))
            log.append(End())
            log.close()
        await until(lambda: {"gone", "kept"} <= set(kept))
        logs.is_down = True
        sharing.forget(["gone", "unknown"])
        await asyncio.sleep(0.1)
        logs.is_down = False
        await until(lambda: "gone" not in kept)

    assert [batch.last for batch in kept["kept"]] == [2]


async def test_what_is_forgotten_before_it_was_written_never_is() -> None:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    logs.is_down = True
    async with shared(logs, "w1") as sharing:
        log = EventLog("gone")
        sharing.share(log)
        log.append(Chunk("Hello"))
        sharing.forget(["gone"])
        log.append(End())
        log.close()
        logs.is_down = False

    assert "gone" not in kept
