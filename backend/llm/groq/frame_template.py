"""Frames that are alike but for a piece of text, read many at once.

A completion is hundreds of frames that differ in one JSON string. What stands before and behind
that string is learned from the first of them; of the others the string alone is decoded, all that
one read brought together. With seven or more in a read that takes a quarter of the processor time.
"""

import re
from collections.abc import Callable, Sequence

import msgspec

_CONTENT = re.compile(rb'"content"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')

_decode_texts = msgspec.json.Decoder(list[str]).decode

_PROBE = "probe \x7f"

LONGEST_LINE_BYTES = 16_384
"""A longer one is no token among hundreds, and to look through it would hold up others."""

NOTHING = b"\n"
"""Is in no line, so that no line begins with it."""


class FrameTemplate:
    """`text_of` reads a line in full: its text, if it brings text and nothing else.

    A template is only learned if it holds for any text: the bytes around the first text, with
    another between them, were read in full and brought just that.
    """

    def __init__(self, text_of: Callable[[bytes], str | None]) -> None:
        self._text_of = text_of
        self.before = NOTHING
        self.behind = b""
        self._is_learned = False

    def learn(self, line: bytes) -> bool:
        """From the first line with a text, and whether it was this one; others are read in full if
        they are not like it.
        """
        if self._is_learned or len(line) > LONGEST_LINE_BYTES:
            return False
        if (found := _CONTENT.search(line)) is None:
            return False
        self._is_learned = True
        before, behind = line[: found.start(1)], line[found.end(1) :]
        if self._text_of(before + _PROBE.encode() + behind) == _PROBE:
            self.before, self.behind = before, behind
        return True

    def texts(self, lines: Sequence[bytes]) -> list[str] | None:
        """Of lines that begin with `before` and end with `behind`; None if one of them is more,
        or less, than a text.
        """
        start, end = len(self.before), -len(self.behind)
        if len(min(lines, key=len)) < start - end:  # its only quote would be taken for two
            return None
        said = [line[start:end] for line in lines]
        try:
            texts = _decode_texts(b'["%b"]' % b'","'.join(said))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        # One of them may say two.
        return texts if len(texts) == len(lines) else None
