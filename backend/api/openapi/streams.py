"""Describes the answers of routes that stream a turn."""

from typing import Any, get_args

from backend.api.stream_protocol import Framing
from backend.domain.errors import (
    BodyTooLarge,
    BudgetExhausted,
    Draining,
    LogGone,
    Overloaded,
    Refusal,
    SessionBusy,
    TooManyRequests,
    TurnNotFound,
)
from backend.domain.events import Event

_TURN = {"turn_id": "$response.header.X-Turn-Id"}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events of the turn: "
        + ", ".join(f"`{event.__struct_config__.tag}`" for event in get_args(Event))
        + ". `outcome` says how the turn ended. Clients must skip events that they do not know.",
        "content": {Framing.media_type: {}},
        "headers": {"X-Turn-Id": {"schema": {"type": "string"}}},
        "links": {
            "turn": {"operationId": "show_turn", "parameters": _TURN},
            "events": {"operationId": "follow_turn", "parameters": _TURN},
            "stop": {"operationId": "stop_turn", "parameters": _TURN},
        },
    }
}
READ_TO_ITS_END: dict[int | str, dict[str, Any]] = {
    204: {"description": "The turn has ended, and `Last-Event-ID` is its last event."}
}
STREAM_REFUSALS: tuple[type[Refusal], ...] = (
    TurnNotFound,
    SessionBusy,
    LogGone,
    BodyTooLarge,
    BudgetExhausted,
    TooManyRequests,
    Overloaded,
    Draining,
)
