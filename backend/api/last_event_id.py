"""How far a reader has come: `<turn>-<n>`, the id of the last event that it has.

`<turn>-lost-<n>` is an event that it was sent instead of a log that was lost.
"""

import re
from typing import Annotated, NamedTuple

from fastapi import Header
from pydantic.json_schema import SkipJsonSchema

from backend.domain.errors import InvalidField
from backend.turns.event_log import Lost, Place

_ID = re.compile(r"([0-9a-f]{16})-(lost-)?(\d{1,9})", re.ASCII)


# Described and not enforced: a reader that can only be answered by a stream is not refused here.
LastEventId = Annotated[
    str | SkipJsonSchema[None],  # a header is there or not, and never null
    Header(
        description="The id of the last event that was read: the answer goes on behind it.",
        json_schema_extra={"pattern": r"^[0-9a-f]{16}-(lost-)?[0-9]{1,9}$"},
    ),
]


class Read(NamedTuple):
    turn_id: str
    after: Place


def place_of(last_event_id: str) -> Read:
    """Raises: InvalidField."""
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise InvalidField("is not the id of an event", field="Last-Event-ID")
    number = int(found[3])
    return Read(found[1], Lost(number) if found[2] else number)
