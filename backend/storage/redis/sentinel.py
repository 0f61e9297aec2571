"""A master that Sentinels name. They are asked again for each new connection."""

import random
from collections.abc import Mapping
from typing import Any

from redis.asyncio import SSLConnection
from redis.asyncio.sentinel import (
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import RedisError, ResponseError

from backend.storage.redis.address import OfSentinels, Place
from backend.storage.redis.errors import NO_MASTER, NO_SENTINEL, Unusable
from backend.storage.redis.node import Node, bounded, resolved


def node_of(address: OfSentinels, **options: Any) -> Node:
    """Return a client of the master. Its connection follows a failover when it is opened again."""
    given = bounded({**options, **address.options})
    is_tls = given.pop("connection_class", None) is SSLConnection
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        address.master,
        _Sentinels(address),
        connection_class=SentinelManagedSSLConnection if is_tls else SentinelManagedConnection,
        **given,
    )
    return Node.over(pool)


ANSWER_SECONDS = 0.5
"""Time-out for connecting to a Sentinel, and for its answer. Then the next one is asked."""


class _Sentinels:
    """What redis-py's pool needs of its own `Sentinel`, which keeps a connection to each."""

    def __init__(self, address: OfSentinels) -> None:
        self._address = address
        self._options: Mapping[str, Any] = {
            "socket_connect_timeout": ANSWER_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            **address.sentinel_options,
        }
        self._last: Place | None = None
        """The Sentinel that answered last. It is asked first."""

    async def discover_master(self, name: str) -> tuple[str, int]:
        """Raises: RedisError, OSError."""
        failure: Exception = Unusable(NO_MASTER)
        for place in await self._places():
            try:
                found = await self._ask(place, name)
            except (RedisError, OSError) as error:
                failure = error
                continue
            if found is None:
                failure = Unusable(NO_MASTER)
                continue
            self._last = place
            return found
        raise failure

    async def _places(self) -> list[Place]:
        places = list(self._address.places)
        # With TLS a certificate is checked against the name, so the names are kept.
        if self._options.get("connection_class") is not SSLConnection:
            places = await resolved(places)
        random.shuffle(places)
        return sorted(places, key=lambda place: place != self._last)

    async def _ask(self, place: Place, name: str) -> tuple[str, int] | None:
        sentinel = Node.on(place, **self._options)
        try:
            found: Any = await sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        except ResponseError as error:
            if "unknown command" in str(error).casefold():
                raise Unusable(NO_SENTINEL) from error
            raise
        finally:
            await sentinel.aclose()
        return None if found is None else (found[0].decode(), int(found[1]))
