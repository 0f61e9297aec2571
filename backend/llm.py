"""Groq behind `ChatModel`: the SDK, its connections, and its errors in our words.

The SDK authenticates, connects and raises; the bytes of the stream go past its parser to
`wire`, which costs per read and not per token.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, closing, contextmanager, suppress
from functools import cache
from typing import TypeVar

import aiohttp
import groq
import httpx
import structlog
from groq import AsyncGroq, AsyncStream
from groq._response import AsyncAPIResponse, AsyncResponseContextManager
from groq.types.chat import ChatCompletionChunk
from pydantic import SecretStr

from backend.completion import Allowance, CompletionRequest, Delta, Finish, Text
from backend.errors import (
    ConnectTimeout,
    FirstByteTimeout,
    GapTimeout,
    RequestTooLarge,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnavailable,
)
from backend.patience import Patience
from backend.telemetry.metrics import UpstreamAnswer
from backend.wire import Decoder, body_of, parameters_of
from backend.wire_errors import allowances, error_of

logger = structlog.get_logger()

T = TypeVar("T")

KEEPALIVE_SECONDS = 60.0
"""An idle connection is worth a TLS handshake; the SDK's 5 seconds lose most of them."""

MAX_RETRY_AFTER_SECONDS = 86_400.0

CLOSING_SECONDS = 0.25
"""How long the end of a finished body may take before its connection is not worth keeping."""


def open_client(
    *, api_key: SecretStr, base_url: str, connect_seconds: float, max_connections: int
) -> AsyncGroq:
    """The client that all models share; `await client.close()` closes its connections.

    Its pool has a place for every stream: the SDK's own 100 made the 101st wait, and an
    unlimited pool is taken for 100 by aiohttp.
    """
    return AsyncGroq(
        api_key=api_key.get_secret_value(),
        base_url=base_url,
        max_retries=0,
        # A compressed stream arrives in blocks; text is wanted token by token.
        default_headers={"Accept-Encoding": "identity"},
        timeout=httpx.Timeout(None, connect=connect_seconds),
        http_client=groq.DefaultAioHttpClient(
            verify=_trusted(),
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
        ),
    )


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates of this machine; reading them takes 30 ms, once."""
    return httpx.create_ssl_context()


class GroqModel:
    """One model of Groq. `on_allowance` hears what each answer says of our rates."""

    def __init__(
        self,
        client: AsyncGroq,
        name: str,
        *,
        max_completion_tokens: int,
        first_byte_seconds: float,
        gap_seconds: float,
        on_allowance: Callable[[Allowance], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._client = client
        self._max_completion_tokens = max_completion_tokens
        self._first_byte_seconds = first_byte_seconds
        self._gap_seconds = gap_seconds
        self._on_allowance = on_allowance

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        decoder, answer = Decoder(), UpstreamAnswer(self.name)
        with self._translated(decoder):
            async with AsyncExitStack() as stack:
                opening = stack.enter_async_context(self._asked(request))
                response = await _in_time(opening, self._first_byte_seconds)
                self._note(response.headers)
                reads = response.iter_bytes()
                async with aclosing(self._deltas(decoder, answer, reads)) as deltas:
                    async for delta in deltas:
                        yield delta

    def _asked(
        self, request: CompletionRequest
    ) -> AsyncResponseContextManager[AsyncAPIResponse[AsyncStream[ChatCompletionChunk]]]:
        completions = self._client.chat.completions.with_streaming_response
        return completions.create(
            model=self.name,
            messages=(),
            max_completion_tokens=min(
                self._max_completion_tokens, request.max_tokens or self._max_completion_tokens
            ),
            stream=True,
            extra_headers={"traceparent": request.traceparent} if request.traceparent else None,
            # Past the SDK's transformation, which takes every message and schema apart and puts it
            # together unchanged: a tenth of the processor time of a short turn.
            extra_body=body_of(request) | parameters_of(self.name),
        )

    async def _deltas(
        self, decoder: Decoder, answer: UpstreamAnswer, reads: AsyncIterator[bytes]
    ) -> AsyncGenerator[Delta, None]:
        if data := await _in_time(anext(reads, b""), self._first_byte_seconds):
            answer.began()
        with closing(Patience(self._gap_seconds)) as patience:
            while data:
                if text := decoder.feed(data):
                    yield Text(text)
                if decoder.failure is not None:
                    raise decoder.failure
                if decoder.is_done:
                    break
                try:
                    with patience:
                        data = await anext(reads, b"")
                except TimeoutError as error:
                    raise GapTimeout from error
        # The answer is whole; this only lets the connection see its end and be used again.
        with suppress(TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await anext(reads, b"")
        for delta in decoder.end():
            if isinstance(delta, Finish):
                _measure(answer, decoder, delta)
            yield delta

    def _note(self, headers: Mapping[str, str]) -> None:
        for allowance in allowances(headers):
            self._on_allowance(allowance)

    @contextmanager
    def _translated(self, decoder: Decoder) -> Iterator[None]:
        """Around the call and the iteration: what SDK and transports raise, in our words."""
        try:
            yield
        except UpstreamError as error:
            error.is_late = decoder.has_begun
            raise
        except groq.APIStatusError as error:
            self._note(error.response.headers)
            raise self._refusal(error) from error
        except (groq.APIError, httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            failure = ConnectTimeout() if _is_timeout(error) else UpstreamUnavailable()
            failure.is_late = decoder.has_begun
            cause = type(error.__cause__ or error).__name__
            logger.info("upstream_unreachable", model=self.name, error=failure.code, cause=cause)
            raise failure from error

    def _refusal(self, error: groq.APIStatusError) -> UpstreamError:
        body = error.body.get("error") if isinstance(error.body, dict) else None
        refusal = error_of(body, error.status_code)
        logger.info(
            "upstream_refused", model=self.name, status=error.status_code, error=refusal.code
        )
        if refusal.retryable and refusal.retry_after is None:
            refusal.retry_after = _seconds(error.response.headers.get("retry-after"))
        match error.response.headers.get("x-should-retry"):
            case "true":
                refusal.is_passing = True
            case "false":
                return RequestTooLarge() if isinstance(refusal, UpstreamBusy) else refusal
        return refusal


def _measure(answer: UpstreamAnswer, decoder: Decoder, finish: Finish) -> None:
    answer.is_whole(
        input_tokens=finish.usage.input_tokens,
        output_tokens=finish.usage.output_tokens,
        queue_seconds=decoder.queue_seconds,
        writing_seconds=decoder.writing_seconds,
    )


async def _in_time(first: Awaitable[T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await first
    except TimeoutError as error:
        raise FirstByteTimeout from error


def _is_timeout(error: BaseException | None) -> bool:
    """Looks for what really happened: the transport calls a reset a time-out as well."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__
    return False


def _seconds(value: str | None) -> float | None:
    """A `retry-after` in seconds; what is no sensible number of them is none."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds <= MAX_RETRY_AFTER_SECONDS else None
