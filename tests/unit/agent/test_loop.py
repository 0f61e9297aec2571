"""The loop of rounds."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import date
from typing import Any

import pytest

from backend.agent.flush_pace import FlushPace
from backend.agent.loop import Assistant, Turn
from backend.domain.context_window import characters
from backend.domain.conversation import INTERRUPTED, Message, Role, ToolCall
from backend.domain.errors import (
    ToolRefused,
    TooManyRounds,
    UpstreamError,
    UpstreamGarbled,
    UpstreamUnavailable,
)
from backend.domain.events import Chunk, Event, OfRound, ToolCalled, ToolOutput, ToolUse
from backend.domain.turn_keys import TurnKey
from backend.domain.usage import Usage
from backend.llm.port import CompletionRequest, Delta, Finish, FinishReason, Text
from backend.storage.ports.side_effects import SideEffect
from backend.tools.context import ToolContext
from backend.tools.registry import Tool, Toolbox, tool
from tests.fakes import (
    Echo,
    EchoArguments,
    Gates,
    Scripted,
    ScriptedModel,
    a_context,
    breaks,
    calls,
    echo,
    refuse,
    says,
    scripted,
)


def a_turn(
    model: ScriptedModel,
    query: str = "Hello",
    *,
    tools: tuple[Tool, ...] = (echo, refuse),
    max_rounds: int = 8,
    history_tokens: int = 16_000,
    flush_seconds: float = 0.0,
) -> Turn:
    assistant = Assistant(
        model=model,
        toolbox=Toolbox(tools, timeout_seconds=5),
        max_rounds=max_rounds,
        history_tokens=history_tokens,
        pace=FlushPace(flush_seconds),
    )
    return Turn(assistant, context=a_context(), prompt="You are Lex.", query=query)


async def collect(turn: Turn, **options: Any) -> list[Event]:
    events: list[Event] = []
    await turn.run(events.append, **options)
    return events


async def test_text_streams_as_chunks() -> None:
    turn = a_turn(scripted(says("Good ", "morning.")))

    events = await collect(turn)

    assert events == [Chunk("Good "), Chunk("morning.")]
    assert turn.messages == [Message.assistant("Good morning.")]
    assert (turn.rounds, turn.model, turn.usage) == (1, "scripted", Usage(10, 5))


async def test_a_tool_call_is_announced_run_and_fed_back() -> None:
    model = scripted(calls(("echo", '{"word": "hi"}')), says("It said hi."))
    turn = a_turn(model)

    events = await collect(turn)

    assert events == [
        ToolUse("echo"),
        ToolCalled("call_1", "echo", {"word": "hi"}),
        ToolOutput("echo", {"word": "hi"}, "call_1"),
        Chunk("It said hi.", round=2),
    ]
    call = ToolCall("call_1", "echo", '{"word": "hi"}')
    fed_back = [
        Message.user("Hello"),
        Message.assistant("", [call]),
        Message.tool(call, '{"word": "hi"}'),
    ]
    assert list(model.requests[1].messages) == fed_back
    assert turn.messages == [*fed_back[1:], Message.assistant("It said hi.")]
    assert turn.usage == Usage(20, 10)


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_a_turn_knows_whether_its_answer_was_cut(reason: FinishReason) -> None:
    cut = Scripted([Text("As far as"), Finish(reason=reason, model="scripted")])
    turn = a_turn(scripted(calls(("echo", '{"word": "hi"}')), cut))

    events = await collect(turn)

    assert events[-1] == Chunk("As far as", round=2)
    assert turn.finish_reason == reason


async def test_text_before_a_call_is_shown_and_kept_with_it() -> None:
    turn = a_turn(scripted(calls(("echo", '{"word": "hi"}'), says="One moment."), says("Done.")))

    events = await collect(turn)

    assert [event.event for event in events] == [
        "chunk",
        "tool_use",
        "tool_call",
        "tool_output",
        "chunk",
    ]
    assert turn.messages[0].content == "One moment."
    assert turn.messages[0].tool_calls[0].name == "echo"


async def test_parallel_calls_are_all_announced_first_and_answer_as_they_complete() -> None:
    gates = Gates()
    model = scripted(
        calls(("wait", '{"word": "slow"}'), ("echo", '{"word": "quick"}')), says("Done.")
    )
    turn = a_turn(model, tools=(*gates.tools, echo))
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, ToolOutput):
            gates.opened.set()

    await turn.run(emit)

    assert [event.event for event in events[:4]] == ["tool_use", "tool_call"] * 2
    outputs = [event.id for event in events if isinstance(event, ToolOutput)]
    assert outputs == ["call_2", "call_1"]


async def test_a_refusal_is_an_output_that_the_model_reads() -> None:
    model = scripted(calls(("refuse", '{"word": "cake"}')), says("Sorry."))

    events = await collect(a_turn(model))

    refusal = {"error": {"code": "no", "message": "No cake today.", "nearest": ["other"]}}
    assert events[2] == ToolOutput("refuse", refusal, "call_1")
    assert json.loads(model.requests[1].messages[-1].content) == refusal


@pytest.mark.parametrize(
    ("name", "arguments", "shown", "code"),
    [
        ("echo", "not json", "not json", "invalid_arguments"),
        ("echo", "{}", {}, "invalid_arguments"),
        ("echo", "null", {}, "invalid_arguments"),
        ("dance", '{"word": "x"}', {"word": "x"}, "unknown_tool"),
    ],
)
async def test_a_call_that_makes_no_sense_is_told_to_the_model(
    name: str, arguments: str, shown: object, code: str
) -> None:
    turn = a_turn(scripted(calls((name, arguments)), says("My mistake.")))

    events = await collect(turn)

    assert events[1] == ToolCalled("call_1", name, shown)  # type: ignore[arg-type]
    assert isinstance(events[2], ToolOutput)
    assert events[2].output["error"]["code"] == code
    assert events[3] == Chunk("My mistake.", round=2)


async def test_a_model_that_never_stops_calling_is_stopped() -> None:
    model = scripted(calls(("echo", '{"word": "again"}')))
    turn = a_turn(model, max_rounds=3)

    with pytest.raises(TooManyRounds):
        await collect(turn)

    assert len(model.requests) == turn.rounds == 3
    assert_sound(turn)


async def test_a_failure_in_mid_stream_keeps_what_was_said() -> None:
    turn = a_turn(scripted(breaks(UpstreamUnavailable(), Text("The answer"), Text(" is"))))
    events: list[Event] = []

    with pytest.raises(UpstreamUnavailable):
        await turn.run(events.append)

    assert events == [Chunk("The answer"), Chunk(" is")]
    assert turn.messages == [Message.assistant("The answer is")]


async def test_calls_of_a_completion_that_broke_off_are_neither_run_nor_kept() -> None:
    call = ToolCall("call_1", "echo", '{"word": "hi"}')
    turn = a_turn(scripted(breaks(UpstreamGarbled(), call)))

    with pytest.raises(UpstreamError):
        await collect(turn)

    assert turn.messages == []


async def test_an_empty_answer_is_a_failure() -> None:
    turn = a_turn(scripted(says()))

    with pytest.raises(UpstreamGarbled):
        await collect(turn)


async def test_an_empty_last_word_after_some_text_is_an_ending() -> None:
    turn = a_turn(scripted(calls(("echo", '{"word": "x"}'), says="Looking."), says()))

    events = await collect(turn)

    assert events[-1].event == "tool_output"
    assert_sound(turn)


async def test_cancelling_in_mid_stream_closes_the_completion_and_keeps_what_was_said() -> None:
    model = scripted(says("One", " two", " three"))
    turn = a_turn(model)
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        task.cancel()

    task = asyncio.create_task(turn.run(emit))
    await asyncio.wait([task])

    assert task.cancelled()
    assert events == [Chunk("One")]
    assert model.open_completions == 0
    assert turn.messages == [Message.assistant("One")]


async def test_cancelling_while_tools_run_ends_them_but_a_booking_completes() -> None:
    gates = Gates()
    model = scripted(calls(("wait", '{"word": "look"}'), ("book", '{"word": "slot"}')))
    turn = a_turn(model, tools=gates.tools)
    events: list[Event] = []
    task = asyncio.create_task(turn.run(events.append))
    await gates.begun.wait()
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    asyncio.get_running_loop().call_later(0.01, gates.opened.set)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert gates.ended == ["look cancelled", "slot done"]
    assert [event.event for event in events[:4]] == ["tool_use", "tool_call"] * 2
    assert events[4:] == [
        ToolOutput("book", {"word": "slot"}, "call_2"),
        ToolOutput("wait", INTERRUPTED, "call_1"),
    ]
    assert_sound(turn)


async def test_a_break_between_announcements_leaves_no_call_without_an_output() -> None:
    turn = a_turn(scripted(calls(("echo", '{"word": "a"}'), ("echo", '{"word": "b"}'))))
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if len(events) == 1:
            raise MemoryError

    with pytest.raises(MemoryError):
        await turn.run(emit)

    announced, output = events
    assert announced == ToolUse("echo")
    assert output == ToolOutput("echo", INTERRUPTED, "call_1"), "the other was never shown"
    assert_sound(turn)


async def test_every_event_names_its_round() -> None:
    call = ("echo", '{"word": "a"}')
    turn = a_turn(scripted(calls(call, call, says="Wait."), calls(call), says("Done.")))

    events = await collect(turn)

    rounds = [(event.event, event.round) for event in events if isinstance(event, OfRound)]
    shown = [("tool_use", 1), ("tool_call", 1)]
    assert rounds == [
        ("chunk", 1),
        *shown * 2,
        *[("tool_output", 1)] * 2,
        *[("tool_use", 2), ("tool_call", 2), ("tool_output", 2)],
        ("chunk", 3),
    ]


async def test_ids_that_come_again_in_a_later_round_are_answered_again() -> None:
    gates = Gates()
    model = scripted(calls(("echo", '{"word": "a"}')), calls(("wait", '{"word": "b"}')))
    turn = a_turn(model, tools=(*gates.tools, echo))
    task = asyncio.create_task(collect(turn))
    await gates.begun.wait()

    task.cancel()
    await asyncio.wait([task])

    assert [message.tool_call_id for message in turn.messages if message.role is Role.TOOL] == [
        "call_1",
        "call_1",
    ]
    assert_sound(turn)


async def test_cancelling_while_the_completion_closes_leaves_no_call_without_an_output() -> None:
    closing = asyncio.Event()

    class SlowToClose(ScriptedModel):
        async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
            async with aclosing(super().complete(request)) as deltas:
                try:
                    async for delta in deltas:
                        yield delta
                finally:
                    closing.set()
                    await asyncio.sleep(60)

    turn = a_turn(SlowToClose([calls(("echo", '{"word": "a"}'))]))
    events: list[Event] = []
    task = asyncio.create_task(turn.run(events.append))
    await closing.wait()

    task.cancel()
    await asyncio.wait([task])

    assert [message.role for message in turn.messages] == [Role.ASSISTANT, Role.TOOL]
    assert events == [], "the call was never shown"


async def test_a_refusal_with_details_that_are_not_json_is_an_output_all_the_same() -> None:
    @tool()
    async def refuse_oddly(arguments: EchoArguments, context: ToolContext) -> Echo:  # noqa: ARG001
        raise ToolRefused("No.", day=date(2026, 11, 21), ratio=float("inf"), odd=object)

    turn = a_turn(
        scripted(calls(("refuse_oddly", '{"word": "x"}')), says("Well.")), tools=(refuse_oddly,)
    )

    events = await collect(turn)

    assert isinstance(events[2], ToolOutput)
    assert events[2].output["error"]["day"] == "2026-11-21"
    assert_sound(turn)


async def test_later_text_waits_for_the_flush_interval() -> None:
    turn = a_turn(scripted(says("a", "b", "c")), flush_seconds=0.05)
    loop = asyncio.get_running_loop()

    begun = loop.time()
    times: list[float] = []
    await turn.run(lambda _: times.append(loop.time() - begun))

    assert times[0] < 0.05
    assert times[1] >= 0.049
    assert times[2] >= 0.098


async def test_history_that_does_not_fit_is_left_out_from_its_oldest_end() -> None:
    model = scripted(says("Fine."))
    old = [Message.user("x" * 400), Message.assistant("y" * 400)]
    recent = [Message.user("recent"), Message.assistant("yes")]
    turn = a_turn(model, history_tokens=100)

    await collect(turn, history=[old, recent])

    assert list(model.requests[0].messages) == [*recent, Message.user("Hello")]


@pytest.mark.parametrize(("missing", "fits"), [(0, True), (1, False)])
async def test_the_prompt_takes_its_part_of_what_fits(missing: int, fits: bool) -> None:
    model = scripted(says("Fine."))
    recent = [Message.user("recent"), Message.assistant("yes")]
    needed = len("You are Lex.") + characters([*recent, Message.user("Hello")])
    turn = a_turn(model, history_tokens=needed - missing)

    await collect(turn, history=[recent], characters_per_token=1.0)

    assert (list(model.requests[0].messages[:-1]) == recent) is fits


async def test_the_reported_usage_corrects_the_estimate() -> None:
    turn = a_turn(scripted(says("Fine.", usage=Usage(6, 2))), query="x" * 24)

    await collect(turn)

    assert turn.characters_per_token == pytest.approx(36 / 6)


def assert_sound(turn: Turn) -> None:
    """Check that every tool call has exactly one output."""
    asked = [call.id for message in turn.messages for call in message.tool_calls]
    answered = [message.tool_call_id for message in turn.messages if message.role is Role.TOOL]
    assert Counter(asked) == Counter(answered)


async def test_a_tool_that_changes_the_world_has_its_call_and_what_led_to_it_at_hand() -> None:
    at_hand: list[SideEffect | None] = []

    @tool(has_side_effects=True)
    async def book(arguments: EchoArguments, context: ToolContext) -> Echo:
        """Change the world."""
        at_hand.append(context.call)
        return Echo(word=arguments.word)

    asked = calls(("echo", '{"word": "a"}'), says="One moment.")
    model = scripted(asked, calls(("book", '{"word": "b"}')), says("Done."))
    turn = a_turn(model, tools=(echo, book))

    await collect(turn, key=TurnKey("alice", "t1"))

    (side_effect,) = at_hand
    assert side_effect is not None
    assert (side_effect.turn.id, side_effect.call.name) == ("t1", "book")
    assert side_effect.messages == tuple(turn.messages[:3])


async def test_a_tool_that_only_looks_something_up_has_no_call_to_write_with() -> None:
    at_hand: list[SideEffect | None] = []

    @tool()
    async def look(arguments: EchoArguments, context: ToolContext) -> Echo:
        """Look something up."""
        at_hand.append(context.call)
        return Echo(word=arguments.word)

    turn = a_turn(scripted(calls(("look", '{"word": "a"}')), says("Done.")), tools=(look,))

    await collect(turn, key=TurnKey("alice", "t1"))

    assert at_hand == [None]


async def test_a_completion_that_ends_without_its_finish_runs_no_tool() -> None:
    turn = a_turn(scripted(Scripted([Text("Well."), ToolCall("call_1", "echo", '{"word": "hi"}')])))

    events: list[Event] = []
    with pytest.raises(UpstreamGarbled):
        await turn.run(events.append)

    assert events == [Chunk("Well.")]
    assert turn.messages == [Message.assistant("Well.")]
