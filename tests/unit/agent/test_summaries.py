"""Which sessions are summarized and when, and what happens if the model or the store fails."""

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.agent.summaries import (
    CLAIM_SECONDS,
    FIRST_REST_SECONDS,
    FIRST_WAIT_SECONDS,
    LEFT_OUT,
    MOST_FAILURES,
    TIMEOUT_SECONDS,
    Summaries,
    transcript,
)
from backend.domain.context_window import CHARACTERS_PER_TOKEN
from backend.domain.conversation import Message
from backend.domain.errors import StorageError, UpstreamBusy, UpstreamRefused, UpstreamUnavailable
from backend.llm.port import ChatModel, CompletionRequest, Delta, Text
from backend.storage.memory.sessions import MemorySessions
from backend.storage.memory.summaries import MemorySummaries
from backend.storage.ports.summaries import IdleSession
from tests.contract.conversations import OWNER, a_tool_round, ending, new_turn, say
from tests.fakes import Clock, Scripted, ScriptedModel, breaks, says
from tests.unit.turns.turn_world import until

IDLE_SECONDS = 60.0
SECRET = "my-secret-words"


class World:
    """Sessions in memory, a scripted model, and a clock that the test moves."""

    def __init__(self, *script: Scripted, store: type[MemorySummaries] = MemorySummaries) -> None:
        self.clock = Clock()
        self.model = ScriptedModel(script)
        self.sessions = MemorySessions(lease_seconds=1e9, clock=self.clock)
        self.store = store(self.sessions)
        self.summaries = self.worker()

    def worker(self, model: ChatModel | None = None, **bounds: int) -> Summaries:
        return Summaries(
            store=self.store,
            model=model or self.model,
            prompt="Sum up.",
            idle_seconds=IDLE_SECONDS,
            budget_tokens=lambda: bounds.get("budget_tokens", 16_000),
            clock=self.clock,
        )

    async def talk(self, *session_ids: str, query: str = "Hello") -> None:
        for session_id in session_ids or ("s1",):
            await say(self.sessions, new_turn(query, session_id=session_id), "Hi")
            self.clock.sleep(0.001)

    async def pass_by(self, seconds: float = IDLE_SECONDS) -> None:
        """Let time pass, and then let the worker look for due sessions."""
        self.clock.sleep(seconds)
        await self.summaries.summarize_due()

    async def summary(self, session_id: str = "s1") -> str | None:
        return (await self.sessions.get(OWNER, session_id)).summary


async def test_an_idle_session_is_summarized_once() -> None:
    world = World(says("They ", "greeted."))
    await world.talk()

    await world.pass_by(IDLE_SECONDS - 1)
    before = await world.summary()
    for _ in range(3):
        await world.pass_by(1)

    assert before is None
    assert await world.summary() == "They greeted."
    assert len(world.model.requests) == 1


async def test_something_new_is_summarized_with_what_was_known_before() -> None:
    world = World(says("They greeted."), says("They left."))
    await world.talk()
    await world.pass_by()

    await world.talk(query="Bye")
    await world.pass_by()

    assert await world.summary() == "They left."
    (message,) = world.model.requests[1].messages
    assert message.content == "Earlier summary: They greeted.\nCustomer: Bye\nLex: Hi"


async def test_what_a_caller_gave_is_marked_in_the_transcript() -> None:
    world = World(says("They greeted."))
    given = [Message.user("A red one?"), Message.assistant("Booked: SC-1.")]
    turn = new_turn("Thanks", given=given)
    await say(world.sessions, turn, "For what?")

    await world.pass_by()

    (message,) = world.model.requests[0].messages
    assert message.content == (
        "(unchecked) Customer: A red one?\n(unchecked) Lex: Booked: SC-1.\n"
        "Customer: Thanks\nLex: For what?"
    )


async def test_a_summary_is_asked_for_in_a_bounded_way_and_awaited_by_nobody() -> None:
    world = World(says("Long."))
    await world.talk(query="Short")
    world.summaries = world.worker(budget_tokens=1_000)

    await world.pass_by()

    (request,) = world.model.requests
    assert not request.is_awaited
    assert request.max_tokens
    assert request.tools == ()
    assert request.messages == [Message.user("Customer: Short\nLex: Hi")]


async def test_what_is_too_long_for_one_summary_is_told_in_parts_oldest_first() -> None:
    world = World(says("One."), says("One and two."))
    world.summaries = world.worker(budget_tokens=1_000)
    for number in (1, 2):
        await world.talk(query=f"{number}" * 600)

    await world.pass_by()

    first, second = (request.messages[0].content for request in world.model.requests)
    assert first == f"Customer: {'1' * 600}\nLex: Hi"
    assert second == f"Earlier summary: One.\nCustomer: {'2' * 600}\nLex: Hi"
    assert await world.summary() == "One and two."


async def test_the_middle_of_a_turn_that_is_too_long_alone_is_left_out() -> None:
    world = World(says("Long."))
    await world.talk(query="begins " + "x" * 10_000 + " ends")
    world.summaries = world.worker(budget_tokens=1_000)

    await world.pass_by()

    (request,) = world.model.requests
    (message,) = request.messages
    assert message.content.startswith("Customer: begins xxx")
    assert message.content.endswith("xxx ends\nLex: Hi")
    assert LEFT_OUT in message.content
    assert message.characters < 1_000 * CHARACTERS_PER_TOKEN
    assert await world.summary() == "Long."


async def test_a_transcript_tells_who_said_and_did_what() -> None:
    history = (Message.user("Weather?"), *a_tool_round(), Message.assistant("It is 34°C."))

    text = transcript(IdleSession(claim_id="1", owner="o", session_id="s", history=[history]))

    assert text.splitlines() == [
        "Customer: Weather?",
        'Lex calls get_weather: {"city": "Zürich"}',
        'get_weather returns: {"temperature": "34°C"}',
        "Lex: It is 34°C.",
    ]


async def test_two_workers_ask_once_for_each_session() -> None:
    world = World(says("Summed up."))
    other = world.worker()
    sessions = [f"s{number}" for number in range(20)]
    await world.talk(*sessions)
    world.clock.sleep(IDLE_SECONDS)

    await asyncio.gather(world.summaries.summarize_due(), other.summarize_due())

    assert [await world.summary(each) for each in sessions] == ["Summed up."] * 20
    assert len(world.model.requests) == 20


async def test_a_turn_that_begins_meanwhile_wins() -> None:
    gate = asyncio.Event()
    world = World(Scripted([gate, *says("Stale.").steps]), says("Fresh."))
    await world.talk()
    world.clock.sleep(IDLE_SECONDS)
    summarizing = asyncio.create_task(world.summaries.summarize_due())
    await until(lambda: world.model.open_completions == 1)

    turn = new_turn("And now?")
    await world.sessions.claim(turn, history_tokens=1_000)
    gate.set()
    await summarizing
    stale = await world.summary()
    await world.sessions.finish(ending(turn, Message.assistant("Now.")))
    await world.pass_by()

    assert stale is None
    assert await world.summary() == "Fresh."


async def test_who_is_cancelled_closes_the_call_and_lets_go_of_the_session_at_once() -> None:
    world = World(Scripted([Text("Half"), asyncio.Event()]), says("Whole."))
    await world.talk()
    world.clock.sleep(IDLE_SECONDS)
    summarizing = asyncio.create_task(world.summaries.summarize_due())
    await until(lambda: world.model.open_completions == 1)

    summarizing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await summarizing
    left_open = world.model.open_completions
    await world.worker().summarize_due()

    assert left_open == 0
    assert await world.summary() == "Whole."


async def test_a_cancellation_is_passed_on_also_when_the_store_is_down() -> None:
    world = World(Scripted([asyncio.Event()]), store=DownSummaries)
    await world.talk()
    world.clock.sleep(IDLE_SECONDS)
    summarizing = asyncio.create_task(world.summaries.summarize_due())
    await until(lambda: world.model.open_completions == 1)

    summarizing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await summarizing


def test_a_claim_outlasts_the_call_that_it_is_for() -> None:
    assert CLAIM_SECONDS > TIMEOUT_SECONDS


async def test_a_session_that_fails_waits_longer_each_time_and_then_for_something_new() -> None:
    world = World(breaks(UpstreamRefused()))
    await world.talk()
    world.clock.sleep(IDLE_SECONDS)
    begun = world.clock.now
    asked_at: list[float] = []

    while world.clock.now < begun + 100_000:
        await world.pass_by(10)
        if len(world.model.requests) > len(asked_at):
            asked_at.append(world.clock.now - begun)
    await world.talk(query="Something new")
    await world.pass_by()

    waits = [after - before for before, after in pairwise(asked_at)]
    assert waits == [pytest.approx(FIRST_WAIT_SECONDS * 4**n, abs=10.1) for n in range(5)]
    assert len(world.model.requests) == MOST_FAILURES + 1


async def test_one_that_fails_does_not_keep_the_others() -> None:
    world = World(breaks(UpstreamRefused()), says("Fine."))
    await world.talk("poison", "s1", "s2")

    await world.pass_by()
    await world.pass_by(FIRST_REST_SECONDS)

    assert await world.summary("poison") is None
    assert [await world.summary(each) for each in ("s1", "s2")] == ["Fine.", "Fine."]


async def test_a_model_that_is_down_is_asked_ever_more_rarely_and_logged_as_rarely() -> None:
    world = World(breaks(UpstreamUnavailable()))
    await world.talk(*(f"s{number}" for number in range(100)))

    with capture_logs() as logs:
        for _ in range(360):  # an hour
            await world.pass_by(10)

    assert 10 <= len(world.model.requests) <= 20
    assert len(logs) == len(world.model.requests)
    assert {(line["event"], line["error"]) for line in logs} == {
        ("session_not_summarized", "upstream_unavailable")
    }


async def test_a_model_that_is_back_soon_has_caught_up() -> None:
    world = World(*[breaks(UpstreamUnavailable())] * 5, says("Summed up."))
    sessions = [f"s{number}" for number in range(50)]
    await world.talk(*sessions)

    for _ in range(60):
        await world.pass_by(10)

    assert [await world.summary(each) for each in sessions] == ["Summed up."] * 50
    assert len(world.model.requests) == 55


async def test_not_having_been_asked_does_not_count_against_a_session() -> None:
    low = UpstreamBusy()
    low.was_asked = False
    world = World(*[breaks(low)] * (MOST_FAILURES + 2), says("At last."))
    await world.talk()

    for _ in range(300):
        await world.pass_by(10)

    assert await world.summary() == "At last."


@pytest.mark.parametrize("text", ["", " \n"])
async def test_an_empty_summary_is_none(text: str) -> None:
    world = World(says(text))
    await world.talk()

    with capture_logs() as logs:
        await world.pass_by()

    assert await world.summary() is None
    assert [line["error"] for line in logs] == ["upstream_garbled"]


async def test_what_the_store_refuses_is_not_asked_for_again_at_once() -> None:
    world = World(says("Cannot be stored."), store=PickySummaries)
    await world.talk()

    await world.pass_by()
    await world.pass_by(FIRST_WAIT_SECONDS - 1)

    assert len(world.model.requests) == 1


async def test_a_defect_is_logged_and_does_not_keep_the_others() -> None:
    world = World(says("Fine."))
    world.summaries = world.worker(BrokenModel(world.model))
    await world.talk("s1", "s2")

    with capture_logs() as logs:
        await world.pass_by()
        await world.pass_by(FIRST_REST_SECONDS)

    assert await world.summary("s2") == "Fine."
    assert [line["event"] for line in logs] == [
        "summary_broke",
        "session_not_summarized",
        "session_summarized",
    ]


@pytest.mark.parametrize("step", [says(SECRET), breaks(UpstreamUnavailable(), Text(SECRET))])
async def test_no_log_tells_what_was_said(step: Scripted) -> None:
    world = World(step)
    await world.talk(query=SECRET)

    with capture_logs() as logs:
        await world.pass_by()

    assert len(logs) == 1
    assert SECRET not in str(logs)


class DownSummaries(MemorySummaries):
    async def postpone(self, idle: IdleSession, **later: Any) -> None:  # noqa: ARG002
        raise StorageError


class PickySummaries(MemorySummaries):
    async def store(self, *_: Any, **__: Any) -> bool:
        raise StorageError


class BrokenModel:
    """A model that raises an unexpected exception in its first completion."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self._is_broken = True

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        if self._is_broken:
            self._is_broken = False
            raise ZeroDivisionError
        async for delta in self._model.complete(request):
            yield delta
