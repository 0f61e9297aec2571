"""Who can reach the addresses on which the service listens: this machine only, or anyone.

`backend/server` passes the answer to the application as `STATE_KEY` in the lifespan state. Other
servers, such as uvicorn's command line, do not; the exposure is then unknown.
"""

import ipaddress
import socket
from collections.abc import Iterable
from enum import Enum
from typing import Any

STATE_KEY = "exposure"


class Exposure(Enum):
    LOOPBACK = "loopback"
    """Only this machine."""
    SOCKET = "socket"
    """Only Unix sockets. File permissions decide who may connect, usually a proxy."""
    PUBLIC = "public"
    UNKNOWN = "unknown"


REFUSAL = (
    "AUTH=none lets anyone who can reach this address ask questions and act as any user. Set AUTH "
    "to api_key or jwt, listen on 127.0.0.1, or set ALLOW_ANONYMOUS=true if you intend this"
)

WARNING = "AUTH=none on a public address: anyone who can reach this service can act as any user."


def exposure_of(addresses: Iterable[Any]) -> Exposure:
    """The widest exposure among the addresses.

    Each is as `getsockname` returns it: a tuple that starts with the host, or a Unix socket's path.
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
    """Whether the address, or every address of the name, is a loopback address.

    An empty host means every interface, so it is not. A name that does not resolve is not either.
    """
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
    """Read abbreviated IPv4 addresses such as `0` and `127.1`, as the operating system does."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_name_of_loopback(name: str) -> bool:
    """Whether the name is `localhost` or below it (RFC 6761, section 6.3)."""
    name = name.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an IP address; None if it is not one.

    IPv6 brackets and zones are dropped, and an IPv4-mapped address becomes its IPv4 address.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
