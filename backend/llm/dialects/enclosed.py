"""What stands between an opener and its closer, collected as it comes."""

import re

_KEPT_CHARACTERS = 64
"""Of a text without a closer, in case one comes in two pieces."""


class Enclosed:
    """From its opener on. Once `is_sure`, it is taken to its closer however long it is."""

    def __init__(self, opener: str, closer: re.Pattern[str], *, is_sure: bool) -> None:
        self.is_sure = is_sure
        self.opener = opener
        self.taken_characters = len(opener)
        self._closer = closer
        self._parts = [opener]

    def closer_end(self, text: str, at: int, *, longest: int) -> int | None:
        """Where the closer ends in the text from `at` on; unless `is_sure` not beyond `longest`
        characters of the whole.
        """
        until = len(text) if self.is_sure else at + longest - self.taken_characters
        found = self._closer.search(text, at, max(at, until))
        return found.end() if found else None

    def take(self, text: str) -> None:
        self._parts.append(text)
        self.taken_characters += len(text)

    def take_most(self, text: str, at: int) -> int:
        """Take what cannot be part of a closer; returns where the rest begins."""
        rest = max(at, len(text) - _KEPT_CHARACTERS)
        self.take(text[at:rest])
        return rest

    @property
    def text(self) -> str:
        return "".join(self._parts)
