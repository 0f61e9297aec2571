"""The part of a session that goes to the model again: the newest whole turns that fit."""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from backend.domain.context_window import newest_that_fit
from backend.domain.conversation import History
from backend.storage.ports.sessions import StoredMessage


def newest_whole_turns(newest_first: Iterable[StoredMessage], *, characters: float) -> History:
    """Return the turns oldest first. Stops reading at the first turn that does not fit."""
    turns = (
        [stored.message for stored in turn]
        for _, turn in groupby(newest_first, key=attrgetter("turn_id"))
    )
    kept = list(newest_that_fit(turns, characters))
    return tuple(turn[::-1] for turn in reversed(kept))
