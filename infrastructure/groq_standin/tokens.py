"""Text as tokens: word-ish pieces with the leading space inside, which join to the same text."""

import re
from functools import lru_cache
from itertools import cycle, islice

from infrastructure.groq_standin.encoding import encode

_PIECE = re.compile(r"\s?\w+|\s?[^\w\s]+|\s")

_FILLER = "the engine sings while the road unrolls and every corner asks for one more lap"


def pieces(text: str, size: int | None = None) -> list[str]:
    """Of so many characters each, if there is a size."""
    if size is None:
        return _PIECE.findall(text)
    return [text[at : at + size] for at in range(0, len(text), size)]


@lru_cache(maxsize=1024)
def encoded(text: str, size: int | None = None) -> tuple[bytes, ...]:
    """The tokens of a text as JSON strings, made once for all streams that say the same."""
    return tuple(encode(piece) for piece in pieces(text, size))


def filler(count: int) -> str:
    """A text of exactly so many tokens."""
    return " ".join(islice(cycle(_FILLER.split()), count))
