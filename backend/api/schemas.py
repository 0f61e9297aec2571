"""The request and response bodies of the HTTP API."""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from backend.api.usage_schemas import CallView, SpentView
from backend.domain.conversation import (
    Message,
    Outcome,
    Role,
    ToolCall,
    TurnRecord,
)
from backend.domain.text import is_encodable
from backend.domain.usage import Usage, spent_by
from backend.storage.ports.sessions import StoredMessage
from backend.tools.arguments import shown

SESSION_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
SESSION_ID_RULE = "must be 1 to 128 letters, digits or . _ : - and begin with a letter or a digit"


def is_session_id(text: str) -> bool:
    return re.fullmatch(SESSION_ID_PATTERN[1:-1], text) is not None


def _nameable(session_id: str) -> str:
    if not is_session_id(session_id):
        raise ValueError(SESSION_ID_RULE)
    return session_id


SessionId = Annotated[
    str, AfterValidator(_nameable), Field(json_schema_extra={"pattern": SESSION_ID_PATTERN})
]


def _speakable(text: str) -> str:
    if re.fullmatch(r"[\s\x01-\x1f\x85]*", text):
        raise ValueError("must not be empty")
    if "\x00" in text:
        raise ValueError("must not contain the character NUL")
    if not is_encodable(text):
        raise ValueError("must not contain an unpaired surrogate (\\ud800 to \\udfff)")
    return text


QueryText = Annotated[
    str,
    AfterValidator(_speakable),
    # The same rule as a pattern: at least one character that is neither blank nor a control
    # character, and no NUL.
    Field(
        json_schema_extra={
            "minLength": 1,
            "pattern": r"^[^\u0000]*[^\s\u0000-\u001f\u0085][^\u0000]*$",
        }
    ),
]


RESUME: bool = Field(
    default=False,
    strict=True,
    description="Whether the stream can be resumed after a disconnect: its events then have ids.",
)


REPLACES: str | None = Field(
    default=None,
    description="The id of a message of the session. Its turn and all later ones leave the history "
    "before the question is asked.",
)


class QueryBody(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "What is the weather in New York?", "session_id": "test-session"}
            ]
        }
    )

    query: QueryText = Field(description="The customer's question.")
    session_id: SessionId | None = Field(
        default=None,
        description="Created on first use. If missing, a new session is created, and the response "
        "header `X-Session-Id` has its id.",
    )
    resume: bool = RESUME
    replaces: str | None = REPLACES


class MessageBody(BaseModel):
    content: QueryText = Field(description="The customer's question.")
    resume: bool = RESUME
    replaces: str | None = REPLACES


class UsageView(BaseModel):
    """The tokens of the answer, as the provider reported them."""

    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)


class ToolCallView(BaseModel):
    """A tool call. `arguments` is text if the model's arguments are not a JSON object."""

    id: str
    name: str
    arguments: dict[str, Any] | str

    @classmethod
    def of(cls, call: ToolCall) -> Self:
        return cls(id=call.id, name=call.name, arguments=shown(call.arguments))


class MessageView(BaseModel):
    """A message of a session.

    Customers and the assistant have `content`, tools have `name`, `tool_call_id` and `output`.
    """

    id: str = Field(description="`<turn>-<n>`; the question of a turn has `n` 1.")
    position: int
    turn_id: str
    role: Role
    created_at: datetime
    content: str | None = None
    tool_calls: list[ToolCallView] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    output: dict[str, Any] | None = None

    @classmethod
    def of(cls, stored: StoredMessage) -> Self:
        message = stored.message
        return cls(
            id=stored.id,
            position=stored.position,
            turn_id=stored.turn_id,
            role=message.role,
            created_at=message.created_at,
            **_said(message),
        )


def _said(message: Message) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return {
            "name": message.tool_name,
            "tool_call_id": message.tool_call_id,
            "output": json.loads(message.content),
        }
    calls = [ToolCallView.of(call) for call in message.tool_calls]
    return {"content": message.content, "tool_calls": calls or None}


class MessagesPage(BaseModel):
    """A page of messages. The last page has no `next_cursor`."""

    messages: list[MessageView]
    next_cursor: str | None = None


SessionEventType = Literal[
    "user_message", "assistant_message", "tool_call", "tool_result", "error", "system"
]


class SessionEvent(BaseModel):
    """An event of a session's audit. The fields of `data` depend on `type`."""

    type: SessionEventType
    turn_id: str
    created_at: datetime
    data: dict[str, Any]


class SessionEvents(BaseModel):
    events: list[SessionEvent]


class TurnView(BaseModel):
    """A turn. `outcome` is null while it runs."""

    turn_id: str
    session_id: str
    outcome: Outcome | None
    error_code: str | None
    finish_reason: str | None = Field(
        description="The finish reason of the last completion: `stop`, `tool_calls`, `length` if "
        "the answer was cut, `content_filter`, or `other`. It is null if that completion broke off."
    )
    model: str | None
    rounds: int
    usage: UsageView
    spent: SpentView
    calls: list[CallView] = Field(description="Every call of a model, in order.")
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    first_chunk_seconds: float | None

    @classmethod
    def of(cls, turn: TurnRecord) -> Self:
        seconds = None
        if turn.finished_at is not None:
            seconds = (turn.finished_at - turn.started_at).total_seconds()
        return cls(
            turn_id=turn.id,
            session_id=turn.session_id,
            outcome=turn.outcome,
            error_code=turn.error_code,
            finish_reason=turn.finish_reason,
            model=turn.model,
            rounds=turn.rounds,
            usage=UsageView.of(turn.usage),
            spent=SpentView.of(spent_by(turn.calls)),
            calls=[CallView.of(call) for call in turn.calls],
            started_at=turn.started_at,
            finished_at=turn.finished_at,
            seconds=seconds,
            first_chunk_seconds=turn.first_chunk_seconds,
        )


class InvalidFieldView(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details, with a stable `code`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    retry_after: int | None = None
    errors: list[InvalidFieldView] | None = None


class Health(BaseModel):
    status: Literal["healthy"] = "healthy"


class ModelView(BaseModel):
    name: str
    breaker: Literal["closed", "half_open", "open"]
    reason: str | None = Field(
        None, description="The upstream's error code, if the upstream does not serve this model."
    )
    asked_again_in: int | None = Field(
        None, description="Seconds until such a model is tried again. A retired model never is."
    )


class Waiting(BaseModel):
    """The readiness of a server that waits for its store at start-up."""

    status: Literal["waiting"] = "waiting"
    version: str
    upstream: str
    models: list[ModelView] = []
    store: Literal["down"] = "down"
    store_error: str
    warnings: list[str] | None = Field(None, description="What an operator should change.")


class Readiness(BaseModel):
    status: Literal["ready", "draining"]
    version: str
    upstream: str
    models: list[ModelView]
    store: Literal["up", "down"]
    store_error: str | None = None
    redis: Literal["up", "down", "none"]
    redis_reason: str | None = Field(None, description="Why Redis is down.")
    free_slots: int
    warnings: list[str] | None = Field(None, description="What an operator should change.")
