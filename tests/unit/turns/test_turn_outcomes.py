"""The outcome of a turn: clients see the one that is stored."""

import asyncio
import time
from collections.abc import Callable

import pytest

from backend.domain.conversation import ANONYMOUS, Outcome
from backend.domain.errors import StorageError, UpstreamUnavailable
from backend.domain.events import Chunk, End, TokenUsage, TurnOutcome
from backend.domain.usage import Usage
from backend.llm.port import Finish, FinishReason, Text
from backend.storage.memory.sessions import MemorySessions
from backend.turns.turn_task import TurnTask
from tests.counting import Growth
from tests.fakes import Clock, Gates, Scripted, breaks, calls, says
from tests.unit.turns.turn_world import MuteSessions, World, broken_off, ended, read, until


async def is_stored_alike(world: World, turn_id: str, shown: TurnOutcome) -> bool:
    """Whether the stored turn has the same fields as the event."""
    record = await world.sessions.turn("anonymous", turn_id)
    assert record.outcome is not None
    stored = (record.outcome.value, record.finish_reason, record.model, record.rounds)
    usage = record.usage
    return stored == (shown.outcome, shown.finish_reason, shown.model, shown.rounds) and (
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens + usage.output_tokens,
    ) == (shown.usage.prompt_tokens, shown.usage.completion_tokens, shown.usage.total_tokens)


def outcome_in(events: list[object]) -> TurnOutcome:
    """Return the `outcome` event, which must stand right before `end` and nowhere else."""
    (outcome,) = [event for event in events if isinstance(event, TurnOutcome)]
    assert events[-2:] == [outcome, End()]
    return outcome


async def test_the_tokens_of_all_rounds_are_added_up_and_the_last_completion_says_why() -> None:
    world = World(calls(("echo", '{"word": "x"}')), says("Done.", usage=Usage(100, 7)))

    turn_id, follower = await world.start()
    shown = outcome_in([*await read(follower)])

    assert shown == TurnOutcome("completed", "stop", "scripted", 2, TokenUsage(110, 12, 122))
    assert await is_stored_alike(world, turn_id, shown)


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls"])
async def test_an_answer_that_was_cut_is_completed_and_says_so(reason: FinishReason) -> None:
    finish = Finish(reason=reason, model="scripted", usage=Usage(10, 5))
    world = World(Scripted([Text("It is"), finish]))

    turn_id, follower = await world.start()
    events = await read(follower)

    assert events == [Chunk("It is"), *ended(finish_reason=reason)]
    assert await is_stored_alike(world, turn_id, outcome_in([*events]))


async def test_a_completion_that_breaks_off_has_no_reason_though_one_before_it_had() -> None:
    world = World(calls(("echo", '{"word": "x"}')), breaks(UpstreamUnavailable(), Text("Half")))

    turn_id, follower = await world.start()
    events = await read(follower)

    assert events[-2:] == ended(Outcome.FAILED, finish_reason=None, rounds=2)
    assert await is_stored_alike(world, turn_id, outcome_in([*events]))


async def test_an_answer_that_was_cut_short_names_the_model_that_gave_it() -> None:
    world = World(breaks(UpstreamUnavailable(), Text("Half", model="a-model")))

    turn_id, follower = await world.start()
    events = await read(follower)

    assert events[-2:] == broken_off(Outcome.FAILED, model="a-model")
    assert await is_stored_alike(world, turn_id, outcome_in([*events]))


async def test_a_turn_that_is_stopped_at_its_tools_has_the_reason_that_called_them() -> None:
    gates = Gates()
    world = World(calls(("wait", '{"word": "x"}')), tools=gates.tools)
    turn_id, follower = await world.start()
    await gates.begun.wait()

    await world.turns.stop(ANONYMOUS, turn_id)
    events = await read(follower)

    assert events[-2:] == ended(Outcome.CANCELLED, finish_reason="tool_calls")
    assert await is_stored_alike(world, turn_id, outcome_in([*events]))


async def test_the_time_to_the_first_chunk_ends_with_it_and_not_with_a_later_one() -> None:
    gate = asyncio.Event()
    begun = time.perf_counter()
    world = World(Scripted([Text("One"), gate, *says("Two").steps]))
    turn_id, follower = await world.start()
    await anext(follower.batches())
    seconds = time.perf_counter() - begun
    await asyncio.sleep(0.05)
    gate.set()
    await read(follower)

    stored = (await world.sessions.turn("anonymous", turn_id)).first_chunk_seconds

    assert stored is not None
    assert 0 < stored < seconds


async def test_every_reader_is_shown_the_same_live_and_in_a_replay() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, one = await world.start(is_resumable=True)
    other = await world.turns.follow(ANONYMOUS, turn_id)
    await anext(one.batches())

    await world.turns.stop(ANONYMOUS, turn_id)
    streams = [await read(other), await read(await world.turns.follow(ANONYMOUS, turn_id))]
    behind_it = await read(await world.turns.follow(ANONYMOUS, turn_id, after=2))

    assert streams == [[Chunk("Half"), *broken_off(Outcome.CANCELLED)]] * 2
    assert behind_it == [End()]


def running(world: World, turn_id: str) -> TurnTask:
    turn = world.turns._running.get(turn_id)
    assert turn is not None
    return turn


async def test_nothing_goes_wrong_behind_the_end_of_a_turn_without_a_chunk() -> None:
    gate = asyncio.Event()
    world = World(breaks(UpstreamUnavailable(), gate))
    turn_id, follower = await world.start()
    task = running(world, turn_id).task

    gate.set()
    await read(follower)
    await asyncio.wait([task])

    assert task.exception() is None


Cause = Callable[[World, str], None]


def stops(outcome: Outcome) -> Cause:
    def stop(world: World, turn_id: str) -> None:
        running(world, turn_id).stop(outcome)

    return stop


def cancels(world: World, turn_id: str) -> None:
    """Cancel the turn's task, like an event loop that is closing."""
    running(world, turn_id).task.cancel()


@pytest.mark.parametrize(
    ("causes", "outcome"),
    [
        ([stops(Outcome.CANCELLED), stops(Outcome.DISCONNECTED)], Outcome.CANCELLED),
        ([stops(Outcome.DISCONNECTED), stops(Outcome.CANCELLED)], Outcome.DISCONNECTED),
        ([stops(Outcome.CANCELLED), cancels], Outcome.CANCELLED),
        ([cancels, stops(Outcome.DISCONNECTED)], Outcome.DISCONNECTED),
        ([cancels], Outcome.CANCELLED),
    ],
)
@pytest.mark.parametrize("moment", ["asking", "speaking", "booking"])
async def test_of_several_causes_one_is_shown_and_the_same_is_stored(
    causes: list[Cause], outcome: Outcome, moment: str
) -> None:
    gates = Gates()
    script = {
        "asking": Scripted([asyncio.Event()]),
        "speaking": Scripted([Text("Half"), asyncio.Event()]),
        "booking": calls(("book", '{"word": "x"}')),
    }[moment]
    world = World(script, tools=gates.tools)
    turn_id, follower = await world.start(is_resumable=True)
    await until(lambda: world.model.open_completions == 1 or gates.begun.is_set())
    if moment == "booking":
        await gates.begun.wait()

    for cause in causes:
        cause(world, turn_id)
    gates.opened.set()
    shown = outcome_in([*await read(follower)])

    assert shown.outcome == outcome
    assert await is_stored_alike(world, turn_id, shown)


async def test_a_turn_that_runs_out_of_time_while_it_is_stopped_tells_what_is_stored() -> None:
    gates = Gates()
    world = World(calls(("book", '{"word": "x"}')), tools=gates.tools, timeout_seconds=0.05)
    turn_id, follower = await world.start(is_resumable=True)
    await gates.begun.wait()
    task = running(world, turn_id).task
    await until(
        lambda: task.cancelling() > 0
    )  # the time-out has passed, and the turn waits for its booking

    stopping = asyncio.create_task(world.turns.stop(ANONYMOUS, turn_id))
    gates.opened.set()
    await stopping
    shown = outcome_in([*await read(follower)])

    assert await is_stored_alike(world, turn_id, shown)


async def test_a_turn_that_was_taken_over_is_shown_as_failed_like_the_stored_one() -> None:
    clock, gate = Clock(), asyncio.Event()
    sessions = MemorySessions(lease_seconds=15, clock=clock)
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]), sessions=sessions)
    turn_id, follower = await world.start()
    clock.sleep(16)
    await sessions.turn_with_log("anonymous", turn_id)

    gate.set()
    shown = outcome_in([*await read(follower)])

    assert shown.outcome == "failed"
    assert await world.outcome(turn_id) is Outcome.FAILED


async def test_the_log_of_a_turn_that_was_refused_has_no_outcome() -> None:
    sessions = MuteSessions(lease_seconds=15)
    sessions.gate = asyncio.Event()
    world = World(says("Hello"), sessions=sessions)
    starting = asyncio.create_task(world.start(idempotency_key="k"))
    await until(lambda: world.turns.free_slots == 9)
    sessions.gate.set()
    with pytest.raises(StorageError):
        await starting
    await world.turns.store_endings()

    _, replay = await world.start(idempotency_key="k")

    assert [event.event for event in await read(replay)] == ["error", "end"]


async def test_a_turn_that_another_worker_closed_is_lost_and_not_ended() -> None:
    growth, thinking = Growth(), asyncio.Event()
    world = World(Scripted([thinking, *says("Hello.").steps]))
    turn_id, follower = await world.start()
    await world.sessions.retire("w1")
    await world.sessions.close_lost()

    thinking.set()
    await read(follower)
    await world.turns.close()

    assert (await world.sessions.turn("anonymous", turn_id)).error_code == "worker_lost"
    assert growth.of("lex_turns_lost_total") == 1
    assert growth.of("lex_turns_total") == 0
