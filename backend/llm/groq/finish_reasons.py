"""Why an upstream says it has finished, in the words that Lex uses for it."""

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
"""What some servers write into each frame before the last one."""

FAILED = "error"
"""Some servers give it in the place of a reason."""

CUT: frozenset[FinishReason] = frozenset({"length", "content_filter"})
"""The model had not come to its end, so a tool call may be incomplete."""


def reason_in(told: str | None) -> FinishReason | None:
    """None if it is no reason; `other` for one that nobody has heard of."""
    word = (told or "").strip().lower()
    return None if word in _NO_REASON else _WORDS.get(word, "other")
