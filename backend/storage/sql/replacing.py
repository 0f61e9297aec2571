"""Takes back the messages of turns that another turn replaces. The session's row must be locked.

The turns keep their rows, with their cost, and their logs. A closed turn without messages is one
that was replaced.
"""

from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, select, update

from backend.domain.conversation import Message, Role
from backend.domain.errors import NothingToReplace
from backend.domain.turn_keys import TurnKey
from backend.storage.history import Summary
from backend.storage.ports.sessions import NewTurn
from backend.storage.sql import journals
from backend.storage.sql.locks import THIS_SESSION
from backend.storage.sql.tables import messages, sessions, turns

_FIRST = select(func.min(messages.c.position)).where(
    messages.c.owner == bindparam("owner"),
    messages.c.session_id == bindparam("session_id"),
    messages.c.turn_id == bindparam("replaced"),
)
_LATER = (
    messages.c.owner == bindparam("this_owner"),
    messages.c.session_id == bindparam("this_session"),
    messages.c.position >= bindparam("first"),
)
# Questions of turns with a key are kept: a repeated key is compared with its question.
_QUESTIONS = (
    select(turns.c.id, messages.c.content)
    .join(messages, and_(messages.c.owner == turns.c.owner, messages.c.turn_id == turns.c.id))
    .where(
        *_LATER,
        turns.c.owner == bindparam("this_owner"),
        turns.c.idempotency_key.is_not(None),
        messages.c.role == Role.USER.value,
    )
)
_DELETE = delete(messages).where(*_LATER)
# With `summary_wanted` false, the start of the turn voids the claim of a worker that writes one.
_KEEP_SUMMARY = (
    update(sessions)
    .where(*THIS_SESSION)
    .values(
        summary=bindparam("new_summary"),
        summary_until=bindparam("new_until"),
        summary_wanted=False,
    )
)


def take_back(connection: Connection, turn: NewTurn, replaced: str) -> int:
    """Delete the messages of the replaced turn and of all later ones.

    Returns the position of the last message that stays. Raises: NothingToReplace.
    """
    place = {"owner": turn.owner, "session_id": turn.session_id, "replaced": replaced}
    first: int | None = connection.scalar(_FIRST, place)
    if first is None:
        raise NothingToReplace
    later: dict[str, Any] = {
        "this_owner": turn.owner,
        "this_session": turn.session_id,
        "first": first,
    }
    for turn_id, question in connection.execute(_QUESTIONS, later).all():
        journals.keep(connection, TurnKey(turn.owner, turn_id), [Message.user(question)])
    connection.execute(_DELETE, later)
    return first - 1


def keep_summary(connection: Connection, turn: NewTurn, summary: Summary) -> None:
    """Store the summary that is still true. A worker that writes one right now cannot store it."""
    connection.execute(
        _KEEP_SUMMARY,
        {
            "this_owner": turn.owner,
            "this_session": turn.session_id,
            "new_summary": summary.text,
            "new_until": summary.until,
        },
    )


def question_of(connection: Connection, turn: TurnKey) -> str | None:
    """Return the question of a replaced turn that had an idempotency key."""
    return next((kept.content for kept in journals.read(connection, turn)), None)
