"""The part of a session that goes to the model again, and when it is cut.

The history begins at the same message for many turns, until it is full. Then it is cut to about
half, at a turn's border, and the newest summary takes the place of what was cut. The store keeps
both with the session, so the prompts of all turns until the next cut begin with the same bytes.

A summary is requested before the history is full, so that it is usually there when it is needed. If
it is not, the cut does not wait for it, and the summary follows as soon as it is stored.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from backend.domain.context_window import characters, kept_by_a_cut
from backend.domain.conversation import History, Message, in_turns
from backend.domain.turn_keys import given_turn_id, is_given
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

    `turn_ids` are those of the turns in the history.
    """

    history: History
    cut: Cut
    turn_ids: Sequence[str]
    wants_summary: bool

    @property
    def is_given(self) -> bool:
        """Whether the history begins with the caller's word."""
        return bool(self.turn_ids) and is_given(self.turn_ids[0])

    def has_all(self, turns: int) -> bool:
        """Whether the history has all turns of its session, which had this number of them."""
        return sum(not is_given(turn_id) for turn_id in self.turn_ids) == turns


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
        turn_ids=[turn[0].turn_id for turn in turns],
        wants_summary=size > NEARLY_FULL * room_characters and newest.until < next_start - 1,
    )


def without_later(last: Cut, newest: Summary, *, behind: int) -> tuple[Cut, Summary]:
    """Return what stays true of the cut and the summary if all messages behind `behind` go.

    No text may tell of a message that is gone. If the cut has lost its history or its summary,
    the next window looks back to the first message again.
    """
    is_true = last.start <= behind and last.summary.until <= behind
    return last if is_true else Cut(), newest if newest.until <= behind else Summary()


def given_messages(messages: Sequence[Message], at: datetime) -> list[StoredMessage]:
    """Return given messages as they are stored, as the first ones of their session."""
    of_turn = (
        (given_turn_id(number), message)
        for number, turn in enumerate(in_turns(messages), start=1)
        for message in turn
    )
    return [
        StoredMessage(position, turn_id, replace(message, created_at=at))
        for position, (turn_id, message) in enumerate(of_turn, start=1)
    ]


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
