"""What a sentence mentions besides names, days and times: a user, cities, what is not meant."""

import re

from infrastructure.groq_standin.demo.intents import INTENTS
from infrastructure.groq_standin.demo.words import NO_NAME

_USER = re.compile(
    r"\b(?:user|customer|account|i am|i'm|id)(?:\s+(?:id|number|no\.?))*(?:\s+is|:)?\s+"
    r"#?(\w*\d[\w-]*)"
    r"|\b(?:for|of|as|about|am|does)\s+(?:user|customer)\s+([a-z][\w-]*)",
    re.IGNORECASE,
)
_REJECTED = re.compile(
    r"\b(?:not|instead of|rather than)\s+(?:(?:in|at|on|the|an?)\s+)*"
    r"[^,.;!?]*?(?=[,.;!?]|\b(?:but|at|in|on|for|and)\b|$)",
    re.IGNORECASE,
)

_PLACES = re.compile(r"\b(?:in|for|of|at|about)\s+(.+)", re.IGNORECASE | re.DOTALL)
_AND = re.compile(r"^\W*(?:and|or)\s+(.+)", re.IGNORECASE | re.DOTALL)
_BETWEEN = re.compile(r",|;|&|\band\b|\bor\b|\bplus\b|\bversus\b|\bvs\b", re.IGNORECASE)
_BEFORE = re.compile(
    r"^(?:(?:the|what|how|is|it|like|about|weather|forecast|temperature|also|in|for|of|at)\s+)+",
    re.IGNORECASE,
)
_AFTERWARDS = re.compile(
    r"\s+(?:today|tomorrow|tonight|yesterday|now|right now|please|this|next|on|at|like|is|then"
    r"|for|when|if|because)\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_NO_CITY = re.compile(
    "|".join((
        *(intent.words for intent in INTENTS.values()),
        r"^(?:me|my|you|it|there|here|today|tomorrow|the|a|an|what|who|how)\b",
    )),
    re.IGNORECASE,
)  # fmt: skip


def user(text: str) -> str | None:
    found = (match[1] or match[2] for match in _USER.finditer(text))
    return next((name for name in found if name.lower() not in NO_NAME), None)


def without_user(text: str) -> str:
    return _USER.sub(",", text)


def without_rejected(text: str) -> str:
    """The text without what is meant to be replaced: "the Volt E instead of the Apex GT"."""
    return _REJECTED.sub(",", text)


def cities(text: str) -> list[str]:
    """The cities whose weather is asked for, at most four."""
    plain = re.sub(r"[?!]|(?<=\w{3})\.(?=\s|$)", " ", text)
    match = _PLACES.search(plain) or _AND.search(plain)
    if match is None:
        return []
    found = [_city(piece) for piece in _BETWEEN.split(match[1])]
    return list(dict.fromkeys(city for city in found if city))[:4]


def _city(piece: str) -> str | None:
    name = _AFTERWARDS.sub("", _BEFORE.sub("", f"{piece.strip()} ")).strip(" '\"[]()")
    if not name or not name[0].isalpha() or len(name) > 40 or _NO_CITY.search(name):
        return None
    return name.title() if name.islower() else name
