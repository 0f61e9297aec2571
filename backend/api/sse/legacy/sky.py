"""Describe the weather in the words that pages search for.

Pages look for `(\\d+)°C` and `sunny|cloudy|rainy|snowy|foggy`. A city name that contains
one of these words (Sunnyvale) misleads them. That cannot be avoided here.
"""

import re

_KINDS = (
    # The first match counts. Pages that do not know `stormy` find the next word.
    ("stormy and rainy", re.compile("thunder|storm|hail|squall|tornado|hurricane")),
    ("snowy and rainy", re.compile("sleet|wintry|rain and snow|snow and rain")),
    ("snowy", re.compile("snow|blizzard|flurr|ice pellets|ice crystals")),
    ("rainy", re.compile("rain|drizzle|shower")),
    ("foggy", re.compile("fog|mist|haz|smok|smog|dust|sand")),
    ("cloudy", re.compile("cloud|overcast")),
    ("windy", re.compile("wind|breez|gust|gale")),
    # Also for clear nights: pages have no word for them.
    ("sunny", re.compile("clear|sun|fair")),
)

_SAID = {"rain", "snow", "fog", "clear"}
"""Conditions that mean exactly their kind, so that repeating them in brackets adds nothing."""


def degrees(temperature: str) -> str:
    """Write a negative temperature as `5°C below zero`.

    A page that searches `-5°C` for a number drops the sign, or finds nothing. It shows `5°C` either
    way, but the sentence around it is then right.
    """
    frost = temperature.removeprefix("-").removeprefix("\N{MINUS SIGN}")
    return temperature if frost == temperature else f"{frost} below zero"


def sky(conditions: str) -> str:
    """Return the conditions, with the page's word for their kind in front if they lack it."""
    said = conditions.lower()
    kind = next((kind for kind, pattern in _KINDS if pattern.search(said)), None)
    if kind is None or kind in said:
        return said
    return kind if said in _SAID else f"{kind} ({said})"
