"""Selects the part of a conversation that fits into the model's context."""

from collections.abc import Iterable, Iterator, Sequence

from backend.domain.conversation import History, Message

CHARACTERS_PER_TOKEN = 4.0
"""An estimate for English, used until the upstream reports real usage."""


def fitted(
    history: History, current: Sequence[Message], *, budget_characters: float
) -> list[Message]:
    """Return the newest turns of `history` that fit beside the current turn, and that turn.

    The current turn is never cut, and a tool call is never separated from its output.
    """
    # The store has already fitted the history, but each round must do it again: the current turn
    # grows, and the ratio of characters to tokens changes with the reported usage.
    kept = newest_that_fit(reversed(history), budget_characters - characters(current))
    return [message for turn in (*reversed(list(kept)), current) for message in turn]


def newest_that_fit(
    newest_first: Iterable[Sequence[Message]], budget_characters: float
) -> Iterator[Sequence[Message]]:
    """Yield turns while they fit. Stops reading at the first one that does not."""
    for turn in newest_first:
        budget_characters -= characters(turn)
        if budget_characters < 0:
            return
        yield turn


def characters(messages: Iterable[Message]) -> int:
    return sum(message.characters for message in messages)


def characters_per_token(sent_characters: int, input_tokens: int) -> float | None:
    """Return the ratio from reported usage, limited to 1 to 8 in case the report is wrong.

    None without a report.
    """
    if input_tokens <= 0:
        return None
    return min(8.0, max(1.0, sent_characters / input_tokens))
