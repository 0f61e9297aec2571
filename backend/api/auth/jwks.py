"""The public keys of an issuer, fetched from its JWKS address and kept.

They are fetched at the start, again and again after that, and when a token names a key that
is not known. Requests never wait for a fetch otherwise; while the address does not answer,
the keys that were there last stay.
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
"""For a whole fetch."""

PAUSE_SECONDS = 10.0
"""Between two fetches for keys that are not known: anybody can make up the name of one."""

REFRESH_SECONDS = 300.0
"""So long a key may be taken that its issuer has withdrawn."""

MAX_BYTES = 1_000_000

Keys = Mapping[tuple[str | None, str], jwt.PyJWK]
"""By `kid` and algorithm: a key that does not say its algorithm serves for all that fit it."""


class UnusableKeySet(Exception):
    """The answer is no set of keys, or none of its keys can be used."""


class Jwks:
    """`SigningKeys`."""

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
        """Fetched now, if they can be, and again and again until the end of the block."""
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
        """Raises: NotAuthenticated; IdentityUnavailable, if the key may be too new for us."""
        if (kid, algorithm) not in self._keys:
            await self._look_again()
        if found := self._keys.get((kid, algorithm)):
            return found
        raise NotAuthenticated if self._is_current else IdentityUnavailable

    async def _look_again(self) -> None:
        """All who wait share one fetch, and one who leaves does not end it."""
        if self._fetching is not None or self._clock() - self._begun_at >= PAUSE_SECONDS:
            await self.refresh()

    async def refresh(self) -> None:
        """Fetch the keys. A failure is logged, and leaves those there are."""
        if self._fetching is None:
            self._begun_at = self._clock()
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
                raise UnusableKeySet(f"the status is {answer.status_code}")
            async for some in answer.aiter_bytes():
                body += some
                if len(body) > MAX_BYTES:
                    raise UnusableKeySet("it is too large")
        return body


def _usable(body: bytes, algorithms: Collection[str]) -> Keys:
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise UnusableKeySet("it is not a set of keys") from error
    keys: dict[tuple[str | None, str], jwt.PyJWK] = {}
    for data in listed if isinstance(listed, list) else []:
        for algorithm in algorithms:
            if key := _key(data, algorithm):
                keys[key.key_id, algorithm] = key
    if not keys:
        raise UnusableKeySet("it has no key that can be used")
    return keys


def _key(data: Any, algorithm: str) -> jwt.PyJWK | None:
    """None if it is not there for signatures with this algorithm."""
    if not isinstance(data, dict) or not isinstance(data.get("kid"), str | None):
        return None
    if data.get("use", "sig") != "sig" or data.get("alg", algorithm) != algorithm:
        return None
    try:
        return jwt.PyJWK(data, algorithm)
    except jwt.PyJWTError:
        return None
