"""Takes all file descriptors of this process while a block runs."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOME = 16
"""Descriptors that are still free after the limit is lowered, and are then taken."""


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    held: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + SOME, before[1]))
        _hold_all(held)
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _hold_all(held: list[int]) -> None:
    while True:
        try:
            held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return
