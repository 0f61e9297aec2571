"""What a conversation is about by now, read from its messages from first to last."""

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from infrastructure.groq_standin.asked import Asked, Message
from infrastructure.groq_standin.demo import intents, mentions, names, questions, times, words
from infrastructure.groq_standin.demo.intents import INTENTS

MAX_CHARS = 2000
_FOLLOW_UP = re.compile(r"^\W*(?:what|how) about\b", re.IGNORECASE)
_FACTS = ("dealership_id", "date", "time", "car_model", "user_id", "city")


@dataclass(slots=True)
class Memory:
    """The latest of each fact, and which tools the last sentence wants.

    `topics` are the tools that were wanted before; `reply` is what can be said without any.
    """

    system: str
    dealership_id: str | None = None
    date: str | None = None
    time: str | None = None
    car_model: str | None = None
    user_id: str | None = None
    city: str | None = None
    cities: list[str] = field(default_factory=list)
    wants: tuple[str, ...] = ()
    topics: list[tuple[str, ...]] = field(default_factory=list)
    asked_for: frozenset[str] = frozenset()
    asking: tuple[str, ...] = ()
    reply: str | None = None

    def hear(self, text: str) -> None:
        """Take in what the user says; of a very long text only how it begins."""
        text = text[:MAX_CHARS].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        allowed = intents.allowed(text)
        said = questions.in_sentences(mentions.without_rejected(allowed), self.asked_for)
        self.reply = words.reply(words.AT_ONCE, allowed)
        if allowed != text:
            self.topics, self.asked_for = [], frozenset()
        self.wants = () if self.reply else intents.wanted(said) or self._continued(said)
        if self.wants:
            self.topics.append(self.wants)
        elif allowed != text:
            self.reply = self.reply or words.NOTHING_BOOKED
        self._learn(said)

    def see_call(self, name: str, arguments: str) -> None:
        """Take in what was called: it says what was meant better than the words did."""
        facts = _object(arguments)
        for fact in _FACTS:
            if isinstance(facts.get(fact), str):
                setattr(self, fact, facts[fact])
        if name not in self.wants:
            self.topics.append((name,))
        if name in self.asking:
            self.asked_for = frozenset()

    def see_text(self, text: str) -> None:
        """Take in what was answered: a question stays open until its tool is called."""
        if asked_for := questions.asked_for(text):
            self.asked_for, self.asking = asked_for, self.wants

    @property
    def today(self) -> dt.date:
        """The dealership's date as the system prompt has it, else its first date, else ours."""
        lines = [line for line in self.system.splitlines() if f"`{self.dealership_id}`" in line]
        first = times.first_date("\n".join(lines)) or times.first_date(self.system)
        return first or dt.datetime.now().astimezone().date()

    def _continued(self, said: str) -> tuple[str, ...]:
        """What a sentence without an intent of its own goes on about: what takes its facts."""
        is_fragment = names.is_fragment(_FOLLOW_UP.sub("", said))
        facts = _facts_in(said, self.today)
        if facts & self.asked_for and (is_fragment or not said.rstrip().endswith("?")):
            return self.asking
        if not facts or not is_fragment:
            return ()
        return next(filter(None, (_taking(facts, topic) for topic in self.topics[::-1])), ())

    def _learn(self, said: str) -> None:
        """Of a name that is not known, only what some wanted tool takes."""
        self.cities = mentions.cities(said) if "get_weather" in self.wants else []
        self._learn_names(said)
        self.date = times.day(said, self.today) or self._unless_vague("date", said)
        self.time = times.clock(said) or self._unless_vague("time", said)
        self.user_id = mentions.user(said) or self.user_id

    def _learn_names(self, said: str) -> None:
        taken = frozenset(fact for name in self.wants for fact in INTENTS[name].takes)
        unknown = [city for city in self.cities if names.dealership(city) not in words.DEALERSHIPS]
        for fact, name in names.named(names.without(said, unknown), taken).items():
            setattr(self, fact, name)
            self.city = None if fact == "dealership_id" else self.city

    def _unless_vague(self, fact: str, said: str) -> Any:
        return None if times.is_vague(fact, said) else getattr(self, fact)


def read(asked: Asked) -> Memory:
    """The memory up to and with the last user message."""
    system = "\n".join(one.text for one in asked.messages if one.role in ("system", "developer"))
    memory = Memory(system)
    for message in asked.messages[: asked.last_user + 1]:
        _take_in(memory, message)
    return memory


def _take_in(memory: Memory, message: Message) -> None:
    if message.role == "user":
        memory.hear(message.text)
    for call in message.tool_calls or ():
        memory.see_call(call.function.name, call.function.arguments)
    if message.role == "assistant":
        memory.see_text(message.text)


def _taking(facts: set[str], topic: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in topic if name in INTENTS and INTENTS[name].takes & facts)


def _facts_in(said: str, today: dt.date) -> set[str]:
    """Which facts it could be about; a name could be anything's."""
    found = {
        "date": times.day(said, today) or times.is_vague("date", said),
        "time": times.clock(said) or times.is_vague("time", said),
        "user_id": mentions.user(said),
        "car_model": names.car(said),
        "dealership_id": names.dealership(said),
    }
    facts = {fact for fact, value in found.items() if value}
    if names.stray(said):
        facts |= {"car_model", "dealership_id"}
    return facts | {"city"} if "dealership_id" in facts else facts


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
