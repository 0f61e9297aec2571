"""Which part of a session is sent upstream again: the newest whole turns that fit."""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from backend.conversation import Message
from backend.history import newest_that_fit
from backend.storage.ports.sessions import StoredMessage


def newest_whole_turns(
    newest_first: Iterable[StoredMessage], *, characters: float
) -> tuple[Message, ...]:
    """Oldest first. Reads no further back than the first turn that does not fit."""
    turns = (
        [stored.message for stored in turn]
        for _, turn in groupby(newest_first, key=attrgetter("turn_id"))
    )
    kept = [message for turn in newest_that_fit(turns, characters) for message in turn]
    return tuple(reversed(kept))
