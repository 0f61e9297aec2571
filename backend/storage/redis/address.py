"""Where Redis is: one server, a cluster, or a master that Sentinels name. Read from `REDIS_URL`.

`valkey://` means the same as `redis://`, in all its forms. The settings have checked the shape of
the URL, so that no error here quotes a password.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio.connection import parse_url

PORT = 6379
SENTINEL_PORT = 26_379

_OF_SENTINELS = "sentinel_"
"""Query parameters that begin so are for the connections to Sentinels."""


class Place(NamedTuple):
    """A host name or address, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class OneServer:
    url: str


@dataclass(frozen=True, slots=True)
class OfCluster:
    """Some nodes of a cluster, from which the others are learned.

    `options` are redis-py's, for the connection to each node.
    """

    places: Sequence[Place]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OfSentinels:
    """The Sentinels that know the `master` of this name, and the options for both."""

    places: Sequence[Place]
    master: str
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]


RedisAddress = OneServer | OfCluster | OfSentinels


def address_of(url: str) -> RedisAddress:
    scheme, _, rest = url.partition("://")
    scheme, _, kind = scheme.replace("valkey", "redis").partition("+")
    if not kind:
        return OneServer(f"{scheme}://{rest}")
    rest, _, query = rest.partition("?")
    rest, _, path = rest.partition("/")
    user, at, hosts = rest.rpartition("@")
    of_sentinels = [part for part in query.split("&") if part.startswith(_OF_SENTINELS)]
    others = [part for part in query.split("&") if part not in of_sentinels]
    if kind == "cluster":
        return OfCluster(
            _places(hosts, PORT), _options(f"{scheme}://{user}{at}?{'&'.join(others)}")
        )
    master, _, number = path.partition("/")
    plain = "&".join(part.removeprefix(_OF_SENTINELS) for part in of_sentinels)
    shared = "&".join(part for part in others if part.startswith("ssl_"))
    return OfSentinels(
        _places(hosts, SENTINEL_PORT),
        master,
        _options(f"{scheme}://{user}{at}/{number}?{'&'.join(others)}"),
        _options(f"{scheme}://?{plain}&{shared}"),
    )


def _options(url: str) -> Mapping[str, Any]:
    return dict(parse_url(url))


def _places(hosts: str, port: int) -> Sequence[Place]:
    return [_place(host, port) for host in hosts.split(",")]


def _place(text: str, port: int) -> Place:
    # The address of IPv6 is in brackets, and contains colons.
    host, colon, number = text.rpartition(":")
    if not colon or "]" in number:
        host, number = text, ""
    return Place(host.strip("[]"), int(number) if number else port)
