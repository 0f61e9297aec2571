"""From a request to a round: which tools to call now, or what to say."""

from dataclasses import dataclass
from typing import Any

from infrastructure.groq_standin.asked import Asked
from infrastructure.groq_standin.demo import answers, memory, mentions, words
from infrastructure.groq_standin.demo.memory import Memory
from infrastructure.groq_standin.script import Call, Round

NEEDS = {
    "get_dealership_address": ("dealership_id",),
    "check_appointment_availability": ("dealership_id", "date"),
    "schedule_appointment": ("user_id", "dealership_id", "date", "time", "car_model"),
    "fetch_user_profile": ("user_id",),
}

QUESTIONS = {
    "user_id": "your user id (such as *user 123*)",
    "dealership_id": "which dealership",
    "date": "which day",
    "time": "what time",
    "car_model": f"which car ({', '.join(words.CARS)})",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What has to be known before a tool can be called."""

    text: str


def think(asked: Asked) -> Round:
    """The next completion of this conversation."""
    known = memory.read(asked)
    query = asked.query[: memory.MAX_CHARS]
    plan = [_plan(name, known, query) for name in known.wants]
    calls = [call for planned in plan if isinstance(planned, list) for call in planned]
    questions = [planned.text for planned in plan if isinstance(planned, Question)]
    outputs = answers.outputs(asked)
    done = [output.call for output in outputs]
    to_do = [call for call in calls if call.name in asked.tool_names and call not in done]
    if to_do:
        return _calling(to_do if asked.may_call_in_parallel else to_do[:1], asked)
    if outputs:
        return _saying(answers.word(outputs, query), asked)
    if calls:
        missing = ", ".join(sorted({f"`{call.name}`" for call in calls}))
        return _saying(f"I would need {missing} for that, and it is not offered to me here.", asked)
    return _saying(" ".join(questions) or _small_talk(query), asked)


def _plan(name: str, known: Memory, query: str) -> list[Call] | Question:
    """The calls of one tool, or the question that has to be asked first."""
    if name == "get_weather":
        near = known.city or _city(known.dealership_id)
        cities = mentions.cities(query) or ([near] if near else [])
        calls = [Call(name=name, arguments={"city": city}) for city in cities]
        return calls or Question("For which city would you like the weather?")
    facts: dict[str, Any] = {fact: getattr(known, fact) for fact in NEEDS.get(name, ())}
    missing = [QUESTIONS[fact] for fact, value in facts.items() if value is None]
    if missing:
        return Question(f"Gladly! Please tell me {_listed(missing)}.")
    return [Call(name=name, arguments=facts)]


def _calling(calls: list[Call], asked: Asked) -> Round:
    names = _listed([call.name for call in calls])
    reasoning = f"The user's question needs a tool. I call {names}." if asked.is_gpt_oss else None
    return Round(calls=tuple(calls), reasoning=reasoning)


def _saying(text: str, asked: Asked) -> Round:
    reasoning = "I know enough to answer now." if asked.is_gpt_oss else None
    return Round(text=text, reasoning=reasoning)


def _small_talk(query: str) -> str:
    if words.IDENTITY.search(query):
        return f"{words.WHAT_I_AM} {words.WHAT_I_CAN_DO}"
    if words.GREETING.search(query):
        return words.HELLO
    if words.THANKS.search(query):
        return words.YOU_ARE_WELCOME
    return words.NOT_UNDERSTOOD


def _city(dealership_id: str | None) -> str | None:
    """Where a dealership is, near enough for its weather."""
    return dealership_id.replace("-", " ").title() if dealership_id else None


def _listed(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
