"""Finds the closing bracket in a text that arrives in pieces."""

import re

_STRUCTURE = re.compile(r"""\\.|["'\[\](){}]|\\\Z""", re.DOTALL)


class Brackets:
    """Counts the brackets outside of strings.

    Call `end` again when the text has grown. It continues where it stopped.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._at = 0
        self._end: int | None = None

    def end(self, text: str, begin: int = 0) -> int | None:
        """Return the position after the bracket that closes the one at `begin`; None so far."""
        if self._end is not None:
            return self._end
        for found in _STRUCTURE.finditer(text, max(self._at, begin)):
            mark = found[0]
            if mark == "\\":
                self._at = found.start()  # the escaped character has not arrived yet
                return None
            self._at = found.end()
            if self._count(mark):
                self._end = self._at
                return self._end
        self._at = max(self._at, len(text))
        return None

    def _count(self, mark: str) -> bool:
        """Count one mark. Returns whether it closes the outermost bracket."""
        if self._quote:
            self._quote = "" if mark == self._quote else self._quote
        elif mark in "\"'":
            self._quote = mark
        elif mark in "[({":
            self._depth += 1
        elif mark in "])}":
            self._depth -= 1
            return self._depth <= 0
        return False
