import json
from typing import Any

import pytest

from backend.domain.conversation import Message, ToolCall
from backend.llm.groq.request_body import RequestWriter
from backend.llm.port import CompletionRequest, ToolSpec


def written(request: CompletionRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(RequestWriter().write("m", request, max_completion_tokens=9))
    return body


def test_a_request_has_the_prompt_first_and_outputs_behind_their_calls() -> None:
    call = ToolCall("a", "echo", '{"word":"x"}')
    request = CompletionRequest(
        prompt="You are Lex.",
        messages=[
            Message.user("Hi"),
            Message.assistant("", [call]),
            Message.tool(call, '{"word": "x"}'),
        ],
    )

    assert written(request)["messages"] == [
        {"role": "system", "content": "You are Lex."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "echo", "arguments": '{"word":"x"}'},
                }
            ],
        },
        {"role": "tool", "content": '{"word": "x"}', "tool_call_id": "a"},
    ]


def test_arguments_that_are_not_json_are_not_sent_back() -> None:
    call = ToolCall("a", "echo", "not json")
    request = CompletionRequest(prompt="", messages=[Message.assistant("", [call])])

    sent = written(request)["messages"][1]["tool_calls"][0]["function"]["arguments"]

    assert sent == "{}"


def test_a_history_with_nested_arguments_can_be_sent_back() -> None:
    call = ToolCall("a", "echo", "[" * 100_000)
    request = CompletionRequest(prompt="", messages=[Message.assistant("", [call])])

    assert written(request)["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


WEATHER = ToolSpec("get_weather", "", {})


def sent(*messages: Message) -> list[dict[str, Any]]:
    request = CompletionRequest(prompt="You are Lex.", messages=messages, tools=[WEATHER])
    return list(written(request)["messages"][1:])


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("get_weather", "get_weather"),
        ("get_weather<|channel|>commentary", "get_weather"),
        ("functions.get_weather", "get_weather"),
        ("get_weather ", "get_weather"),
        ("functions.dance", "dance"),
        ("", "unknown_tool"),
        (" ", "unknown_tool"),
    ],
)
def test_no_name_that_was_stored_with_an_artefact_is_sent(stored: str, name: str) -> None:
    call = ToolCall("c1", stored, "{}")

    asked, _ = sent(Message.assistant("", [call]), Message.tool(call, "{}"))

    assert asked["tool_calls"][0]["function"]["name"] == name


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("a < b", "a < b"),
        ("<think>hm</think>\n\nHello.", "Hello."),
        ("Let me see. <tool_call>{}</tool_call>", "Let me see. "),
        ('{"answer": 42}', '{"answer": 42}'),
    ],
)
def test_no_markup_that_was_stored_as_an_answer_is_sent(stored: str, text: str) -> None:
    (answer,) = sent(Message.assistant(stored))

    assert answer == {"role": "assistant", "content": text}


def test_an_answer_of_markup_alone_is_left_out() -> None:
    call = '{"name": "get_weather", "arguments": {}}'

    messages = sent(Message.user("Hi"), Message.assistant(call), Message.user("<think>"))

    assert [message["content"] for message in messages] == ["Hi", "<think>"]


def test_of_tools_that_there_are_not_nothing_is_sent() -> None:
    request = CompletionRequest(prompt="", messages=[Message.user("Hi")])

    assert "tools" not in written(request)


def test_a_writer_follows_a_change_of_the_tools() -> None:
    writer = RequestWriter()

    def tools_in(*tools: ToolSpec) -> list[str]:
        request = CompletionRequest(prompt="", messages=[Message.user("Hi")], tools=tools)
        body = json.loads(writer.write("m", request, max_completion_tokens=9))
        return [tool["function"]["name"] for tool in body.get("tools", ())]

    assert tools_in(WEATHER) == ["get_weather"]
    assert tools_in(WEATHER, ToolSpec("dance", "", {})) == ["get_weather", "dance"]
    assert tools_in() == []


def test_a_request_is_streamed_and_bounded_and_has_the_parameters_of_its_model() -> None:
    request = CompletionRequest(prompt="", messages=[Message.user("Grüße 🚗")])

    body = RequestWriter().write("openai/gpt-oss-20b", request, max_completion_tokens=9)

    assert json.loads(body) == {
        "model": "openai/gpt-oss-20b",
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": "Grüße 🚗"},
        ],
        "max_completion_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
    }
