"""What holds for every test: none of them reaches beyond this machine."""

import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real server, started when the first test asks for it."""
    with running_postgres() as server:
        yield server


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _stay_local(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit events see every socket of the process, whichever library opened it."""
    if event == "socket.getaddrinfo" and not _is_local(_text(arguments[0])):
        raise ConnectionRefusedError(f"A test looked up {arguments[0]!r}.")
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_local(address[0]):
            raise ConnectionRefusedError(f"A test connected to {address!r}.")


def _text(host: object) -> object:
    return host.decode() if isinstance(host, bytes) else host


sys.addaudithook(_stay_local)
