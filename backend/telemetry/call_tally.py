"""Counts the calls of models that a turn makes, for the one line that it logs.

The lines about each attempt and each wait are only logged at DEBUG: a turn that meets used-up rates
would log a dozen.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class CallTally:
    """The attempts of one turn to call models, and its waits for them."""

    __slots__ = ("_attempts", "_errors", "_waits")

    def __init__(self) -> None:
        self._attempts = 0
        self._errors: dict[str, Counter[str]] = {}
        self._waits = 0

    def attempted(self, model: str, outcome: str) -> None:
        """A call has ended. `outcome` is `ok`, `cancelled` or an error code."""
        self._attempts += 1
        if outcome not in ("ok", "cancelled"):
            self._errors.setdefault(model, Counter())[outcome] += 1

    def waited(self) -> None:
        """The turn waits for a rate, a circuit breaker or a back-off."""
        self._waits += 1

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of a log line. `attempt_errors` has numbers by model and code."""
        return {
            "attempts": self._attempts,
            "failed_attempts": sum(errors.total() for errors in self._errors.values()),
            "attempt_errors": {model: dict(errors) for model, errors in self._errors.items()},
            "waits": self._waits,
        }


_current: ContextVar[CallTally | None] = ContextVar("call_tally", default=None)


@contextmanager
def entered(tally: CallTally) -> Iterator[None]:
    """Make this the tally of the current task."""
    token = _current.set(tally)
    try:
        yield
    finally:
        _current.reset(token)


def attempted(model: str, outcome: str) -> None:
    """Count a call that has ended, if it belongs to a turn."""
    if (tally := _current.get()) is not None:
        tally.attempted(model, outcome)


def waited() -> None:
    """Count a wait, if it belongs to a turn."""
    if (tally := _current.get()) is not None:
        tally.waited()
