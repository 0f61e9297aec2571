"""The questions of load tests, with the scripts of their answers.

For the stand-in, a question contains the script of its answer, so its pace is known
(infrastructure/groq_standin/README.md). A real model gets the plain question.
"""

import json
from dataclasses import dataclass
from typing import Any

Round = dict[str, Any]
"""One completion in the script of the stand-in."""


def call(tool: str, **arguments: str) -> Round:
    return {"name": tool, "arguments": arguments}


@dataclass(frozen=True)
class Asked:
    """A question, and the rounds in which the stand-in answers it."""

    question: str
    rounds: tuple[Round, ...]

    @property
    def first_chunk_seconds(self) -> float:
        """The delay of the script before the first chunk."""
        return sum(float(played.get("first_token_after", 0)) for played in self.rounds)

    def query(self, *, is_real: bool) -> str:
        if is_real:
            return self.question
        return f"{self.question} [[script {json.dumps({'rounds': self.rounds})}]]"


def answered(question: str, *, tokens: int, per_second: float, after: float = 0.2) -> Asked:
    """A question that is answered with so many tokens at this pace."""
    paced = {"tokens": tokens, "tokens_per_second": per_second, "first_token_after": after}
    return Asked(question, (paced,))
