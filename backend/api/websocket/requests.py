"""Parse the messages of a WebSocket client."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from backend.api import strict_json
from backend.api.schemas import QueryText
from backend.domain.errors import InvalidField


class Ask(BaseModel):
    type: Literal["query"]
    query: QueryText
    replaces: str | None = None


class Stop(BaseModel):
    type: Literal["stop"]


class Resume(BaseModel):
    type: Literal["resume"]
    last_event_id: str


_request: TypeAdapter[Ask | Stop | Resume] = TypeAdapter(
    Annotated[Ask | Stop | Resume, Field(discriminator="type")]
)


def parse(text: str) -> Ask | Stop | Resume:
    """Parse a message: a JSON object with a `type`, or any other text, which is a query.

    Raises: InvalidField.
    """
    if not text.lstrip().startswith("{"):
        given: Any = {"type": "query", "query": text}
    else:
        try:
            given = strict_json.parse(text)
        except (ValueError, RecursionError) as error:
            message = "must be valid JSON if it starts with a brace"
            raise InvalidField(message, field="message") from error
    try:
        return _request.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise InvalidField('must be "query", "stop" or "resume"', field="type") from error
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidField(message, field=str(first["loc"][-1])) from error
