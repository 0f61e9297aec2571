"""What the older page of this product can show: `CLIENT_PROFILE=legacy`, and all that it means.

That page was written for a text, four tools and no failures. It reads plain streams line by line,
takes each line of data for an event of its own, and puts pieces of text together as they come. So
it gets the same turns in other words: sentences where it shows a text, and something to show in
every turn. Streams that can be resumed are for clients of today, which read the standard ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, assert_never

from backend.conversation import as_json
from backend.events import Chunk, End, Event, Failure, ToolCalled, ToolOutput, ToolUse
from backend.log import Batch
from backend.stream import frame

SORRY = "Sorry, this answer could not be finished. Please ask again."
NOTICE = "notice"

Put = Callable[[dict[str, Any]], Any]
"""Puts the output of a tool as the page knows it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What came of a tool, as the page knows it: a text, a list of texts, or flat fields."""

    data: dict[str, Any]
    event: str = "tool_output"


class OlderPage:
    """The framing of one stream on its way to the page, and whether it has shown a text yet."""

    def __init__(self) -> None:
        self._has_text = False

    def __call__(self, batch: Batch) -> bytes:
        return b"".join([frame(each) for event in batch.events for each in self.shown(event)])

    def shown(self, event: Event) -> Iterator[Event | Shown]:
        match event:
            case ToolUse():
                yield event
            case ToolCalled():
                pass  # `tool_use` has said it
            case ToolOutput(name, output):
                yield _output(name, output)
            case Chunk(text):
                yield self._chunk(text)
            case Failure():
                # Before the error, behind which a page may stop reading.
                yield self._sorry()
                yield event
            case End():
                if not self._has_text:
                    yield self._sorry()
                yield event
            case _:
                assert_never(event)

    def _chunk(self, text: str) -> Chunk:
        """The page joins lines without a break: a space keeps their words apart."""
        self._has_text = self._has_text or bool(text.strip())
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        return Chunk(lines.replace("\n", " \n"))

    def _sorry(self) -> Chunk:
        return self._chunk(f"\n\n{SORRY}" if self._has_text else SORRY)


def _output(name: str, output: dict[str, Any]) -> Shown:
    if error := output.get("error"):
        return Shown({"name": NOTICE, "output": error["message"]})
    # As text, since a page cannot show an object that it does not know.
    put: Put = _PUT.get(name, as_json)
    return Shown({"name": name, "output": put(output)})


def _weather(output: dict[str, Any]) -> str:
    conditions = output["conditions"].lower()
    return f"The weather in {output['city']} is {output['temperature']} and {conditions}"


def _address(output: dict[str, Any]) -> str:
    where = f"{output['name']} is at {output['address']}."
    return f"{where} Phone: {output['phone']}. Hours: {output['hours']}"


def _slots(output: dict[str, Any]) -> list[str]:
    slots: list[str] = output["slots"]
    return slots


def _confirmation(output: dict[str, Any]) -> dict[str, str]:
    date, time, model = output["date"], output["time"], output["car_model"]
    return {
        "date": date,
        "time": time,
        "model": model,
        "confirmationId": output["confirmation_id"],
        "message": f"Your test drive of the {model} at {output['dealership']} is booked "
        f"for {date} at {time}.",
    }


def _profile(output: dict[str, Any]) -> str:
    sentences = [output.get("name") or f"User {output['user_id']}"]
    if preferred := output.get("preferred_dealership"):
        sentences.append(f"Preferred dealership: {preferred['name']}")
    if coming := output["coming_test_drives"]:
        sentences.append(f"Coming test drives: {'; '.join(map(_drive, coming))}")
    if past := output["past_test_drives"]:
        sentences.append(f"Past test drives: {'; '.join(map(_drive, past))}")
    return ". ".join(sentences)


def _drive(drive: dict[str, Any]) -> str:
    where = drive.get("dealership") or drive["dealership_id"]
    return f"{drive['car_model']} at {where} on {drive['date']} at {drive['time']}"


_PUT: dict[str, Put] = {
    "get_weather": _weather,
    "get_dealership_address": _address,
    "check_appointment_availability": _slots,
    "schedule_appointment": _confirmation,
    "fetch_user_profile": _profile,
}
