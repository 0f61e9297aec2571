"""The UI message stream of turns that end in unusual ways. tests/system/ai_sdk has the rest."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from backend.api.doors.ai_sdk.framing import UiMessageStream
from backend.domain.errors import ServerDraining, WorkerLost
from backend.domain.events import (
    Chunk,
    End,
    Event,
    TokenUsage,
    ToolCalled,
    ToolOutput,
    ToolUse,
    TurnOutcome,
    failure,
)
from backend.turns.event_log import Batch, EventLog

START = {
    "type": "start",
    "messageId": "t1-2",
    "messageMetadata": {"turnId": "t1", "sessionId": "s1"},
}


def chunks(*batches: Batch) -> list[Any]:
    framing = UiMessageStream(EventLog("t1", session_id="s1").follow())
    stream = framing.opening() + b"".join(
        frame for batch in batches for frame in framing.frames(batch)
    )
    *frames, end = stream.decode().split("\n\n")
    assert end == ""
    assert frames.pop() == "data: [DONE]"
    first, *rest = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert first == START
    return rest


def types(*events: Event) -> list[str]:
    return [chunk["type"] for chunk in chunks(Batch(0, events))]


def outcome(name: str, reason: str | None = "stop") -> Event:
    return TurnOutcome(name, reason, "a/model", 1, TokenUsage(7, 5, 12))


EVENTS: Sequence[Event] = [
    Chunk("I "),
    Chunk("look."),
    ToolUse("horn"),
    ToolCalled("call_1", "horn", {"loud": True}),
    ToolOutput("horn", {"sound": "hönk"}, "call_1"),
    Chunk("It is loud.", 2),
    outcome("completed"),
    End(),
]


@pytest.mark.parametrize("size", [1, 2, 3, len(EVENTS)])
def test_batches_of_any_size_make_the_same_stream(size: int) -> None:
    batches = [Batch(at, EVENTS[at : at + size]) for at in range(0, len(EVENTS), size)]

    assert chunks(*batches) == chunks(Batch(0, EVENTS))


def test_an_error_ends_the_text_and_the_step_first_because_pages_stop_reading_at_it() -> None:
    failed = failure(WorkerLost())

    seen = chunks(Batch(0, [Chunk("It is"), failed, outcome("failed", None), End()]))

    assert [chunk["type"] for chunk in seen] == [
        *("start-step", "text-start", "text-delta", "text-end", "finish-step"),
        *("message-metadata", "error", "finish"),
    ]
    assert seen[-3]["messageMetadata"] == {"errorCode": "worker_lost"}
    assert seen[-1]["finishReason"] == "error"


def test_a_lost_turn_has_no_outcome_but_is_finished() -> None:
    assert types(failure(WorkerLost()), End()) == ["message-metadata", "error", "finish"]


def test_a_closing_notice_does_not_finish_the_message_because_the_turn_goes_on() -> None:
    notice = Batch(1, [failure(ServerDraining()), End()], is_closing_notice=True)

    seen = chunks(Batch(0, [Chunk("It is")]), notice)

    assert [chunk["type"] for chunk in seen][-2:] == ["message-metadata", "error"]


@pytest.mark.parametrize(
    ("ended", "reason", "told"),
    [
        ("completed", "stop", "stop"),
        ("completed", "length", "length"),
        ("completed", "content_filter", "content-filter"),
        ("completed", "tool_calls", "tool-calls"),
        ("completed", None, "other"),
        ("an outcome of later versions", "stop", "stop"),
        ("failed", "stop", "error"),
        ("timed_out", None, "error"),
        ("cancelled", "stop", "interrupted"),
        ("disconnected", None, "interrupted"),
    ],
)
def test_the_finish_reason_says_how_the_turn_ended(
    ended: str, reason: str | None, told: str
) -> None:
    seen = chunks(Batch(0, [outcome(ended, reason), End()]))

    assert seen[-1]["finishReason"] == told
    assert [chunk["type"] for chunk in seen[:-1]] == (["abort"] if told == "interrupted" else [])
