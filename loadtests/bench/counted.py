"""Counts the calls of a server instead of timing them.

`python -m loadtests.bench.counted MODULE …` runs a module, such as `backend.server`. SIGUSR2 starts
the count, and the next one ends it. Both write the calls so far to the file that `COUNTED` names,
so the first writes 0. Counts of the same work differ by a few per cent between runs, and little
between machines, where times differ threefold.
"""

import os
import runpy
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from types import FrameType

from loadtests.bench.processes import Server

TOGGLE = signal.SIGUSR2


class CallCount:
    """Calls of Python functions and of built-in ones, in all threads of this process."""

    def __init__(self, result: Path) -> None:
        self._result = result
        self._calls = count()
        self._is_counting = False

    def install(self) -> None:
        """Watch all threads that start from now on, and take the signal."""
        threading.setprofile(self._count)
        signal.signal(TOGGLE, self._toggle)

    def _toggle(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_counting = not self._is_counting
        sys.setprofile(None)
        if self._is_counting:
            self._calls = count()
        # Renamed, because a reader may look while it is being written.
        scratch = self._result.with_suffix(".new")
        scratch.write_text(str(next(self._calls)))
        scratch.rename(self._result)
        if self._is_counting:
            sys.setprofile(self._count)

    def _count(self, _frame: FrameType, event: str, _argument: object) -> None:
        if self._is_counting and event in ("call", "c_call"):
            next(self._calls)


def toggle(server: Server) -> None:
    os.kill(server.pid, TOGGLE)


def main() -> None:
    CallCount(Path(os.environ["COUNTED"])).install()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
