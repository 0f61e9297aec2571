"""Reads the messages of a session in pages, and what stands for those that are not sent."""

from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, select

from backend.storage.history import Cut, Summary, Window, window
from backend.storage.ports.appointments import Booking
from backend.storage.ports.sessions import Earlier, StoredMessage
from backend.storage.sql.rows import AnyRow, booking_of, message_of
from backend.storage.sql.tables import appointments, messages, sessions, turns

PAGE = 64
"""Messages per query."""

STATE = (
    sessions.c.messages,
    sessions.c.characters_per_token,
    sessions.c.history_start,
    sessions.c.earlier_summary,
    sessions.c.earlier_until,
    sessions.c.summary,
    sessions.c.summary_until,
)
"""The columns of a session that `look_back` needs."""

_OF_SESSION = (
    messages.c.owner == bindparam("owner"),
    messages.c.session_id == bindparam("session_id"),
    messages.c.position > bindparam("after"),
)
_PAGE_BACKWARDS = (
    select(messages)
    .where(*_OF_SESSION, messages.c.position < bindparam("before"))
    .order_by(messages.c.position.desc())
    .limit(PAGE)
)
_PAGE_FORWARDS = select(messages).where(*_OF_SESSION).order_by(messages.c.position).limit(PAGE)

# Not by number: the messages of replaced turns are gone, and later turns may be in the history.
_IN_HISTORY = select(messages.c.turn_id).where(*_OF_SESSION)
_BOOKED_BESIDE = (
    select(appointments)
    .join(turns, turns.c.id == appointments.c.turn_id)
    .where(
        turns.c.owner == bindparam("owner"),
        turns.c.session_id == bindparam("session_id"),
        turns.c.id.not_in(_IN_HISTORY),
    )
    .order_by(appointments.c.booked_at, appointments.c.confirmation_id)
)


def state_of(session: AnyRow) -> tuple[Cut, Summary]:
    """The last cut and the newest summary of a session, from a row with `STATE`."""
    cut = Cut(
        start=session.history_start or 1,
        summary=Summary(session.earlier_summary, session.earlier_until or 0),
    )
    return cut, Summary(session.summary, session.summary_until or 0)


def look_back(
    connection: Connection,
    owner: str,
    session_id: str,
    last: Cut,
    newest: Summary,
    *,
    behind: int,
    turns: int,
    room_characters: float,
) -> tuple[Window, Earlier]:
    """Return what the next turn sends of the messages up to `behind`.

    `turns` is how many the session has had, also those that were replaced.
    """
    newest_first = _newest_first(connection, owner, session_id, before=behind + 1, after=last.start)
    found = window(newest_first, last, newest, behind=behind, room_characters=room_characters)
    bookings: tuple[Booking, ...] = ()
    if not found.has_all(turns):
        beside = {"owner": owner, "session_id": session_id, "after": found.cut.start - 1}
        bookings = tuple(map(booking_of, connection.execute(_BOOKED_BESIDE, beside)))
    return found, Earlier(
        summary=found.cut.summary.text, bookings=bookings, is_given=found.is_given
    )


def columns_of(found: Window) -> dict[str, int | str | bool | None]:
    """The values that the session keeps of a window."""
    return {
        "new_start": found.cut.start,
        "new_earlier_summary": found.cut.summary.text,
        "new_earlier_until": found.cut.summary.until,
        "wants_summary": found.wants_summary,
    }


def _newest_first(
    connection: Connection, owner: str, session_id: str, *, before: int, after: int
) -> Iterator[StoredMessage]:
    """Yield the messages from `after` on and before `before`. Queries a page only when needed."""
    while before > after:
        page = {"owner": owner, "session_id": session_id, "before": before, "after": after - 1}
        rows = connection.execute(_PAGE_BACKWARDS, page).all()
        if not rows:
            return
        yield from map(message_of, rows)
        before = rows[-1].position


def oldest_first(
    connection: Connection, owner: str, session_id: str, *, after: int
) -> Iterator[StoredMessage]:
    """Yield the messages behind `after`. Queries a page only when it is needed."""
    while True:
        page = {"owner": owner, "session_id": session_id, "after": after}
        rows = connection.execute(_PAGE_FORWARDS, page).all()
        yield from map(message_of, rows)
        if len(rows) < PAGE:
            return
        after = rows[-1].position
