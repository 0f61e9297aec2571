"""What is asked, and how fast it is answered.

In front of the stand-in a question brings its own script, so that a scenario knows its pace
(infrastructure/groq_standin/README.md). A real model is asked the plain question.
"""

import json
from dataclasses import dataclass
from typing import Any

Round = dict[str, Any]
"""One completion, as the stand-in's script has it."""


def call(tool: str, **arguments: str) -> Round:
    return {"name": tool, "arguments": arguments}


@dataclass(frozen=True)
class Asked:
    """A question, and the rounds in which the stand-in answers it."""

    question: str
    rounds: tuple[Round, ...]

    @property
    def first_chunk_seconds(self) -> float:
        """What of the time to the first chunk is the script's."""
        return sum(float(played.get("first_token_after", 0)) for played in self.rounds)

    def query(self, *, is_real: bool) -> str:
        if is_real:
            return self.question
        return f"{self.question} [[script {json.dumps({'rounds': self.rounds})}]]"


def answered(question: str, *, tokens: int, per_second: float, after: float = 0.2) -> Asked:
    """Answered with so many tokens."""
    paced = {"tokens": tokens, "tokens_per_second": per_second, "first_token_after": after}
    return Asked(question, (paced,))
