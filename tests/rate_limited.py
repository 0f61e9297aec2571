"""An upstream with a rate: a bucket of tokens that refills, and tells its level as Groq does."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tests.serving import serve

CALL_TOKENS = 1500


@dataclass(frozen=True)
class Call:
    """A call that arrived `at` on the monotonic clock. `query` is the user's last message."""

    at: float
    query: str
    is_served: bool


@dataclass
class RateLimited:
    """Serves `calls_per_second`, and `burst` calls at once after a pause.

    Its time begins with `begin`, and so few tokens that it serves nothing for `closed_seconds`.
    """

    calls_per_second: float
    burst: int
    closed_seconds: float
    calls: list[Call] = field(default_factory=list)
    url: str = ""

    def begin(self) -> None:
        self._at = time.monotonic()
        self._level = -self._refill * self.closed_seconds

    @property
    def _refill(self) -> float:
        return self.calls_per_second * CALL_TOKENS

    @property
    def _limit(self) -> int:
        return self.burst * CALL_TOKENS

    @property
    def served(self) -> list[Call]:
        return [call for call in self.calls if call.is_served]

    @property
    def refused(self) -> list[Call]:
        return [call for call in self.calls if not call.is_served]

    async def answer(self, request: Request) -> Response:
        now = time.monotonic()
        self._level = min(self._limit, self._level + self._refill * (now - self._at))
        self._at = now
        messages = (await request.json())["messages"]
        query = next(each["content"] for each in reversed(messages) if each["role"] == "user")
        is_served = self._level >= CALL_TOKENS
        self.calls.append(Call(now, query, is_served))
        if not is_served:
            seconds = math.ceil((CALL_TOKENS - self._level) / self._refill)
            error = {"message": "Rate limit reached", "type": "tokens"}
            return JSONResponse(
                {"error": {**error, "code": "rate_limit_exceeded"}},
                429,
                {**self._headers(), "retry-after": str(seconds)},
            )
        self._level -= CALL_TOKENS
        return StreamingResponse(_stream(), 200, self._headers(), "text/event-stream")

    def _headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit-tokens": str(self._limit),
            "x-ratelimit-remaining-tokens": str(max(0, int(self._level))),
            "x-ratelimit-reset-tokens": f"{(self._limit - self._level) / self._refill:.6f}s",
        }


async def _stream() -> AsyncIterator[str]:
    head = '{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,'
    usage = f'"usage":{{"prompt_tokens":{CALL_TOKENS - 1},"completion_tokens":1}}'
    yield f'data: {head}"delta":{{"role":"assistant","content":"Hello."}}}}]}}\n\n'
    yield f'data: {head}"delta":{{}},"finish_reason":"stop"}}],{usage}}}\n\n'
    yield "data: [DONE]\n\n"


@asynccontextmanager
async def rate_limited(
    *, calls_per_second: float, burst: int, closed_seconds: float
) -> AsyncIterator[RateLimited]:
    upstream = RateLimited(calls_per_second, burst, closed_seconds)
    app = FastAPI()
    app.add_api_route(
        "/openai/v1/chat/completions", upstream.answer, methods=["POST"], response_model=None
    )
    async with serve(app) as url:
        upstream.url = url
        yield upstream
