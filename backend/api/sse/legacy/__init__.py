"""What the older pages of this product can show: `CLIENT_PROFILE=legacy`, and all that it means.

They are a family, written for a first backend with a text, four tools and no failures. Each reads
plain streams line by line in its own way: some take each line of data for an event, some only the
first line of one; some put pieces of text together as they come, some trim them and put a space
between. So they get the same turns in other words: one line of data an event, pieces that end
where words end, the strings that the first backend sent, and something to show in every turn.
Streams that can be resumed are for clients of today, which read the standard ones.
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
"""An addition to the system prompt."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A tool's output in the shape that the pages know: `name`, and a text as `output`."""

    data: dict[str, Any]
    event: str = "tool_output"


class OlderPage(Framing):
    """One stream on its way to such a page, and whether it has shown a text yet."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(follower)
        self._has_text = False
        self._words = Words()

    def frames(self, batch: Batch) -> list[bytes]:
        return [frame(each) for event in batch.events for each in self.shown(event)]

    def shown(self, event: Event) -> Iterator[Event | Shown]:
        """Nothing of an event that no such page knows."""
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
                # Before the error, behind which a page may stop reading.
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
        """An event of its own, and apart from the text before it."""
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
