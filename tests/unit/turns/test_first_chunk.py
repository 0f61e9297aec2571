"""Each turn with a first chunk is observed, and each that kept its client waiting is missed."""

import asyncio
from collections.abc import Callable

import pytest

from backend.domain.conversation import ANONYMOUS, Outcome
from backend.turns.first_chunk import FirstChunk, FirstChunks
from tests.counting import Growth
from tests.fakes import Scripted, says
from tests.unit.turns.turn_world import World, read
from tests.waiting import waiting


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def observed(growth: Growth) -> tuple[float, float, float]:
    """The number of observed chunks, the sum of their seconds, and the number of missed ones."""
    name = "lex_time_to_first_chunk_seconds"
    return (
        growth.of(f"{name}_count"),
        round(growth.of(f"{name}_sum"), 6),
        growth.of("lex_first_chunks_missed_total"),
    )


Story = Callable[[FirstChunk, Clock], None]


def leaves_late(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 2.1
    chunk.left()
    chunk.ended(Outcome.DISCONNECTED, has_chunk=False)


def leaves_soon(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 1.9
    chunk.left()
    clock.now = 60
    chunk.ended(Outcome.DISCONNECTED, has_chunk=False)


def fails_late(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 2.1
    chunk.ended(Outcome.FAILED, has_chunk=False)
    chunk.left()


def fails_soon(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 0.1
    chunk.ended(Outcome.FAILED, has_chunk=False)
    clock.now = 60
    chunk.left()


def leaves_while_the_chunk_is_sent(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 3
    chunk.ended(Outcome.COMPLETED, has_chunk=True)
    chunk.left()


def gets_it_after_the_turn(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 1
    chunk.ended(Outcome.COMPLETED, has_chunk=True)
    clock.now = 1.5
    chunk.sent()
    chunk.left()


def gets_it_twice(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 1.5
    chunk.sent()
    clock.now = 4
    chunk.sent()
    chunk.left()
    chunk.ended(Outcome.COMPLETED, has_chunk=True)


def comes_back(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 1
    chunk.left()
    clock.now = 30
    chunk.came()
    clock.now = 30.5
    chunk.sent()
    chunk.ended(Outcome.COMPLETED, has_chunk=True)


def leaves_twice(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 1.5
    chunk.left()
    clock.now = 30
    chunk.came()
    clock.now = 31
    chunk.left()
    chunk.ended(Outcome.DISCONNECTED, has_chunk=False)


def is_refused(chunk: FirstChunk, clock: Clock) -> None:
    clock.now = 10
    chunk.drop()
    chunk.left()


@pytest.mark.parametrize(
    ("story", "counts"),
    [
        (leaves_late, (0, 0, 1)),
        (leaves_soon, (0, 0, 0)),
        (fails_late, (0, 0, 1)),
        (fails_soon, (0, 0, 0)),
        (leaves_while_the_chunk_is_sent, (0, 0, 1)),
        (gets_it_after_the_turn, (1, 1.5, 0)),
        (gets_it_twice, (1, 1.5, 0)),
        (comes_back, (1, 1.5, 0)),
        (leaves_twice, (0, 0, 1)),
        (is_refused, (0, 0, 0)),
    ],
)
async def test_a_turn_is_observed_or_missed_or_says_nothing(
    story: Story, counts: tuple[float, float, float], clock: Clock
) -> None:
    growth = Growth()

    story(FirstChunk("sse", 0, clock=clock), clock)

    assert observed(growth) == counts


async def test_a_client_may_come_back_to_a_turn_that_has_ended(clock: Clock) -> None:
    growth, chunks = Growth(), FirstChunks()
    chunk = FirstChunk("sse", 0, clock=clock, grace_seconds=60)
    clock.now = 3
    chunk.left()
    chunk.ended(Outcome.COMPLETED, has_chunk=True)
    still_open = observed(growth)
    clock.now = 20

    chunk.came()
    chunk.sent()

    assert still_open == (0, 0, 0)
    assert observed(growth) == (1, 3, 0)
    assert chunks.of("t1") is None


async def test_a_client_that_stays_away_has_missed_its_chunk(clock: Clock) -> None:
    growth = Growth()
    chunk = FirstChunk("websocket", 0, clock=clock, grace_seconds=0.01)
    clock.now = 3
    chunk.left()

    chunk.ended(Outcome.COMPLETED, has_chunk=True)

    async with waiting():
        while observed(growth) != (0, 0, 1):
            await asyncio.sleep(0.005)
    labels = {"outcome": "completed", "transport": "websocket"}
    assert growth.of("lex_first_chunks_missed_total", **labels) == 1


async def test_a_replay_of_an_ended_turn_is_the_return_of_its_client() -> None:
    growth, thinking = Growth(), asyncio.Event()
    world = World(Scripted([thinking, *says("Hello.").steps]))
    turn_id, follower = await world.start(is_resumable=True)
    follower.leave()
    thinking.set()
    while await world.outcome(turn_id) is None:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    back = await world.turns.follow(ANONYMOUS, turn_id)
    assert back.first_chunk is not None
    back.first_chunk.sent()
    again = await world.turns.follow(ANONYMOUS, turn_id)

    assert again.first_chunk is None
    await read(back)
    await world.turns.close()
    assert observed(growth)[::2] == (1, 0)


async def test_a_stop_of_the_worker_counts_those_that_did_not_come_back() -> None:
    growth, thinking = Growth(), asyncio.Event()
    world = World(Scripted([thinking, *says("Hello.").steps]))
    _, follower = await world.start(is_resumable=True, asked_at=-10.0)
    follower.leave()
    thinking.set()

    await world.turns.close()

    assert observed(growth) == (0, 0, 1)
