"""Translates the finish reasons of different servers into Lex's own."""

from backend.llm.port import FinishReason

_WORDS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

_NO_REASON = frozenset({"", "null", "none"})
"""Some servers write one of these into each frame before the last."""

FAILED = "error"
"""Some servers send this instead of a reason."""


def reason_in(told: str | None) -> FinishReason | None:
    """Translate a reason. None if there is none yet; `other` if it is unknown."""
    word = (told or "").strip().lower()
    return None if word in _NO_REASON else _WORDS.get(word, "other")
