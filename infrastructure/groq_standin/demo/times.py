"""Which day and what time a sentence says, written as the tools take them."""

import re
from contextlib import suppress
from datetime import date, timedelta

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
RELATIVE = {
    "day after tomorrow": 2, "day before yesterday": -2, "tomorrow": 1, "yesterday": -1,
    "today": 0, "tonight": 0,
}  # fmt: skip
HOURS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip

LONG_PAST = timedelta(days=30)
"""A day of the year that is longer past is meant for the next year."""

_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in MONTHS).replace("sep(", "sept?(")
_NTH = r"(?:st|nd|rd|th)?"
_ISO = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_WRITTEN = re.compile(
    rf"\b(?:(\d{{1,2}}){_NTH}\s+(?:of\s+)?({_MONTH})\b|({_MONTH})\.?\s+(?:the\s+)?(\d{{1,2}}){_NTH}\b)"
    r"(?!:)(?:,?\s+(\d{4})\b)?",
    re.IGNORECASE,
)
_OF_THIS_MONTH = re.compile(r"\bthe (\d{1,2})(?:st|nd|rd|th)\b", re.IGNORECASE)
_RELATIVE = re.compile("|".join(rf"\b{words}\b" for words in RELATIVE), re.IGNORECASE)
_WEEKDAY = re.compile(rf"\b({'|'.join(WEEKDAYS)})\b", re.IGNORECASE)
_CLOCK = re.compile(
    r"\b(?:at|around|to|by|for)\s+(\d{1,2})(?:[:.](\d{2}))?\s*([ap]\.?m\b|o'clock)?"
    r"(?!\d|-|\s*(?:people|persons|days|weeks|hours|minutes)\b)"
    r"|\b(\d{1,2}):(\d{2})\b|\b(\d{1,2})\s*([ap]\.?m\b|o'clock)",
    re.IGNORECASE,
)
_IN_WORDS = re.compile(rf"\b(at|around|by) ({'|'.join(HOURS)})\b", re.IGNORECASE)
_NOON = re.compile(r"\b(?:noon|midday)\b", re.IGNORECASE)
_VAGUE = {
    "date": re.compile(
        r"\bweekend\b|\bnext (?:week|month)\b|\b(?:another|different|other) day\b"
        r"|\bin (?:a|\w+) (?:days?|weeks?|months?)\b",
        re.IGNORECASE,
    ),
    "time": re.compile(
        r"\b(?<!good )(?:morning|afternoon|evening|lunch)|\bhalf past\b|\bquarter (?:to|past)\b"
        r"|\b(?:later|earlier)\b|\b(?:another|different|other) time\b",
        re.IGNORECASE,
    ),
}


def day(text: str, today: date) -> str | None:
    """A date as YYYY-MM-DD; what is not a date of the calendar is passed on as it is."""
    if iso := _ISO.search(text):
        return iso[0]
    if written := _WRITTEN.search(text):
        return _in_a_year(written, today)
    if relative := _RELATIVE.search(text):
        return str(today + timedelta(days=RELATIVE[relative[0].lower()]))
    if weekday := _WEEKDAY.search(text):
        ahead = (WEEKDAYS.index(weekday[1].lower()) - today.weekday() - 1) % 7 + 1
        return str(today + timedelta(days=ahead))
    if nth := _OF_THIS_MONTH.search(text):
        return _in_a_month(int(nth[1]), today)
    return None


def clock(text: str) -> str | None:
    """A time as HH:MM."""
    match = _CLOCK.search(_without_days(_in_digits(text)))
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


def is_vague(fact: str, text: str) -> bool:
    """Whether a date or a time is spoken of that is none yet, such as "next week"."""
    return bool(_VAGUE[fact].search(text))


def without(text: str) -> str:
    """The text with a comma for each day and time."""
    return _CLOCK.sub(",", _without_days(_in_digits(text)))


def first_date(text: str) -> date | None:
    """The first YYYY-MM-DD that is a date of the calendar."""
    for match in _ISO.finditer(text):
        with suppress(ValueError):
            return date.fromisoformat(match[0])
    return None


def _in_a_year(written: re.Match[str], today: date) -> str:
    month = [name[:3] for name in MONTHS].index((written[2] or written[3]).lower()[:3]) + 1
    in_year = f"{month:02}-{int(written[1] or written[4]):02}"
    if written[5]:
        return f"{written[5]}-{in_year}"
    is_long_past = f"{today.year}-{in_year}" < str(today - LONG_PAST)
    return f"{today.year + is_long_past}-{in_year}"


def _in_a_month(day_of_month: int, today: date) -> str:
    this_month = f"{today:%Y-%m}-{day_of_month:02}"
    next_month = today.replace(day=1) + timedelta(days=32)
    return this_month if this_month >= str(today) else f"{next_month:%Y-%m}-{day_of_month:02}"


def _in_digits(text: str) -> str:
    text = _NOON.sub("12:00", text)
    return _IN_WORDS.sub(lambda found: f"{found[1]} {HOURS.index(found[2].lower()) + 1}", text)


def _without_days(text: str) -> str:
    for pattern in (_ISO, _WRITTEN, _RELATIVE, _WEEKDAY, _OF_THIS_MONTH):
        text = pattern.sub(",", text)
    return text
