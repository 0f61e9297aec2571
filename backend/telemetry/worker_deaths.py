"""Counts the deaths of workers in memory that the arbiter shares with every worker it forks.

The arbiter counts and any worker reports. Without an arbiter, all counts stay zero. This module
must not import the Prometheus client: the arbiter imports it before it knows where workers count.
"""

import mmap
from typing import Literal, get_args

Reason = Literal["signal", "timeout", "exit"]
"""A signal such as the kernel's out-of-memory kill, the arbiter's `timeout`, or an exception."""

REASONS: tuple[Reason, ...] = get_args(Reason)

_deaths = memoryview(mmap.mmap(-1, 8 * len(REASONS))).cast("Q")


def worker_died(reason: Reason) -> None:
    """Count a death. Only the arbiter may call this."""
    _deaths[REASONS.index(reason)] += 1


def deaths() -> dict[Reason, int]:
    return dict(zip(REASONS, _deaths, strict=True))
