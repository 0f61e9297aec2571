"""File descriptors of this process: their limit, the load that it allows, and exhaustion."""

import asyncio
import errno
import os
import resource
import socket
import sqlite3
import sys
from contextlib import suppress
from dataclasses import dataclass

import structlog

from backend.network.error_chain import chain

logger = structlog.get_logger()

OWN = 64
"""Descriptors that do not grow with clients: 17 when idle with SQLite (measured), those to the
store, 4 to Redis, 6 metrics files, the span exporter's, and a reserve for short-lived ones."""

TO_STORE = 8
"""Connections to the store that are a part of `OWN`. A larger pool needs more."""

RESERVED = 64
"""Kept for overflow connections: probes, and clients that get 503. `protocols.MAX_OVERFLOW` (48)
of them may be open, and a few more are closing."""

PER_TURN = 2
"""A turn uses its client's connection and one to the upstream (measured)."""

LOOK_SECONDS = 1.0
SAY_AGAIN_SECONDS = 60.0

_NAMES = {errno.ENFILE: "ENFILE", errno.EMFILE: "EMFILE"}
"""The order matters: the system's text for ENFILE starts with its text for EMFILE."""

_WORDS = {
    "EMFILE": "EMFILE: this process has no file descriptor left; raise its limit (ulimit -n)",
    "ENFILE": "ENFILE: this machine has no file descriptor left; raise fs.file-max",
}


def raise_limit() -> None:
    """Raise the soft limit to the hard limit: systemd's defaults are 1,024 and 524,288."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS refuses values close to its own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class Budget:
    """The load that a descriptor limit allows: concurrent turns and client connections."""

    streams: int
    connections: int


def budget(descriptors: int, *, max_streams: int, others: int = 0) -> Budget:
    """Divide `descriptors` between turns and clients. `others` are those that tools may need.

    With too few descriptors the result is still one stream and one connection.
    """
    left = max(PER_TURN, descriptors - OWN - RESERVED - others)
    streams = min(max_streams, left // PER_TURN)
    return Budget(streams=streams, connections=left - streams)


def needed(max_streams: int, *, others: int = 0) -> int:
    """The smallest limit with which `budget` allows `max_streams` turns."""
    return PER_TURN * max_streams + OWN + RESERVED + others


def exhaustion_of(error: BaseException) -> str | None:
    """Say which limit was exhausted and how to raise it; None if the error has another cause."""
    for each in chain(error):
        number = each.errno if isinstance(each, OSError) else None
        if name := _NAMES.get(number or 0) or _name_in(str(each)):
            return _WORDS[name]
        if _hides_its_cause(each) and (name := used_up()):
            return _WORDS[name]
    return None


def _name_in(text: str) -> str | None:
    """`EMFILE` or `ENFILE`, for libraries that quote the system's text but drop the number."""
    return next((name for number, name in _NAMES.items() if os.strerror(number) in text), None)


def _hides_its_cause(error: BaseException) -> bool:
    """Whether this is a failed name lookup or a failed open in SQLite: neither names a reason."""
    is_unopened = isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error)
    return is_unopened or isinstance(error, socket.gaierror)


def used_up() -> str | None:
    """`EMFILE` or `ENFILE` if no descriptor is left at this moment; otherwise None."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return _NAMES.get(error.errno or 0)
    return None


async def watch(*, look_seconds: float = LOOK_SECONDS) -> None:
    """Log once a minute while no descriptor is left. Never returns.

    uvloop reports nothing when it cannot accept a connection: it resets those that wait.
    """
    loop = asyncio.get_running_loop()
    said_at = -SAY_AGAIN_SECONDS
    while True:
        await asyncio.sleep(look_seconds)
        if (name := used_up()) and loop.time() - said_at >= SAY_AGAIN_SECONDS:
            said_at = loop.time()
            logger.error("descriptors_used_up", cause=_WORDS[name], limit=limit())
