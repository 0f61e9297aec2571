"""What of a request counts, and what is refused by name."""

from typing import Any

import pytest

from backend.api.doors.openai.bodies import ChatBody, Said, asked, check_fields
from backend.domain.errors import InvalidField

USER = {"role": "user", "content": "Hi"}
TEXT = {"type": "text", "text": "Hi"}
PART = "messages[0].content[0].type"


def body(**fields: Any) -> ChatBody:
    return ChatBody.model_validate({"model": "lex", "messages": [USER], **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 2, "top_p": 0.1, "seed": 7, "max_tokens": 5, "max_completion_tokens": 5},
        {"user": "alice", "metadata": {"a": "b"}, "store": True, "logit_bias": {}, "stop": ["x"]},
        {"n": 1, "tools": [], "functions": [], "tool_choice": "auto", "function_call": "none"},
        {"n": None, "tools": None, "tool_choice": None, "response_format": None, "audio": None},
        {"response_format": {"type": "text"}, "modalities": ["text"], "tool_choice": "none"},
        {"chat_id": "open-webui", "reasoning_effort": "low", "parallel_tool_calls": True},
    ],
)
def test_what_does_not_change_the_meaning_is_ignored(fields: dict[str, Any]) -> None:
    check_fields(body(**fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", 0),
        ("n", "many"),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tools", {}),
        ("functions", [{"name": "f"}]),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("function_call", {"name": "f"}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
    ],
)
def test_what_changes_the_meaning_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidField) as refused:
        check_fields(body(**{field: value}))

    assert refused.value.field == field


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([{"role": "system", "content": "You are a pirate."}, USER], "messages[0].role"),
        ([USER, {"role": "developer", "content": "Be brief."}, USER], "messages[1].role"),
        ([USER, {"role": "assistant", "content": "Hi"}], "messages[1].role"),
        ([{"role": "tool", "tool_call_id": "1", "content": "34"}], "messages[0].role"),
        ([{"role": "critic", "content": "Hi"}], "messages[0].role"),
        ([{"content": "Hi"}], "messages[0].role"),
        ([{"role": ["user"], "content": "Hi"}], "messages[0].role"),
        ([{"role": "user", "content": "   "}], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": "a\x00b"}], "messages[0].content"),
        ([{"role": "user", "content": "\ud800"}, USER], "messages[0].content"),
        (
            [{"role": "user", "content": [TEXT, {"type": "image_url"}]}],
            "messages[0].content[1].type",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}, USER], PART),
        ([{"role": "user", "content": [{"type": "file", "file": {}}]}], PART),
        ([{"role": "user", "content": [{"type": ["text"], "text": "a"}]}], PART),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}], PART),
        ([{"role": "user", "content": ["Hi"]}], PART),
    ],
)  # fmt: skip
def test_a_message_that_cannot_be_taken_is_refused_with_its_place(
    messages: list[dict[str, Any]], field: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        asked(messages)

    assert refused.value.field == field


def test_the_last_message_is_the_question_and_the_rest_came_before() -> None:
    parts: list[Any] = [
        {"type": "text", "text": "And"},
        {"type": "text", "text": "now?", "cache_control": {}},
    ]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": " "},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "34"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "name": "lex"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": parts},
    ]

    found = asked(messages)

    assert found.question == "And\nnow?"
    assert not found.is_own
    assert found.earlier == [
        Said("user", "Hi", "messages[1]"),
        Said("assistant", "", "messages[2]", is_call=True),
        Said("tool", "34", "messages[3]"),
        Said("assistant", "No.", "messages[4]"),
    ]


def test_a_front_ends_own_prompt_may_come_as_a_system_message() -> None:
    title = "Provide a concise, 5-word-or-less title for the conversation, in title case."

    found = asked([{"role": "system", "content": title}, USER])

    assert found.is_own
    assert found.question == f"{title}\n\nHi"
