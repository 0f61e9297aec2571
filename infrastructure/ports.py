"""Ports on this machine."""

import socket


def free_port() -> int:
    """One that nobody listens at for the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
