"""What a sentence mentions: a dealership, a car, a date, a time, a user, cities."""

import re
from datetime import date, timedelta

from infrastructure.groq_standin.demo.words import CARS, DEALERSHIPS, INTENTS, WEEKDAYS

_ISO = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_CLOCK = re.compile(
    r"\b(?:at|around|to|by|for)\s+(\d{1,2})(?:[:.](\d{2}))?\s*([ap]\.?m\b)?(?!\d|-)"
    r"|\b(\d{1,2}):(\d{2})\b|\b(\d{1,2})\s*([ap]\.?m\b)",
    re.IGNORECASE,
)
_USER = re.compile(
    r"\b(?:user|customer|account|i am|i'm)(?:\s+(?:id|number|no\.?))?\s+#?(\w*\d\w*)",
    re.IGNORECASE,
)
_WEEKDAY = re.compile(rf"\b({'|'.join(WEEKDAYS)})\b", re.IGNORECASE)

_PLACES = re.compile(r"\b(?:in|for|of|at|about)\s+(.+)", re.IGNORECASE | re.DOTALL)
_BETWEEN = re.compile(r",|;|&|\band\b|\bor\b|\bplus\b|\bversus\b|\bvs\b", re.IGNORECASE)
_BEFORE = re.compile(
    r"^(?:(?:the|what|how|is|it|like|about|weather|forecast|temperature|also|in|for|of|at)\s+)+",
    re.IGNORECASE,
)
_AFTERWARDS = re.compile(
    r"\s+(?:today|tomorrow|tonight|now|right now|please|this|next|on|at|like|is|then)\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_NO_CITY = re.compile(
    "|".join((*INTENTS.values(), r"^(?:me|my|you|it|there|here|today|tomorrow|the|a|an)\b")),
    re.IGNORECASE,
)


def dealership(text: str) -> str | None:
    """The one that is mentioned last: "not Munich but Tokyo"."""
    found = [
        (match.start(), name)
        for name, words in DEALERSHIPS.items()
        for word in words
        for match in re.finditer(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)
    ]
    return max(found)[1] if found else None


def car(text: str) -> str | None:
    lower = text.lower()
    return next((name for name in CARS if name.lower() in lower), None)


def user(text: str) -> str | None:
    match = _USER.search(text)
    return match[1] if match else None


def clock(text: str) -> str | None:
    """A time as HH:MM."""
    match = _CLOCK.search(_ISO.sub(" ", text))
    if match is None:
        return None
    hour = int(match[1] or match[4] or match[6])
    minute = int(match[2] or match[5] or 0)
    half = (match[3] or match[7] or "").lower()[:1]
    if half == "p" and hour < 12:
        hour += 12
    if half == "a" and hour == 12:
        hour = 0
    return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else None


def day(text: str, today: date) -> str | None:
    """A date as YYYY-MM-DD; what is not a date of the calendar is passed on as it is."""
    if written := _ISO.search(text):
        return written[0]
    lower = text.lower()
    if "day after tomorrow" in lower:
        return str(today + timedelta(days=2))
    if "tomorrow" in lower:
        return str(today + timedelta(days=1))
    if "today" in lower or "tonight" in lower:
        return str(today)
    if match := _WEEKDAY.search(lower):
        ahead = (WEEKDAYS.index(match[1]) - today.weekday() - 1) % 7 + 1
        return str(today + timedelta(days=ahead))
    return None


def cities(text: str) -> list[str]:
    """The cities whose weather is asked for, at most four."""
    match = _PLACES.search(re.sub(r"[?!]|(?<=\w{3})\.(?=\s|$)", " ", text))
    if match is None:
        return []
    found = [_city(piece) for piece in _BETWEEN.split(match[1])]
    return list(dict.fromkeys(city for city in found if city))[:4]


def _city(piece: str) -> str | None:
    name = _AFTERWARDS.sub("", _BEFORE.sub("", f"{piece.strip()} ")).strip(" '\"[]()")
    if not name or not name[0].isalpha() or len(name) > 40 or _NO_CITY.search(name):
        return None
    return name.title() if name.islower() else name
