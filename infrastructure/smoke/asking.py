"""Asks one question over the public stream, and checks the answer."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from infrastructure.smoke.prices import most_it_cost
from infrastructure.smoke.questions import Question

ANSWER_SECONDS = 150.0
"""Longer than a turn may take."""


@dataclass(frozen=True)
class Answer:
    question: Question
    seconds: float
    events: list[tuple[str, Any]]
    problem: str | None = None
    """The reason why there are no events."""

    @property
    def outcome(self) -> dict[str, Any]:
        return next((data for event, data in self.events if event == "outcome"), {})

    @property
    def model(self) -> str:
        return self.outcome.get("model") or ""

    @property
    def tools(self) -> list[str]:
        return [data for event, data in self.events if event == "tool_use"]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        return [data["output"] for event, data in self.events if event == "tool_output"]

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output."""
        usage = self.outcome.get("usage") or {}
        return usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)

    @property
    def cost_usd(self) -> float | None:
        given, said = self.tokens
        return most_it_cost(self.model, input_tokens=given, output_tokens=said)

    @property
    def fault(self) -> str | None:
        """The reason why the answer is wrong, or None."""
        if self.problem is not None:
            return self.problem
        for event, data in self.events:
            if event == "error":
                return f"{data['code']}: {data['message']}"
        return self._fault_of_the_tools() or self._fault_of_the_end()

    def _fault_of_the_tools(self) -> str | None:
        wanted = self.question.tool
        if wanted is not None and wanted not in self.tools:
            return f"{wanted} was not called"
        refused = [output["error"]["code"] for output in self.outputs if "error" in output]
        return f"a tool answered {refused[0]}" if refused else None

    def _fault_of_the_end(self) -> str | None:
        how = self.outcome.get("outcome")
        if how != "completed":
            return f"the turn ended {how or 'without an outcome'}"
        if self.outcome.get("finish_reason") != "stop":
            return f"the answer ended with {self.outcome.get('finish_reason')}"
        if not any(event == "chunk" and data.strip() for event, data in self.events):
            return "the answer has no text"
        return None if self.events[-1][0] == "end" else "the stream has no end"


def ask(client: httpx.Client, question: Question) -> Answer:
    """Ask in a separate session, so that no answer depends on another."""
    begun = time.monotonic()
    body = {"query": question.query, "session_id": f"smoke-{question.kind}"}
    try:
        answer = client.post("/query", json=body, timeout=ANSWER_SECONDS)
    except httpx.TransportError as error:
        return Answer(question, time.monotonic() - begun, [], f"no answer: {type(error).__name__}")
    seconds = time.monotonic() - begun
    if answer.status_code != httpx.codes.OK:
        return Answer(question, seconds, [], f"status {answer.status_code}: {answer.text[:200]}")
    return Answer(question, seconds, list(events_in(answer.text)))


def events_in(stream: str) -> Iterator[tuple[str, Any]]:
    """The events of a whole stream: JSON is decoded, other data is text."""
    for frame in stream.split("\n\n"):
        fields = [line.partition(": ") for line in frame.split("\n") if not line.startswith(":")]
        event = next((value for name, _, value in fields if name == "event"), None)
        if event is not None:
            text = "\n".join(value for name, _, value in fields if name == "data")
            yield event, text if event in ("chunk", "tool_use", "end") else json.loads(text)
