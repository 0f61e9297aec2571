"""The table of intents: what asks for a tool, what the tool needs, what it can go on about."""

import re
from dataclasses import dataclass

from infrastructure.groq_standin.demo import times


@dataclass(frozen=True, slots=True)
class Intent:
    """`also` are facts that lead back to the tool without being needed: "and at 11?"."""

    words: str
    needs: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def takes(self) -> frozenset[str]:
        return frozenset(self.needs + self.also)


# In the order in which their calls are made.
INTENTS = {
    "get_weather": Intent(
        r"weather|temperature|forecast|\brain|\bsnow|\bumbrella|\b(?:sunny|hot|cold|warm)\b",
        also=("city", "date"),
    ),
    "check_appointment_availability": Intent(
        r"\bslots?\b|availab|\bfree\b|\bopenings?\b|\bwhen can i\b|\bwhich times\b|\bwhat times\b",
        needs=("dealership_id", "date"),
        also=("time", "car_model", "user_id"),
    ),
    "schedule_appointment": Intent(
        r"\b(?:book|reserve|schedule|arrange)\b|test[- ]drive|\b(?:drive|try) (?:the|an?)\b",
        needs=("user_id", "dealership_id", "date", "time", "car_model"),
    ),
    "get_dealership_address": Intent(
        r"\baddress\b|\bwhere\b|\blocat|\bphone\b|\bopening hours\b|\bhours\b|\bdirections\b",
        needs=("dealership_id",),
    ),
    "fetch_user_profile": Intent(
        r"\bprofile\b|\bmy (?:account|appointments|bookings|test drives)\b|\bwhen is my\b"
        r"|\bwho (?:am i|is user)\b|\bknow about (?:me|user|customer)\b"
        r"|\b(?:do|does) (?:i|user|customer)\b.*\bhave\b(?! to\b)"
        r"|\b(?:appointments|bookings|test drives) (?:of|for) (?:me|user|customer)\b",
        needs=("user_id",),
    ),
}

_ORDER = re.compile(r"\b(?:book|reserve|schedule|arrange)\b", re.IGNORECASE)
_ABOUT_THE_PLACE = re.compile(r"\baddress\b|\bphone\b", re.IGNORECASE)
_FORBIDDEN = re.compile(
    r"(?:\bnot|\bdont|n't|\bnever|\bwithout|\bno)\s+(?!forget|only|\d)(?:[\w']+\s+){0,3}?"
    r"(?:book|reserv|schedul|arrang|test[- ]drive)\w*"
    r"[^,.;:!?]*?(?=[,.;:!?]|\b(?:and|but|only|just)\b|$)",
    re.IGNORECASE,
)


def wanted(text: str) -> tuple[str, ...]:
    """The tools that a sentence asks for."""
    found = [name for name, each in INTENTS.items() if re.search(each.words, text, re.IGNORECASE)]
    return tuple(name for name in found if name not in _beaten(set(found), text))


def _beaten(found: set[str], text: str) -> set[str]:
    """Of two tools that share words, the one that is not meant."""
    is_order = bool(_ORDER.search(text))
    if "schedule_appointment" not in found:
        return set()
    if "check_appointment_availability" in found:
        # "Book the slot at 10" orders, "Which slots are free for a test drive?" asks.
        orders = is_order and times.clock(text)
        return {"check_appointment_availability" if orders else "schedule_appointment"}
    if "fetch_user_profile" in found and not is_order:
        return {"schedule_appointment"}
    return set() if _ABOUT_THE_PLACE.search(text) else {"get_dealership_address"}


def allowed(text: str) -> str:
    """The text without what it says not to book."""
    return _FORBIDDEN.sub(" ", text)
