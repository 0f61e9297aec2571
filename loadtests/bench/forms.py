"""How much a run measures. Its forms differ in how long they look, never in what they look at, so
that a ratio means the same in each of them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    name: str
    windows: int
    slices: int
    """Of a window, in each of which the sides are measured by turns."""
    seconds: float
    """For which a side is asked at a time."""
    alone: int
    """Turns one after the other, for the time to the first chunk."""
    short_tokens: int
    long_tokens: int


FULL = Form(
    name="full",
    windows=5,
    slices=2,
    seconds=1.2,
    alone=25,
    short_tokens=150,
    long_tokens=750,
)
SHORT = Form(
    name="short",
    windows=5,
    slices=1,
    seconds=0.7,
    alone=20,
    short_tokens=100,
    long_tokens=500,
)
SMOKE = Form(
    name="smoke",
    windows=1,
    slices=1,
    seconds=0.1,
    alone=2,
    short_tokens=5,
    long_tokens=30,
)
"""Shows that a run works, and nothing about costs."""

FORMS = {form.name: form for form in (FULL, SHORT, SMOKE)}
