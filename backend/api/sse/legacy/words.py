"""A text in pieces that end where words end, for pages that trim pieces and put a space between."""

import re

LONGEST_HELD = 200
"""Characters: more than addresses of web pages have, or clauses in scripts without spaces."""

_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""All that any reader takes for one; JavaScript knows fewer than Python."""

# Up to the last word that is surely whole: a space is behind it, or punctuation of a script that
# writes none.
_WHOLE_WORDS = re.compile(r".*(?:\S(?=\s)|[、。！，：；？])", re.DOTALL)  # noqa: RUF001 - full-width


class Words:
    """Holds a word back until it is whole. A space goes with the word behind it, as in deltas."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, text: str) -> str:
        """Returns what can be shown by now; nothing, if it may be the beginning of a word."""
        self._held += text
        whole = _WHOLE_WORDS.match(self._held)
        end = whole.end() if whole else 0
        if len(self._held) - end > LONGEST_HELD:
            return self.rest()
        return self._take(end)

    def rest(self, behind: str = "") -> str:
        """Whatever is held, and a text behind it."""
        self._held += behind
        return self._take(len(self._held))

    def _take(self, end: int) -> str:
        taken, self._held = self._held[:end], self._held[end:]
        return in_one_line(taken)


def in_one_line(text: str) -> str:
    """Each line break becomes a space: a page reads one line of an event."""
    return _LINE_BREAK.sub(" ", text)
