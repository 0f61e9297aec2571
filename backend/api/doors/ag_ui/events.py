"""The events and messages of AG-UI, as objects for JSON."""

from collections.abc import Mapping
from typing import Any

import msgspec

from backend.api.doors.ag_ui.run_input import RunInput
from backend.domain.conversation import Message, Role, as_json
from backend.domain.events import Failure, TurnOutcome
from backend.tools.arguments import shown

PROTOCOL_VERSION = "1.0"

Json = dict[str, Any]

_encode = msgspec.json.Encoder().encode


def frame(event: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % _encode(event)


def run_started(run: RunInput, *, session_id: str, turn_id: str | None = None) -> Json:
    turn = {"turnId": turn_id} if turn_id else {}
    return {
        "type": "RUN_STARTED",
        "threadId": run.thread_id,
        "runId": run.run_id,
        "protocolVersion": PROTOCOL_VERSION,
        "metadata": {"sessionId": session_id, **turn},
    }


def snapshot(messages: list[Json]) -> list[Json]:
    """Replace the client's messages.

    A client keeps the order of the messages that it has, and appends the others. The empty snapshot
    makes it take our order.
    """
    return [{"type": "MESSAGES_SNAPSHOT", "messages": each} for each in ([], messages)]


def run_finished(
    run: RunInput, outcome: TurnOutcome | None = None, *, is_stopped: bool = False
) -> Json:
    """A stopped run is `cancelled`. Older clients do not know that, and get no outcome."""
    finished: Json = {"type": "RUN_FINISHED", "threadId": run.thread_id, "runId": run.run_id}
    if not is_stopped:
        finished["outcome"] = {"type": "success"}
    elif run.knows_cancelled:
        finished["outcome"] = {"type": "cancelled"}
    if outcome is not None:
        metadata = {
            "outcome": outcome.outcome,
            "finishReason": outcome.finish_reason,
            "model": outcome.model,
            "rounds": outcome.rounds,
        }
        finished |= {**_usage(outcome), "metadata": metadata}
    return finished


def run_error(failure: Failure, outcome: TurnOutcome | None) -> Json:
    after = {} if failure.retry_after is None else {"retryAfter": failure.retry_after}
    return {
        "type": "RUN_ERROR",
        "message": failure.message,
        "code": failure.code,
        **_usage(outcome),
        "metadata": {"retryable": failure.retryable, **after},
    }


def _usage(outcome: TurnOutcome | None) -> Json:
    if outcome is None or not outcome.usage.total_tokens:
        return {}  # nothing was reported
    # It names no model, because several may have answered.
    usage = {
        "inputTokens": outcome.usage.prompt_tokens,
        "outputTokens": outcome.usage.completion_tokens,
        "totalTokens": outcome.usage.total_tokens,
    }
    return {"usage": [usage]}


def call_id(message_id: str, id_: str) -> str:
    """Make the id of a tool call, which is only unique in its round, unique in the thread."""
    return f"{message_id}-{id_}"


def arguments_text(arguments: Json | str) -> str:
    return arguments if isinstance(arguments, str) else as_json(arguments)


def user_message(message_id: str, text: str) -> Json:
    return {"id": message_id, "role": "user", "content": text}


def message_of(message_id: str, message: Message, parent_id: str) -> Json:
    """A stored message, like the one that a client builds from a stream.

    `parent_id` is the id of the assistant's message to which a tool's output belongs.
    """
    if message.role is Role.USER:
        return user_message(message_id, message.content)
    if message.role is Role.TOOL:
        return {
            "id": message_id,
            "role": "tool",
            "toolCallId": call_id(parent_id, message.tool_call_id or ""),
            "content": message.content,
        }
    made: Json = {"id": message_id, "role": "assistant"}
    if message.content:
        made["content"] = message.content
    if message.tool_calls:
        made["toolCalls"] = [
            {
                "id": call_id(message_id, call.id),
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": arguments_text(shown(call.arguments)),
                },
            }
            for call in message.tool_calls
        ]
    return made
