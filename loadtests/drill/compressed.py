"""Prometheus with our rules in compressed time, so that an hour of theirs takes two minutes.

Only the time of Prometheus is compressed: windows, offsets, `for:` and the interval of scrapes. Lex
and its clients are as fast as ever, so latencies and shares have their true values.
"""

import re
from pathlib import Path

COMPRESSION = 30
"""Seconds of Prometheus' time in one second of the drill."""

SCRAPED_EVERY = 15.0
"""The interval of scrapes in Prometheus' time, as in `infrastructure/prometheus`."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_WINDOW = re.compile(r"\[(\d+)(ms|s|m|h|d)(?=[\]:])")
_OFFSET = re.compile(r"\boffset (\d+)(ms|s|m|h|d)\b")
_FOR = re.compile(r"^(\s*(?:for|keep_firing_for|interval): *)(\d+)(ms|s|m|h|d)\s*$", re.MULTILINE)


def compressed(text: str) -> str:
    """Compress all windows, offsets and waits of rules or of a PromQL expression."""
    text = _WINDOW.sub(lambda found: f"[{_short(found[1], found[2])}", text)
    text = _OFFSET.sub(lambda found: f"offset {_short(found[1], found[2])}", text)
    return _FOR.sub(lambda found: found[1] + _short(found[2], found[3]), text)


def _short(number: str, unit: str) -> str:
    seconds = int(number) * _UNITS[unit] / COMPRESSION
    return f"{max(1, round(1000 * seconds))}ms"


def write_rules(rules: Path, into: Path) -> str:
    """Write compressed copies of all rules of a folder. Return the pattern that finds them."""
    for path in rules.glob("*.yml"):
        (into / path.name).write_text(compressed(path.read_text()))
    return f"{into}/*.yml"
