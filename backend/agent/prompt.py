"""The system prompt: the text of `prompt.md`, filled in for one turn.

It contains dates but no clock times, and only tells whether the caller is signed in. So it stays
the same for a day, and hits the upstream's prompt cache.
"""

from datetime import datetime
from pathlib import Path
from string import Template
from typing import Self

from backend.domain.conversation import Caller
from backend.domain.showroom import CarModel, Dealership, Showroom

SIGNED_IN = (
    "The customer is signed in, and your tools know who it is: leave `user_id` out, "
    "and do not ask for it."
)
NOT_SIGNED_IN = (
    "The customer is not signed in: ask for the user id before you book a test drive or look up "
    "a profile, unless it was given already."
)


class Prompt:
    """A template of the system prompt.

    `fill` raises ValueError or KeyError if the text has a `$` that is not a known placeholder.
    """

    def __init__(self, text: str) -> None:
        self._template = Template(text)

    @classmethod
    def load(cls, addition: str = "") -> Self:
        """Load `prompt.md`. `addition` is appended, for a client profile with rules of its own."""
        return cls(Path(__file__).with_name("prompt.md").read_text(encoding="utf-8") + addition)

    def fill(self, showroom: Showroom, now: datetime, caller: Caller) -> str:
        return self._template.substitute(
            cars="\n".join(map(_car_line, showroom.car_models)),
            dealerships="\n".join(_dealership_line(each, now) for each in showroom.dealerships),
            customer=SIGNED_IN if caller.user_id else NOT_SIGNED_IN,
        )


def _car_line(car: CarModel) -> str:
    return f"- {car.name}: {car.description}"


def _dealership_line(dealership: Dealership, now: datetime) -> str:
    """One line with the id in backticks and the local date. The stand-in for Groq parses it."""
    return (
        f"- `{dealership.id}`: {dealership.name}, {dealership.address}, "
        f"time zone {dealership.time_zone}, today is {dealership.today(now):%A %Y-%m-%d}"
    )
