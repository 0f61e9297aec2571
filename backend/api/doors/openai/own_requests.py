"""Recognises the requests that a front end makes for itself: titles, tags, search queries.

No header and no field marks them, only their prompts do. `own_requests.json` has the beginnings of
these prompts, with their sources.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_DATA = Path(__file__).with_suffix(".json")
_CUT = "\n[…]\n"

PROMPT_AND_TEXT = 2
"""The most messages of these requests: a prompt, and the text that it is about."""


@cache
def _known() -> tuple[tuple[str, ...], list[list[str]]]:
    data = json.loads(_DATA.read_text(encoding="utf-8"))
    openings = tuple(opening["text"] for opening in data["openings"])
    return openings, [mark["texts"] for mark in data["marks"]]


def is_own_request(texts: Sequence[str]) -> bool:
    """Whether a conversation, given by the texts of its messages, is a front end's own request.

    The prompt comes alone, or first before the text that it is about.
    """
    openings, marks = _known()
    if len(texts) > PROMPT_AND_TEXT:
        return False
    return any(text.lstrip().startswith(openings) for text in texts) or any(
        all(mark in text for mark in each) for text in texts[-1:] for each in marks
    )


def shortened(text: str, limit: int) -> str:
    """Cut the middle out of a prompt that is too long. It only has copies of earlier messages."""
    if len(text) <= limit:
        return text
    kept = max(0, limit - len(_CUT))
    return text[: kept - kept // 3] + _CUT[:limit] + text[len(text) - kept // 3 :]
