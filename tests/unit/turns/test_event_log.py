"""The event log and its followers."""

import asyncio

import pytest

from backend.domain.events import Chunk, End, Event, Unknown
from backend.turns.event_log import Batch, EventLog, Follower


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


async def test_an_event_that_this_version_does_not_know_counts_and_is_not_shown() -> None:
    unknown = Unknown(b'{"event": "later"}')
    log = EventLog("t1")
    for event in (unknown, Chunk("a"), unknown, unknown, Chunk("b"), End(), unknown):
        log.append(event)
    log.close()

    shown = {after: [batch async for batch in log.follow(after).batches()] for after in range(8)}

    both = [Batch(1, [Chunk("a")]), Batch(4, [Chunk("b"), End()])]
    assert shown[0] == shown[1] == both
    assert shown[2] == shown[3] == shown[4] == both[1:]
    assert shown[5] == [Batch(5, [End()])]
    assert shown[6] == shown[7] == []


async def test_who_waits_is_not_woken_for_an_event_that_it_does_not_know() -> None:
    log = EventLog("t1")
    reading = asyncio.create_task(read(log.follow()))
    await asyncio.sleep(0)

    log.append(Unknown(b'{"event": "later"}'))
    await asyncio.sleep(0)
    log.append(Chunk("a"))
    log.close()

    assert await reading == [Chunk("a")]


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
    log = EventLog("t1", unfollowed=lambda: left.append("unfollowed"))
    one, other = log.follow(), log.follow()

    one.leave()
    one.leave()
    assert left == []
    other.leave()

    assert left == ["unfollowed"]


async def test_leaving_a_closed_log_is_no_news() -> None:
    left: list[str] = []
    log = EventLog("t1", unfollowed=lambda: left.append("unfollowed"))
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


async def test_quiet_is_reported_again_and_again_and_only_while_it_is_quiet() -> None:
    log = EventLog("t1")
    log.append(Chunk("a"))
    batches = log.follow().batches(quiet_seconds=0.01)

    batched = [await anext(batches) for _ in range(3)]
    log.append(End())
    log.close()
    rest = [batch async for batch in batches]

    assert batched == [Batch(0, [Chunk("a")]), Batch(1, ()), Batch(1, ())]
    assert rest == [Batch(1, [End()])]


async def test_a_reader_that_was_busy_when_quiet_would_have_been_over_reads_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = EventLog("t1")
    batches = log.follow().batches(quiet_seconds=0.01)
    reading = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    log.append(Chunk("a"))
    await reading

    await asyncio.sleep(0.05)
    log.append(End())
    log.close()

    assert [batch async for batch in batches] == [Batch(1, [End()])]
    assert caplog.records == []


async def test_quiet_begins_anew_with_each_change() -> None:
    """Changes arrive for three times the quiet time, and no heartbeat is due."""
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


async def test_a_closing_notice_leaves_each_reader_where_it_stood() -> None:
    log = EventLog("t1")
    for text in "abc":
        log.append(Chunk(text))
    log.break_off([Chunk("bye"), End()])

    whole = [batch async for batch in log.follow().batches()]
    late = [batch async for batch in log.follow(after=3).batches()]

    notice = Batch(3, [Chunk("bye"), End()], is_closing_notice=True)
    assert whole == [Batch(0, [Chunk("a"), Chunk("b"), Chunk("c")]), notice]
    assert late == [notice]
    assert list(notice.placed()) == [(3, Chunk("bye")), (3, End())]
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
