"""The life of a turn: claim, conversation, ending, and the end of a turn without followers."""

import asyncio
import gc
import weakref

import msgspec
import pytest

from backend.domain.conversation import ANONYMOUS, Message, Outcome
from backend.domain.errors import (
    Draining,
    Overloaded,
    SessionBusy,
    SessionNotFound,
    UpstreamUnavailable,
)
from backend.domain.events import Chunk, Event, Failure
from backend.llm.port import Text
from tests.fakes import Gates, Scripted, breaks, calls, says
from tests.unit.turns.turn_world import SlowSessions, World, broken_off, ended, read, until


async def test_a_stream_ends_with_one_end_and_the_history_says_what_it_said() -> None:
    world = World(says("Hello", " there"))

    turn_id, follower = await world.start()
    events = await read(follower)

    assert events == [Chunk("Hello"), Chunk(" there"), *ended()]
    assert await world.messages() == [Message.user("Hi"), Message.assistant("Hello there")]
    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_a_turn_that_has_ended_is_freed_without_the_garbage_collector() -> None:
    world = World(calls(("echo", '{"word": "x"}')), says("Done."))
    gc.disable()
    try:
        _, follower = await world.start(is_resumable=True)
        (freed,) = map(weakref.ref, world.turns._running)
        await read(follower)
        await until(lambda: world.turns.free_slots == 10)
        del follower

        assert freed() is None
    finally:
        gc.enable()


async def test_who_has_read_the_end_may_ask_again_at_once() -> None:
    world = World(says("One"), says("Two"))

    await world.ask()
    events = await world.ask("And?")

    assert events == [Chunk("Two"), *ended()]
    assert [message.content for message in world.model.requests[1].messages] == [
        "Hi",
        "One",
        "And?",
    ]


async def test_only_the_first_turn_begins_its_session() -> None:
    world = World(says("One."), says("Two."))

    begins = []
    for query in ("Hello", "Again"):
        _, follower = await world.start(query)
        await read(follower)
        begins.append(follower.begins_session)

    assert begins == [True, False]


async def test_the_finished_log_is_what_was_streamed() -> None:
    world = World(calls(("echo", '{"word": "x"}')), says("Done."))

    turn_id, follower = await world.start()
    events = await read(follower)

    blob = (await world.sessions.turn_with_log("anonymous", turn_id)).log
    assert blob is not None
    assert msgspec.json.decode(blob, type=list[Event]) == events


async def test_a_failure_is_one_error_and_one_end_and_is_kept() -> None:
    world = World(breaks(UpstreamUnavailable(), Text("Half")))

    turn_id, follower = await world.start()
    events = await read(follower)

    assert events == [
        Chunk("Half"),
        Failure("upstream_unavailable", UpstreamUnavailable.message, retryable=True),
        *broken_off(Outcome.FAILED),
    ]
    assert await world.messages() == [Message.user("Hi"), Message.assistant("Half")]
    record = await world.sessions.turn("anonymous", turn_id)
    assert (record.outcome, record.error_code) == (Outcome.FAILED, "upstream_unavailable")


async def test_a_turn_that_takes_too_long_is_timed_out() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), timeout_seconds=0.05)

    turn_id, follower = await world.start()
    events = await read(follower)

    assert events[0] == Chunk("Half")
    assert isinstance(events[1], Failure)
    assert events[1].code == "turn_timed_out"
    assert events[2:] == broken_off(Outcome.TIMED_OUT)
    assert await world.outcome(turn_id) is Outcome.TIMED_OUT
    assert world.model.open_completions == 0


async def test_a_defect_of_ours_still_ends_the_stream() -> None:
    world = World(Scripted(["not a step"]))  # type: ignore[list-item]

    events = await world.ask()

    assert [event.event for event in events[:-2]] == ["error"]
    assert events[-2:] == broken_off(Outcome.FAILED)
    assert await world.ask() == events


@pytest.mark.parametrize("moment", ["before_first_chunk", "mid_stream"])
async def test_a_turn_is_cancelled_when_its_last_follower_leaves(moment: str) -> None:
    before: list[Text] = [] if moment == "before_first_chunk" else [Text("Half")]
    world = World(Scripted([*before, asyncio.Event()]))
    turn_id, follower = await world.start()
    await until(lambda: world.model.open_completions == 1)
    if before:
        await anext(follower.batches())

    follower.leave()
    await until(lambda: world.turns.free_slots == 10)

    assert world.model.open_completions == 0
    assert await world.outcome(turn_id) is Outcome.DISCONNECTED
    shown = [Message.assistant("Half")] if before else []
    assert await world.messages() == [Message.user("Hi"), *shown]


async def test_leaving_while_tools_run_lets_a_booking_complete() -> None:
    gates = Gates()
    world = World(calls(("book", '{"word": "slot"}'), ("wait", '{"word": "x"}')), tools=gates.tools)
    turn_id, follower = await world.start()
    await gates.begun.wait()

    follower.leave()
    await asyncio.sleep(0.01)
    assert world.turns.free_slots == 9
    gates.opened.set()
    await until(lambda: world.turns.free_slots == 10)

    assert gates.ended == ["x cancelled", "slot done"]
    outputs = [message.content for message in (await world.messages())[2:]]
    assert outputs[0] == '{"word": "slot"}'
    assert "interrupted" in outputs[1]
    log = (await world.sessions.turn_with_log("anonymous", turn_id)).log
    assert log is not None
    assert log.count(b"tool_output") == 2


async def test_leaving_during_the_claim_never_asks_the_model() -> None:
    slow = SlowSessions()
    world = World(says("Hello"), sessions=slow)
    starting = asyncio.create_task(world.start())
    await until(lambda: world.turns.free_slots == 9)

    starting.cancel()
    await asyncio.wait([starting])
    slow.gate.set()
    await until(lambda: world.turns.free_slots == 10)

    assert world.model.requests == []
    (turn,) = await slow.turns("anonymous", "s1")
    assert turn.outcome is Outcome.DISCONNECTED


async def test_leaving_after_the_answer_is_whole_changes_nothing() -> None:
    world = World(says("Hello"))
    turn_id, follower = await world.start()
    await read(follower)

    follower.leave()

    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_a_second_turn_on_a_busy_session_is_refused_and_the_first_unharmed() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    _, follower = await world.start()

    with pytest.raises(SessionBusy):
        await world.start("Me too")
    gate.set()

    assert await read(follower) == [Chunk("Hel"), Chunk("lo"), *ended()]


async def test_beyond_its_slots_a_worker_refuses_and_then_takes_turns_again() -> None:
    world = World(Scripted([asyncio.Event()]), max_streams=1)
    _, follower = await world.start(session_id="s1")

    with pytest.raises(Overloaded):
        await world.start(session_id="s2")
    follower.leave()
    await until(lambda: world.turns.free_slots == 1)

    await world.start(session_id="s2")
    await world.turns.close()


async def test_a_session_that_must_exist_and_does_not_is_refused() -> None:
    world = World(says("Hello"))

    with pytest.raises(SessionNotFound):
        await world.turns.start(ANONYMOUS, session_id="s1", query="Hi", creates_session=False)

    assert world.model.requests == []


async def test_closing_stops_and_stores_every_turn() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start()
    await anext(follower.batches())

    await world.turns.close()

    assert await world.outcome(turn_id) is Outcome.CANCELLED
    assert (await read(follower))[-2:] == broken_off(Outcome.CANCELLED)
    with pytest.raises(Draining):
        await world.start()


async def test_deleting_a_session_stops_its_turn_first() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start()
    await anext(follower.batches())

    await world.turns.stop_session("anonymous", "s1")

    assert await world.outcome(turn_id) is Outcome.CANCELLED
    assert world.model.open_completions == 0
