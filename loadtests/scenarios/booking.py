"""Users who compete for a few test drives. Each must get the right answer about its own."""

import datetime as dt
import json
import random

from locust import task

from loadtests.asked import Asked, call
from loadtests.asking import HttpScenario, new_session
from loadtests.sse import Frame, StreamFailed, whole

DEALERSHIPS = ("manhattan", "beverly-hills", "chicago", "london")
HOURS = range(10, 17)
"""Hours at which test drives start at all dealerships, from Tuesday to Friday."""

AFTER = {"first_token_after": 0.1}


def booked(slot: dict[str, str], user_id: str) -> Asked:
    place = {name: slot[name] for name in ("dealership_id", "date")}
    booking = call("schedule_appointment", **slot, user_id=user_id, car_model="Apex GT")
    return Asked(
        f"Book the Apex GT in {slot['dealership_id']} on {slot['date']} at {slot['time']} for user "
        f"{user_id}, if that is free. You need not ask me again.",
        (
            {"calls": [call("check_appointment_availability", **place)]} | AFTER,
            {"calls": [booking]} | AFTER,
            {"text": "That is what I found."} | AFTER,
        ),
    )


def some_slot() -> dict[str, str]:
    """An existing slot. Slots can be booked up to 90 days ahead."""
    today = dt.datetime.now(dt.UTC).date()
    days = (today + dt.timedelta(days=ahead) for ahead in range(2, 88))
    day = random.choice([day for day in days if day.weekday() in (1, 2, 3, 4)])
    return {
        "dealership_id": random.choice(DEALERSHIPS),
        "date": day.isoformat(),
        "time": f"{random.choice(HOURS)}:00",
    }


class Booking(HttpScenario):
    scenario = "booking"
    first_chunk_seconds = booked(some_slot(), "1").first_chunk_seconds

    @task
    def book(self) -> None:
        """Book the same slot twice. The user who has it keeps it, with the same confirmation."""
        asked = booked(some_slot(), user_id=f"load-{random.randrange(10**9)}")
        first = self.answer_to(asked)
        again = self.answer_to(asked)
        if first is None or again is None or self.options.real_model:
            return
        with self.telling("the same again"):
            if first != again:
                raise StreamFailed("the second booking had another result")

    def answer_to(self, asked: Asked) -> str | None:
        """Ask in a new session. None if that failed."""
        self.session_id = new_session()
        with self.telling() as timer:
            frames = list(timer.heard(whole(self.ask(self.query(asked)).frames)))
            return None if self.options.real_model else confirmation(frames)
        return None


def confirmation(frames: list[Frame]) -> str:
    """The confirmation id, or `slot_taken`, which is a valid answer as well.

    Raises:
        StreamFailed: the booking was refused for another reason, or not made.
    """
    outputs = [json.loads(frame.data) for frame in frames if frame.event == "tool_output"]
    for told in outputs:
        if told["name"] == "schedule_appointment":
            output = told["output"]
            code = output.get("error", {}).get("code")
            if code not in (None, "slot_taken"):
                raise StreamFailed(f"a booking was refused: {code}")
            return str(code or output["confirmation_id"])
    raise StreamFailed("the booking tool was not called")
