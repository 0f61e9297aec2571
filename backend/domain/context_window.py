"""Selects the part of a conversation that fits into the model's context."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from backend.domain.conversation import History, Message

CHARACTERS_PER_TOKEN = 4.0
"""An estimate for English, used until the upstream reports real usage."""


FULL = 0.85
"""The share of the budget that prompt and history may fill before the history is cut. The rest is
for the current turn."""

KEPT = 0.5
"""The share of its room that a cut leaves in the history.

Then the history can grow for many turns until the next cut, and all of them begin with the same
bytes. A window that slides by one turn each time would lose the provider's prompt cache each time.
"""


def without_oldest(history: History, room_characters: float) -> History:
    """Return the history if it fits the room, otherwise what a cut keeps of it."""
    sizes = [characters(turn) for turn in history]
    if sum(sizes) <= room_characters:
        return history
    return history[len(history) - kept_by_a_cut(sizes, room_characters) :]


def kept_by_a_cut(sizes: Sequence[int], room_characters: float) -> int:
    """Return how many of the newest turns a cut keeps. `sizes` are in characters, oldest first.

    They fill at most half of the room. Only the newest turn may fill more of it.
    """
    totals = accumulate(reversed(sizes))
    fitting = sum(total <= room_characters * KEPT for total in totals)
    return fitting or int(bool(sizes) and sizes[-1] <= room_characters)


def characters(messages: Iterable[Message]) -> int:
    return sum(message.characters for message in messages)


def characters_per_token(sent_characters: int, input_tokens: int) -> float | None:
    """Return the ratio from reported usage, limited to 1 to 8 in case the report is wrong.

    None without a report.
    """
    if input_tokens <= 0:
        return None
    return min(8.0, max(1.0, sent_characters / input_tokens))
