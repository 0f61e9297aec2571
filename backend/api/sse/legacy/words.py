"""Split a text at word boundaries, for pages that trim chunks and join them with a space."""

import re

LONGEST_HELD = 200
"""In characters. Longer than most URLs, and than clauses in scripts without spaces."""

_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Everything that any client treats as a line break. Python knows more of them than JavaScript."""

# Everything up to the last word that is certainly whole: a space follows it, or it ends in the
# punctuation of a script without spaces.
_WHOLE_WORDS = re.compile(r".*(?:\S(?=\s)|[、。！，：；？])", re.DOTALL)  # noqa: RUF001 - full-width


class Words:
    """Holds a word back until it is whole. A space is sent with the word after it."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, text: str) -> str:
        """Add text, and return the whole words that can be shown now."""
        self._held += text
        whole = _WHOLE_WORDS.match(self._held)
        end = whole.end() if whole else 0
        if len(self._held) - end > LONGEST_HELD:
            return self.rest()
        return self._take(end)

    def rest(self, behind: str = "") -> str:
        """Return everything that is held back, followed by `behind`."""
        self._held += behind
        return self._take(len(self._held))

    def _take(self, end: int) -> str:
        taken, self._held = self._held[:end], self._held[end:]
        return in_one_line(taken)


def in_one_line(text: str) -> str:
    """Replace line breaks by spaces, because a page may read only one line of an event."""
    return _LINE_BREAK.sub(" ", text)
