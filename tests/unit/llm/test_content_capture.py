"""Messages in spans follow the schemas of the conventions, whatever a model writes."""

import json
from typing import Any

import pytest

from backend.domain.conversation import Message, ToolCall
from backend.llm.content_capture import call_content, turn_content
from backend.llm.port import CompletionRequest, Finish, Text

CALLED = ToolCall("call_1", "echo", "{}")


def output_of(content: dict[str, str]) -> dict[str, Any]:
    (message,) = json.loads(content["gen_ai.output.messages"])
    assert isinstance(message, dict)
    return message


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_call"),
        ("content_filter", "content_filter"),
    ],
)
def test_finish_reasons_are_those_of_the_schema(reason: Any, told: str) -> None:
    request = CompletionRequest(prompt="You are Lex.", messages=[])

    content = call_content(request, [Text("Hello."), Finish(reason=reason, model="m")])

    assert output_of(content)["finish_reason"] == told
    assert "gen_ai.tool.definitions" not in content


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"city": "Paris"}', {"city": "Paris"}),
        ("Paris", "Paris"),
        ("", ""),
        ('{"city": NaN}', '{"city": NaN}'),
        ('{"city": 1e999}', '{"city": 1e999}'),
        ("[" * 100_000, "[" * 100_000),
        (r'{"city": "\ud83d"}', {"city": "\N{REPLACEMENT CHARACTER}"}),
    ],
    ids=["an object", "a word", "nothing", "nan", "infinity", "nested", "half a character"],
)
def test_arguments_are_an_object_if_they_can_be(arguments: str, told: Any) -> None:
    asked = Message.assistant("", [ToolCall("call_1", "echo", arguments)])
    request = CompletionRequest(prompt="You are Lex.", messages=[asked])

    content = call_content(request, [])

    assert all(value.encode() for value in content.values())
    (message,) = json.loads(content["gen_ai.input.messages"])
    assert message["parts"][0]["arguments"] == told


def test_a_turn_says_what_its_client_saw() -> None:
    messages = [
        Message.assistant("Let me see. ", [CALLED]),
        Message.tool(CALLED, '{"word": "a"}'),
        Message.assistant("It is a."),
    ]

    content = turn_content(Message.user("What?"), messages, "stop")

    (question,) = json.loads(content["gen_ai.input.messages"])
    assert question == {"role": "user", "parts": [{"type": "text", "content": "What?"}]}
    told = output_of(content)
    assert told["parts"] == [{"type": "text", "content": "Let me see. It is a."}]
    assert told["finish_reason"] == "stop"
