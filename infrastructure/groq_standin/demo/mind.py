"""From a request to a round: which tools to call now, or what to say."""

from dataclasses import dataclass
from typing import Any

from infrastructure.groq_standin.asked import Asked
from infrastructure.groq_standin.demo import answers, memory, outputs, questions, summary, words
from infrastructure.groq_standin.demo.intents import INTENTS
from infrastructure.groq_standin.demo.memory import Memory
from infrastructure.groq_standin.script import Call, Round


@dataclass(frozen=True, slots=True)
class Question:
    """What has to be known before a tool can be called."""

    missing: list[str]


def think(asked: Asked) -> Round:
    """The next completion of this conversation."""
    if asked.wants_summary:
        return _saying(summary.of(asked), asked)
    known = memory.read(asked)
    query = asked.query[: memory.MAX_CHARS]
    plan = [_plan(name, known) for name in known.wants]
    calls = [call for planned in plan if isinstance(planned, list) for call in planned]
    missing = [fact for one in plan if isinstance(one, Question) for fact in one.missing]
    to_ask = [questions.ask(missing)] if missing else []
    done = outputs.of_this_turn(asked)
    made = [output.call for output in done]
    to_do = [call for call in calls if call.name in asked.tool_names and call not in made]
    if to_do:
        return _calling(to_do if asked.may_call_in_parallel else to_do[:1], asked)
    if done:
        return _saying("\n\n".join([answers.word(done, query), *to_ask]), asked)
    if calls:
        names = ", ".join(sorted({f"`{call.name}`" for call in calls}))
        return _saying(f"I would need {names} for that, and it is not offered to me here.", asked)
    reply = known.reply or words.reply(words.SMALL_TALK, query) or words.NOT_UNDERSTOOD
    return _saying(" ".join(to_ask) or reply, asked)


def _plan(name: str, known: Memory) -> list[Call] | Question:
    """The calls of one tool, or the question that has to be asked first."""
    if name == "get_weather":
        near = known.city or _city(known.dealership_id)
        cities = known.cities or ([near] if near else [])
        calls = [Call(name=name, arguments={"city": city}) for city in cities]
        return calls or Question(["city"])
    facts: dict[str, Any] = {fact: getattr(known, fact) for fact in INTENTS[name].needs}
    missing = [fact for fact, value in facts.items() if value is None]
    if missing:
        return Question(missing)
    return [Call(name=name, arguments=facts)]


def _calling(calls: list[Call], asked: Asked) -> Round:
    names = words.listed([call.name for call in calls])
    reasoning = f"The user's question needs a tool. I call {names}." if asked.is_gpt_oss else None
    return Round(calls=tuple(calls), reasoning=reasoning)


def _saying(text: str, asked: Asked) -> Round:
    reasoning = "I know enough to answer now." if asked.is_gpt_oss else None
    return Round(text=text, reasoning=reasoning)


def _city(dealership_id: str | None) -> str | None:
    """Where a dealership is, near enough for its weather."""
    return dealership_id.replace("-", " ").title() if dealership_id else None
