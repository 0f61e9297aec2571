"""Learns how large a request one model accepts, and cuts requests to that size.

Without a cut, the model would refuse the session's next turns as well. So the oldest turns are left
out: before a call as far as the limit is known, and after a refusal as far as the refusal demands.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import structlog

from backend.domain.context_window import CHARACTERS_PER_TOKEN, characters, characters_per_token
from backend.domain.conversation import Role
from backend.domain.errors import RequestTooLarge
from backend.llm.port import (
    Allowance,
    CompletionRequest,
    ToolSpec,
)

logger = structlog.get_logger()

MARGIN = 0.05
"""The share of the limit that stays free, because sizes are estimated from characters."""

UNKNOWN_SHARE = 0.5
"""After a refusal without figures, the limit is assumed to be this share of the request."""


class RequestSize:
    """The largest request of one model, in tokens, including those reserved for the answer."""

    def __init__(self, *, answer_tokens: int = 0) -> None:
        self._answer_tokens = answer_tokens
        self._limits: dict[str, int] = {}
        self._characters_per_token = CHARACTERS_PER_TOKEN
        self._tools: tuple[Sequence[ToolSpec], int] = ((), 0)
        """The tools of the last request, with their size. They rarely change."""

    @property
    def limit_tokens(self) -> int | None:
        """The smallest known limit; None if none is known."""
        return min(self._limits.values(), default=None)

    @property
    def input_limit_tokens(self) -> int | None:
        """The limit without the tokens of the answer; None if no limit is known.

        It is smaller than what `fitted` allows, so that requests within it are rarely cut again.
        """
        if self.limit_tokens is None:
            return None
        return max(0, int(self.limit_tokens * (1 - 2 * MARGIN)) - self._answer_tokens)

    def allowed(self, allowance: Allowance) -> None:
        """Learn from a reported rate: no request may exceed the tokens per minute."""
        if allowance.kind == "tokens" and allowance.limit:
            if allowance.limit != self._limits.get("rate"):
                self._limits.pop("told", None)  # it came from a refusal under the old rate
            self._limits["rate"] = allowance.limit

    def answered(self, request: CompletionRequest, input_tokens: int) -> None:
        """Learn from a request that the model accepted."""
        ratio = characters_per_token(self.characters(request), input_tokens)
        self._characters_per_token = ratio or self._characters_per_token
        if (refused := self._limits.get("refused")) and self._tokens(request) > refused:
            del self._limits["refused"]

    def refused(self, request: CompletionRequest, error: RequestTooLarge) -> None:
        """Learn from a request that was too large, and note whether it can be cut."""
        if error.requested_tokens:
            # Some servers count the tokens of the answer, and some do not. Assuming that they do
            # not may cut a little too much, but never too little.
            ratio = characters_per_token(self.characters(request), error.requested_tokens)
            self._characters_per_token = min(self._characters_per_token, ratio or math.inf)
        if error.limit_tokens:
            self._limits["told"] = error.limit_tokens
        if not error.limit_tokens or self._tokens(request) <= error.limit_tokens:
            self._limits["refused"] = int(self._tokens(request) * UNKNOWN_SHARE)
        error.can_be_cut = self.fitted(request) is not request

    def fitted(self, request: CompletionRequest) -> CompletionRequest:
        """Return the request without its oldest turns, if it is known to be too large.

        Otherwise returns the same object.
        """
        if self.limit_tokens is None:
            return request
        budget = self.limit_tokens * (1 - MARGIN) - self._reserve(request)
        beside = self.characters(replace(request, messages=()))
        return cut(request, budget * self._characters_per_token - beside)

    def _reserve(self, request: CompletionRequest) -> int:
        return min(self._answer_tokens, request.max_tokens or self._answer_tokens)

    def characters(self, request: CompletionRequest) -> int:
        """The size of a request with its prompt and tools."""
        if request.tools is not self._tools[0]:
            written = (f"{each.name}{each.description}{each.parameters}" for each in request.tools)
            self._tools = request.tools, sum(map(len, written))
        return len(request.prompt) + characters(request.messages) + self._tools[1]

    def _tokens(self, request: CompletionRequest) -> float:
        return self.characters(request) / self._characters_per_token + self._reserve(request)


def cut(request: CompletionRequest, budget_characters: float) -> CompletionRequest:
    """Keep the newest whole turns of the history that fit, and all of the current turn."""
    messages = request.messages
    weight = characters(messages)
    if weight <= budget_characters:
        return request
    # Each turn begins with the user's message.
    begins = [n for n in range(request.history_length) if messages[n].role is Role.USER]
    left_out = 0
    for after in [*begins[1:], request.history_length]:
        if weight <= budget_characters:
            break
        weight -= characters(messages[left_out:after])
        left_out = after
    if not left_out:
        return request
    return replace(
        request, messages=messages[left_out:], history_length=request.history_length - left_out
    )
