"""The `Host` of a request, and the patterns that `ALLOWED_HOSTS` compares it with.

This defends against DNS rebinding: a hostile page lets its own name resolve to this machine. The
browser then sends requests here with that name in `Host`, and lets the page read the answers.
"""

import re
from dataclasses import dataclass
from typing import Self

from backend.network.exposure import address_of, is_name_of_loopback

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s\[\]:/?#@,\\]+)(?::(\d{0,5}))?")

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True, slots=True)
class Host:
    """A normalised host: lower case, no trailing dot, addresses as `ipaddress` writes them."""

    name: str
    port: int | None = None

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Parse `host` or `host:port`; None if it is malformed."""
        found = _AUTHORITY.fullmatch(text.strip().lower())
        if found is None or int(found[2] or 0) > 65_535:
            return None
        name = _canonical(found[1])
        return None if name is None else cls(name, int(found[2]) if found[2] else None)

    @property
    def is_loopback(self) -> bool:
        address = address_of(self.name)
        return is_name_of_loopback(self.name) if address is None else address.is_loopback


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One host, every host below a name (`*.example.com`), or any host (`*`).

    A pattern without a port fits every port.
    """

    host: Host
    is_below: bool = False
    is_any: bool = False

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a pattern.

        Raises:
            ValueError: the text is not a host, `*.name` or `*`.
        """
        if text == "*":
            return cls(Host("*"), is_any=True)
        is_below = text.startswith("*.")
        host = _bare_address(text) or Host.read(text.removeprefix("*."))
        if host is None or (is_below and address_of(host.name) is not None):
            raise ValueError(
                f"{text} is not a host: use example.com, example.com:8000, *.example.com, "
                "10.0.0.1, [::1], or * for all hosts"
            )
        return cls(host, is_below=is_below)

    def fits(self, host: Host, *, default_port: int) -> bool:
        if self.is_any:
            return True
        if self.host.port is not None and self.host.port != (host.port or default_port):
            return False
        if self.is_below:
            return host.name.endswith(f".{self.host.name}")
        return host.name == self.host.name


def _bare_address(text: str) -> Host | None:
    """An IPv6 address without brackets. All its colons are its own, so it cannot have a port."""
    address = address_of(text) if ":" in text and "[" not in text else None
    return None if address is None else Host(str(address))


def _canonical(name: str) -> str | None:
    if (address := address_of(name)) is not None:
        return str(address)
    try:
        spelled = name.removesuffix(".").encode("idna").decode()
    except UnicodeError:
        spelled = name.removesuffix(".")
    return spelled if _NAME.fullmatch(spelled) else None
