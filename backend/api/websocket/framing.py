"""Encode each event as one JSON object."""

from typing import Any

import msgspec

from backend.api.stream_protocol import Framing
from backend.domain.events import Chunk, Event, ToolCalled, ToolOutput, ToolUse
from backend.turns.event_log import Batch


def message(event: Event, **place: str) -> bytes:
    """Encode an event. `place` has its `id` and `turn`; a refusal has neither."""
    body: dict[str, Any] = {"type": event.event, **place, "data": event.data}
    match event:
        case Chunk() | ToolUse() | ToolCalled() | ToolOutput():
            body["round"] = event.round
    return msgspec.json.encode(body)


class WebSocketMessages(Framing):
    def frames(self, batch: Batch) -> list[bytes]:
        turn_id = self._follower.turn_id
        return [
            message(event, id=f"{turn_id}-{position}", turn=turn_id)
            for position, event in batch.placed()
        ]
