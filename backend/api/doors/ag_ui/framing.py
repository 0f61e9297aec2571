"""The event stream of AG-UI. A turn is one run, and has the same messages as the history.

They have the same ids, too: `<turn>-<n>`. The question is number 1. A round adds the assistant's
message with its text and tool calls, and then the outputs in the order in which they complete.
"""

from collections.abc import Callable

from backend.api.doors.ag_ui.events import (
    Json,
    arguments_text,
    call_id,
    frame,
    run_error,
    run_finished,
    run_started,
    snapshot,
)
from backend.api.doors.ag_ui.run_input import RunInput
from backend.api.stream_protocol import Framing
from backend.domain.conversation import Outcome, as_json
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

_STOPPED = frozenset({Outcome.CANCELLED, Outcome.DISCONNECTED})

MessagesBefore = Callable[[str], list[Json]]
"""Returns the messages of the thread up to the question of a turn."""


class RunEvents(Framing):
    """Writes a run from its first event on. `messages_before` makes it begin with a snapshot."""

    def __init__(
        self, follower: Follower, *, run: RunInput, messages_before: MessagesBefore | None = None
    ) -> None:
        super().__init__(follower)
        self.messages_before = messages_before
        """May be set until the stream is opened."""
        self._run = run
        self._messages = 1
        self._round: str | None = None
        """The id of the assistant's message while its round can add to it."""
        self._parent = ""
        """The id of the assistant's message whose calls are being answered."""
        self._is_in_text = False
        self._failure: Failure | None = None
        self._outcome: TurnOutcome | None = None

    def opening(self) -> bytes:
        turn_id = self._follower.turn_id
        started = run_started(self._run, session_id=self._follower.session_id, turn_id=turn_id)
        before = self.messages_before
        shown = [] if before is None else snapshot(before(turn_id))
        return b"".join(map(frame, [started, *shown]))

    def frames(self, batch: Batch) -> list[bytes]:
        return [frame(event) for each in batch.events for event in self._events(each)]

    def _events(self, event: Event) -> list[Json]:
        match event:
            case Chunk(text):
                return self._say(text)
            case ToolCalled(id_, name, arguments):
                return self._call(id_, name, arguments_text(arguments))
            case ToolOutput(_, output, id_):
                self._round = None  # a round is over when its calls are answered
                result = {
                    "type": "TOOL_CALL_RESULT",
                    "messageId": self._next_id(),
                    "toolCallId": call_id(self._parent, id_),
                    "content": as_json(output),
                    "role": "tool",
                }
                return [result]
            case Failure():
                self._failure = event
            case TurnOutcome():
                self._outcome = event
            case End():
                return [*self._end_text(), self._ending()]
            case ToolUse():
                pass  # the `tool_call` right after it says more
        return []

    def _next_id(self) -> str:
        self._messages += 1
        return f"{self._follower.turn_id}-{self._messages}"

    def _message_id(self) -> str:
        if self._round is None:
            self._round = self._parent = self._next_id()
        return self._round

    def _say(self, text: str) -> list[Json]:
        message_id = self._message_id()
        content = {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text}
        if self._is_in_text:
            return [content]
        self._is_in_text = True
        start = {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
        return [start, content]

    def _end_text(self) -> list[Json]:
        if not self._is_in_text:
            return []
        self._is_in_text = False
        return [{"type": "TEXT_MESSAGE_END", "messageId": self._parent}]

    def _call(self, id_: str, name: str, arguments: str) -> list[Json]:
        before, parent = self._end_text(), self._message_id()
        tool_call_id = call_id(parent, id_)
        start = {
            "type": "TOOL_CALL_START",
            "toolCallId": tool_call_id,
            "toolCallName": name,
            "parentMessageId": parent,
        }
        argued = [{"type": "TOOL_CALL_ARGS", "toolCallId": tool_call_id, "delta": arguments}]
        end = {"type": "TOOL_CALL_END", "toolCallId": tool_call_id}
        return [*before, start, *(argued if arguments else []), end]

    def _ending(self) -> Json:
        if self._failure is not None:
            return run_error(self._failure, self._outcome)
        outcome = self._outcome
        is_stopped = outcome is not None and outcome.outcome in _STOPPED
        return run_finished(self._run, outcome, is_stopped=is_stopped)
