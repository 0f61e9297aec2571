"""The event log and its followers."""

import asyncio

from backend.events import Chunk, End, Event
from backend.log import Batch, EventLog, Follower


async def read(follower: Follower) -> list[Event]:
    return [event async for batch in follower.batches() for event in batch.events]


async def test_a_follower_reads_what_was_there_and_what_comes() -> None:
    log = EventLog("t1")
    log.append(Chunk("a"))
    reading = asyncio.create_task(read(log.follow()))
    await asyncio.sleep(0)

    log.append(Chunk("b"))
    await asyncio.sleep(0)
    log.append(End())
    log.close()

    assert await reading == [Chunk("a"), Chunk("b"), End()]


async def test_followers_are_independent_and_begin_where_they_ask() -> None:
    log = EventLog("t1")
    for text in "abc":
        log.append(Chunk(text))
    log.close()

    everything, rest = await asyncio.gather(read(log.follow()), read(log.follow(after=2)))

    assert everything == [Chunk("a"), Chunk("b"), Chunk("c")]
    assert rest == [Chunk("c")]


async def test_events_that_came_together_are_one_batch() -> None:
    log = EventLog("t1")
    batches = log.follow().batches()
    first = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)

    log.append(Chunk("a"))
    log.append(Chunk("b"))

    assert await first == Batch(0, [Chunk("a"), Chunk("b")])
    await batches.aclose()


async def test_a_log_says_once_that_its_last_follower_left() -> None:
    left: list[str] = []
    log = EventLog("t1", deserted=lambda: left.append("deserted"))
    one, other = log.follow(), log.follow()

    one.leave()
    one.leave()
    assert left == []
    other.leave()

    assert left == ["deserted"]


async def test_leaving_a_closed_log_is_no_news() -> None:
    left: list[str] = []
    log = EventLog("t1", deserted=lambda: left.append("deserted"))
    follower = log.follow()
    log.close()

    follower.leave()

    assert left == []


async def test_who_stops_waiting_may_read_on_later() -> None:
    log = EventLog("t1")
    follower = log.follow()
    reading = asyncio.create_task(read(follower))
    await asyncio.sleep(0)

    reading.cancel()
    await asyncio.wait([reading])
    log.append(Chunk("a"))
    log.close()

    assert await read(follower) == [Chunk("a")]


async def test_a_follower_that_leaves_ends_its_wait() -> None:
    log = EventLog("t1")
    follower = log.follow()
    reading = asyncio.create_task(read(follower))
    await asyncio.sleep(0)

    follower.leave()
    log.append(Chunk("a"))

    assert await reading == []


async def test_quiet_is_told_again_and_again_and_only_while_it_is_quiet() -> None:
    log = EventLog("t1")
    log.append(Chunk("a"))
    batches = log.follow().batches(quiet_seconds=0.01)

    told = [await anext(batches) for _ in range(3)]
    log.append(End())
    log.close()
    rest = [batch async for batch in batches]

    assert told == [Batch(0, [Chunk("a")]), Batch(1, ()), Batch(1, ())]
    assert rest == [Batch(1, [End()])]


async def test_quiet_begins_anew_with_each_change() -> None:
    """However long the changes go on: here for three times as long as quiet would take."""
    log, loop = EventLog("t1"), asyncio.get_running_loop()
    quiet_seconds = 1.0
    changed_at = [loop.time()]

    async def change() -> None:
        while changed_at[-1] - changed_at[0] < 3 * quiet_seconds:
            log.append(Chunk("a"))
            changed_at.append(loop.time())
            await asyncio.sleep(0.02)

    changing = asyncio.create_task(change())
    batches = log.follow().batches(quiet_seconds=quiet_seconds)
    async for batch in batches:
        if not batch.events:
            break
    quiet_at = loop.time()
    await batches.aclose()

    assert changing.done()
    assert quiet_at - changed_at[-1] > 0.99 * quiet_seconds
    assert log.last == len(changed_at) - 1


async def test_a_farewell_leaves_each_reader_where_it_stood() -> None:
    log = EventLog("t1")
    for text in "abc":
        log.append(Chunk(text))
    log.break_off([Chunk("bye"), End()])

    whole = [batch async for batch in log.follow().batches()]
    late = [batch async for batch in log.follow(after=3).batches()]

    farewell = Batch(3, [Chunk("bye"), End()], is_farewell=True)
    assert whole == [Batch(0, [Chunk("a"), Chunk("b"), Chunk("c")]), farewell]
    assert late == [farewell]
    assert list(farewell.placed()) == [(3, Chunk("bye")), (3, End())]
    assert [position for position, _ in whole[0].placed()] == [1, 2, 3]


async def test_a_log_that_begins_later_keeps_the_positions() -> None:
    log = EventLog("t1", begins_after=7)
    log.append(Chunk("h"))
    log.append(Chunk("i"))
    log.close()

    batches = [batch async for batch in log.follow(after=8).batches()]
    everything = [batch async for batch in log.follow().batches()]

    assert batches == [Batch(8, [Chunk("i")])]
    assert everything == [Batch(7, [Chunk("h"), Chunk("i")])]
