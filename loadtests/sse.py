"""Server-Sent Events as a client reads them, and what a turn's stream must be.

Nothing here knows how the lines come: over HTTP, out of a test, or as objects of a WebSocket that
somebody has made frames of.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

Readline = Callable[[], bytes]
"""One line with its LF; empty at the end. May raise `StreamFailed`."""


class StreamFailed(Exception):
    """Why a stream is none that a client could be content with.

    Its message is the same for the same reason, since failures are counted by it.
    """


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands between two blank lines. A heartbeat has comments and nothing else."""

    event: str = ""
    data: str = ""
    id: str | None = None
    comments: tuple[str, ...] = ()

    @property
    def is_heartbeat(self) -> bool:
        return bool(self.comments) and not self.event


def frames(readline: Readline) -> Iterator[Frame]:
    """Frames as they come. One that breaks off before its blank line is none."""
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
            case _:  # `retry`, and what no client knows
                pass
    return Frame(event, "\n".join(data), frame_id, tuple(comments))


def whole(stream: Iterable[Frame]) -> Iterator[Frame]:
    """The frames of a stream that comes to a good end: one `end`, the last of all, right behind
    the outcome of a turn that completed, and no `error`.

    Raises:
        StreamFailed: as soon as there is nothing more to read.
    """
    last: list[Frame] = []
    error = None
    for frame in stream:
        if frame.event:
            if last and last[-1].event == "end":
                raise StreamFailed("something came after its end")
            last = [*last[-1:], frame]
        if frame.event == "error":
            error = json.loads(frame.data)["code"]
        yield frame
    if error:
        raise StreamFailed(f"error event: {error}")
    _check_end(last)


def _check_end(last: Sequence[Frame]) -> None:
    """Of the last two events. Whoever came back right before the end had the outcome already."""
    match [(frame.event, frame.data) for frame in last]:
        case [("outcome", data), ("end", _)]:
            outcome = json.loads(data)["outcome"]
            if outcome != "completed":
                raise StreamFailed(f"outcome: {outcome}")
        case [("end", _)]:
            pass
        case [_, ("end", _)]:
            raise StreamFailed("it ended without its outcome")
        case _:
            raise StreamFailed("it stopped without its end")
