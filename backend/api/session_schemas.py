"""The bodies of the routes that make, list, show and name sessions."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field

from backend.api.schemas import UsageView
from backend.api.usage_schemas import SpentView
from backend.domain.conversation import LastTurn, Outcome, Session
from backend.domain.text import is_encodable

MAX_TITLE_CHARS = 200

_BLANK = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"


def _titled(title: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in title):
        raise ValueError("must be one line without control characters")
    if not title.strip():
        raise ValueError("must not be empty; null brings back the default")
    if len(title.strip()) > MAX_TITLE_CHARS:
        raise ValueError(f"must have at most {MAX_TITLE_CHARS} characters")
    if not is_encodable(title):
        raise ValueError("must not contain an unpaired surrogate (\\ud800 to \\udfff)")
    return title.strip()


Title = Annotated[
    str,
    AfterValidator(_titled),
    # The same rule as a pattern.
    Field(
        json_schema_extra={
            "minLength": 1,
            "pattern": rf"^[{_BLANK}]*[^{_BLANK}{_CONTROL}]"
            rf"([^{_CONTROL}]{{0,{MAX_TITLE_CHARS - 2}}}[^{_BLANK}{_CONTROL}])?[{_BLANK}]*$",
        }
    ),
]


class SessionChange(BaseModel):
    title: Title | None = Field(
        description=f"1 to {MAX_TITLE_CHARS} characters in one line, besides blanks around them. "
        "Null brings back the default, which is the first question, shortened."
    )


class SessionCreated(BaseModel):
    session_id: str
    created_at: datetime


class LastTurnView(BaseModel):
    """The newest turn of a session. `outcome` is null while it runs."""

    turn_id: str
    outcome: Outcome | None
    finish_reason: str | None

    @classmethod
    def of(cls, turn: LastTurn) -> Self:
        return cls(turn_id=turn.id, outcome=turn.outcome, finish_reason=turn.finish_reason)


class SessionSummary(SessionCreated):
    title: str | None = Field(
        description="The title that a client set, or else the first question, shortened."
    )
    last_turn_at: datetime | None
    turns: int
    running_turn_id: str | None = Field(description="The turn that runs now.")

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(**_summed_up(session))


def _summed_up(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "title": session.title,
        "created_at": session.created_at,
        "last_turn_at": session.last_turn_at,
        "turns": session.turns,
        "running_turn_id": session.running_turn_id,
    }


class SessionsPage(BaseModel):
    """A page of sessions. The last page has no `next_cursor`."""

    sessions: list[SessionSummary]
    next_cursor: str | None = None


class SessionView(SessionSummary):
    duration_seconds: float | None = Field(
        description="The time from the creation of the session to its last turn."
    )
    last_turn: LastTurnView | None
    usage: UsageView
    spent: SpentView
    summary: str | None = Field(
        description="Written by a model some time after a turn; it may not cover the newest turns."
    )

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(
            **_summed_up(session),
            duration_seconds=session.duration_seconds,
            last_turn=session.last_turn and LastTurnView.of(session.last_turn),
            usage=UsageView.of(session.usage),
            spent=SpentView.of(session.spent),
            summary=session.summary,
        )
