"""Tool calls that the upstream could not read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.completion import Finish, Text
from backend.conversation import ToolCall
from backend.errors import ToolUseFailed, UpstreamError
from backend.resilience.rescue import Rescuing, calls_in
from tests.fakes import ScriptedModel, breaks, says
from tests.unit.resilience.conversing import deltas_of, heard_before_failing, said

PARIS = {"city": "Paris"}
SPOKEN = '{"city": "Paris"}'


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ('{"name": "get_weather", "arguments": {"city": "Paris"}}', [("get_weather", PARIS)]),
        (
            '{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}',
            [("get_weather", PARIS)],
        ),
        ('{"name": "get_weather", "parameters": {"city": "Paris"}}', [("get_weather", PARIS)]),
        (f'[{{"name": "a", "arguments": {SPOKEN}}}, {{"name": "b"}}]', [("a", PARIS)]),
        (f"<function=get_weather>{SPOKEN}</function>", [("get_weather", PARIS)]),
        (f"<function=get_weather{SPOKEN}</function>", [("get_weather", PARIS)]),
        (f"<function=get_weather={SPOKEN}</function>", [("get_weather", PARIS)]),
        (f"<function=get_weather({SPOKEN})</function>", [("get_weather", PARIS)]),
        (f"<function=get_weather>{SPOKEN}></function>", [("get_weather", PARIS)]),
        (f"<function=get_weather>{SPOKEN}", [("get_weather", PARIS)]),
        ("<function=get_weather></function>", [("get_weather", {})]),
        ("<function=get_weather>", [("get_weather", {})]),
        (
            f"Let me see.\n<function=a>{SPOKEN}</function>\n<function=b>{SPOKEN}</function>",
            [("a", PARIS), ("b", PARIS)],
        ),
        (f"<function=a>{SPOKEN}<function=b>{SPOKEN}", [("a", PARIS), ("b", PARIS)]),
    ],
)
def test_the_call_is_read_in_every_dialect(
    generation: str, expected: list[tuple[str, Any]]
) -> None:
    calls = calls_in(generation)

    assert [(call.name, json.loads(call.arguments)) for call in calls] == expected
    assert len({call.id for call in calls}) == len(calls)


def test_arguments_that_are_broken_are_kept_for_the_one_who_explains_it() -> None:
    (call,) = calls_in('<function=get_weather>{"city": "Par</function>')

    assert (call.name, call.arguments) == ("get_weather", '{"city": "Par')


@pytest.mark.parametrize("generation", ["", "Hello.", "{", "[1, 2]", '{"tool": "x"}', "null"])
def test_what_is_no_call_is_none(generation: str) -> None:
    assert calls_in(generation) == []


@given(st.text() | st.text(alphabet='<function=>{}[]"/a:, '))
def test_no_generation_breaks_the_reader(generation: str) -> None:
    assert all(isinstance(call.arguments, str) for call in calls_in(generation))


class World:
    def __init__(self, *script: Any) -> None:
        self.model = ScriptedModel(script)
        self.outcomes: list[str] = []
        self.rescuing = Rescuing(self.model, self.outcomes.append)


async def test_a_rescued_call_is_a_completion_like_any_other() -> None:
    world = World(breaks(ToolUseFailed(f"<function=get_weather>{SPOKEN}</function>")))

    call, finish = await deltas_of(world.rescuing)

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

    deltas = await deltas_of(world.rescuing)

    assert not any(isinstance(delta, ToolCall) for delta in deltas)


async def test_plain_text_becomes_text() -> None:
    world = World(breaks(ToolUseFailed("I cannot look that up.")))

    assert await said(world.rescuing) == "I cannot look that up."

    assert world.outcomes == ["text"]


async def test_text_that_was_shown_is_not_said_again() -> None:
    world = World(breaks(ToolUseFailed("I cannot look that up."), Text("I cannot")))

    deltas = await deltas_of(world.rescuing)

    assert [delta.text for delta in deltas if isinstance(delta, Text)] == [
        "I cannot",
        " look that up.",
    ]


async def test_what_cannot_be_rescued_is_told_to_the_model_once() -> None:
    failed = ToolUseFailed("", reason="tool call validation failed")
    world = World(breaks(failed), says("Without the tool, then."))

    answer = await said(world.rescuing)

    assert answer == "Without the tool, then."
    assert world.outcomes == ["asked_again"]
    told = world.model.requests[1].messages[-1].content
    assert "tool call validation failed" in told
    assert world.model.requests[0].messages == []


async def test_the_second_answer_may_be_rescued_too() -> None:
    world = World(breaks(ToolUseFailed("")), breaks(ToolUseFailed("<function=a></function>")))

    deltas = await deltas_of(world.rescuing)

    assert isinstance(deltas[0], ToolCall)
    assert world.outcomes == ["asked_again", "rescued"]


async def test_after_that_it_is_an_error() -> None:
    world = World(breaks(ToolUseFailed("")))

    await heard_before_failing(world.rescuing, ToolUseFailed)

    assert len(world.model.requests) == 2
    assert world.outcomes == ["asked_again", "lost"]


async def test_nobody_is_asked_again_once_something_was_shown() -> None:
    world = World(breaks(ToolUseFailed("{broken"), Text("Let me see.")))

    heard = await heard_before_failing(world.rescuing, UpstreamError)

    assert heard == [Text("Let me see.")]
    assert len(world.model.requests) == 1
