"""The weather in words that pages look for: `(\\d+)°C`, and `sunny|cloudy|rainy|snowy|foggy`.

A city whose name has such a word in it (Sunnyvale) misleads a page, and nothing here can help.
"""

import re

_KINDS = (
    # The first that fits. A page that knows no `stormy` finds the next word.
    ("stormy and rainy", re.compile("thunder|storm|hail|squall|tornado|hurricane")),
    ("snowy and rainy", re.compile("sleet|wintry|rain and snow|snow and rain")),
    ("snowy", re.compile("snow|blizzard|flurr|ice pellets|ice crystals")),
    ("rainy", re.compile("rain|drizzle|shower")),
    ("foggy", re.compile("fog|mist|haz|smok|smog|dust|sand")),
    ("cloudy", re.compile("cloud|overcast")),
    ("windy", re.compile("wind|breez|gust|gale")),
    # Also at night, for which a page has no word.
    ("sunny", re.compile("clear|sun|fair")),
)

_SAID = {"rain", "snow", "fog", "clear"}
"""By the page's own word."""


def degrees(temperature: str) -> str:
    """A page that finds `5°C` in `-5°C` would drop the sign, or find nothing. It shows `5°C` of a
    frost in any case; this way the sentence around it is right.
    """
    frost = temperature.removeprefix("-").removeprefix("\N{MINUS SIGN}")
    return temperature if frost == temperature else f"{frost} below zero"


def sky(conditions: str) -> str:
    """The conditions, behind the word of their kind unless that is in them."""
    said = conditions.lower()
    kind = next((kind for kind, pattern in _KINDS if pattern.search(said)), None)
    if kind is None or kind in said:
        return said
    return kind if said in _SAID else f"{kind} ({said})"
