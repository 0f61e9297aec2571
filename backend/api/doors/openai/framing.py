"""The answer of a turn as chat completion chunks, or as one chat completion.

Lex's tools run here, so clients only see text. The texts of two rounds are two paragraphs.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from backend.api.doors.openai.errors import error_body
from backend.api.stream_protocol import Framing
from backend.domain.events import Chunk, End, Event, Failure, TokenUsage, TurnOutcome
from backend.turns.event_log import Batch, Follower

MODEL: Final = "lex"

DONE = b"data: [DONE]\n\n"
encode = msgspec.json.Encoder().encode
_SHOWN_REASONS = ("length", "content_filter")
"""All others become `stop`. `tool_calls` is among these, because Lex runs its tools itself."""


@dataclass(slots=True)
class Answer:
    """The texts of a turn so far, and its end."""

    finish_reason: str = "stop"
    usage: TokenUsage | None = None
    failure: Failure | None = None
    texts: list[str] = field(default_factory=list)
    _round: int = 0

    def piece(self, chunk: Chunk) -> str:
        """Return the text of a chunk, after a blank line if it begins the text of another round."""
        begins = 0 < self._round < chunk.round
        self._round = chunk.round
        return f"\n\n{chunk.text}" if begins else chunk.text

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Chunk():
                    self.texts.append(self.piece(event))
                case Failure():
                    self.failure = event
                case TurnOutcome():
                    self.end(event)

    def end(self, outcome: TurnOutcome) -> None:
        self.usage = outcome.usage
        if outcome.finish_reason in _SHOWN_REASONS:
            self.finish_reason = str(outcome.finish_reason)


def completion(turn_id: str, answer: Answer) -> dict[str, Any]:
    """Return the whole answer as the object `chat.completion`."""
    message = {"role": "assistant", "content": "".join(answer.texts), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None}
    return {
        **_head(turn_id, "chat.completion"),
        "choices": [{**choice, "finish_reason": answer.finish_reason}],
        "usage": answer.usage,
    }


def _head(turn_id: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{turn_id}",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL,
    }


def failed_body(failure: Failure, *, status: int = 500) -> dict[str, Any]:
    return error_body(status=status, code=failure.code, message=failure.message).model_dump()


class ChatChunks(Framing):
    """One stream of chunks. With `includes_usage`, the last one has the tokens, and no text."""

    def __init__(self, follower: Follower, *, includes_usage: bool = False) -> None:
        super().__init__(follower)
        self._includes_usage = includes_usage
        self._head = _head(follower.turn_id, "chat.completion.chunk")
        self._answer = Answer()
        # The bytes around the text of a chunk, which are always the same.
        around = self._chunk({"content": ""}, finish_reason=None)
        self._before, _, self._after = around.partition(b'""')

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, None)

    def frames(self, batch: Batch) -> list[bytes]:
        return [frame for event in batch.events for frame in self._frames(event)]

    def _frames(self, event: Event) -> Iterable[bytes]:
        match event:
            case Chunk():
                yield self._before + encode(self._answer.piece(event)) + self._after
            case Failure():
                self._answer.failure = event
            case TurnOutcome():
                self._answer.end(event)
            case End():
                yield from self._ending()

    def _ending(self) -> Iterable[bytes]:
        if self._answer.failure is not None:
            yield _frame(failed_body(self._answer.failure))
        else:
            yield self._chunk({}, self._answer.finish_reason)
            if self._includes_usage and self._answer.usage is not None:
                yield _frame({**self._head, "choices": [], "usage": self._answer.usage})
        yield DONE

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._includes_usage else {}
        return _frame({**self._head, "choices": [choice], **usage})


def _frame(body: dict[str, Any]) -> bytes:
    return b"data: " + encode(body) + b"\n\n"
