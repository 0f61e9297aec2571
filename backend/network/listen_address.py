"""Where the service is to listen: read, and tried before anything is opened, so that what is wrong
with it is one line like that of any other setting.
"""

import errno
import socket
from collections.abc import Sequence
from typing import Any

MOST = 65_535


def read_port(text: str, *, name: str = "PORT", least: int = 1) -> int:
    """Raises: SystemExit, with one line that names the variable."""
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= MOST:
        raise SystemExit(f"lex: {name} cannot be used: it must be a whole number from 1 to {MOST}.")
    return int(text)


def try_address(host: str, port: int, *, name: str = "PORT") -> None:
    """Listen for a moment. `name` is the variable that the port is from.

    Raises: SystemExit, with one line that names the variable.
    """
    try:
        places = socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        _bind_any(places)
    except (socket.gaierror, UnicodeError):
        raise SystemExit(
            f"lex: HOST cannot be used: {host} is no address, and no name that can be looked up."
        ) from None
    except OSError as error:
        raise SystemExit(f"lex: {_reason(error, host, port, name)}.") from None


def _bind_any(places: Sequence[Any]) -> None:
    """A name may have an address of IPv6 on a machine that has none."""
    missing: list[OSError] = []
    for family, kind, protocol, _, address in places:
        try:
            _bind(family, kind, protocol, address)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            missing.append(error)
    if len(missing) == len(places):
        raise missing[0]


def _bind(family: int, kind: int, protocol: int, address: Any) -> None:
    with socket.socket(family, kind, protocol) as tried:
        # As servers do: connections of one that has just ended are no hindrance.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tried.bind(address)


def _reason(error: OSError, host: str, port: int, name: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"{name} of {port} cannot be used: another program listens there already. End it, "
                f"or choose another port with {name}="
            )
        case errno.EACCES:
            return f"{name} of {port} cannot be used: this user may not listen at ports so low"
        case errno.EINVAL:  # an address of IPv4 in the form of IPv6
            return f"HOST cannot be used: a server cannot listen at {host}"
        case errno.EADDRNOTAVAIL:
            return f"HOST cannot be used: {host} is no address of this machine"
        case _:
            return f"{name} of {port} cannot be used at {host}: {error.strerror}"
