"""Event ids, which clients send as `Last-Event-ID` to resume a stream.

The id of event number n of a turn is `<turn>-<n>`. If the log of the turn was lost, its replacement
events have ids of the form `<turn>-lost-<n>`.
"""

import re
from typing import Annotated, NamedTuple

from fastapi import Header
from pydantic.json_schema import SkipJsonSchema

from backend.domain.errors import InvalidField
from backend.turns.event_log import Lost, Place

_ID = re.compile(r"([0-9a-f]{16})-(lost-)?(\d{1,9})", re.ASCII)


# The pattern is documented in OpenAPI but not enforced here: `GET /query` must answer a malformed
# id with a stream, not with a 422 of the framework.
LastEventId = Annotated[
    str | SkipJsonSchema[None],  # a header can be missing but never null
    Header(
        description="The id of the last event that was read. The stream resumes after it.",
        json_schema_extra={"pattern": r"^[0-9a-f]{16}-(lost-)?[0-9]{1,9}$"},
    ),
]


class Read(NamedTuple):
    turn_id: str
    after: Place


def place_of(last_event_id: str) -> Read:
    """Parse an event id. Raises: InvalidField."""
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise InvalidField("must be the id of an event", field="Last-Event-ID")
    number = int(found[3])
    return Read(found[1], Lost(number) if found[2] else number)
