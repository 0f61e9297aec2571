"""The life of a turn: claim, conversation, ending; and what a leaving follower does to it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from backend.completion import Text
from backend.conversation import ANONYMOUS, Caller, Message, Outcome, now
from backend.errors import (
    Draining,
    LogGone,
    Overloaded,
    SessionBusy,
    SessionNotFound,
    StorageError,
    TurnNotFound,
    UpstreamUnavailable,
)
from backend.events import Chunk, End, Event, Failure
from backend.log import Follower
from backend.replay import LOST
from backend.storage import Claim, Ending, NewTurn, SessionStore
from backend.storage.memory import MemorySessions, memory_stores
from backend.tools.registry import Tool, Toolbox
from backend.turn import Assistant, Turn
from backend.turns import WHOLE_TRIES, Turns
from tests.fakes import Clock, Gates, Scripted, ScriptedModel, a_desk, breaks, calls, echo, says


class World:
    """Turns over a memory store and a scripted model."""

    def __init__(
        self,
        *script: Scripted,
        tools: tuple[Tool, ...] = (echo,),
        sessions: SessionStore | None = None,
        worker: str = "w1",
        **bounds: float,
    ) -> None:
        self.model = ScriptedModel(script)
        self.sessions = sessions or memory_stores(lease_seconds=15).sessions
        assistant = Assistant(
            model=self.model, toolbox=Toolbox(tools, timeout_seconds=5), flush_seconds=0
        )

        def open_turn(caller: Caller, query: str) -> Turn:
            return Turn(assistant, desk=a_desk(caller), prompt="You are Lex.", query=query)

        self.turns = Turns(
            sessions=self.sessions,
            open_turn=open_turn,
            worker=worker,
            grace_seconds=bounds.get("grace_seconds", 30),
            timeout_seconds=bounds.get("timeout_seconds", 60),
            max_streams=int(bounds.get("max_streams", 10)),
        )

    async def start(
        self, query: str = "Hi", *, session_id: str = "s1", **options: Any
    ) -> tuple[str, Follower]:
        follower = await self.turns.start(
            ANONYMOUS, session_id=session_id, query=query, creates_session=True, **options
        )
        return follower.turn_id, follower

    async def ask(self, query: str = "Hi", *, session_id: str = "s1") -> list[Event]:
        _, follower = await self.start(query, session_id=session_id)
        return await read(follower)

    async def said(self) -> list[Message]:
        stored = await self.sessions.messages("anonymous", "s1")
        return [one.message for one in stored]

    async def outcome(self, turn_id: str) -> Outcome | None:
        return (await self.sessions.turn("anonymous", turn_id)).outcome


async def read(follower: Follower) -> list[Event]:
    events = [event async for batch in follower.batches() for event in batch.events]
    follower.leave()
    return events


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


async def test_a_stream_ends_with_one_end_and_the_history_says_what_it_said() -> None:
    world = World(says("Hello", " there"))

    turn_id, follower = await world.start()
    events = await read(follower)

    assert events == [Chunk("Hello"), Chunk(" there"), End()]
    assert await world.said() == [Message.user("Hi"), Message.assistant("Hello there")]
    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_who_has_read_the_end_may_ask_again_at_once() -> None:
    world = World(says("One"), says("Two"))

    await world.ask()
    events = await world.ask("And?")

    assert events == [Chunk("Two"), End()]
    assert [message.content for message in world.model.requests[1].messages] == [
        "Hi",
        "One",
        "And?",
    ]


async def test_the_finished_log_is_what_was_streamed() -> None:
    world = World(calls(("echo", '{"word": "x"}')), says("Done."))

    turn_id, follower = await world.start()
    events = await read(follower)

    blob = await world.sessions.turn_log("anonymous", turn_id)
    assert blob is not None
    assert msgspec.json.decode(blob, type=list[Event]) == events


async def test_a_failure_is_one_error_and_one_end_and_is_kept() -> None:
    world = World(breaks(UpstreamUnavailable(), Text("Half")))

    turn_id, follower = await world.start()
    events = await read(follower)

    assert [event.event for event in events] == ["chunk", "error", "end"]
    assert events[1] == Failure("upstream_unavailable", UpstreamUnavailable.message, retryable=True)
    assert await world.said() == [Message.user("Hi"), Message.assistant("Half")]
    record = await world.sessions.turn("anonymous", turn_id)
    assert (record.outcome, record.error_code) == (Outcome.FAILED, "upstream_unavailable")


async def test_a_turn_that_takes_too_long_is_timed_out() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), timeout_seconds=0.05)

    turn_id, follower = await world.start()
    events = await read(follower)

    assert [event.event for event in events] == ["chunk", "error", "end"]
    assert isinstance(events[1], Failure)
    assert events[1].code == "turn_timed_out"
    assert await world.outcome(turn_id) is Outcome.TIMED_OUT
    assert world.model.open_completions == 0


async def test_a_defect_of_ours_still_ends_the_stream() -> None:
    world = World(Scripted(["not a step"]))  # type: ignore[list-item]

    events = await world.ask()

    assert [event.event for event in events] == ["error", "end"]
    assert await world.ask() == events


@pytest.mark.parametrize("window", ["before_first_chunk", "mid_stream"])
async def test_a_turn_is_cancelled_when_its_last_follower_leaves(window: str) -> None:
    before: list[Text] = [] if window == "before_first_chunk" else [Text("Half")]
    world = World(Scripted([*before, asyncio.Event()]))
    turn_id, follower = await world.start()
    await until(lambda: world.model.open_completions == 1)
    if before:
        await anext(follower.batches())

    follower.leave()
    await until(lambda: world.turns.free_slots == 10)

    assert world.model.open_completions == 0
    assert await world.outcome(turn_id) is Outcome.DISCONNECTED
    said = [Message.assistant("Half")] if before else []
    assert await world.said() == [Message.user("Hi"), *said]


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
    outputs = [message.content for message in (await world.said())[2:]]
    assert outputs[0] == '{"word": "slot"}'
    assert "interrupted" in outputs[1]
    log = await world.sessions.turn_log("anonymous", turn_id)
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

    assert await read(follower) == [Chunk("Hel"), Chunk("lo"), End()]


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
    assert (await read(follower))[-1] == End()
    with pytest.raises(Draining):
        await world.start()


async def test_a_drain_waits_for_the_turns_that_run_and_takes_no_more() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    _, follower = await world.start()

    draining = asyncio.create_task(world.turns.drain(accept_seconds=0, drain_seconds=60))
    await until(lambda: world.turns.is_draining)
    await asyncio.sleep(0.01)
    with pytest.raises(Draining):
        await world.start(session_id="s2")
    gate.set()
    await draining

    assert await read(follower) == [Chunk("Hel"), Chunk("lo"), End()]


async def test_a_drain_takes_turns_for_a_little_while() -> None:
    world = World(says("Hello"))

    draining = asyncio.create_task(world.turns.drain(accept_seconds=60, drain_seconds=60))
    await until(lambda: world.turns.is_draining)
    events = await world.ask()
    world.turns.hurry()
    await draining

    assert events == [Chunk("Hello"), End()]


async def test_a_turn_that_outlasts_the_drain_ends_with_an_error_and_is_stored() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start()
    await anext(follower.batches())

    await world.turns.drain(accept_seconds=0, drain_seconds=0.05)

    *_, error, end = await read(follower)
    assert isinstance(error, Failure)
    assert (error.code, error.retryable, end) == ("server_draining", True, End())
    record = await world.sessions.turn("anonymous", turn_id)
    assert (record.outcome, record.error_code) == (Outcome.CANCELLED, "server_draining")
    assert (await world.said())[-1] == Message.assistant("Half")


async def test_a_drain_in_a_hurry_stops_at_once() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    _, follower = await world.start()
    draining = asyncio.create_task(world.turns.drain(accept_seconds=60, drain_seconds=60))
    await until(lambda: world.turns.is_draining)

    world.turns.hurry()
    await asyncio.wait_for(draining, 5)

    assert (await read(follower))[-1] == End()


async def test_an_ending_that_the_store_would_not_take_is_stored_later() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)

    events = await world.ask()
    assert [event.event for event in events] == ["chunk", "error", "end"]
    with pytest.raises(SessionBusy):
        await world.start()
    await world.turns.store_owed()
    with pytest.raises(SessionBusy):
        await world.start()
    sessions.is_down = False
    await world.turns.store_owed()

    assert await world.said() == [Message.user("Hi"), Message.assistant("Hello")]
    assert (await world.ask("Again"))[-1] == End()


async def test_an_ending_that_can_never_be_stored_does_not_hold_up_the_others() -> None:
    sessions = PickySessions()
    world = World(says("poison"), says("Hello"), sessions=sessions)
    poisoned = await world.ask(session_id="s1")
    sessions.is_down = True
    await world.ask(session_id="s2")
    await until(lambda: world.turns.free_slots == 10)
    sessions.is_down = False

    for _ in range(WHOLE_TRIES + 1):
        await world.turns.store_owed()

    assert [event.event for event in poisoned] == ["chunk", "error", "end"]
    (lost,) = await sessions.turns("anonymous", "s1")
    assert (lost.outcome, lost.error_code) == (Outcome.COMPLETED, None)
    (kept,) = await sessions.messages("anonymous", "s2", after=1)
    assert kept.message.content == "Hello"
    for session_id in ("s1", "s2"):
        assert (await world.ask(session_id=session_id))[-1] == End()


async def test_a_stream_whose_claim_was_taken_over_does_not_end_as_a_success() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    _, follower = await world.start()
    await world.sessions.delete("anonymous", "s1")

    gate.set()
    events = await read(follower)

    assert [event.event for event in events] == ["chunk", "chunk", "error", "end"]


async def test_a_claim_that_was_committed_without_an_answer_is_let_go() -> None:
    sessions = MuteSessions(lease_seconds=15)
    world = World(says("Hello"), sessions=sessions)
    with pytest.raises(StorageError):
        await world.start()
    with pytest.raises(SessionBusy):
        await world.start()

    await world.turns.store_owed()

    assert (await world.ask())[-1] == End()
    lost, answered = await sessions.turns("anonymous", "s1")
    assert (lost.outcome, answered.outcome) == (Outcome.FAILED, Outcome.COMPLETED)


async def test_closing_stores_what_is_still_owed() -> None:
    sessions = FailingSessions()
    world = World(says("Hello"), sessions=sessions)
    await world.ask()
    sessions.is_down = False

    await world.turns.close()

    assert await world.said() == [Message.user("Hi"), Message.assistant("Hello")]


async def test_a_check_may_refuse_a_turn_before_anything_is_begun() -> None:
    world = World(says("Hello"))

    def refuse() -> None:
        raise UpstreamUnavailable(retry_after=3)

    world.turns._check = refuse

    with pytest.raises(UpstreamUnavailable):
        await world.start()

    assert world.turns.free_slots == 10
    with pytest.raises(SessionNotFound):
        await world.sessions.get("anonymous", "s1")


async def test_a_store_that_fails_at_the_claim_is_a_refusal_and_costs_no_slot() -> None:
    world = World(says("Hello"), sessions=FailingSessions(fails_to_claim=True))

    with pytest.raises(StorageError):
        await world.start()
    await asyncio.sleep(0)

    assert world.turns.free_slots == 10


async def test_a_resumable_turn_outlives_its_follower_and_is_read_on() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, follower = await world.start(is_resumable=True)
    await anext(follower.batches())

    follower.leave()
    rest = await world.turns.follow(ANONYMOUS, turn_id, after=1)
    gate.set()

    assert await read(rest) == [Chunk("lo"), End()]
    assert await world.outcome(turn_id) is Outcome.COMPLETED


async def test_a_resumable_turn_that_nobody_comes_back_to_is_given_up() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), grace_seconds=0.05)
    turn_id, follower = await world.start(is_resumable=True)

    follower.leave()
    await until(lambda: world.turns.free_slots == 10)

    assert await world.outcome(turn_id) is Outcome.DISCONNECTED
    assert world.model.open_completions == 0


async def test_whoever_comes_back_in_time_ends_the_grace() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]), grace_seconds=0.1)
    turn_id, follower = await world.start(is_resumable=True)
    follower.leave()

    back = await world.turns.follow(ANONYMOUS, turn_id)
    await asyncio.sleep(0.2)
    gate.set()

    assert await read(back) == [Chunk("Hel"), Chunk("lo"), End()]


async def test_several_followers_watch_one_turn() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, first = await world.start()
    second = await world.turns.follow(ANONYMOUS, turn_id)

    first.leave()
    gate.set()

    assert await read(second) == [Chunk("Hel"), Chunk("lo"), End()]


async def test_a_finished_turn_is_replayed_from_the_store() -> None:
    world = World(calls(("echo", '{"word": "x"}')), says("Done."))
    turn_id, follower = await world.start()
    events = await read(follower)

    replays = [
        await read(await world.turns.follow(ANONYMOUS, turn_id, after=after))
        for after in range(len(events) + 1)
    ]

    assert replays == [events[after:] for after in range(len(events) + 1)]
    assert await world.turns.is_read(ANONYMOUS, turn_id, after=len(events))
    assert not await world.turns.is_read(ANONYMOUS, turn_id, after=len(events) - 1)


async def test_a_log_that_was_forgotten_is_gone() -> None:
    world = World(says("Hello"))
    turn_id, follower = await world.start()
    await read(follower)
    await until(lambda: world.turns.free_slots == 10)
    await world.sessions.purge_logs(before=now() + timedelta(hours=1))

    with pytest.raises(LogGone):
        await world.turns.follow(ANONYMOUS, turn_id)


@pytest.mark.parametrize("turn_id", ["unknown", None])
async def test_another_owners_turn_does_not_exist(turn_id: str | None) -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    started, _ = await world.start()
    stranger = Caller(owner="stranger")

    for ask in (world.turns.follow, world.turns.stop):
        with pytest.raises(TurnNotFound):
            await ask(stranger, turn_id or started)

    await world.turns.close()


async def test_a_turn_of_another_worker_is_waited_for_and_then_replayed() -> None:
    gate = asyncio.Event()
    one = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, follower = await one.start(is_resumable=True)
    await anext(follower.batches())

    waiting = asyncio.create_task(read(await other.turns.follow(ANONYMOUS, turn_id, after=1)))
    gate.set()

    assert await waiting == [Chunk("lo"), End()]
    await other.turns.close()


async def test_a_turn_whose_worker_was_lost_ends_with_an_error_wherever_one_had_read_to() -> None:
    clock = Clock()
    sessions = MemorySessions(lease_seconds=15, clock=clock)
    lost = World(Scripted([Text("Half"), asyncio.Event()]), sessions=sessions)
    other = World(says("unused"), sessions=sessions, worker="w2")
    turn_id, _ = await lost.start(is_resumable=True)
    clock.sleep(16)

    follower = await other.turns.follow(ANONYMOUS, turn_id, after=7)
    batches = [batch async for batch in follower.batches()]

    assert batches[0].after == LOST
    assert not await other.turns.is_read(ANONYMOUS, turn_id, after=7)
    assert await other.turns.is_read(ANONYMOUS, turn_id, after=LOST + 2)
    error, end = batches[0].events
    assert isinstance(error, Failure)
    assert (error.code, error.retryable, end) == ("worker_lost", True, End())
    await lost.turns.close()


async def test_stopping_a_turn_keeps_what_was_said_and_ends_its_stream() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start()
    await anext(follower.batches())

    await world.turns.stop(ANONYMOUS, turn_id)
    await world.turns.stop(ANONYMOUS, turn_id)

    assert await read(follower) == [End()]
    assert world.model.open_completions == 0
    assert (await world.said())[-1] == Message.assistant("Half")
    assert await world.outcome(turn_id) is Outcome.CANCELLED


async def test_a_turn_of_another_worker_is_stopped_at_its_next_renewal() -> None:
    one = World(Scripted([Text("Half"), asyncio.Event()]))
    other = World(says("unused"), sessions=one.sessions, worker="w2")
    turn_id, follower = await one.start()
    await anext(follower.batches())

    await other.turns.stop(ANONYMOUS, turn_id)
    await other.turns.renew()
    assert await one.outcome(turn_id) is None
    await one.turns.renew()

    assert await read(follower) == [End()]
    assert await one.outcome(turn_id) is Outcome.CANCELLED


async def test_a_turn_that_nobody_follows_gives_way_to_the_next_query() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), says("Hello"))
    turn_id, follower = await world.start(is_resumable=True)
    await anext(follower.batches())
    follower.leave()

    events = await world.ask("And?")

    assert events == [Chunk("Hello"), End()]
    assert await world.outcome(turn_id) is Outcome.DISCONNECTED


async def test_a_key_joins_the_turn_that_it_started_and_replays_it_later() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, first = await world.start(idempotency_key="k")

    joined_id, joined = await world.start(idempotency_key="k")
    gate.set()
    events = [await read(first), await read(joined)]
    replayed_id, replayed = await world.start(idempotency_key="k")

    assert joined_id == replayed_id == turn_id
    assert [*events, await read(replayed)] == [[Chunk("Hel"), Chunk("lo"), End()]] * 3
    assert len(world.model.requests) == 1
    await until(lambda: world.turns.free_slots == 10)


async def test_a_key_comes_back_to_a_resumable_turn_that_nobody_follows() -> None:
    gate = asyncio.Event()
    world = World(Scripted([Text("Hel"), gate, *says("lo").steps]))
    turn_id, first = await world.start(idempotency_key="k", is_resumable=True)
    await anext(first.batches())
    first.leave()

    again_id, again = await world.start(idempotency_key="k", is_resumable=True)
    gate.set()

    assert again_id == turn_id
    assert await read(again) == [Chunk("Hel"), Chunk("lo"), End()]


async def test_superseding_takes_no_more_than_one_slot() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), max_streams=2)
    _, follower = await world.start(is_resumable=True)
    await anext(follower.batches())
    follower.leave()

    starts = [world.start("Me") for _ in range(10)]
    results = await asyncio.gather(*starts, return_exceptions=True)

    assert world.turns.free_slots >= 0
    assert len([result for result in results if isinstance(result, tuple)]) == 1
    await world.turns.close()


async def test_an_answer_that_nobody_read_to_its_end_is_not_replayed_as_a_whole_one() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start(idempotency_key="k")
    await anext(follower.batches())
    follower.leave()
    await until(lambda: world.turns.free_slots == 10)

    _, replayed = await world.start(idempotency_key="k")
    events = await read(replayed)

    assert [event.event for event in events] == ["chunk", "error", "end"]
    assert isinstance(events[1], Failure)
    assert events[1].code == "interrupted"
    assert await world.outcome(turn_id) is Outcome.DISCONNECTED


async def test_who_joined_a_turn_whose_claim_failed_is_told() -> None:
    sessions = MuteSessions(lease_seconds=15)
    sessions.gate = asyncio.Event()
    world = World(says("Hello"), sessions=sessions)
    starting = asyncio.create_task(world.start(idempotency_key="k"))
    await until(lambda: world.turns.free_slots == 9)

    _, joined = await world.start(idempotency_key="k")
    sessions.gate.set()

    assert [event.event for event in await read(joined)] == ["error", "end"]
    with pytest.raises(StorageError):
        await starting


async def test_deleting_a_session_stops_its_turn_first() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]))
    turn_id, follower = await world.start()
    await anext(follower.batches())

    await world.turns.stop_session("anonymous", "s1")

    assert await world.outcome(turn_id) is Outcome.CANCELLED
    assert world.model.open_completions == 0


class SlowSessions(MemorySessions):
    def __init__(self) -> None:
        super().__init__(lease_seconds=15)
        self.gate = asyncio.Event()

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        await self.gate.wait()
        return await super().claim(turn, history_tokens=history_tokens)


class FailingSessions(MemorySessions):
    def __init__(self, *, fails_to_claim: bool = False) -> None:
        super().__init__(lease_seconds=15)
        self.is_down = True
        self._fails_to_claim = fails_to_claim

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        if self._fails_to_claim:
            raise StorageError
        return await super().claim(turn, history_tokens=history_tokens)

    async def finish(self, ending: Ending) -> bool:
        if self.is_down:
            raise StorageError
        return await super().finish(ending)


class PickySessions(FailingSessions):
    """Chokes on one text for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False

    async def finish(self, ending: Ending) -> bool:
        if any(message.content == "poison" for message in ending.messages):
            raise OverflowError("a number that the driver cannot hold")
        return await super().finish(ending)


class MuteSessions(MemorySessions):
    """Commits the first claim, and loses its answer."""

    is_mute = True
    gate: asyncio.Event | None = None

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        claim = await super().claim(turn, history_tokens=history_tokens)
        if self.gate is not None:
            await self.gate.wait()
        if self.is_mute:
            self.is_mute = False
            raise StorageError
        return claim
