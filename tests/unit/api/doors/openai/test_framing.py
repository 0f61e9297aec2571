"""Any log becomes valid chunks of OpenAI's types, which say the same as the log."""

import json
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from backend.api.doors.openai.framing import Answer, ChatChunks, completion, encode
from backend.domain.events import (
    Chunk,
    End,
    Event,
    Failure,
    TokenUsage,
    ToolCalled,
    ToolOutput,
    ToolUse,
    TurnOutcome,
)
from backend.turns.event_log import Batch, EventLog

LOGS = int(os.environ.get("DOOR_TURNS", "200"))
USAGE = TokenUsage(prompt_tokens=7, completion_tokens=3, total_tokens=10)
FAILURE = Failure("upstream_busy", "The assistant is too busy.", retryable=True, retry_after=3)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
reasons = st.sampled_from(["stop", "length", "content_filter", "tool_calls", "other", None])


@st.composite
def rounds(draw: st.DrawFn, number: int) -> list[Event]:
    said: list[Event] = [Chunk(text, number) for text in draw(st.lists(texts, max_size=3))]
    calls = draw(st.lists(texts, max_size=2))
    for place, name in enumerate(calls):
        call_id = f"call_{number}_{place}"
        said += [ToolUse(name, number), ToolCalled(call_id, name, {}, number)]
    said += [
        ToolOutput(name, {"text": name}, f"call_{number}_{place}", number)
        for place, name in enumerate(calls)
    ]
    return said


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        events += draw(rounds(number))
    events += draw(st.sampled_from([[], [FAILURE]]))
    reason = draw(reasons)
    outcome = TurnOutcome("completed", reason, "a model", 1, USAGE)
    events += draw(st.sampled_from([[], [outcome]]))
    return [*events, End()]


def stream_of(events: Sequence[Event], *, cuts: int = 1, includes_usage: bool = False) -> bytes:
    """Frame the events in this many batches."""
    log = EventLog("0123456789abcdef")
    framing = ChatChunks(log.follow(), includes_usage=includes_usage)
    size = -(-len(events) // cuts)
    batches = [Batch(begin, events[begin : begin + size]) for begin in range(0, len(events), size)]
    return framing.opening() + b"".join(f for each in batches for f in framing.frames(each))


def read(stream: bytes) -> list[dict[str, Any]]:
    """The data of the frames before `[DONE]`, which is the end."""
    *frames, done, nothing = stream.decode().split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def said(events: Sequence[Event]) -> str:
    """The texts of the rounds as paragraphs, as the history has them as messages."""
    by_round: dict[int, str] = {}
    for event in events:
        if isinstance(event, Chunk):
            by_round[event.round] = by_round.get(event.round, "") + event.text
    return "\n\n".join(by_round.values())


@settings(max_examples=LOGS)
@given(logs(), st.integers(1, 4), st.booleans())
@example([Chunk("Let me look."), Chunk("It rains.", 2), End()], 1, False)
def test_every_log_is_valid_chunks_with_the_text_of_the_history(
    events: list[Event], cuts: int, includes_usage: bool
) -> None:
    found = read(stream_of(events, cuts=cuts, includes_usage=includes_usage))

    error = found.pop() if FAILURE in events else None
    chunks = [ChatCompletionChunk.model_validate(each, strict=True) for each in found]
    outcome = next((event for event in events if isinstance(event, TurnOutcome)), None)
    if error is not None:
        assert error["error"]["code"] == FAILURE.code
    elif includes_usage and outcome is not None:
        last = chunks.pop()
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens == USAGE.total_tokens
    deltas = [chunk.choices[0].delta for chunk in chunks]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == said(events)
    assert all(delta.tool_calls is None for delta in deltas)
    assert not any(reasons[:-1])
    assert (reasons[-1] is None) == (error is not None)
    assert len({chunk.id for chunk in chunks}) == 1


@settings(max_examples=LOGS)
@given(logs())
def test_the_whole_answer_is_valid_and_says_the_same(events: list[Event]) -> None:
    answer = Answer()
    answer.take(events)

    whole = ChatCompletion.model_validate_json(
        encode(completion("0123456789abcdef", answer)), strict=True
    )

    assert whole.choices[0].message.content == said(events)
    assert answer.failure == (FAILURE if FAILURE in events else None)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "stop")],
)
def test_a_finish_reason_is_one_that_clients_know(ours: str, theirs: str) -> None:
    events: list[Event] = [Chunk("Hi"), TurnOutcome("completed", ours, "a model", 1, USAGE), End()]

    *_, last = read(stream_of(events))

    assert last["choices"][0] == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": theirs
    }  # fmt: skip


def test_usage_is_null_until_the_last_chunk_and_absent_if_nobody_asked() -> None:
    events: list[Event] = [
        Chunk("Hi"),
        TurnOutcome("completed", "stop", "a model", 1, USAGE),
        End(),
    ]

    asked = read(stream_of(events, includes_usage=True))
    unasked = read(stream_of(events))

    assert [chunk["usage"] for chunk in asked[:-1]] == [None] * 3
    assert asked[-1]["usage"] == {
        "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10
    }  # fmt: skip
    assert not any("usage" in chunk for chunk in unasked)


def test_a_failure_is_the_last_thing_that_is_said() -> None:
    outcome = TurnOutcome("failed", None, None, 1, USAGE)

    *_, last = read(stream_of([Chunk("Hi"), FAILURE, outcome, End()], includes_usage=True))

    error = {"message": FAILURE.message, "type": "server_error", "param": None}
    assert last == {"error": {**error, "code": "upstream_busy"}}


def test_heartbeats_are_comments() -> None:
    assert ChatChunks.heartbeat == b": \n\n"
