"""Splits the bytes of an event stream into lines, and joins lines of data to events.

Lines end with LF, CRLF or CR. A byte order mark is only dropped at the beginning.
"""

from collections.abc import Sequence

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FrameLines:
    """Splits bytes into lines, in time linear in the bytes, however small the pieces are."""

    def __init__(self, max_line_bytes: int) -> None:
        self.is_overlong = False
        """A line exceeded `max_line_bytes`. The lines before it were returned."""
        self._max_line_bytes = max_line_bytes
        self._rest: bytes | bytearray = b""
        self._is_after_cr = False
        self._is_at_start = True

    def feed(self, data: bytes) -> Sequence[bytes]:
        """Return the lines that end within `data`, without their line ends."""
        if b"\r" in data or self._is_after_cr:
            data = self._with_line_feeds(data)
        if b"\n" not in data:
            self._add_to_rest(data)
            return ()
        if self._rest:
            data = b"".join((self._rest, data))
        lines = data.split(b"\n")
        self._rest = lines.pop()
        if self._is_at_start:
            self._is_at_start = False
            lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
        if len(data) > self._max_line_bytes:
            return self._up_to_the_first_overlong(lines)
        return lines

    def _add_to_rest(self, data: bytes) -> None:
        if not isinstance(self._rest, bytearray):
            self._rest = bytearray(self._rest)
        self._rest += data
        self.is_overlong = len(self._rest) > self._max_line_bytes

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Turn all line ends into LF. JSON escapes CR and LF, so a raw one always ends a line."""
        if not data:
            return data
        if self._is_after_cr and data.startswith(b"\n"):
            data = data[1:]  # the other half of a CRLF that was split between two reads
        self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _up_to_the_first_overlong(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        for place, line in enumerate((*lines, self._rest)):
            if len(line) > self._max_line_bytes:
                self.is_overlong = True
                return lines[:place]
        return lines


class DataLines:
    """The lines of data of an event that has not ended yet."""

    def __init__(self, max_bytes: int) -> None:
        self.lines: list[bytes] = []
        self._max_bytes = max_bytes
        self._bytes = 0

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self._bytes += len(line) + 1

    @property
    def is_overlong(self) -> bool:
        return self._bytes > self._max_bytes

    def taken(self) -> bytes:
        """Return the data of the event, and start a new event."""
        data = b"\n".join(self.lines)
        self.lines.clear()
        self._bytes = 0
        return data
