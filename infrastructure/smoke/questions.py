"""The questions, and the tool that each must call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

USER = "123"
CAR = "Apex GT"
WEDNESDAY = 2


@dataclass(frozen=True)
class Question:
    """A question. `tool` is None if it needs no tool."""

    kind: str
    query: str
    tool: str | None


def open_day(today: date | None = None) -> str:
    """A Wednesday at least a week from now. All dealerships are open on Wednesdays."""
    day = (today or datetime.now(UTC).date()) + timedelta(days=7)
    while day.weekday() != WEDNESDAY:
        day += timedelta(days=1)
    return day.isoformat()


def questions(day: str) -> Iterator[Question]:
    yield Question("plain", "Hello! In one sentence, what can you do for me?", None)
    yield Question("weather", "What is the weather in New York?", "get_weather")
    yield Question(
        "dealership", "What is the address of the Manhattan dealership?", "get_dealership_address"
    )
    yield Question(
        "availability",
        f"Which slots are free in Manhattan on {day}?",
        "check_appointment_availability",
    )
    yield Question("profile", f"Show me the profile of user {USER}", "fetch_user_profile")


def booking(day: str, slots: Sequence[str]) -> Question:
    return Question(
        "booking",
        f"Book the {CAR} in Manhattan on {day} at {slots[-1]} for user {USER}. I have given every "
        "detail, so book at once.",
        "schedule_appointment",
    )


def reasoning() -> Question:
    return Question("reasoning", "What is the weather in New York?", "get_weather")
