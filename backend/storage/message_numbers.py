"""Numbers messages within their turns."""

from collections.abc import Iterable
from dataclasses import replace

from backend.storage.ports.sessions import StoredMessage


def numbered(found: Iterable[StoredMessage], *, before: int) -> list[StoredMessage]:
    """Fill in the numbers of consecutive messages, of which the first may be amid its turn.

    `before` is the position of the last message before that turn.
    """
    numbers: list[StoredMessage] = []
    for stored in found:
        if numbers and numbers[-1].turn_id != stored.turn_id:
            before = numbers[-1].position
        numbers.append(replace(stored, number=stored.position - before))
    return numbers
