"""Free ports on this machine, for servers that get their port as an argument."""

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

LOWEST = 10_000
OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The range from which the system takes ports for connections."""
USUAL_FIRST_OF_CONNECTIONS = 32_768


def free_port() -> int:
    """A port that no other caller of this function gets until this process ends.

    A port that was merely free a moment ago can be taken before the server listens: by a
    connection, or by a server that takes any port. A client would then talk to the wrong server.
    """
    locks = Path(tempfile.gettempdir(), f"lex-ports-{os.getuid()}")
    locks.mkdir(exist_ok=True)
    ports = range(LOWEST, _first_of_connections())
    while True:
        port = secrets.choice(ports)  # `random` has the same seed in all processes of a test run
        lock = os.open(locks / str(port), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:  # another process has it, or another program listens there
            os.close(lock)
        else:
            return port


def _first_of_connections() -> int:
    """The first port that the system may give to a connection."""
    try:
        first = int(OF_CONNECTIONS.read_text().split()[0])
    except OSError:  # not Linux
        first = USUAL_FIRST_OF_CONNECTIONS
    # If the range of connections is nearly everything, share it.
    return first if first > 2 * LOWEST else USUAL_FIRST_OF_CONNECTIONS
