"""Follow turns on another worker, while the shared logs fail, recover and lose events."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from backend.aio.periodic import repeat
from backend.domain.conversation import ANONYMOUS, Outcome
from backend.domain.events import Chunk, End, Event, encode
from backend.llm.port import Text
from backend.storage.ports.shared_logs import Received, SharedBatch
from backend.turns.event_log import EventLog
from backend.turns.outbox import MOST_AT_ONCE
from backend.turns.shared_logs import SharedLogs
from tests.fakes import MemoryLogs, Scripted, says
from tests.unit.turns.turn_world import World, broken_off, ended, read, until
from tests.waiting import waiting, within_limit

Kept = dict[str, list[SharedBatch]]


@asynccontextmanager
async def shared(logs: MemoryLogs, worker: str) -> AsyncIterator[SharedLogs]:
    shared_logs = SharedLogs(logs, worker=worker)
    shared_logs.open()
    try:
        yield shared_logs
    finally:
        await shared_logs.close()


@asynccontextmanager
async def two_workers(*script: Scripted) -> AsyncIterator[tuple[World, World, MemoryLogs]]:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    async with shared(logs, "w1") as of_one, shared(MemoryLogs(kept), "w2") as of_other:
        one = World(*script, shared_logs=of_one)
        other = World(says("Other"), sessions=one.sessions, worker="w2", shared_logs=of_other)
        keeping = asyncio.create_task(
            repeat(one.turns.renew, every_seconds=60, name="renew", sooner=one.turns.wake)
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
    assert rest == [Chunk("lo"), *ended()]


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
    assert rest == [Chunk("Four"), *ended()]


async def test_a_plain_turn_is_not_shared() -> None:
    async with two_workers(says("Hello")) as (one, _, logs):
        await one.ask()

    assert logs.writes == []


async def test_a_stop_on_another_worker_is_heard_at_once() -> None:
    async with two_workers(Scripted([Text("Half"), asyncio.Event()])) as (one, other, _):
        turn_id, follower = await one.start(is_resumable=True)

        async with waiting():
            await other.turns.stop(ANONYMOUS, turn_id)
            events = await read(follower)

        assert events[-2:] == broken_off(Outcome.CANCELLED)
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
        logs.kept.clear()  # the store restarts without its content
        gates[0].set()
        await asyncio.sleep(0.1)
        logs.is_down = False
        gates[1].set()
        while len(received) < 3:
            received += (await anext(batches)).events
        assert await one.outcome(turn_id) is None
        assert logs.kept[turn_id][0].after == 0
        gates[2].set()
        received += await read(follower)

    assert received == [Chunk("1"), Chunk("2"), Chunk("3"), Chunk("4"), *ended()]


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
                    "a foreign format": SharedBatch(turn_id, 0, 1, b'[{"text": "Hel"}]'),
                    "another length": SharedBatch(turn_id, 0, 2, encode([Chunk("Hel")])),
                }[fault]
            ]
        with capture_logs() as said:
            follower = await other.turns.follow(ANONYMOUS, turn_id)
            gate.set()
            events = await read(follower)

    assert events == [Chunk("Hel"), Chunk("lo"), *ended()]
    losses = [line["turn"] for line in said if line["event"] == "shared_log_lost"]
    assert losses == ([] if fault == "never up" else [turn_id])


@pytest.mark.parametrize("seed", range(5))
async def test_the_shared_log_and_the_store_say_nothing_twice(seed: int) -> None:
    """No event arrives twice, even if the other one delivers the end first."""
    chance = random.Random(seed)  # noqa: S311 - not used for secrets
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

    whole = [*map(Chunk, texts), Chunk("!"), *ended()]
    assert heard == [whole[start:] for start in starts]


async def test_many_changes_between_two_writes_are_one_batch_a_log() -> None:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    async with shared(logs, "w1") as shared_logs:
        written = [EventLog(f"t{number}") for number in range(3)]
        for log in written:
            shared_logs.share(log)
            for number in range(50):
                log.append(Chunk(str(number)))
        await until(lambda: len(kept) == 3)

    assert [[batch.last for batch in kept[log.turn_id]] for log in written] == [[50]] * 3


async def test_however_many_logs_change_all_the_time_each_is_written_in_its_turn() -> None:
    logs = MemoryLogs({})
    async with shared(logs, "w1") as shared_logs:
        written = [EventLog(f"t{number}") for number in range(3 * MOST_AT_ONCE)]
        for log in written:
            shared_logs.share(log)
        while len(logs.writes) < 3:
            for log in written:
                log.append(Chunk("more"))
            await asyncio.sleep(0.001)

    first = {batch.turn_id for batches in logs.writes[:3] for batch in batches}
    assert first == {log.turn_id for log in written}


async def test_logs_that_end_while_nothing_can_be_written_are_not_kept() -> None:
    logs = MemoryLogs({})
    logs.is_down = True
    async with shared(logs, "w1") as shared_logs:
        for number in range(20):
            log = EventLog(f"t{number}")
            shared_logs.share(log)
            log.append(End())
            log.close()
        await until(lambda: not shared_logs._outbox._written)
        logs.is_down = False
        shared_logs.nudge("w2")
        await until(lambda: "w2" in logs.kept)

    assert list(logs.kept) == ["w2"]


async def test_a_worker_that_leaves_shares_its_last_words_and_waits_no_longer() -> None:
    kept: Kept = {}
    with capture_logs() as said:
        async with shared(MemoryLogs(kept), "w1") as shared_logs:
            log = EventLog("t1")
            shared_logs.share(log)
            log.append(Chunk("Bye"))
            log.append(End())
            log.close()

    assert kept["t1"][-1].last == 2
    assert not shared_logs._outbox._written
    assert "last_events_not_shared" not in [line["event"] for line in said]


class WaitingLogs(MemoryLogs):
    """Answers a read when `gate` opens, for the positions that it asked for."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept)
        self.asked: list[Mapping[str, int]] = []
        self.gate = asyncio.Event()

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
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
    async with shared(logs, "w2") as shared_logs:
        shared_logs.fill(first)
        await until(lambda: {"t1": 2} in logs.asked)
        shared_logs.fill(second)
        logs.gate.set()

        await until(lambda: second.events == events)
        logs.kept["t1"].append(SharedBatch("t1", 3, 4, encode([Chunk("4")])))
        await until(lambda: second.last == 4)

    assert first.events == [*events[2:], Chunk("4")]


async def test_what_cannot_be_read_is_no_loss_for_a_log_that_has_it_already() -> None:
    garbled = SharedBatch("t1", 0, 1, b"garbled")
    logs = MemoryLogs({"t1": [garbled, SharedBatch("t1", 1, 2, encode([End()]))]})
    first, second = EventLog("t1", begins_after=1), EventLog("t1")
    async with shared(logs, "w2") as shared_logs:
        shared_logs.fill(first)
        shared_logs.fill(second)
        await until(lambda: first.is_closed)

    assert first.events == [End()]
    assert second.events == []


async def test_between_two_batches_of_a_read_others_have_their_turn() -> None:
    batches = [SharedBatch("t1", after, after + 1, encode([Chunk("word")])) for after in range(50)]
    log, seen = EventLog("t1"), set()
    async with shared(MemoryLogs({"t1": batches}), "w2") as shared_logs:
        shared_logs.fill(log)
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
        shared_logs = other.turns._shared_logs
        assert shared_logs is not None
        assert not shared_logs._mirrors


async def test_a_log_that_has_come_to_its_end_is_not_read_for_any_more() -> None:
    log = EventLog("t1")
    logs = MemoryLogs({"t1": [SharedBatch("t1", 0, 1, encode([End()]))]})
    async with shared(logs, "w2") as shared_logs:
        shared_logs.fill(log)
        await until(lambda: log.is_closed)

        assert not shared_logs._mirrors


async def test_what_is_forgotten_is_kept_nowhere_though_the_logs_fail_meanwhile() -> None:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    async with shared(logs, "w1") as shared_logs:
        for turn_id in ("gone", "kept"):
            log = EventLog(turn_id)
            shared_logs.share(log)
            log.append(Chunk("Hello"))
            log.append(End())
            log.close()
        await until(lambda: {"gone", "kept"} <= set(kept))
        logs.is_down = True
        shared_logs.forget(["gone", "unknown"])
        await asyncio.sleep(0.1)
        logs.is_down = False
        await until(lambda: "gone" not in kept)

    assert [batch.last for batch in kept["kept"]] == [2]


async def test_what_is_forgotten_before_it_was_written_never_is() -> None:
    kept: Kept = {}
    logs = MemoryLogs(kept)
    logs.is_down = True
    async with shared(logs, "w1") as shared_logs:
        log = EventLog("gone")
        shared_logs.share(log)
        log.append(Chunk("Hello"))
        shared_logs.forget(["gone"])
        log.append(End())
        log.close()
        logs.is_down = False

    assert "gone" not in kept


async def test_others_are_written_although_one_was_forgotten_before_it_was() -> None:
    kept: Kept = {}
    async with shared(MemoryLogs(kept), "w1") as shared_logs:
        await until(lambda: shared_logs.is_up)
        for turn_id in ("gone", "kept"):
            log = EventLog(turn_id)
            shared_logs.share(log)
            log.append(Chunk("Hello"))
        shared_logs.forget(["gone"])
        await until(lambda: "kept" in kept)

    assert "gone" not in kept


async def test_a_redis_that_can_be_read_and_not_written_is_down_with_its_reason() -> None:
    logs = MemoryLogs({})
    logs.is_read_only = True
    async with shared(logs, "w1") as shared_logs:
        async with waiting():
            while shared_logs.fault is None:
                await asyncio.sleep(0.01)
        first = (shared_logs.is_up, shared_logs.fault)
        logs.is_read_only = False
        async with waiting():
            while not shared_logs.is_up:
                await asyncio.sleep(0.01)

    assert first == (False, "a replica, which takes no writes")
    assert shared_logs.fault is None


async def test_a_redis_that_takes_no_more_writes_is_down_until_it_does() -> None:
    logs = MemoryLogs({})
    seen = []
    async with shared(logs, "w1") as shared_logs:
        await until(lambda: shared_logs.is_up)
        for is_read_only in (True, False):
            logs.is_read_only = is_read_only
            shared_logs.nudge("w2")
            await until(lambda: shared_logs.is_up is not logs.is_read_only)
            seen.append(REGISTRY.get_sample_value("lex_redis_up"))

    assert seen == [0, 1]


class ForgetfulLogs(MemoryLogs):
    """Its reader misses one cancellation, as redis-py's does now and then on Python 3.11."""

    has_missed = False

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            if self.has_missed:
                raise
            self.has_missed = True
        return await super().read(worker, after)


async def test_a_worker_leaves_although_its_reader_misses_the_cancellation() -> None:
    logs = ForgetfulLogs({})
    shared_logs = SharedLogs(logs, worker="w1")
    shared_logs.open()
    await asyncio.sleep(0)

    await within_limit(shared_logs.close())

    assert logs.has_missed
