"""Reads the body of a response, with a time-out for each part."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import aiohttp

from backend.aio.timeout import ReusableTimeout
from backend.domain.errors import FirstByteTimeout, GapTimeout
from backend.llm.groq.wire import Decoder

T = TypeVar("T")

BOOKKEEPING_SECONDS = 2.0
"""How long to wait for the usage after the finish. Servers send it at once, or never."""

CLOSING_SECONDS = 0.25
"""How long to wait for the end of a finished body. After that, a new connection is cheaper."""


class Body:
    """The body of one completion. Must be closed."""

    def __init__(
        self, read: Callable[[], Awaitable[bytes]], decoder: Decoder, *, gap_seconds: float
    ) -> None:
        """`read` returns the bytes that have arrived, and waits for the first; empty at the end."""
        self.has_bytes = False
        self._read = read
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
        data = await in_time(self._read(), seconds)
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
                return await self._read()
        except TimeoutError as error:
            raise GapTimeout from error

    async def _bookkeeping(self) -> bytes:
        """Read on after the finish. The answer is complete, so no error counts here any more."""
        if self._finished_due is None:
            self._finished_due = asyncio.get_running_loop().time() + BOOKKEEPING_SECONDS
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout_at(self._finished_due):
                return await self._read()
        return b""

    async def finish(self) -> None:
        """Read to the end of the body, so that the pool can reuse the connection."""
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._read()

    def close(self) -> None:
        self._timeout.close()


async def in_time(first: Awaitable[T], seconds: float) -> T:
    """Wait for the first byte, or a part of that. Raises: FirstByteTimeout."""
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await first
    except TimeoutError as error:
        if not deadline.expired():
            raise  # the time-out of the connection
        raise FirstByteTimeout from error
