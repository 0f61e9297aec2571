"""Keeps track of the rate limits that the upstream reports, and how long to wait for more."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.domain.rates import RateFigure
from backend.llm.port import Allowance

LONGEST_BLOCK_SECONDS = 3600.0
"""The longest block, whatever the upstream said. Then one call shows whether it still holds."""

TYPICAL_TOKENS = 1500.0
"""The assumed tokens of a call before the first: the prompt with the tools, and a short answer."""

NEWEST_SHARE = 0.2
"""The weight of the newest call in the moving average of tokens per call."""

PLENTY = 0.5
"""The share of a rate that is reserved for requests that a user waits for."""

UNANSWERED_SECONDS = 10.0
"""After this time without another release, released calls count as answered or lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate:
    """One rate at the time of its newest figure, by the budget's clock."""

    remaining: int
    limit: int | None
    reset_seconds: float
    noted_at: float
    refill: float
    """Units a second; 0 if unknown."""


class RateBudget:
    """The rates of one model. A rate that is used up blocks calls until the reported reset."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rates: dict[str, _Rate] = {}
        self._blocked_until: dict[str, float] = {}
        self._low_until: dict[str, float] = {}
        self._refused_until = 0.0
        self._call_tokens = TYPICAL_TOKENS
        self._unanswered = 0
        self._released_at = 0.0
        self._answered = 0
        self._untold: set[str] = set()

    def note(self, allowance: Allowance) -> None:
        """Take a figure from an answer to this worker."""
        self._put(
            RateFigure(
                kind=allowance.kind,
                remaining=allowance.remaining,
                reset_seconds=allowance.reset_seconds,
                limit=allowance.limit,
            )
        )
        self._untold.add(allowance.kind)
        # An answer has a figure of each kind, and counts once.
        if allowance.kind == "tokens":
            self._answered += 1
            self._unanswered = max(0, self._unanswered - 1)

    def learn(
        self, figures: Sequence[RateFigure], *, refused_seconds: float, unanswered: int
    ) -> None:
        """Take the figures of other workers. The newest figure of each kind counts."""
        now = self._clock()
        for figure in figures:
            known = self._rates.get(figure.kind)
            if known is None or now - figure.age_seconds > known.noted_at:
                self._put(figure)
        self._refused_until = max(self._refused_until, now + refused_seconds)
        self._unanswered = unanswered

    def take_untold(self, *, repeats: bool = False) -> tuple[list[RateFigure], int]:
        """Return the figures that this worker noted since the last time, and its answers.

        With `repeats`, return all figures.
        """
        told, self._untold = set(self._rates) if repeats else self._untold, set()
        answered, self._answered = self._answered, 0
        return [self._figure(kind) for kind in told], answered

    def refused(self, retry_after: float | None) -> None:
        """Take a refusal for the rate, which may contradict the figures.

        `retry_after` is the time that the upstream named, in seconds. The figures cannot be right,
        so the rate counts as used up from now on, until the next figure.
        """
        now = self._clock()
        wait = min(retry_after or 0.0, LONGEST_BLOCK_SECONDS)
        self._refused_until = max(self._refused_until, now + wait)
        rate = self._rates.get("tokens")
        if rate is None or not rate.limit or not rate.refill:
            return
        if all(known.remaining > 0 for known in self._rates.values()):
            # 1, not 0, because 0 would block calls, and only the upstream can say for how long.
            whole = rate.limit / rate.refill
            self._put(RateFigure(kind="tokens", remaining=1, reset_seconds=whole, limit=rate.limit))
            self._untold.add("tokens")

    def spent(self, tokens: int) -> None:
        if tokens > 0:
            self._call_tokens += NEWEST_SHARE * (tokens - self._call_tokens)

    def released(self) -> None:
        """Count a turn that calls now: the figures do not include its call yet."""
        self._unanswered = self._still_unanswered(self._clock()) + 1
        self._released_at = self._clock()

    def _still_unanswered(self, now: float) -> int:
        return self._unanswered if now - self._released_at < UNANSWERED_SECONDS else 0

    def _put(self, figure: RateFigure) -> None:
        noted_at = self._clock() - figure.age_seconds
        used = (figure.limit or 0) - figure.remaining
        known = self._rates.get(figure.kind)
        # The rate is full again in `reset_seconds`, so it refills `used / reset_seconds` a second.
        # An untouched rate does not tell its speed, which stays as it was.
        if used > 0 and figure.reset_seconds > 0:
            refill = used / figure.reset_seconds
        else:
            refill = 0.0 if known is None else known.refill
        self._rates[figure.kind] = _Rate(
            remaining=figure.remaining,
            limit=figure.limit,
            reset_seconds=figure.reset_seconds,
            noted_at=noted_at,
            refill=refill,
        )
        wait = min(figure.reset_seconds, LONGEST_BLOCK_SECONDS)
        is_low = figure.remaining < PLENTY * (figure.limit or 0)
        self._low_until[figure.kind] = noted_at + wait if is_low else 0.0
        self._blocked_until[figure.kind] = 0.0 if figure.remaining > 0 else noted_at + wait

    def _figure(self, kind: str) -> RateFigure:
        rate = self._rates[kind]
        return RateFigure(
            kind=kind,
            remaining=rate.remaining,
            reset_seconds=rate.reset_seconds,
            limit=rate.limit,
            age_seconds=self._clock() - rate.noted_at,
        )

    def _cost(self, kind: str, rate: _Rate) -> float:
        cost = self._call_tokens if kind == "tokens" else 1.0
        return cost if rate.limit is None else min(cost, rate.limit)

    def spacing_seconds(self, waiting: int = 1, *, workers: int = 1) -> float:
        """The gap at which `waiting` turns fit into the rates; 0 if they fit now, or if unknown.

        The rates serve the last turn after a time T at the earliest. Gaps of T / waiting spread the
        turns evenly, and no turn then finds its rate used up. Only the newest figures tell the
        rest: time without calls adds nothing, so those who waited for a reset are spread, too. With
        `workers`, each of so many workers takes an equal part of the rates.
        """
        unanswered = self._still_unanswered(self._clock())
        gaps = [0.0]
        for kind, rate in self._rates.items():
            if rate.refill > 0:
                cost = self._cost(kind, rate)
                left = (rate.remaining - unanswered * cost) / workers
                seconds = (waiting * cost - max(0.0, left)) * workers / rate.refill
                gaps.append(seconds / waiting)
        return max(gaps)

    @property
    def is_low(self) -> bool:
        """Whether a rate is known to have less than `PLENTY` of its limit left."""
        return max(self._low_until.values(), default=0.0) > self._clock()

    @property
    def refused_seconds(self) -> float:
        """Seconds until the upstream accepts calls again, by its last refusal; 0 if it does now."""
        return max(0.0, self._refused_until - self._clock())

    @property
    def wait_seconds(self) -> float:
        """Seconds until every rate has something left; 0 if each has some now."""
        latest = max(self._blocked_until.values(), default=0.0)
        return max(0.0, latest - self._clock(), self.refused_seconds)
