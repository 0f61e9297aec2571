"""The stream of AG-UI, where a real turn seldom goes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from backend.api.doors.ag_ui.framing import RunEvents
from backend.api.doors.ag_ui.run_input import RunInput
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

TURN = "0123456789abcdef"
RUN = RunInput(threadId="thread 1", runId="run 1", protocolVersion="1.0", messages=[])


def framed(*events: Event, is_closing_notice: bool = False) -> list[dict[str, Any]]:
    framing = RunEvents(EventLog(TURN, session_id="s1").follow(), run=RUN)
    stream = framing.opening() + b"".join(framing.frames(Batch(0, events, is_closing_notice)))
    frames = stream.decode().split("\n\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [json.loads(frame[6:]) for frame in frames]


def types(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def ended(outcome: str, tokens: int = 12) -> TurnOutcome:
    return TurnOutcome(outcome, "stop", "m", 2, TokenUsage(tokens, 0, tokens))


def test_a_run_begins_with_its_thread_and_ends_with_its_usage() -> None:
    started, finished = framed(ended("completed"), End())

    assert started == {
        "type": "RUN_STARTED",
        "threadId": "thread 1",
        "runId": "run 1",
        "protocolVersion": "1.0",
        "metadata": {"sessionId": "s1", "turnId": TURN},
    }
    assert finished == {
        "type": "RUN_FINISHED",
        "threadId": "thread 1",
        "runId": "run 1",
        "outcome": {"type": "success"},
        "usage": [{"inputTokens": 12, "outputTokens": 0, "totalTokens": 12}],
        "metadata": {"outcome": "completed", "finishReason": "stop", "model": "m", "rounds": 2},
    }


def test_a_text_that_is_cut_is_ended_before_the_error() -> None:
    lost = failure(WorkerLost())

    events = framed(Chunk("It is"), lost, End())

    assert types(events[1:]) == [
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_ERROR",
    ]
    assert (events[-1]["code"], events[-1]["message"]) == (lost.code, lost.message)
    assert "usage" not in events[-1]


def test_a_closing_notice_is_an_error() -> None:
    *_, error = framed(failure(ServerDraining()), End(), is_closing_notice=True)

    assert (error["type"], error["code"]) == ("RUN_ERROR", "server_draining")
    assert error["metadata"]["retryable"]


@pytest.mark.parametrize("outcome", ["cancelled", "disconnected"])
def test_a_stopped_run_is_cancelled_and_reports_no_usage_that_nobody_counted(outcome: str) -> None:
    *_, finished = framed(Chunk("It"), ended(outcome, tokens=0), End())

    assert finished["outcome"] == {"type": "cancelled"}
    assert "usage" not in finished


def test_an_outcome_of_a_later_version_is_a_success() -> None:
    *_, finished = framed(ended("paused"), End())

    assert finished["outcome"] == {"type": "success"}


def test_calls_without_arguments_have_none() -> None:
    events = framed(ToolUse("a"), ToolCalled("1", "a", ""), ToolOutput("a", {}, "1"))

    assert types(events[1:]) == ["TOOL_CALL_START", "TOOL_CALL_END", "TOOL_CALL_RESULT"]


def test_an_id_of_a_call_that_repeats_in_the_next_round_is_another_one() -> None:
    events = framed(
        ToolCalled("1", "a", {}),
        ToolOutput("a", {}, "1"),
        ToolCalled("1", "a", {}),
        ToolOutput("a", {}, "1"),
    )

    ids = [event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_START"]
    results = [event for event in events if event["type"] == "TOOL_CALL_RESULT"]
    assert ids == [f"{TURN}-2-1", f"{TURN}-4-1"]
    assert [result["toolCallId"] for result in results] == ids
    assert [result["messageId"] for result in results] == [f"{TURN}-3", f"{TURN}-5"]
