"""The UI message stream, version 1: each frame is one chunk of JSON, the last one is `[DONE]`.

A turn is one message of the assistant, and a round is one step of it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from backend.api.doors.ai_sdk.ui_message import (
    answer_id,
    ending_metadata,
    error_text,
    finish_reason,
    opening_metadata,
    readable,
)
from backend.api.stream_protocol import Framing
from backend.domain.conversation import Outcome
from backend.domain.events import (
    Chunk,
    End,
    Event,
    Failure,
    ToolCalled,
    ToolOutput,
    ToolUse,
    TurnOutcome,
)
from backend.turns.event_log import Batch, Follower

UiChunk = dict[str, Any]

_STOPPED = frozenset({Outcome.CANCELLED, Outcome.DISCONNECTED})
_encode = msgspec.json.Encoder().encode


def _frame(chunk: UiChunk) -> bytes:
    return b"data: %b\n\n" % _encode(chunk)


class UiMessageStream(Framing):
    """Each stream begins with the start of its turn: a client that comes back rebuilds the message.

    So events have no ids.
    """

    headers: ClassVar[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}

    def __init__(self, follower: Follower) -> None:
        super().__init__(follower)
        self._round = 0
        self._texts = 0
        self._is_in_text = False
        self._is_finished = False

    def opening(self) -> bytes:
        turn_id = self._follower.turn_id
        metadata = opening_metadata(turn_id, self._follower.session_id)
        start = {"type": "start", "messageId": answer_id(turn_id), "messageMetadata": metadata}
        return _frame(start)

    def frames(self, batch: Batch) -> list[bytes]:
        if batch.is_closing_notice:
            self._is_finished = True  # only for this reader: the turn may go on elsewhere
        frames = [_frame(chunk) for event in batch.events for chunk in self._chunks(event)]
        if isinstance(batch.events[-1], End):
            frames.append(b"data: [DONE]\n\n")
        return frames

    def _chunks(self, event: Event) -> list[UiChunk]:
        match event:
            case Chunk(text):
                before = [*self._enter(event.round), *self._begin_text()]
                return [*before, {"type": "text-delta", "id": self._text_id, "delta": text}]
            case ToolCalled(id_, name, arguments):
                return [*self._enter(event.round), *self._end_text(), _called(id_, name, arguments)]
            case ToolOutput(_, output, id_):
                return [_returned(id_, output)]
            case Failure(code, message):
                told = {"type": "message-metadata", "messageMetadata": {"errorCode": code}}
                return [*self._end_step(), told, {"type": "error", "errorText": message}]
            case TurnOutcome():
                return [*self._end_step(), *self._finish(event)]
            case End():
                return [*self._end_step(), *self._finish(None)]
            case ToolUse():
                return []  # the `tool_call` right after it says more

    def _enter(self, round_: int) -> list[UiChunk]:
        """Begin the step of a round, unless it has begun."""
        if round_ == self._round:
            return []
        ended = self._end_step()
        self._round = round_
        return [*ended, {"type": "start-step"}]

    def _end_step(self) -> list[UiChunk]:
        ended = self._end_text()
        if self._round:
            self._round = 0
            ended.append({"type": "finish-step"})
        return ended

    @property
    def _text_id(self) -> str:
        return f"text-{self._texts}"

    def _begin_text(self) -> list[UiChunk]:
        if self._is_in_text:
            return []
        self._is_in_text = True
        self._texts += 1
        return [{"type": "text-start", "id": self._text_id}]

    def _end_text(self) -> list[UiChunk]:
        if not self._is_in_text:
            return []
        self._is_in_text = False
        return [{"type": "text-end", "id": self._text_id}]

    def _finish(self, outcome: TurnOutcome | None) -> list[UiChunk]:
        """Finish the message once. Without an `outcome`, the turn was lost."""
        if self._is_finished:
            return []
        self._is_finished = True
        if outcome is None:
            return [{"type": "finish", "finishReason": "error"}]
        usage = outcome.usage
        finish = {
            "type": "finish",
            "finishReason": finish_reason(outcome.outcome, outcome.finish_reason),
            "messageMetadata": ending_metadata(
                outcome=outcome.outcome,
                model=outcome.model,
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
            ),
        }
        is_stopped = outcome.outcome in _STOPPED
        return [*([{"type": "abort", "reason": outcome.outcome}] if is_stopped else []), finish]


def _called(id_: str, name: str, arguments: dict[str, Any] | str) -> UiChunk:
    # `providerExecuted`: the page must neither run the tool itself nor wait for somebody to do so.
    return {
        "type": "tool-input-available",
        "toolCallId": id_,
        "toolName": name,
        "input": readable(arguments),
        "providerExecuted": True,
    }


def _returned(id_: str, output: dict[str, Any]) -> UiChunk:
    if text := error_text(output):
        return {"type": "tool-output-error", "toolCallId": id_, "errorText": text}
    return {"type": "tool-output-available", "toolCallId": id_, "output": readable(output)}
