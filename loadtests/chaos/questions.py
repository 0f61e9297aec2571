"""Questions with the scripts of their answers, and test drives for which clients compete."""

import datetime as dt
import random
from itertools import count

from loadtests.asked import Asked, call
from loadtests.chaos.record import Slot

_numbers = count(1)

DEALERSHIPS = ("manhattan", "beverly-hills", "chicago", "london")
DAYS = range(45, 88)
"""Days ahead. They can also be booked by a guest whose clock is 40 days ahead."""
OPEN_DAYS = (1, 2, 3, 4)
HOURS = range(10, 17)
"""Hours at which all four are open from Tuesday to Friday."""
COMPETITORS = 3
"""Number of customers for each slot."""


def plain(chance: random.Random) -> Asked:
    """A question whose answer has unique words, so that mixed answers are noticed."""
    return Asked("Tell me more.", (_said(chance, words=chance.randint(15, 50)),))


def with_tools(chance: random.Random) -> Asked:
    cities = chance.sample(("Paris", "Tokyo", "New York", "London"), 2)
    calls = [call("get_weather", city=city) for city in cities]
    looked = {"calls": calls, "first_token_after": 0.2}
    return Asked(f"How is the weather in {cities}?", (looked, _said(chance, words=15)))


def booking(chance: random.Random, slot: Slot, user_id: str) -> Asked:
    """A booking that is slow before and after its call, so that faults hit both places."""
    wanted = call(
        "schedule_appointment",
        user_id=user_id,
        dealership_id=slot.dealership_id,
        date=slot.date,
        time=slot.time,
        car_model="Apex GT",
    )
    booked = {"calls": [wanted], "first_token_after": chance.uniform(2.0, 4.0)}
    return Asked("Book me a test drive.", (booked, _said(chance, words=25, after=1.0)))


def hello() -> Asked:
    return Asked("Hello", ({"text": "Hello."},))


def _said(chance: random.Random, *, words: int, after: float = 0.2) -> dict[str, object]:
    number = next(_numbers)
    text = " ".join(f"{number}.{word}" for word in range(words))
    pace = {"tokens_per_second": chance.choice((40, 70, 120)), "first_token_after": after}
    return {"text": text, **pace}


class Slots:
    """The slots. Each is offered to several customers in succession."""

    def __init__(self, chance: random.Random) -> None:
        today = dt.datetime.now(dt.UTC).date()
        days = [today + dt.timedelta(days=ahead) for ahead in DAYS]
        self._left = [
            Slot(dealership, day.isoformat(), f"{hour}:00")
            for dealership in DEALERSHIPS
            for day in days
            if day.weekday() in OPEN_DAYS
            for hour in HOURS
        ]
        chance.shuffle(self._left)
        self._taken = count()

    def take(self) -> Slot:
        return self._left[next(self._taken) // COMPETITORS % len(self._left)]
