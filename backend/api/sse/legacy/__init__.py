"""The frames for older chat pages of this product: `CLIENT_PROFILE=legacy`.

They were written for a first backend that had text, four tools and no failures, and parse streams
line by line. Some take each line of data as an event, others only the first line of an event. Some
join chunks as they are, others trim them and join them with a space.

So they get the same turns with one line of data per event, chunks that end at word boundaries, tool
outputs as the strings of the first backend, and some text in every turn. Resumable streams are for
newer clients, and keep the standard form.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend.api.sse.legacy.outputs import FORMATS, as_text
from backend.api.sse.legacy.words import Words, in_one_line
from backend.api.sse.plain import frame
from backend.api.stream_protocol import Framing
from backend.domain.events import Chunk, End, Event, Failure, ToolOutput, ToolUse
from backend.turns.event_log import Batch, Follower

SORRY = "Sorry, this answer could not be finished. Please ask again."
NOTICE = "notice"

PROMPT = """
## The customer's page

It shows your answer as it is, in one line: write plain sentences. No Markdown, no lists, no tables.
"""
"""Appended to the system prompt."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A tool output in the form of these pages: `name`, and a string as `output`."""

    data: dict[str, Any]
    event: str = "tool_output"


class OlderPage(Framing):
    """The framing of one stream to an older page. It knows whether any text was shown."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(follower)
        self._has_text = False
        self._words = Words()

    def frames(self, batch: Batch) -> list[bytes]:
        return [frame(each) for event in batch.events for each in self.shown(event)]

    def shown(self, event: Event) -> Iterator[Event | Shown]:
        """Translate an event. Events that these pages do not know yield nothing."""
        match event:
            case Chunk(text):
                yield from self._chunk(text)
            case ToolUse(name):
                yield from self._rest()
                yield ToolUse(in_one_line(name))
            case ToolOutput(name, output):
                yield from self._rest()
                yield _output(name, output)
            case Failure():
                # Apologise before the error, because a page may stop reading after it.
                yield from self._sorry()
                yield event
            case End():
                yield from self._rest()
                if not self._has_text:
                    yield from self._sorry()
                yield event

    def _chunk(self, text: str) -> Iterator[Chunk]:
        self._has_text = self._has_text or bool(text.strip())
        yield from _chunks(self._words.add(text))

    def _rest(self) -> Iterator[Chunk]:
        yield from _chunks(self._words.rest())

    def _sorry(self) -> Iterator[Chunk]:
        """Yield the apology as an event of its own, separated from the text before it."""
        yield from _chunks(self._words.rest("\n\n" if self._has_text else ""))
        self._has_text = True
        yield Chunk(SORRY)


def _chunks(text: str) -> Iterator[Chunk]:
    if text:
        yield Chunk(text)


def _output(name: str, output: dict[str, Any]) -> Shown:
    if error := output.get("error"):
        return Shown({"name": NOTICE, "output": error["message"]})
    return Shown({"name": name, "output": FORMATS.get(name, as_text)(output)})
