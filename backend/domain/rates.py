"""The figures of a model's rates, and what workers tell each other about them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RateFigure:
    """The rest of one rate, as the upstream reported it `age_seconds` ago.

    Ages instead of times: the clocks of two workers differ.
    """

    kind: str
    remaining: int
    reset_seconds: float
    """From the report until the rate was full again."""
    limit: int | None = None
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A turn's place in the queue. The turn came `age_seconds` ago."""

    id: str
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReport:
    """What one worker knows of one model's rates, and wants."""

    model: str
    spacing_seconds: float
    """The gap between two turns that this worker thinks right."""
    is_blocked: bool = False
    """Whether this worker knows that no turn may pass now."""
    refused_seconds: float = 0.0
    """For how long the upstream still refuses calls, by its last refusal."""
    figures: Sequence[RateFigure] = ()
    """New since the last report."""
    answered: int = 0
    """Calls that the upstream has answered since the last report."""
    waiting: int = 0
    """Turns of this worker that wait, in the queue or for their time to join it."""
    joined: Sequence[Place] = ()
    left: Sequence[str] = ()
    """Places that are given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateNews:
    """What all workers together know of one model's rates."""

    figures: Sequence[RateFigure] = ()
    refused_seconds: float = 0.0
    passed: Sequence[str] = ()
    """The places of this worker's turns that may pass now, in order."""
    others: int = 0
    """Turns of other workers that wait."""
    is_queued: bool = False
    """Whether any turn is in the queue."""
    unanswered: int = 0
    """Calls of turns that passed, which no figure includes yet."""
