"""Which session a request belongs to: its own, that of a header, or a front end's conversation."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.api.doors.thread_ids import session_id_of
from backend.api.schemas import is_session_id

SESSION_HEADER = "X-Session-Id"

_NO_CONVERSATION = ("", "new", "null", "none", "undefined")
"""What front ends send as the id of a conversation that has none yet, in lower case."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """`is_new` is a session that no other request can name.

    With `sends_all`, the client is a front end that always sends its whole history.
    """

    session_id: str
    is_new: bool = False
    sends_all: bool = False


def belonging(
    headers: Mapping[str, str], front_end_headers: Sequence[str], idempotency_key: str | None
) -> Belonging:
    """Find the session. With a key alone, the key finds it."""
    if own := headers.get(SESSION_HEADER, "").strip():
        return Belonging(own if is_session_id(own) else session_id_of(own))
    for name in front_end_headers:
        thread_id = headers.get(name, "").strip()
        if thread_id.lower() not in _NO_CONVERSATION and not thread_id.startswith("{{"):
            return Belonging(session_id_of(thread_id), sends_all=True)
    if idempotency_key is not None:
        return Belonging(session_id_of(f"idempotency key {idempotency_key}"), is_new=True)
    return Belonging(uuid.uuid4().hex, is_new=True)
