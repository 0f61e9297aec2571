"""The part of a session that goes to the model again, and when it is cut.

The history begins at the same message for many turns, until it is full. Then it is cut to about
half, at a turn's border, and the newest summary takes the place of what was cut. The store keeps
both with the session, so the prompts of all turns until the next cut begin with the same bytes.

A summary is requested before the history is full, so that it is usually there when it is needed. If
it is not, the cut does not wait for it, and the summary follows as soon as it is stored.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from backend.domain.context_window import characters, kept_by_a_cut
from backend.domain.conversation import History
from backend.storage.ports.sessions import StoredMessage

NEARLY_FULL = 0.6
"""The share of the room from which a summary is requested. The rest takes several turns to fill."""


@dataclass(frozen=True, slots=True)
class Summary:
    """`until` is the position of the last message that the text knows of."""

    text: str | None = None
    until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The last cut of a session.

    `start` is the position of the first message that still goes to the model, and `summary` tells
    of those before it.
    """

    start: int = 1
    summary: Summary = Summary()

    @property
    def is_told(self) -> bool:
        """Whether the summary knows every message that was cut."""
        return self.summary.until >= self.start - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What the next turn sends: `history`, and `cut` for what was before it.

    `first_turn_id` is the first turn of the history; None if the history is empty.
    """

    history: History
    cut: Cut
    first_turn_id: str | None
    wants_summary: bool


def window(
    newest_first: Iterable[StoredMessage],
    last: Cut,
    newest: Summary,
    *,
    behind: int,
    room_characters: float,
) -> Window:
    """Look back from message `behind` to the last cut, and cut again if the room is too small.

    `newest_first` yields the messages from `behind` down to `last.start`, and is not read further
    than the room allows. `newest` is the newest summary.
    """
    turns: list[list[StoredMessage]] = []
    size, is_full = 0, False
    for turn in _turns(newest_first):
        size += _size(turn)
        if is_full := size > room_characters:
            break
        turns.append(turn[::-1])
    turns.reverse()
    kept = turns[len(turns) - kept_by_a_cut(list(map(_size, turns)), room_characters) :]
    next_start = kept[0][0].position if kept else behind + 1
    cut = last
    if is_full:
        turns, cut = kept, Cut(start=next_start, summary=newest)
    elif not last.is_told and newest.until >= last.start - 1:
        cut = Cut(start=last.start, summary=newest)
    return Window(
        history=tuple([stored.message for stored in turn] for turn in turns),
        cut=cut,
        first_turn_id=turns[0][0].turn_id if turns else None,
        wants_summary=size > NEARLY_FULL * room_characters and newest.until < next_start - 1,
    )


def oldest_that_fit(
    oldest_first: Iterable[StoredMessage], room_characters: float
) -> list[list[StoredMessage]]:
    """Return whole turns while they fit, and the first one in any case."""
    kept: list[list[StoredMessage]] = []
    for turn in _turns(oldest_first):
        room_characters -= _size(turn)
        if kept and room_characters < 0:
            break
        kept.append(turn)
    return kept


def _turns(messages: Iterable[StoredMessage]) -> Iterator[list[StoredMessage]]:
    return (list(turn) for _, turn in groupby(messages, key=attrgetter("turn_id")))


def _size(turn: Iterable[StoredMessage]) -> int:
    return characters(stored.message for stored in turn)
