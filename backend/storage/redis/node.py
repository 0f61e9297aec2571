"""Connections to Redis: commands that go to one server, or to the nodes that have their keys."""

import asyncio
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, ResponseError

from backend.storage.redis.address import Place
from backend.storage.redis.errors import CLUSTER, SENTINEL, Unusable

ANSWER_SECONDS = 1.0
"""Time-out for connecting, and for each reply. After it, Redis counts as failed."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the key that says which node of a cluster gets it."""

    arguments: Sequence[Any]
    key: str


class RedisConnection(Protocol):
    """The connections of one caller, who sends one group of commands after another."""

    is_cluster: bool
    """Whether commands may name several keys only if these have the same tag."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order; a command that failed has its exception.

        A connection that breaks may have lost commands or only their replies: the caller sends
        them again if he can. Raises: RedisError, OSError.
        """
        ...

    async def reach(self) -> None:
        """Reach every server that keeps data, and check that it is of the expected kind.

        Raises: RedisError, OSError; Unusable, if another kind of URL is needed.
        """
        ...

    def slot(self, tag: str) -> str:
        """A part of a key, which keeps the keys of a tag together. Empty unless in a cluster."""
        ...

    def probe_tags(self) -> Sequence[str]:
        """A tag for every server, known after `reach`. Keys with it belong to that server."""
        ...

    async def aclose(self) -> None: ...


class Node(Redis):
    """One server. It is the client of redis-py as well."""

    is_cluster = False

    @classmethod
    def at(cls, url: str, **options: Any) -> Self:
        return cast(Self, cls.from_url(url, **bounded(options)))

    @classmethod
    def on(cls, place: Place, **options: Any) -> Self:
        return cls.over(ConnectionPool(host=place.host, port=place.port, **bounded(options)))

    @classmethod
    def over(cls, pool: ConnectionPool) -> Self:
        return cast(Self, cls.from_pool(pool))

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._replies(commands)
        if any(map(has_become_replica, replies)):
            # Its name, or a Sentinel, may lead to the new master.
            await self.connection_pool.disconnect()
        return replies

    async def _replies(self, commands: Sequence[Command]) -> list[Any]:
        if len(commands) == 1:  # a pipeline costs 60 µs more
            try:
                return [await cast(Any, self.execute_command)(*commands[0].arguments)]
            except ResponseError as error:
                return [error]
        # Without MULTI: if one command is refused, the others are still carried out.
        pipeline = self.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command.arguments)
        return await pipeline.execute(raise_on_error=False)

    async def reach(self) -> None:
        await cast(Awaitable[Any], self.ping())
        match await self.mode():
            case "cluster":
                raise Unusable(CLUSTER)
            case "sentinel":
                raise Unusable(SENTINEL)

    async def ask(self, *arguments: str) -> Any:
        """Send one command, without redis-py's reading of its reply."""
        (reply,) = await self.run([Command(arguments, key="")])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def mode(self) -> str:
        """`standalone`, `cluster` or `sentinel`. Every user may ask for it."""
        try:
            told = await self.ask("HELLO")
        except ResponseError:  # it is older than Redis 6, or a proxy
            return "standalone"
        if isinstance(told, list):
            told = dict(zip(told[::2], told[1::2], strict=True))
        return bytes(told.get(b"mode", b"standalone")).decode()

    def slot(self, tag: str) -> str:  # noqa: ARG002 - all keys are on this server
        return ""

    def probe_tags(self) -> Sequence[str]:
        return [""]


def has_become_replica(reply: Any) -> bool:
    """Whether a server has refused a write, or ended a waiting read, because it is a replica."""
    return isinstance(reply, ReadOnlyError) or (
        isinstance(reply, ResponseError) and "UNBLOCKED" in str(reply)
    )


def bounded(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "max_connections": 1,
        "socket_connect_timeout": ANSWER_SECONDS,
        # No retries in the client: a lost connection may have lost writes, and the caller must
        # learn of it to send them again.
        "retry": Retry(NoBackoff(), 0),
        **options,
    }


async def resolved(places: Sequence[Place]) -> list[Place]:
    """All addresses of these places: one name may stand for several nodes.

    Raises: socket.gaierror, if no name can be resolved.
    """
    loop = asyncio.get_running_loop()
    found: dict[Place, None] = {}
    failure: OSError | None = None
    for place in places:
        try:
            answers = await loop.getaddrinfo(*place, type=socket.SOCK_STREAM)
        except OSError as error:
            failure = error
            continue
        found |= {Place(str(address[0]), place.port): None for *_, address in answers}
    if not found and failure is not None:
        raise failure
    return list(found)
