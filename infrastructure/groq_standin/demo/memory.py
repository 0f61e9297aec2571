"""What a conversation is about by now, read from its messages from first to last."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from infrastructure.groq_standin.asked import Asked, Message
from infrastructure.groq_standin.demo import mentions
from infrastructure.groq_standin.demo.words import INTENTS

_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_FOLLOW_UP = re.compile(r"^\W*(?:and|or|what about|how about|then|rather|instead)\b", re.IGNORECASE)
_FRAGMENT_WORDS = 12
MAX_CHARS = 2000
_FACTS = ("dealership_id", "date", "time", "car_model", "user_id", "city")


@dataclass(slots=True)
class Memory:
    """The latest of each fact, and the tools that the last sentence was about."""

    system: str
    dealership_id: str | None = None
    date: str | None = None
    time: str | None = None
    car_model: str | None = None
    user_id: str | None = None
    city: str | None = None
    wants: tuple[str, ...] = ()
    called: str | None = None

    def hear(self, text: str) -> None:
        """Take in what the user says; of a very long text only how it begins."""
        text = text[:MAX_CHARS]
        self.dealership_id = mentions.dealership(text) or self.dealership_id
        self.date = mentions.day(text, self.today) or self.date
        self.time = mentions.clock(text) or self.time
        self.car_model = mentions.car(text) or self.car_model
        self.user_id = mentions.user(text) or self.user_id
        self.wants = intents(text) or self._continued(text)

    def see_call(self, name: str, arguments: str) -> None:
        """Take in what was called: it says what was meant better than the words did."""
        facts = _object(arguments)
        for fact in _FACTS:
            if isinstance(facts.get(fact), str):
                setattr(self, fact, facts[fact])
        self.called = name

    @property
    def today(self) -> dt.date:
        """The dealership's date as the system prompt has it, else its first date, else ours."""
        for line in self.system.splitlines():
            if self.dealership_id and f"`{self.dealership_id}`" in line and _DATE.search(line):
                return _first_date(line)
        return _first_date(self.system)

    def _continued(self, text: str) -> tuple[str, ...]:
        """What a sentence without an intent of its own goes on about."""
        if _FOLLOW_UP.search(text) or (_is_piece(text) and len(text.split()) <= _FRAGMENT_WORDS):
            return (self.called,) if self.called and not self.wants else self.wants
        return ()


def read(asked: Asked) -> Memory:
    """The memory up to and with the last user message."""
    system = "\n".join(one.text for one in asked.messages if one.role in ("system", "developer"))
    memory = Memory(system)
    for message in asked.messages[: asked.last_user + 1]:
        _take_in(memory, message)
    return memory


def intents(text: str) -> tuple[str, ...]:
    """The tools that a sentence asks for."""
    found = [name for name, words in INTENTS.items() if re.search(words, text, re.IGNORECASE)]
    if "check_appointment_availability" in found and not re.search(
        r"\bbook\b", text, re.IGNORECASE
    ):
        # "Which slots are free for a test drive?" asks, "book a test drive" orders.
        found = [name for name in found if name != "schedule_appointment"]
    if "schedule_appointment" in found and not re.search(r"\baddress\b", text, re.IGNORECASE):
        found = [name for name in found if name != "get_dealership_address"]
    return tuple(found)


def _take_in(memory: Memory, message: Message) -> None:
    if message.role == "user":
        memory.hear(message.text)
    for call in message.tool_calls or ():
        memory.see_call(call.function.name, call.function.arguments)


def _is_piece(text: str) -> bool:
    today = dt.date.min
    return any((
        mentions.dealership(text), mentions.car(text), mentions.user(text),
        mentions.clock(text), mentions.day(text, today),
    ))  # fmt: skip


def _first_date(text: str) -> dt.date:
    for match in _DATE.finditer(text):
        try:
            return dt.date.fromisoformat(match[0])
        except ValueError:
            continue
    return dt.datetime.now().astimezone().date()


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
