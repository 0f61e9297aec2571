"""The address on which the service listens, checked before anything else is opened.

A wrong `HOST` or `PORT` thus ends the start with one line, like any other wrong setting.
"""

import errno
import socket
from collections.abc import Sequence
from typing import Any

MOST = 65_535


def read_port(text: str, *, name: str = "PORT", least: int = 1) -> int:
    """Parse a port. `name` is the variable that it comes from; `least` of 0 allows "any free port".

    Raises:
        SystemExit: with one line that names the variable.
    """
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= MOST:
        raise SystemExit(
            f"lex: {name} cannot be used: it must be a whole number from 1 to {MOST}, not {text!r}."
        )
    return int(text)


def try_address(host: str, port: int, *, name: str = "PORT") -> None:
    """Bind the address for a moment. `name` is the variable that the port comes from.

    Raises:
        SystemExit: with one line that names the variable to change.
    """
    try:
        places = socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        _bind_any(places)
    except (socket.gaierror, UnicodeError):
        raise SystemExit(
            f"lex: HOST cannot be used: {host} is neither an IP address nor a name that resolves."
        ) from None
    except OSError as error:
        raise SystemExit(f"lex: {_reason(error, host, port, name)}.") from None


def _bind_any(places: Sequence[Any]) -> None:
    """Bind every address of a host. It is enough if the machine has one of them.

    A name such as `localhost` may have an IPv6 address on a machine without IPv6.
    """
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
        # As servers do: lingering connections of a server that just ended must not block the port.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tried.bind(address)


def _reason(error: OSError, host: str, port: int, name: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"{name} of {port} cannot be used: another program already listens there. Stop it, "
                f"or set {name} to another port"
            )
        case errno.EACCES:
            return (
                f"{name} of {port} cannot be used: this user may not listen on a port this low. "
                "Choose 1024 or higher"
            )
        case errno.EINVAL:  # for example an IPv4 address in IPv6 form
            return f"HOST cannot be used: a server cannot listen on {host}"
        case errno.EADDRNOTAVAIL:
            return f"HOST cannot be used: {host} is not an address of this machine"
        case _:
            return f"{name} of {port} cannot be used on {host}: {error.strerror}"
