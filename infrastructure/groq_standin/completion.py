"""One completion made from a round: its ids, its tokens, its calls, its usage.

It knows what is said; `stream.py` and `whole.py` know how it goes out.
"""

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from zlib import crc32

from infrastructure.groq_standin import tokens
from infrastructure.groq_standin.asked import Asked
from infrastructure.groq_standin.encoding import encode
from infrastructure.groq_standin.faults import AnyFault, DuplicateToolIndex, NullArguments
from infrastructure.groq_standin.script import Call, Round
from infrastructure.groq_standin.wire import Wire, call_id, completion_id

CHARS_PER_TOKEN = 4
PROMPT_TOKENS_PER_SECOND = 20_000


class Completion:
    """What is answered to one request."""

    def __init__(
        self, asked: Asked, played: Round, fault: AnyFault | None, *,
        request_id: str, prompt_tokens: int,
    ) -> None:  # fmt: skip
        self.asked = asked
        self.round = played
        self.fault = fault
        self.id = completion_id()
        self.created = int(time.time())
        self.request_id = request_id
        self.seed = crc32(self.id.encode()) >> 1 if asked.seed is None else asked.seed
        self._prompt_tokens = prompt_tokens

    @cached_property
    def text(self) -> str:
        if self.round.tokens is not None:
            return tokens.filler(self.round.tokens)
        return self.round.text or ""

    @property
    def _tokens(self) -> tuple[bytes, ...]:
        return tokens.encoded(self.text, self.round.characters_per_token)

    @cached_property
    def calls(self) -> list[dict[str, Any]]:
        return [self._call(call) for call in self.round.calls]

    @property
    def has_text(self) -> bool:
        """Whether anything is said; an answer may be only tool calls."""
        return not self.calls or bool(self.text or self.round.reasoning)

    @property
    def finish_reason(self) -> str:
        return self.round.finish_reason or ("tool_calls" if self.round.calls else "stop")

    @cached_property
    def usage(self) -> dict[str, Any]:
        reasoning = len(tokens.encoded(self.round.reasoning or ""))
        arguments = sum(len(call["function"]["arguments"]) for call in self.calls)
        completion = reasoning + len(self._tokens) + arguments // CHARS_PER_TOKEN
        prompt_time = self._prompt_tokens / PROMPT_TOKENS_PER_SECOND
        completion_time = completion / (self.round.tokens_per_second or 300)
        usage: dict[str, Any] = {
            "queue_time": 0.037737859,
            "prompt_tokens": self._prompt_tokens,
            "prompt_time": round(prompt_time, 9),
            "completion_tokens": completion,
            "completion_time": round(completion_time, 9),
            "total_tokens": self._prompt_tokens + completion,
            "total_time": round(prompt_time + completion_time, 9),
        }
        if reasoning:
            usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
        return {**usage, **self.round.usage}

    def wire(self) -> Wire:
        return Wire(
            completion_id=self.id, created=self.created, model=self.asked.label,
            request_id=self.request_id, seed=self.seed,
        )  # fmt: skip

    def frames(self, wire: Wire) -> Iterator[bytes]:
        """Every piece of the answer: reasoning, text, tool calls."""
        if self.round.reasoning:
            thoughts = tokens.encoded(self.round.reasoning)
            yield from wire.reasoning(thoughts, is_gpt_oss=self.asked.is_gpt_oss)
        yield from wire.texts(self._tokens)
        for index, call in enumerate(self.calls):
            at = 0 if isinstance(self.fault, DuplicateToolIndex) else index
            for piece in _split(call, self.round.split_arguments_into):
                yield wire.tool_call(at, piece)

    def _call(self, call: Call) -> dict[str, Any]:
        arguments = call.arguments
        if isinstance(self.fault, NullArguments):
            arguments = "null"
        elif not isinstance(arguments, str):
            arguments = encode(arguments).decode()
        return {
            "id": call.id or call_id(is_gpt_oss=self.asked.is_gpt_oss),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }


def _split(call: dict[str, Any], parts: int) -> Iterator[dict[str, Any]]:
    """Groq sends a call whole; other servers send id and name first, then more arguments."""
    arguments = call["function"]["arguments"]
    if parts == 1:
        yield call
        return
    size = max(1, -(-len(arguments) // parts))
    yield {**call, "function": {**call["function"], "arguments": arguments[:size]}}
    for start in range(size, len(arguments), size):
        yield {"function": {"arguments": arguments[start : start + size]}}
