"""Cleans text from the wire: no NUL and no lone surrogates, which clients and databases refuse.

Also shortens text for people.
"""

import unicodedata

JOINER = "\u200d"
SKIN_TONES = "\U0001f3fb\U0001f3ff"
FLAG_LETTERS = "\U0001f1e6\U0001f1ff"


def clean(text: str) -> str:
    """Replace NULs and lone surrogates by U+FFFD, and join surrogate pairs to one character."""
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text if is_encodable(text) else paired(text)


def is_encodable(text: str) -> bool:
    """Whether the text has no surrogates. Costs nothing for ASCII, like most text."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def paired(text: str) -> str:
    """Join surrogate pairs. JSON may escape a character as a pair, even split over two frames."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def shortened(text: str, limit: int) -> str:
    """Return the text in one line of at most `limit` characters, cut between words if possible.

    A cut text ends with an ellipsis. A letter keeps its accents.
    """
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    space = line.rfind(" ", limit // 2, limit)
    end = space if space > 0 else limit - 1
    while end > 1 and _is_within_character(line, end):
        end -= 1
    return line[:end].rstrip() + "…"


def _is_within_character(text: str, place: int) -> bool:
    """Whether people see the characters before and behind this place as one, such as an emoji."""
    before, behind = text[place - 1], text[place]
    return (
        JOINER in (before, behind)
        or unicodedata.category(behind).startswith("M")
        or SKIN_TONES[0] <= behind <= SKIN_TONES[1]
        or all(FLAG_LETTERS[0] <= each <= FLAG_LETTERS[1] for each in (before, behind))
    )


def is_half(character: str) -> bool:
    """Whether this is a high surrogate, whose other half may still come."""
    return "\ud800" <= character <= "\udbff"


def size_of(text: str) -> int:
    """The size in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
