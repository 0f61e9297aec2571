"""What the demo asks for when a fact is missing, and how it understands a bare answer."""

import re

from infrastructure.groq_standin.demo import names, times
from infrastructure.groq_standin.demo.words import CARS, listed

QUESTIONS = {
    "user_id": "your user id (such as *user 123*)",
    "city": "for which city you would like the weather",
    "dealership_id": "which dealership",
    "date": "which day",
    "time": "what time",
    "car_model": f"which car ({', '.join(CARS)})",
}

_ASKING = "Gladly! Please tell me"
_SENTENCES = {
    "user_id": "user {}", "time": "at {}", "city": "in {}", "dealership_id": "in {}",
    "car_model": "the {}",
}  # fmt: skip


def ask(missing: list[str]) -> str:
    return f"{_ASKING} {listed([words for fact, words in QUESTIONS.items() if fact in missing])}."


def asked_for(text: str) -> frozenset[str]:
    """The facts that a question of ours asked for."""
    is_ours = _ASKING in text
    return frozenset(fact for fact, words in QUESTIONS.items() if is_ours and words in text)


def in_sentences(text: str, asked: frozenset[str]) -> str:
    """An answer as if it were more than bare: for a user id, "123" becomes "user 123"."""
    if not asked:
        return text
    return ", ".join(_in_a_sentence(piece, asked) for piece in re.split(r"\s*[,;\n]\s*", text))


def _in_a_sentence(piece: str, asked: frozenset[str]) -> str:
    bare = piece.strip(" .!?'\"#")
    fitting = (each for fact, each in _SENTENCES.items() if fact in asked and _fits(fact, bare))
    sentence = next(fitting, None)
    return sentence.format(bare) if sentence else piece


def _fits(fact: str, bare: str) -> bool:
    match fact:
        case "user_id":
            return bool(re.fullmatch(r"\w*\d\w*", bare)) and times.without(bare) == bare
        case "time":
            return bool(re.fullmatch(r"\d{1,2}", bare))
        case _:
            return names.name(bare) == bare
