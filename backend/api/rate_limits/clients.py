"""Identify clients: by the authenticated user, otherwise by IP address and network."""

import ipaddress
import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from starlette.requests import HTTPConnection

from backend.domain.conversation import ANONYMOUS, Caller

HOUSEHOLD_BITS = 64
"""A household has one IPv4 address, or one IPv6 /64 with 2^64 addresses."""

NETWORK_BITS = 48
"""Providers give a /48 to any customer who asks (RFC 6177). It contains 65,536 /64."""

NETWORK_CLIENTS = 10
"""A /48 has the limits of this many clients: enough for an office, too few for an attacker."""


@dataclass(frozen=True, slots=True)
class Client:
    """`key` and `network` are hashes; only an IPv6 address has a network."""

    key: str
    network: str | None = None


def client_of(caller: Caller, connection: HTTPConnection) -> Client:
    if caller.owner != ANONYMOUS.owner:
        return Client(hashed("owner", caller.owner))
    host = _host_of(connection)
    address = _parsed(host)
    if isinstance(address, ipaddress.IPv6Address):
        household, network = _prefix(address, HOUSEHOLD_BITS), _prefix(address, NETWORK_BITS)
        return Client(hashed("address", household), hashed("network", network))
    return Client(hashed("address", host if address is None else str(address)))


def name_of(caller: Caller, connection: HTTPConnection) -> str:
    """The client's name, of which logs have a keyed hash: `user:alice`, or `address:203.0.113.7`.

    An IPv6 client is its household, `address:2001:db8::/64`.
    """
    if caller.owner != ANONYMOUS.owner:
        return caller.owner
    host = _host_of(connection)
    address = _parsed(host)
    if isinstance(address, ipaddress.IPv6Address):
        return f"address:{_prefix(address, HOUSEHOLD_BITS)}"
    return f"address:{host if address is None else address}"


def _host_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def hashed(*parts: str) -> str:
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=1024)  # a turn needs the same address three times
def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _prefix(address: ipaddress.IPv6Address, bits: int) -> str:
    return str(ipaddress.IPv6Network((int(address), bits), strict=False))
