"""The public keys of an issuer, fetched from its JWKS URL and cached.

They are fetched at start-up, every `REFRESH_SECONDS`, and when a token names an unknown key. Only
in the last case does a request wait for the fetch. If a fetch fails, the old keys stay in use.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
import jwt
import structlog

from backend.aio.periodic import repeating
from backend.aio.tasks import cancel_and_wait
from backend.domain.errors import IdentityUnavailable, NotAuthenticated

logger = structlog.get_logger()

FETCH_SECONDS = 5.0
"""The time-out of a whole fetch."""

PAUSE_SECONDS = 10.0
"""The minimum time between fetches for unknown keys, because anyone can invent a key's name."""

REFRESH_SECONDS = 300.0
"""The interval of fetches, and so the longest time for which a withdrawn key is accepted."""

MAX_BYTES = 1_000_000

Keys = Mapping[tuple[str | None, str], jwt.PyJWK]
"""Keys by `kid` and algorithm. A key without `alg` is listed under each algorithm that fits it."""


class UnusableKeySet(Exception):
    """The response is not a JWK set, or has no usable key."""


class Jwks:
    """`SigningKeys` from a JWKS URL."""

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        *,
        algorithms: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client
        self._algorithms = algorithms
        self._clock = clock
        self._keys: Keys = {}
        self._fetching: asyncio.Task[None] | None = None
        self._begun_at = -math.inf
        self._is_current = False

    @classmethod
    @asynccontextmanager
    async def kept(cls, url: str, *, algorithms: Collection[str]) -> AsyncIterator[Self]:
        """Fetch the keys now, and again every `REFRESH_SECONDS` until the block ends.

        A failed first fetch is logged, not raised.
        """
        async with httpx.AsyncClient(timeout=FETCH_SECONDS) as client:
            keys = cls(url, client, algorithms=algorithms)
            await keys.refresh()
            try:
                async with repeating(
                    keys.refresh, every_seconds=REFRESH_SECONDS, name="refresh_jwks"
                ):
                    yield keys
            finally:
                await keys.close()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """Return a key; fetch the keys again if it is unknown.

        Raises:
            NotAuthenticated: the issuer has no such key.
            IdentityUnavailable: the last fetch failed, so the issuer may have a newer key.
        """
        if (kid, algorithm) not in self._keys:
            await self._look_again()
        if found := self._keys.get((kid, algorithm)):
            return found
        raise NotAuthenticated if self._is_current else IdentityUnavailable

    async def _look_again(self) -> None:
        """Join a running fetch, or start one if the last was long enough ago."""
        if self._fetching is not None or self._clock() - self._begun_at >= PAUSE_SECONDS:
            await self.refresh()

    async def refresh(self) -> None:
        """Fetch the keys, or wait for the running fetch. A failure is logged; old keys stay."""
        if self._fetching is None:
            self._begun_at = self._clock()
            # A task of its own: the request that started it may be cancelled while others wait.
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.wait([self._fetching])

    async def close(self) -> None:
        if self._fetching is not None:
            await cancel_and_wait([self._fetching])

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = _usable(await self._read(), self._algorithms)
            self._is_current = True
        except (httpx.HTTPError, UnusableKeySet, TimeoutError) as error:
            self._is_current = False
            logger.warning(
                "jwks_not_fetched", error=str(error) or type(error).__name__, kept=len(self._keys)
            )
        finally:
            self._fetching = None

    async def _read(self) -> bytes:
        body = b""
        async with self._client.stream("GET", self._url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise UnusableKeySet(f"the status is {answer.status_code}, not 200")
            async for some in answer.aiter_bytes():
                body += some
                if len(body) > MAX_BYTES:
                    raise UnusableKeySet(f"the body has more than {MAX_BYTES} bytes")
        return body


def _usable(body: bytes, algorithms: Collection[str]) -> Keys:
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise UnusableKeySet("the body is not a JWK set") from error
    keys: dict[tuple[str | None, str], jwt.PyJWK] = {}
    for data in listed if isinstance(listed, list) else []:
        for algorithm in algorithms:
            if key := _key(data, algorithm):
                keys[key.key_id, algorithm] = key
    if not keys:
        raise UnusableKeySet(f"it has no signing key for {', '.join(algorithms)}")
    return keys


def _key(data: Any, algorithm: str) -> jwt.PyJWK | None:
    """Parse a key; return None if it is invalid, or not for signatures with this algorithm."""
    if not isinstance(data, dict) or not isinstance(data.get("kid"), str | None):
        return None
    if data.get("use", "sig") != "sig" or data.get("alg", algorithm) != algorithm:
        return None
    try:
        return jwt.PyJWK(data, algorithm)
    except jwt.PyJWTError:
        return None
