"""Reads Server-Sent Events, and checks that the stream of a turn is complete.

It does not depend on the source of the lines: HTTP, a test, or messages of a WebSocket.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

Readline = Callable[[], bytes]
"""Returns one line with its LF, or nothing at the end. May raise `StreamFailed`."""


class StreamFailed(Exception):
    """A stream is wrong. Equal reasons have equal messages, by which failures are counted."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The lines between two blank lines. A heartbeat has only comments."""

    event: str = ""
    data: str = ""
    id: str | None = None
    comments: tuple[str, ...] = ()

    @property
    def is_heartbeat(self) -> bool:
        return bool(self.comments) and not self.event


def frames(readline: Readline) -> Iterator[Frame]:
    """Yield frames as they arrive. A frame without its blank line does not count."""
    lines: list[str] = []
    while line := readline():
        if stripped := line.rstrip(b"\r\n"):
            lines.append(stripped.decode())
        elif lines:
            yield _frame(lines)
            lines = []


def _frame(lines: list[str]) -> Frame:
    event, frame_id = "", None
    data: list[str] = []
    comments: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                event = value
            case "data":
                data.append(value)
            case "id":
                frame_id = value
            case "":
                comments.append(value)
            case _:  # `retry` and unknown fields
                pass
    return Frame(event, "\n".join(data), frame_id, tuple(comments))


def whole(stream: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the frames, and check at the end that the stream is good.

    A good stream has no `error`, and its last two events are `outcome` with `completed` and `end`.

    Raises:
        StreamFailed: the stream is not good; raised after its last frame.
    """
    last: list[Frame] = []
    error = None
    for frame in stream:
        if frame.event:
            if last and last[-1].event == "end":
                raise StreamFailed("an event came after the end")
            last = [*last[-1:], frame]
        if frame.event == "error":
            error = json.loads(frame.data)["code"]
        yield frame
    if error:
        raise StreamFailed(f"error event: {error}")
    _check_end(last)


def _check_end(last: Sequence[Frame]) -> None:
    """Check the last two events. A client that resumed right before `end` gets only that."""
    match [(frame.event, frame.data) for frame in last]:
        case [("outcome", data), ("end", _)]:
            outcome = json.loads(data)["outcome"]
            if outcome != "completed":
                raise StreamFailed(f"outcome: {outcome}")
        case [("end", _)]:
            pass
        case [_, ("end", _)]:
            raise StreamFailed("the stream has no outcome")
        case _:
            raise StreamFailed("the stream has no end")
