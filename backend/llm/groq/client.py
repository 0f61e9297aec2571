"""Groq as a `ChatModel`: the SDK, its connections, and the translation of its errors.

The SDK authenticates, connects and raises. The bytes of the stream bypass its parser and go to
`wire`, whose cost is per read and not per token.
"""

import asyncio
import logging
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from functools import cache
from typing import TypeVar
from urllib.parse import unquote

import aiohttp
import groq
import httpx
import structlog
from groq import AsyncGroq, AsyncStream
from groq._response import AsyncAPIResponse, AsyncResponseContextManager
from groq.types.chat import ChatCompletionChunk
from pydantic import SecretStr

from backend.aio.timeout import ReusableTimeout
from backend.domain.errors import (
    AnswerCut,
    ConnectTimeout,
    FirstByteTimeout,
    GapTimeout,
    OutOfDescriptors,
    UpstreamError,
    UpstreamUnavailable,
)
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.errors import allowances, error_of, retry_after_of
from backend.llm.groq.wire import STREAM_OPTIONS, Decoder, body_of, parameters_of
from backend.llm.port import Allowance, CompletionRequest, Delta, Finish, Meter, Text
from backend.network.connection_errors import cause_of, is_distrust, is_exhaustion, is_timeout
from backend.telemetry.metrics import UpstreamAnswer
from backend.telemetry.redaction import without_credentials

logger = structlog.get_logger()

T = TypeVar("T")

SILENCE_SECONDS = 60.0

KEEPALIVE_SECONDS = 60.0
"""How long an idle connection stays open. It saves a TLS handshake; the SDK's default is 5 s."""

BOOKKEEPING_SECONDS = 2.0
"""How long to wait for the usage after the finish. Servers send it at once, or never."""

CLOSING_SECONDS = 0.25
"""How long to wait for the end of a finished body. After that, a new connection is cheaper."""


def open_client(
    *,
    api_key: SecretStr,
    base_url: str,
    connect_seconds: float,
    max_connections: int,
    trusted: ssl.SSLContext | None = None,
) -> AsyncGroq:
    """Open the client that all models share. The caller must `await client.close()`.

    It trusts the certificates of this machine unless `trusted` is given. `max_connections` should
    cover all streams: with the SDK's default of 100, the 101st stream waits, and aiohttp reads
    "unlimited" as 100.
    """
    return AsyncGroq(
        api_key=api_key.get_secret_value(),
        base_url=without_credentials(base_url),
        max_retries=0,  # `resilience` retries, with an eye on breakers, rates and time-outs
        # A compressed stream arrives in blocks, but text should arrive token by token.
        default_headers={"Accept-Encoding": "identity", **_authorization(base_url)},
        timeout=httpx.Timeout(None, connect=connect_seconds),
        http_client=groq.DefaultAioHttpClient(
            verify=trusted or _trusted(),
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
        ),
    )


def _authorization(base_url: str) -> dict[str, str]:
    """The header for a user and password in the URL, which replace the API key.

    They cannot stay in the URL: aiohttp refuses a URL with credentials beside this header.
    """
    given, _, _ = base_url.partition("://")[2].rpartition("@")
    user, _, password = given.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"} if given else {}


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates of this machine. Cached, because reading them takes 30 ms."""
    return httpx.create_ssl_context()


class GroqModel:
    """One model at Groq. Calls `on_allowance` with the rate limits that each response reports."""

    def __init__(
        self,
        client: AsyncGroq,
        name: str,
        *,
        max_completion_tokens: int,
        first_byte_seconds: float,
        gap_seconds: float,
        first_delta_seconds: float = 60.0,
        bounds: CompletionBounds | None = None,
        on_allowance: Callable[[Allowance], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._client = client
        self._max_completion_tokens = max_completion_tokens
        self._first_byte_seconds = min(first_byte_seconds, first_delta_seconds)
        self._first_delta_seconds = first_delta_seconds
        self._gap_seconds = gap_seconds
        self._bounds = bounds or CompletionBounds()
        self._on_allowance = on_allowance
        self._silent_until: dict[str, float] = {}
        """When the next failure with this cause is a warning again, by the monotonic clock."""

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        decoder, answer = Decoder(self._bounds), UpstreamAnswer(self.name)
        # Starts here and not at the first byte: connecting is part of the wait.
        first_delta_due = asyncio.get_running_loop().time() + self._first_delta_seconds
        with self._translated(decoder), _metered(request.meter, decoder):
            async with AsyncExitStack() as stack:
                opening = stack.enter_async_context(self._asked(request))
                response = await _in_time(opening, self._first_byte_seconds)
                request.meter.is_accepted = True
                self._note(response.headers)
                body = stack.enter_context(
                    closing(_Body(response.iter_bytes(), decoder, gap_seconds=self._gap_seconds))
                )
                text = await self._first_text(body, answer, due=first_delta_due)
                request.meter.began_at = time.perf_counter()
                while True:
                    # One read is one delta, however many frames it contained.
                    if text:
                        yield Text(text, decoder.model)
                    if body.is_over:
                        break
                    text = await body.read()
                await body.finish()
                for delta in decoder.end():
                    if isinstance(delta, Finish):
                        _measure(answer, decoder, delta)
                    yield delta

    def _asked(
        self, request: CompletionRequest
    ) -> AsyncResponseContextManager[AsyncAPIResponse[AsyncStream[ChatCompletionChunk]]]:
        completions = self._client.chat.completions.with_streaming_response
        return completions.create(
            model=self.name,
            messages=(),  # required by the SDK; `extra_body` replaces it
            max_completion_tokens=min(
                self._max_completion_tokens, request.max_tokens or self._max_completion_tokens
            ),
            stream=True,
            extra_headers={"traceparent": request.traceparent} if request.traceparent else None,
            # `extra_body` bypasses the SDK's transformation, which rebuilds every message and
            # schema unchanged and takes a tenth of the CPU time of a short turn.
            extra_body=body_of(request)
            | parameters_of(self.name, thinks_least=request.thinks_least)
            | STREAM_OPTIONS,
        )

    async def _first_text(self, body: "_Body", answer: UpstreamAnswer, *, due: float) -> str:
        """Read until the first delta or the end of the stream, and return the text so far.

        The deadline covers all of it: a server that only sends keep-alives passes every time-out
        between bytes, and still gives no answer.
        """
        try:
            async with asyncio.timeout_at(due):
                text = await body.begin(self._first_byte_seconds)
                if body.has_bytes:
                    answer.began()
                while not (text or body.has_delta or body.is_over):
                    text = await body.read()
        except TimeoutError as error:
            raise FirstByteTimeout from error
        return text

    def _note(self, headers: Mapping[str, str]) -> None:
        for allowance in allowances(headers):
            self._on_allowance(allowance)

    @contextmanager
    def _translated(self, decoder: Decoder) -> Iterator[None]:
        """Translate the errors of SDK and transports, around the call and the iteration."""
        try:
            yield
        except UpstreamError as error:
            # Before `AnswerCut` no delta was yielded, so the model may be asked again.
            error.is_late = decoder.has_begun and not isinstance(error, AnswerCut)
            raise
        except groq.APIStatusError as error:
            self._note(error.response.headers)
            raise self._refusal(error) from error
        except (groq.APIError, httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            failure = _unreached(error)
            failure.is_late = decoder.has_begun
            is_ours = isinstance(failure, OutOfDescriptors)
            cause = cause_of(error)
            is_grave = is_ours or not failure.is_passing
            level = logging.ERROR if is_grave else self._level_of(cause)
            told = {"model": self.name, "error": failure.code, "cause": cause}
            logger.log(level, "upstream_not_asked" if is_ours else "upstream_unreachable", **told)
            raise failure from error

    def _level_of(self, cause: str) -> int:
        """A warning once a minute for each cause, and DEBUG in between."""
        now = time.monotonic()
        if now < self._silent_until.get(cause, 0.0):
            return logging.DEBUG
        self._silent_until[cause] = now + SILENCE_SECONDS
        return logging.WARNING

    def _refusal(self, error: groq.APIStatusError) -> UpstreamError:
        body = error.body.get("error") if isinstance(error.body, dict) else None
        may_retry = error.response.headers.get("x-should-retry")
        refusal = error_of(body, error.status_code, may_retry=may_retry != "false")
        # The line of the turn has the numbers of failures that may pass, such as used-up rates.
        level = logging.DEBUG if refusal.retryable else logging.INFO
        told = {"status": error.status_code, "error": refusal.code}
        logger.log(level, "upstream_refused", model=self.name, **told)
        if refusal.retryable and refusal.retry_after is None:
            refusal.retry_after = retry_after_of(error.response.headers)
        if may_retry == "true":
            refusal.is_passing = True
        return refusal


@contextmanager
def _metered(meter: Meter, decoder: Decoder) -> Iterator[None]:
    """Read the meter when the call ends, however it ends."""
    try:
        yield
    finally:
        meter.written_characters = decoder.written_bytes
        meter.usage = decoder.reported.usage if decoder.reported.is_reported else None
        meter.queue_seconds = decoder.reported.queue_seconds


def _unreached(error: Exception) -> UpstreamError:
    if is_exhaustion(error):
        return OutOfDescriptors()
    failure = ConnectTimeout() if is_timeout(error) else UpstreamUnavailable()
    failure.is_passing = not is_distrust(error)
    return failure


class _Body:
    """Reads the body of one response, with a time-out for each part. Must be closed."""

    def __init__(
        self, reads: AsyncIterator[bytes], decoder: Decoder, *, gap_seconds: float
    ) -> None:
        self.has_bytes = False
        self._reads = reads
        self._decoder = decoder
        self._timeout = ReusableTimeout(gap_seconds)
        self._has_ended = False
        self._finished_due: float | None = None

    @property
    def has_delta(self) -> bool:
        return self._decoder.has_delta

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read. Raises: UpstreamError, if the body is unusable."""
        if self._decoder.failure is not None:
            raise self._decoder.failure
        return self._has_ended or self._decoder.is_done

    async def begin(self, seconds: float) -> str:
        """Return the text of the first read. Raises: FirstByteTimeout."""
        data = await _in_time(anext(self._reads, b""), seconds)
        self.has_bytes = bool(data)
        return self._text(data)

    async def read(self) -> str:
        """Return the text of the next read. Raises: GapTimeout."""
        return self._text(
            await (self._bookkeeping() if self._decoder.is_finished else self._next())
        )

    def _text(self, data: bytes) -> str:
        self._has_ended = not data
        text = self._decoder.feed(data)
        # Some servers send more text after a finish, so the wait for usage starts again.
        if text:
            self._finished_due = None
        return text

    async def _next(self) -> bytes:
        """Return the next bytes; empty at the end."""
        try:
            with self._timeout:
                return await anext(self._reads, b"")
        except TimeoutError as error:
            raise GapTimeout from error

    async def _bookkeeping(self) -> bytes:
        """Read on after the finish. The answer is complete, so no error counts here any more."""
        if self._finished_due is None:
            self._finished_due = asyncio.get_running_loop().time() + BOOKKEEPING_SECONDS
        with suppress(TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError):
            async with asyncio.timeout_at(self._finished_due):
                return await anext(self._reads, b"")
        return b""

    async def finish(self) -> None:
        """Read to the end of the body, so that the pool can reuse the connection."""
        with suppress(TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await anext(self._reads, b"")

    def close(self) -> None:
        self._timeout.close()


def _measure(answer: UpstreamAnswer, decoder: Decoder, finish: Finish) -> None:
    answer.is_whole(
        input_tokens=finish.usage.input_tokens,
        output_tokens=finish.usage.output_tokens,
        queue_seconds=decoder.reported.queue_seconds,
        writing_seconds=decoder.reported.writing_seconds,
    )


async def _in_time(first: Awaitable[T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await first
    except TimeoutError as error:
        raise FirstByteTimeout from error
