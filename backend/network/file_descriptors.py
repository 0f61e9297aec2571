"""File descriptors of this process: how many there may be, what they suffice for, and that they
have run out.
"""

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
"""Beside connections of clients and of turns: 17 at rest with SQLite (measured), 8 connections to
Postgres, 4 to Redis, 6 files of metrics, the exporter's, and as many again for what is brief."""

RESERVED = 64
"""Kept for probes and for those who are told that there is no room: 48, and some that close."""

PER_TURN = 2
"""A turn has the connection of its client and one to the upstream (measured)."""

LOOK_SECONDS = 1.0
SAY_AGAIN_SECONDS = 60.0

_NAMES = {errno.ENFILE: "ENFILE", errno.EMFILE: "EMFILE"}
"""In this order, since the system's words for the first begin with those for the second."""

_WORDS = {
    "EMFILE": "EMFILE: this process has no file descriptor left, raise its limit (ulimit -n)",
    "ENFILE": "ENFILE: this machine has no file descriptor left, raise fs.file-max",
}


def raise_limit() -> None:
    """The soft limit becomes the hard one: systemd's default leaves 1,024 of 524,288."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS takes less than its hard limit says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a limit goes: `streams` turns at once, and `connections` of clients."""

    streams: int
    connections: int


def budget(descriptors: int, *, max_streams: int, others: int = 0) -> Budget:
    """`others` are what tools may need. One turn is always possible, in theory."""
    left = max(PER_TURN, descriptors - OWN - RESERVED - others)
    streams = min(max_streams, left // PER_TURN)
    return Budget(streams=streams, connections=left - streams)


def needed(max_streams: int, *, others: int = 0) -> int:
    return PER_TURN * max_streams + OWN + RESERVED + others


def exhaustion_of(error: BaseException) -> str | None:
    """In words, if something failed since there was no descriptor for it; otherwise None."""
    for each in chain(error):
        number = each.errno if isinstance(each, OSError) else None
        if name := _NAMES.get(number or 0) or _name_in(str(each)):
            return _WORDS[name]
        if _hides_its_cause(each) and (name := used_up()):
            return _WORDS[name]
    return None


def _name_in(text: str) -> str | None:
    """The number's name, found by the system's words, for libraries that quote only these."""
    return next((name for number, name in _NAMES.items() if os.strerror(number) in text), None)


def _hides_its_cause(error: BaseException) -> bool:
    """A name that cannot be resolved, or a file that cannot be opened, for whatever reason."""
    is_unopened = isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error)
    return is_unopened or isinstance(error, socket.gaierror)


def used_up() -> str | None:
    """`EMFILE` or `ENFILE`, if there is no descriptor left at this moment."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return _NAMES.get(error.errno or 0)
    return None


async def watch(*, look_seconds: float = LOOK_SECONDS) -> None:
    """Say so while there is none, once a minute. Never returns.

    uvloop tells nobody when it cannot accept: it resets connections that wait.
    """
    loop = asyncio.get_running_loop()
    said_at = -SAY_AGAIN_SECONDS
    while True:
        await asyncio.sleep(look_seconds)
        if (name := used_up()) and loop.time() - said_at >= SAY_AGAIN_SECONDS:
            said_at = loop.time()
            logger.error("descriptors_used_up", cause=_WORDS[name], limit=limit())
