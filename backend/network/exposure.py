"""From the addresses that the service listens at: can only this machine reach it, or anybody?

The server tells the application with `STATE_KEY` in the state of the lifespan. Another server,
uvicorn's command line among them, does not.
"""

import ipaddress
import socket
from collections.abc import Iterable
from enum import Enum
from typing import Any

STATE_KEY = "exposure"


class Exposure(Enum):
    LOOPBACK = "loopback"
    """This machine alone."""
    SOCKET = "socket"
    """Files alone: the rights of the file say who may come, most often a proxy."""
    PUBLIC = "public"
    UNKNOWN = "unknown"


REFUSAL = (
    "AUTH=none would let anybody who reaches this address ask, and act for any user: set AUTH to "
    "api_key or jwt, or ALLOW_ANONYMOUS=true if that is meant, or listen at 127.0.0.1"
)

WARNING = (
    "AUTH=none on a public address: anybody who reaches this service may ask, and act for any user."
)


def exposure_of(addresses: Iterable[Any]) -> Exposure:
    """The widest exposure among the addresses, each as `getsockname` gives it: a tuple with its
    host first, or the path of a Unix socket.
    """
    hosts, is_file = [], False
    for address in addresses:
        if isinstance(address, str | bytes):
            is_file = True
        else:
            hosts.append(str(address[0]))
    if not all(is_loopback(host) for host in hosts):
        return Exposure.PUBLIC
    if hosts:
        return Exposure.LOOPBACK
    return Exposure.SOCKET if is_file else Exposure.UNKNOWN


def is_loopback(host: str) -> bool:
    """For an address, or a name with all its addresses. An empty host is every address."""
    if not host:
        return False
    if (address := address_of(host) or _short(host)) is not None:
        return address.is_loopback
    if is_name_of_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return all(is_loopback(str(place[4][0])) for place in found)


def _short(host: str) -> ipaddress.IPv4Address | None:
    """As the system reads `0` and `127.1`."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_name_of_loopback(name: str) -> bool:
    """RFC 6761, section 6.3."""
    name = name.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Without the brackets, the zone and the mapping that an address of IPv6 may have."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
