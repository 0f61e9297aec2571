"""Groq behind `ChatModel`: the SDK, its connections, and its errors in our words.

The SDK authenticates, connects and raises; the bytes of the stream go past its parser to
`wire`, which costs per read and not per token.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from typing import cast

import aiohttp
import groq
import httpx
import structlog
from groq import AsyncStream
from groq._response import AsyncAPIResponse, AsyncResponseContextManager
from groq.types.chat import (
    ChatCompletionChunk,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from pydantic import SecretStr

from backend.completion import CompletionRequest, Delta, Text
from backend.errors import (
    ModelRetired,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from backend.wire import Decoder, messages_of, tools_of

logger = structlog.get_logger()

KEEPALIVE_SECONDS = 60.0
"""An idle connection is worth a TLS handshake; the SDK's 5 seconds lose most of them."""

CLOSING_SECONDS = 0.25
"""How long the end of a finished body may take before its connection is not worth keeping."""


def open_client(
    *, api_key: SecretStr, base_url: str, connect_seconds: float, max_connections: int
) -> groq.AsyncGroq:
    """The client that all models share; `await client.close()` closes its connections.

    Its pool has a place for every stream: the SDK's own 100 made the 101st wait, and an
    unlimited pool is taken for 100 by aiohttp.
    """
    return groq.AsyncGroq(
        api_key=api_key.get_secret_value(),
        base_url=base_url,
        max_retries=0,
        # A compressed stream arrives in blocks; text is wanted token by token.
        default_headers={"Accept-Encoding": "identity"},
        timeout=httpx.Timeout(None, connect=connect_seconds),
        http_client=groq.DefaultAioHttpClient(
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=KEEPALIVE_SECONDS,
            )
        ),
    )


class GroqModel:
    """One model of Groq."""

    def __init__(
        self,
        client: groq.AsyncGroq,
        name: str,
        *,
        max_completion_tokens: int,
        first_byte_seconds: float,
        gap_seconds: float,
    ) -> None:
        self.name = name
        self._client = client
        self._max_completion_tokens = max_completion_tokens
        self._first_byte_seconds = first_byte_seconds
        self._gap_seconds = gap_seconds

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        with _translated(self.name):
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._first_byte_seconds):
                    response = await stack.enter_async_context(self._asked(request))
                async with aclosing(self._deltas(response.iter_bytes())) as deltas:
                    async for delta in deltas:
                        yield delta

    def _asked(
        self, request: CompletionRequest
    ) -> AsyncResponseContextManager[AsyncAPIResponse[AsyncStream[ChatCompletionChunk]]]:
        completions = self._client.chat.completions.with_streaming_response
        return completions.create(
            model=self.name,
            messages=cast(list[ChatCompletionMessageParam], messages_of(request)),
            tools=cast(list[ChatCompletionToolParam], tools_of(request.tools)) or groq.omit,
            max_completion_tokens=self._max_completion_tokens,
            stream=True,
        )

    async def _deltas(self, reads: AsyncIterator[bytes]) -> AsyncGenerator[Delta, None]:
        decoder = Decoder()
        seconds = self._first_byte_seconds
        while not decoder.is_done and (data := await _read(reads, seconds)):
            seconds = self._gap_seconds
            if text := decoder.feed(data):
                yield Text(text)
        # The answer is whole; this only lets the connection see its end and be used again.
        with suppress(TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError):
            await _read(reads, CLOSING_SECONDS)
        for delta in decoder.end():
            yield delta


async def _read(reads: AsyncIterator[bytes], seconds: float) -> bytes:
    """All bytes that have arrived, or the next that do; none at the end."""
    async with asyncio.timeout(seconds):
        return await anext(reads, b"")


@contextmanager
def _translated(model: str) -> Iterator[None]:
    """Around the call and the iteration: what the SDK and its transports raise, in our words."""
    try:
        yield
    except groq.APIStatusError as error:
        logger.warning(
            "upstream_refused", model=model, status=error.status_code, code=_code(error.body)
        )
        raise _refusal(error) from error
    except (groq.APIError, httpx.HTTPError, aiohttp.ClientError, OSError) as error:
        raise (UpstreamTimeout if _is_timeout(error) else UpstreamUnavailable) from error


def _is_timeout(error: BaseException | None) -> bool:
    """Looks for what really happened: the transport calls a reset a time-out as well."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__
    return False


def _refusal(error: groq.APIStatusError) -> UpstreamError:
    match error.status_code, _code(error.body):
        case _, "model_not_found" | "model_decommissioned":
            return ModelRetired()
        case 404, _:
            return ModelRetired()
        case 429, _:
            return UpstreamBusy(retry_after=_retry_after(error.response))
        case status, _ if status >= 500:
            return UpstreamUnavailable(retry_after=_retry_after(error.response))
        case _, "tool_use_failed":
            return UpstreamGarbled("The assistant could not put its request for a tool into words.")
        case _:
            return UpstreamRefused()


def _code(body: object) -> str | None:
    """The upstream's own code, if its answer has the shape of an error at all."""
    match body:
        case {"error": {"code": str(code)}}:
            return code
        case _:
            return None


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None
