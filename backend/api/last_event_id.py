"""Where a reader stopped: `<turn>-<n>`, the id of the last event it has seen."""

import re
from typing import Annotated, NamedTuple

from fastapi import Header

from backend.errors import InvalidField

_ID = re.compile(r"([0-9a-f]{16})-(\d{1,9})", re.ASCII)


# Described and not enforced: a reader that can only be answered by a stream is not refused here.
LastEventId = Annotated[
    str | None, Header(json_schema_extra={"pattern": r"^[0-9a-f]{16}-[0-9]{1,9}$"})
]


class Place(NamedTuple):
    turn_id: str
    after: int


def place_of(last_event_id: str) -> Place:
    """Raises: InvalidField."""
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise InvalidField("is not the id of an event", field="Last-Event-ID")
    return Place(found[1], int(found[2]))
