"""The scenarios of OpenAI's door: what the model says to which question."""

from typing import Any

from tests.serving import Lex

PARIS = {"name": "get_weather", "arguments": {"city": "Paris"}, "id": "call_1"}
TOKYO = {"name": "get_weather", "arguments": {"city": "Tokyo"}, "id": "call_2"}
NOWHERE = {"name": "get_dealership_address", "arguments": {"dealership_id": "nowhere"}}
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}
TEXT = "Bonjour ! 34°C.\n\n- one\n- two"

SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "Text?": [{"text": TEXT, "usage": USAGE}],
    "Two tools?": [
        {"text": "Let me look.", "calls": [PARIS, TOKYO], "usage": USAGE},
        {"text": "Both are mild.", "usage": USAGE},
    ],
    "A tool that refuses?": [
        {"calls": [NOWHERE], "usage": USAGE},
        {"text": "There is no such dealership.", "usage": USAGE},
    ],
    "Too long?": [{"text": "It goes on", "finish_reason": "length", "usage": USAGE}],
    "An error?": [
        {"text": "One two three four", "fault": {"kind": "reset", "after_tokens": 2}},
    ],
    "Slowly?": [{"tokens": 400, "tokens_per_second": 100, "first_token_after": 0.3}],
}
"""By a question, the rounds of its answer."""


def play(service: Lex) -> None:
    for question, rounds in SCRIPTS.items():
        service.standin.script(*rounds, contains=question, times=None)
