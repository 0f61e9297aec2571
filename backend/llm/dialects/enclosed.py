"""Collects the text between an opening mark and its closing mark while it arrives."""

import re

_KEPT_CHARACTERS = 64
"""Kept back from the end of the text, because a closing mark may arrive in two pieces."""


class Enclosed:
    """The text from an opening mark on.

    With `is_sure` it is certainly markup, and is collected up to its closing mark at any length.
    """

    def __init__(self, opener: str, closer: re.Pattern[str], *, is_sure: bool) -> None:
        self.is_sure = is_sure
        self.opener = opener
        self.taken_characters = len(opener)
        self._closer = closer
        self._parts = [opener]

    def closer_end(self, text: str, at: int, *, longest: int) -> int | None:
        """Return where the closing mark ends; None if it is not in the text from `at` on.

        Unless `is_sure`, the whole must not exceed `longest` characters.
        """
        until = len(text) if self.is_sure else at + longest - self.taken_characters
        found = self._closer.search(text, at, max(at, until))
        return found.end() if found else None

    def take(self, text: str) -> None:
        self._parts.append(text)
        self.taken_characters += len(text)

    def take_most(self, text: str, at: int) -> int:
        """Take all but the end of the text, which may be part of a closing mark.

        Returns where the rest begins.
        """
        rest = max(at, len(text) - _KEPT_CHARACTERS)
        self.take(text[at:rest])
        return rest

    @property
    def text(self) -> str:
        return "".join(self._parts)
