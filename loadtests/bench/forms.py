"""The forms of a run. They differ only in their length, so a ratio means the same in all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    name: str
    windows: int
    slices: int
    """Slices of a window. Each slice measures all sides alternately."""
    seconds: float
    """Time for which a side is asked in one slice."""
    alone: int
    """Number of consecutive turns for the time to the first chunk."""
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
"""Shows that a run works; its figures mean nothing."""

FORMS = {form.name: form for form in (FULL, SHORT, SMOKE)}
