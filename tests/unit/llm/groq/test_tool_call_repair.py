"""Tool calls that the upstream could not read."""

from typing import Any

import pytest

from backend.domain.conversation import ToolCall
from backend.domain.errors import ToolUseFailed, UpstreamError, UpstreamUnavailable
from backend.llm.groq.tool_call_repair import ToolCallRepair
from backend.llm.port import Finish, Text
from backend.llm.resilience.circuit_breaker import CircuitBreaker
from backend.llm.resilience.fallback import Candidate, Fallback
from tests.fakes import ScriptedModel, breaks, calls, says
from tests.unit.llm.resilience.conversing import (
    an_unawaited_request,
    deltas_of,
    heard_before_failing,
    said,
)

SPOKEN = '{"city": "Paris"}'
CALL = f'{{"name": "get_weather", "arguments": {SPOKEN}}}'


class World:
    def __init__(self, *script: Any) -> None:
        self.model = ScriptedModel(script)
        self.outcomes: list[str] = []
        self.repairing = ToolCallRepair(self.model, self.outcomes.append)


async def test_a_repaired_call_is_a_completion_like_any_other() -> None:
    world = World(breaks(ToolUseFailed(f"<function=get_weather>{SPOKEN}</function>")))

    call, finish = await deltas_of(world.repairing)

    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("get_weather", SPOKEN)
    assert isinstance(finish, Finish)
    assert finish.reason == "tool_calls"
    assert world.outcomes == ["rescued"]


@pytest.mark.parametrize(
    "generation",
    ["To cancel say <function=cancel> please", '[{"name": "Apex GT", "arguments": {}}]'],
)
async def test_what_only_looks_like_a_call_is_not_run(generation: str) -> None:
    world = World(breaks(ToolUseFailed(generation)), says("Well."))

    deltas = await deltas_of(world.repairing)

    assert not any(isinstance(delta, ToolCall) for delta in deltas)


async def test_plain_text_becomes_text() -> None:
    world = World(breaks(ToolUseFailed("I cannot look that up.")))

    assert await said(world.repairing) == "I cannot look that up."

    assert world.outcomes == ["text"]


async def test_text_that_was_shown_is_not_said_again() -> None:
    world = World(breaks(ToolUseFailed("I cannot look that up."), Text("I cannot")))

    deltas = await deltas_of(world.repairing)

    assert [delta.text for delta in deltas if isinstance(delta, Text)] == [
        "I cannot",
        " look that up.",
    ]


async def test_what_cannot_be_repaired_is_told_to_the_model_once() -> None:
    failed = ToolUseFailed("", reason="tool call validation failed")
    world = World(breaks(failed), says("Without the tool, then."))

    answer = await said(world.repairing)

    assert answer == "Without the tool, then."
    assert world.outcomes == ["asked_again"]
    told = world.model.requests[1].messages[-1].content
    assert "tool call validation failed" in told
    assert world.model.requests[0].messages == []


async def test_the_second_answer_may_be_repaired_too() -> None:
    world = World(breaks(ToolUseFailed("")), breaks(ToolUseFailed("<function=a></function>")))

    deltas = await deltas_of(world.repairing)

    assert isinstance(deltas[0], ToolCall)
    assert world.outcomes == ["asked_again", "rescued"]


async def test_after_that_it_is_an_error() -> None:
    world = World(breaks(ToolUseFailed("")))

    await heard_before_failing(world.repairing, ToolUseFailed)

    assert len(world.model.requests) == 2
    assert world.outcomes == ["asked_again", "lost"]


async def test_nobody_is_asked_again_once_something_was_shown() -> None:
    world = World(breaks(ToolUseFailed("{broken"), Text("Let me see.")))

    heard = await heard_before_failing(world.repairing, UpstreamError)

    assert heard == [Text("Let me see.")]
    assert len(world.model.requests) == 1


MARKUP = "<tool_call>{broken"
UNREAD = [
    MARKUP,
    "<think>I should look it up.",
    "<think>hm</think>I do not know.",
    "<|channel|>final<|message|>I do not know.",
    'I would call {"name": "dance", "arguments": {}}.',
    '```json\n{"name": "dance"}\n```',
    "get_weather(city=Paris)",
    "[TOOL_CALLS]dance{}",
    "to=functions.dance {}",
    "[dance()]",
]


@pytest.mark.parametrize("generation", UNREAD)
async def test_a_generation_with_markup_is_never_shown(generation: str) -> None:
    world = World(breaks(ToolUseFailed(generation)), says("Well."))

    assert await said(world.repairing) == "Well."

    assert world.outcomes == ["asked_again"]


async def test_what_cannot_be_read_twice_goes_to_the_next_model() -> None:
    world = World(breaks(ToolUseFailed(MARKUP)))
    other = ScriptedModel([says("From another model.")], name="other")
    models = [Candidate(world.repairing, CircuitBreaker()), Candidate(other, CircuitBreaker())]

    assert await said(Fallback(models)) == "From another model."

    assert len(world.model.requests) == 2
    assert world.outcomes == ["asked_again", "lost"]


async def test_what_nobody_waits_for_is_not_asked_again() -> None:
    world = World(breaks(ToolUseFailed(MARKUP)))

    with pytest.raises(ToolUseFailed):
        await deltas_of(world.repairing, an_unawaited_request())

    assert len(world.model.requests) == 1


async def test_a_call_in_the_text_is_a_call() -> None:
    world = World(says("Let me see. <tool", f"_call>{CALL}</tool_", "call>"))

    text, call, finish = await deltas_of(world.repairing)

    assert text == Text("Let me see. ")
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("get_weather", SPOKEN)
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.usage.output_tokens) == ("tool_calls", 5)
    assert world.outcomes == ["rescued"]


async def test_a_call_that_is_in_the_text_and_beside_it_is_one() -> None:
    world = World(calls(("get_weather", '{"city":"Paris"}'), says=CALL))

    deltas = await deltas_of(world.repairing)

    assert [type(delta) for delta in deltas] == [ToolCall, Finish]
    assert world.outcomes == []


@pytest.mark.parametrize("text", [MARKUP, "<think>hm", "<think>hm</think>\n", '{"name": "dance", '
                                  '"arguments": {}}'])  # fmt: skip
async def test_an_answer_of_unread_markup_or_thoughts_alone_is_asked_again(text: str) -> None:
    world = World(says(text), says("Well."))

    assert await said(world.repairing) == "Well."

    assert world.outcomes == ["asked_again"]


async def test_unread_markup_behind_text_that_was_shown_is_an_error() -> None:
    world = World(says("Let me see. ", MARKUP))

    heard = await heard_before_failing(world.repairing, ToolUseFailed)

    assert heard == [Text("Let me see. ")]
    assert len(world.model.requests) == 1
    assert world.outcomes == ["lost"]


@pytest.mark.parametrize("held", ["<", "<think>hm", '{"name": "get_wea', "\n", "<|chan"])
async def test_a_failure_is_not_late_while_all_is_held_back(held: str) -> None:
    world = World(breaks(UpstreamUnavailable(), Text(held)))

    with pytest.raises(UpstreamUnavailable) as failed:
        await deltas_of(world.repairing)

    assert not failed.value.is_late


async def test_a_held_end_of_text_is_shown_before_a_late_failure() -> None:
    world = World(breaks(UpstreamUnavailable(), Text("a "), Text("<")))

    heard = await heard_before_failing(world.repairing, UpstreamUnavailable)

    assert heard == [Text("a "), Text("<")]


async def test_the_held_part_of_a_failed_generation_is_said_once() -> None:
    world = World(breaks(ToolUseFailed("It is < 5."), Text("It is <")))

    assert await said(world.repairing) == "It is < 5."


@pytest.mark.parametrize("written", ["get_weather<|channel|>commentary", "functions.get_weather",
                                     "get_weather "])  # fmt: skip
async def test_an_artefact_in_the_name_of_a_call_is_dropped(written: str) -> None:
    world = World(calls((written, SPOKEN)))

    call, _ = await deltas_of(world.repairing)

    assert isinstance(call, ToolCall)
    assert (call.id, call.name) == ("call_1", "get_weather")


async def test_a_call_without_a_name_is_asked_again() -> None:
    world = World(calls(("", SPOKEN)), says("Well."))

    assert await said(world.repairing) == "Well."


async def test_a_tool_that_does_not_exist_keeps_its_name_less_the_artefact() -> None:
    world = World(calls(("functions.dance<|channel|>commentary", "{}")))

    call, _ = await deltas_of(world.repairing)

    assert isinstance(call, ToolCall)
    assert call.name == "dance"


async def test_nothing_that_cannot_be_encoded_is_shown() -> None:
    world = World(breaks(ToolUseFailed("Well\x00 \ud800.")))

    assert await said(world.repairing) == "Well\N{REPLACEMENT CHARACTER} ?."
