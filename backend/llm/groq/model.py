"""Groq as a `ChatModel`: makes one call, reads its answer, and translates its errors.

The bytes of the stream bypass the SDK's parser and go to `wire`, whose cost is per read and not per
token.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial

import aiohttp
import groq
import httpx
import structlog

from backend.domain.errors import (
    AnswerCut,
    ConnectTimeout,
    FirstByteTimeout,
    OutOfDescriptors,
    UpstreamError,
    UpstreamUnavailable,
)
from backend.llm.groq.body import Body, in_time
from backend.llm.groq.client import GroqClient
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.errors import allowances, error_of, retry_after_of
from backend.llm.groq.request_body import RequestWriter
from backend.llm.groq.wire import Decoder
from backend.llm.port import Allowance, CompletionRequest, Delta, Finish, Meter, Text
from backend.network.connection_errors import cause_of, is_distrust, is_exhaustion, is_timeout
from backend.telemetry.metrics import UpstreamAnswer

logger = structlog.get_logger()

SILENCE_SECONDS = 60.0

READ_BYTES = 16_384
"""The most of one read. With our pauses between reads, it bounds the pace of an upstream that sends
a long answer at once, and so the memory for a client that reads slowly."""


class GroqModel:
    """One model at Groq. Calls `on_allowance` with the rate limits that each response reports."""

    def __init__(
        self,
        client: GroqClient,
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
        self._writer = RequestWriter()
        self._silent_until: dict[str, float] = {}
        """When the next failure with this cause is a warning again, by the monotonic clock."""

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        decoder, answer = Decoder(self._bounds), UpstreamAnswer(self.name)
        # Starts here and not at the first byte: connecting is part of the wait.
        first_delta_due = asyncio.get_running_loop().time() + self._first_delta_seconds
        with self._translated(decoder), _metered(request.meter, decoder):
            opening = self._client.complete(self._written(request), traceparent=request.traceparent)
            async with await in_time(opening, self._first_byte_seconds) as response:
                request.meter.is_accepted = True
                self._note(response.headers)
                read = partial(response.content.read, READ_BYTES)
                with closing(Body(read, decoder, gap_seconds=self._gap_seconds)) as body:
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

    def _written(self, request: CompletionRequest) -> bytes:
        most = self._max_completion_tokens
        most = min(most, request.max_tokens or most)
        return self._writer.write(self.name, request, max_completion_tokens=most)

    async def _first_text(self, body: Body, answer: UpstreamAnswer, *, due: float) -> str:
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


def _measure(answer: UpstreamAnswer, decoder: Decoder, finish: Finish) -> None:
    answer.is_whole(
        input_tokens=finish.usage.input_tokens,
        output_tokens=finish.usage.output_tokens,
        queue_seconds=decoder.reported.queue_seconds,
        writing_seconds=decoder.reported.writing_seconds,
    )
