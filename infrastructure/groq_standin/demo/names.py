"""What a sentence calls a car and a dealership, whether there is one of that name or not.

A name that is not known is passed on as it stands, for the tool to refuse. So it is found by its
place: "book the …", "in …", "… dealership", or a capital in the middle of a sentence.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import takewhile

from infrastructure.groq_standin.demo import mentions, times
from infrastructure.groq_standin.demo.words import CARS, DEALERSHIPS, KNOWN, NO_NAME, QUESTION_WORDS

_KNOWN = "§"
"""Stands for a name that is known: "Downtown Manhattan" is no other place than Manhattan."""

_CARS = {word: name for name in CARS for word in (name, f"SuperCar {name}")}
_PLACES = {word: name for name, words in DEALERSHIPS.items() for word in words}
_ALL = {**_CARS, **_PLACES}
_NAME = re.compile(rf"[\w{_KNOWN}' -]*")
_SHOWROOM = r"(?:dealership|showroom|branch|store)\b"
_OF_A_SHOWROOM = re.compile(
    rf"(?<![\w'-])((?:[\w{_KNOWN}'-]+\s+){{1,3}}){_SHOWROOM}", re.IGNORECASE
)
_ORDERED = re.compile(
    r"\b(?:book|reserve|schedule|arrange|test[- ]drive|drive|try)\s+(?:me\s+|us\s+)?"
    r"(?:(?:the|an?)\s+)?",
    re.IGNORECASE,
)
_WITH_ARTICLE = re.compile(r"\b(?:the|an?)\s+", re.IGNORECASE)
_IN_A_PLACE = re.compile(
    r"\b(?:in|at|near|from|about|where is|where's"
    r"|(?:address|number|phone|hours|directions|slots?|openings) (?:of|for|to))\s+(?:the\s+)?",
    re.IGNORECASE,
)
_CAPITAL = re.compile(
    r"\b(?!(?i:for|is|am|i'm|mr|mrs|dr|user|name)\b)\w+[,\s]+(?=[A-Z])|^\W*(?:[Aa]nd|[Oo]r)\s+"
)


def car(text: str) -> str | None:
    plain = _plain(text, known=_CARS, other=_PLACES)
    found = _first(_ORDERED, plain) or _last_known(_CARS, text) or _first(_WITH_ARTICLE, plain)
    return next((name for name in CARS if found and name.split()[0] == found.title()), found)


def dealership(text: str) -> str | None:
    """The one that is mentioned last: "not Munich but Tokyo"."""
    plain = _plain(text, known=_PLACES, other=_CARS)
    return _with_showroom(plain) or _last_known(_PLACES, text) or _first(_IN_A_PLACE, plain)


def named(text: str, taken: frozenset[str]) -> dict[str, str]:
    """The car and the dealership; of those that are not known only what is taken."""
    model = car(text)
    rest = without(text, _forms(model) if model in CARS or "car_model" in taken else ())
    place = dealership(rest)
    found = {"car_model": model, "dealership_id": place}
    facts = {
        fact: name for fact, name in found.items() if name and (name in KNOWN or fact in taken)
    }
    missing = [fact for fact in found if fact in taken and fact not in facts]
    if missing and (unclear := stray(without(rest, [place]))):
        facts[missing[0]] = unclear
    return facts


def stray(text: str) -> str | None:
    """A name with a capital of which the sentence does not show what it names."""
    return None if text.isupper() else _first(_CAPITAL, _plain(text, known={}, other=_ALL))


def without(text: str, found: Iterable[str | None]) -> str:
    """The text with a comma for each of these names."""
    return _replaced(filter(None, found), ",", text)


def is_fragment(text: str) -> bool:
    """Whether it says nothing but facts: "rather the Volt E at 11"."""
    plain = _plain(text, known={}, other=_ALL)
    rest = without(plain, (car(text), dealership(text), stray(text)))
    return set(re.findall(r"[^\W\d][\w']*", rest.lower())) <= NO_NAME - QUESTION_WORDS


def name(rest: str) -> str | None:
    """The name that a text begins with, if it begins with one."""
    run = (_NAME.match(rest) or [""])[0].split()
    words = list(takewhile(lambda word: word.lower() not in NO_NAME, run))[:3]
    if words and words[0][0].isupper():
        words = list(takewhile(lambda word: word[0].isupper() or word[0].isdigit(), words))
    is_number = bool(words) and len(words[0]) < 3 and words[0].isdigit()
    following = run[len(words) :][:1]
    if not words or is_number or _KNOWN in "".join((*words, *following)):
        return None
    return " ".join(words)


def _forms(model: str | None) -> list[str]:
    """In full, and as its first word: "the Apex"."""
    return [model, model.split()[0]] if model else []


def _first(place: re.Pattern[str], text: str) -> str | None:
    names = (name(text[match.end() :]) for match in place.finditer(text))
    return next((found for found in names if found and not _is_showroom(found, text)), None)


def _is_showroom(found: str, text: str) -> bool:
    return bool(re.search(rf"{re.escape(found)}\s+{_SHOWROOM}", text, re.IGNORECASE))


def _with_showroom(text: str) -> str | None:
    match = _OF_A_SHOWROOM.search(text)
    before = reversed(match[1].split()) if match else iter(())
    words = list(takewhile(lambda word: word.lower() not in NO_NAME, before))
    found = " ".join(reversed(words))
    return None if _KNOWN in found else found or None


def _last_known(known: dict[str, str], text: str) -> str | None:
    found = _any_of(tuple(known)).findall(text)
    return next(
        (known[word] for word in known if found and word.lower() == found[-1].lower()), None
    )


def _plain(text: str, *, known: Iterable[str], other: Iterable[str]) -> str:
    """The text with marks for what is known, so that what is left may be a name."""
    text = mentions.without_user(times.without(text))
    return _replaced(other, ",", _replaced(known, _KNOWN, text))


def _replaced(words: Iterable[str], mark: str, text: str) -> str:
    words = tuple(words)
    return _any_of(words).sub(mark, text) if words else text


@lru_cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = map(re.escape, sorted(words, key=len, reverse=True))
    return re.compile(rf"\b(?:{'|'.join(longest_first)})\b", re.IGNORECASE)
