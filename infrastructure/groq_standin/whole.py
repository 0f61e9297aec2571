"""A completion as one JSON body, for `stream: false`."""

from collections.abc import Iterator
from typing import Any

from infrastructure.groq_standin.completion import Completion
from infrastructure.groq_standin.http import Headers
from infrastructure.groq_standin.refusals import json_answer
from infrastructure.groq_standin.steps import Ending, Step, Wait
from infrastructure.groq_standin.wire import FINGERPRINT


def steps(completion: Completion, headers: Headers) -> Iterator[Step]:
    seconds = completion.round.first_token_after
    if completion.round.tokens_per_second is not None:
        seconds += completion.usage["completion_tokens"] / completion.round.tokens_per_second
    if seconds:
        yield Wait(seconds)
    yield json_answer(200, _body(completion), {**headers, **completion.round.headers})
    yield Ending.COMPLETED


def _body(completion: Completion) -> dict[str, Any]:
    x_groq: dict[str, Any] = {"id": completion.request_id, "seed": completion.seed}
    if completion.round.x_groq_error is not None:
        x_groq["error"] = completion.round.x_groq_error
    choice = {
        "index": 0,
        "message": _message(completion),
        "logprobs": None,
        "finish_reason": completion.finish_reason,
    }
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created,
        "model": completion.asked.label,
        "choices": [choice],
        "usage": completion.usage,
        "usage_breakdown": None,
        "system_fingerprint": FINGERPRINT,
        "x_groq": x_groq,
        "service_tier": "on_demand",
    }


def _message(completion: Completion) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if completion.text or not completion.calls:
        message["content"] = completion.text
    if completion.round.reasoning:
        message["reasoning"] = completion.round.reasoning
    if completion.calls:
        message["tool_calls"] = completion.calls
    return message
