"""Ports on this machine, for servers that are started and told where to listen."""

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

LOWEST = 10_000
OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and last port that the system gives away by itself."""
USUAL_FIRST_OF_CONNECTIONS = 32_768


def free_port() -> int:
    """A port that is this process's own until it ends, among all that ask here.

    One that was merely free a moment ago is taken again now and then before the server that is
    told of it listens: by a connection, or by a server that takes any port. Whoever waits for
    the first server then talks to the second.
    """
    locks = Path(tempfile.gettempdir(), f"lex-ports-{os.getuid()}")
    locks.mkdir(exist_ok=True)
    ports = range(LOWEST, _first_of_connections())
    while True:
        port = secrets.choice(ports)  # `random` is seeded alike in all processes of a test run
        lock = os.open(locks / str(port), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:  # it is another process's, or another program listens there
            os.close(lock)
        else:
            return port


def _first_of_connections() -> int:
    """Where ports begin that servers cannot count on."""
    try:
        first = int(OF_CONNECTIONS.read_text().split()[0])
    except OSError:  # not Linux
        first = USUAL_FIRST_OF_CONNECTIONS
    # A system that gives away nearly all leaves no choice but to share.
    return first if first > 2 * LOWEST else USUAL_FIRST_OF_CONNECTIONS
