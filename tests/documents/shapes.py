"""Compares the output that a document shows with the real one.

They must be equal, except for values that differ from run to run: `VARYING` lists their shapes. A
session or turn that is shown twice must be the same in both places. `…` in a document leaves
something out: within a line anything, on a line of its own any number of lines.
"""

import difflib
import re

VARYING = {
    "trace": r"\b[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\b",
    "hash": r"\b[0-9a-f]{64}\b",
    "long id": r"\b[0-9a-f]{32}\b",
    "short id": r"\b[0-9a-f]{16}\b",
    "event number": r"(?<=[0-9a-f]{16}-)\d+",
    "call": r'(?<=")[0-9a-f]{9}(?=")',
    "confirmation": r"\bSC-[0-9A-Z]{8}\b",
    "key": r"\blex_[A-Za-z0-9_-]{20,}",
    "moment": r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)",
    "day": r"\b\d{4}-\d\d-\d\d\b",
    "HTTP date": r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
    "tokens": r'(?<=_tokens": )\d+|(?<=_tokens":)\d+',
    "calls": r'(?<=calls": )\d+',
    "seconds": r'(?<=seconds": )\d+(?:\.\d+)?|(?<=seconds":)\d+(?:\.\d+)?',
    "address": r"\bhttp://(?:127\.0\.0\.1|localhost):\d+",
    "seconds of a limit": r"(?<=;t=)\d+",
}
"""Shapes by name. Where two fit, the first counts."""

MAPPED = frozenset({"long id", "short id", "confirmation", "key", "hash"})
"""Values that a later command of the document may repeat."""

_NAMES = list(VARYING)
_ELISION = "\N{HORIZONTAL ELLIPSIS}"
_SPECIAL = re.compile(
    "|".join(f"(?P<v{number}>{shape})" for number, shape in enumerate(VARYING.values()))
    + rf"|(?P<lines>^[ \t]*{_ELISION}[ \t]*(?:\n|\Z))|(?P<inline>{_ELISION})",
    re.MULTILINE,
)


class Difference(Exception):
    """The real output is not the one that is shown. The message has both, and where they differ."""


def compare(shown: str, real: str) -> dict[str, str]:
    """The real values of the shown ones that later commands may repeat.

    Raises: Difference.
    """
    shown, real = _tidy(shown), _tidy(real)
    pattern, groups = _pattern(shown)
    # Lines that are left out at the end take the line feed before them along.
    found = re.fullmatch(pattern, real + "\n")
    if found is None:
        raise Difference(_explanation(shown, real))
    return {value: found[group] for value, group in groups.items()}


def _tidy(text: str) -> str:
    text = _joined_chunks(text.replace("\r", ""))
    # The registry counts for all tests of its process.
    text = re.sub(r"^(lex_\w+(?:\{.*\})?) [\d.e+-]+$", r"\1 <value>", text, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def _joined_chunks(text: str) -> str:
    """Where an answer is cut into chunks depends on the moment."""
    joined: list[str] = []
    for frame in re.sub(r"^:.*\n\n?", "", text, flags=re.MULTILINE).split("\n\n"):
        if joined and _is_chunk(frame) and _is_chunk(joined[-1]):
            joined.append(_merged(joined.pop(), frame))
        else:
            joined.append(frame)
    return "\n\n".join(joined)


def _is_chunk(frame: str) -> bool:
    return frame.lstrip("\n").startswith("event: chunk\n")


def _merged(first: str, second: str) -> str:
    """As the first, with the data of both and the lines behind the data of the second."""
    head = [line for line in first.rstrip("\n").split("\n") if not line.startswith("id: ")]
    said, *rest = second.lstrip("\n").split("\n")[1:]
    return "\n".join([*head[:-1], head[-1] + said.removeprefix("data: "), *rest])


def _pattern(shown: str) -> tuple[str, dict[str, str]]:
    """A regular expression for what is shown, and its groups by the values that they stand for."""
    pattern, position = "", 0
    groups: dict[str, str] = {}
    seen: dict[tuple[str, str], str] = {}
    for found in _SPECIAL.finditer(shown + "\n"):
        pattern += re.escape((shown + "\n")[position : found.start()])
        position = found.end()
        if found.lastgroup == "lines":
            pattern += r"(?:[^\n]*\n)*"
        elif found.lastgroup == "inline":
            pattern += r"[^\n]*"
        else:
            name = _NAMES[int(str(found.lastgroup)[1:])]
            if (name, found[0]) in seen and name in MAPPED:
                pattern += f"(?P={seen[name, found[0]]})"
                continue
            group = seen[name, found[0]] = f"g{found.start()}"
            pattern += f"(?P<{group}>{VARYING[name]})"
            if name in MAPPED:
                groups[found[0]] = group
    return pattern + re.escape((shown + "\n")[position:]), groups


def _explanation(shown: str, real: str) -> str:
    """Both texts, with what may vary replaced by its name, so that only true differences show."""
    difference = difflib.unified_diff(
        _by_name(shown).split("\n"),
        _by_name(real).split("\n"),
        "expected, as shown",
        "got",
        lineterm="",
        n=2,
    )
    return "\n".join(difference) or f"expected:\n{shown}\ngot:\n{real}"


def _by_name(text: str) -> str:
    def name(found: re.Match[str]) -> str:
        group = str(found.lastgroup)
        return f"<{_NAMES[int(group[1:])]}>" if group.startswith("v") else found[0]

    return _SPECIAL.sub(name, text)
