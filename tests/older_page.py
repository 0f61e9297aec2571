"""A model of how the older page of this product reads and shows a stream.

It splits the stream into lines, remembers the last `event: `, and treats each `data: ` as a
separate event. It appends chunks to its text unchanged. It passes an output to the component of
its tool, which accepts objects as well as the strings of the first backend.

`tests/older_readers.py` has other pages of the same family, which read streams differently.
"""

import codecs
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class OlderPage:
    """Raises where the older page would break."""

    dispatched: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    tools: list[str] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)
    """Each output's name and the text that the page shows for it."""
    has_ended: bool = False
    _event: str = ""
    _rest: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=codecs.getincrementaldecoder("utf-8")
    )

    @classmethod
    def reading(cls, pieces: Iterable[bytes]) -> Self:
        page = cls()
        for piece in pieces:
            page.read(piece)
        return page

    def read(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + self._decoder.decode(piece)).split("\n")
        for line in lines:
            if line.startswith("event: "):
                self._event = line[7:]
            elif line.startswith("data: "):
                self._dispatch(self._event, line[6:])
            else:
                assert line == "" or line.startswith(":"), line

    def _dispatch(self, event: str, data: str) -> None:
        assert not self.has_ended
        self.dispatched.append((event, data))
        match event:
            case "chunk":
                self.text += data
            case "tool_use":
                self.tools.append(data)
            case "tool_output":
                output = json.loads(data)
                show = _COMPONENTS.get(output["name"], _as_text)
                self.shown.append((output["name"], show(output["output"])))
            case "end":
                assert self.text.strip(), "without text the page would wait forever"
                self.has_ended = True
            case _:
                assert event == "error"  # an event that the page does not know and ignores

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.dispatched]


def literal(output: str) -> Any:
    """Parse a fenced literal as these pages do: replace each `'` by `"` and parse it as JSON."""
    fenced = json.loads(output)
    return json.loads(fenced.removeprefix("```").removesuffix("```").replace("'", '"'))


def _as_text(output: Any) -> str:
    """Check that an output is text, since the page puts it between two tags."""
    assert isinstance(output, str), output
    return output


def _as_list(output: Any) -> str:
    if isinstance(output, str) and not output.startswith('"'):
        return output  # a sentence
    slots = literal(output) if isinstance(output, str) else output
    assert isinstance(slots, list), slots
    return ", ".join(map(_as_text, slots))


def _as_card(output: Any) -> str:
    fields = ("date", "time", "model", "confirmationId", "message")
    if isinstance(output, str):
        output = literal(output)
        fields = ("fecha", "hora", "modelo", "confirmacion_id", "mensaje")
    return "\n".join(_as_text(output[field]) for field in fields)


_COMPONENTS: dict[str, Callable[[Any], str]] = {
    "check_appointment_availability": _as_list,
    "schedule_appointment": _as_card,
}
