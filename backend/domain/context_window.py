"""What part of a conversation is sent upstream."""

from collections.abc import Iterable, Iterator, Sequence

from backend.domain.conversation import History, Message

CHARACTERS_PER_TOKEN = 4.0
"""For English and the models of today, until the upstream's reported usage says better."""


def fitted(
    history: History, current: Sequence[Message], *, budget_characters: float
) -> list[Message]:
    """The newest turns of `history` that fit beside the current one.

    The current turn is never cut, and a tool call is never parted from its output.
    """
    # Counted anew in each round, though the store has fitted the history before: the current turn
    # grows, and the reported usage may give the budget more characters than in the round before.
    kept = newest_that_fit(reversed(history), budget_characters - characters(current))
    return [message for turn in (*reversed(list(kept)), current) for message in turn]


def newest_that_fit(
    newest_first: Iterable[Sequence[Message]], budget_characters: float
) -> Iterator[Sequence[Message]]:
    """Looks no further back than the first turn that does not fit."""
    for turn in newest_first:
        budget_characters -= characters(turn)
        if budget_characters < 0:
            return
        yield turn


def characters(messages: Iterable[Message]) -> int:
    return sum(message.characters for message in messages)


def characters_per_token(sent_characters: int, input_tokens: int) -> float | None:
    """The ratio that the reported usage shows; bounded, since reports can be wrong."""
    if input_tokens <= 0:
        return None
    return min(8.0, max(1.0, sent_characters / input_tokens))
