"""Collects the usage that the upstream reports, wherever in its frames and in whatever form."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from backend.domain.usage import Usage

MOST_TOKENS = 2**31 - 1
"""The largest number that fits into an integer column of every database."""

MAX_SECONDS = 3600.0
"""Longer durations cannot be measurements, and are ignored."""


class ReportedUsage:
    """Keeps the latest value of each number. Values that make no sense are ignored."""

    def __init__(self) -> None:
        self.is_reported = False
        """Whether any report had a number of tokens."""
        self._input_tokens = self._output_tokens = 0
        self._cached_input_tokens = self._reasoning_tokens = 0
        self.queue_seconds: float | None = None
        """How long the request waited in the upstream's queue."""
        self.writing_seconds: float | None = None
        """How long the upstream took to generate the completion."""

    def note(self, reported: Any) -> None:
        if not isinstance(reported, dict):
            return
        told = reported.get
        # Some servers use the second names.
        input_tokens = told("prompt_tokens", told("input_tokens"))
        output_tokens = told("completion_tokens", told("output_tokens"))
        self._input_tokens = _tokens(input_tokens, self._input_tokens)
        self._output_tokens = _tokens(output_tokens, self._output_tokens)
        self.is_reported = self.is_reported or bool(self._input_tokens or self._output_tokens)
        cached = _first(_details(told, "prompt", "input"), "cached_tokens")
        cached = told("prompt_cache_hit_tokens") if cached is None else cached
        self._cached_input_tokens = _tokens(cached, self._cached_input_tokens)
        reasoning = _first(_details(told, "completion", "output"), "reasoning_tokens")
        self._reasoning_tokens = _tokens(reasoning, self._reasoning_tokens)
        self.queue_seconds = _seconds(told("queue_time"), self.queue_seconds)
        self.writing_seconds = _seconds(told("completion_time"), self.writing_seconds)

    @property
    def usage(self) -> Usage:
        return Usage(
            self._input_tokens,
            self._output_tokens,
            cached_input_tokens=min(self._cached_input_tokens, self._input_tokens),
            reasoning_tokens=min(self._reasoning_tokens, self._output_tokens),
        )


def _details(told: Callable[[str], Any], *kinds: str) -> Iterator[dict[Any, Any]]:
    """Yield the objects such as `prompt_tokens_details`, under either of their names."""
    for kind in kinds:
        details = told(f"{kind}_tokens_details")
        if isinstance(details, dict):
            yield details


def _first(details: Iterable[dict[Any, Any]], name: str) -> Any:
    return next((each[name] for each in details if each.get(name) is not None), None)


def _tokens(reported: Any, known: int) -> int:
    number = _number(reported)
    return known if number is None else int(min(max(number, 0), MOST_TOKENS))


def _seconds(reported: Any, known: float | None) -> float | None:
    number = _number(reported)
    return known if number is None or not 0 <= number <= MAX_SECONDS else float(number)


def _number(reported: Any) -> float | None:
    match reported:
        case bool():
            return None
        case int():
            return reported
        case float() if math.isfinite(reported):
            return reported
        case str() if reported.isascii() and reported.isdigit() and len(reported) < 10:
            return int(reported)
        case _:
            return None
