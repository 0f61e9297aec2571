"""Each framing writes the same events."""

import pytest

from backend.api.sse.legacy import OlderPage
from backend.api.sse.plain import Plain
from backend.api.sse.resumable import Resumable
from backend.api.stream_protocol import OpenFraming
from backend.api.websocket.framing import WebSocketMessages
from backend.domain.events import Chunk, End, Event, ToolCalled, ToolOutput, ToolUse
from backend.turns.event_log import Batch, EventLog

EVENTS: list[Event] = [
    ToolUse("horn"),
    ToolCalled("call_1", "horn", {"loud": True}, round=2),
    ToolOutput("horn", {"sound": "hönk"}, "call_1", round=2),
    Chunk("one two", round=3),
    Chunk("\nthree", round=3),
    End(),
]

PLAIN = (
    "event: tool_use\ndata: horn\n\n",
    'event: tool_call\ndata: {"id": "call_1", "name": "horn", "arguments": {"loud": true}}\n\n',
    'event: tool_output\ndata: {"name": "horn", "output": {"sound": "hönk"}, "id": "call_1"}\n\n',
    "event: chunk\ndata: one two\n\n",
    "event: chunk\ndata: \ndata: three\n\n",
    "event: end\ndata: \n\n",
)
OLDER = (
    "event: tool_use\ndata: horn\n\n",
    'event: tool_output\ndata: {"name": "horn", "output": "{\\"sound\\": \\"hönk\\"}"}\n\n',
    "event: chunk\ndata: one\n\n",
    "event: chunk\ndata:  two\n\n",
    "event: chunk\ndata:  three\n\n",
    "event: end\ndata: \n\n",
)
SOCKET = (
    '{"type":"tool_use","id":"t1-3","turn":"t1","data":"horn","round":1}',
    '{"type":"tool_call","id":"t1-4","turn":"t1",'
    '"data":{"id":"call_1","name":"horn","arguments":{"loud":true}},"round":2}',
    '{"type":"tool_output","id":"t1-5","turn":"t1",'
    '"data":{"name":"horn","output":{"sound":"hönk"},"id":"call_1"},"round":2}',
    '{"type":"chunk","id":"t1-6","turn":"t1","data":"one two","round":3}',
    '{"type":"chunk","id":"t1-7","turn":"t1","data":"\\nthree","round":3}',
    '{"type":"end","id":"t1-8","turn":"t1","data":""}',
)
WITH_ROUNDS = (
    PLAIN[0],
    PLAIN[1].replace("}\n", ', "round": 2}\n'),
    PLAIN[2].replace("}\n", ', "round": 2}\n'),
    *PLAIN[3:],
)
RESUMABLE = tuple(
    f"{frame[:-1]}id: t1-{position}\n\n" for position, frame in enumerate(WITH_ROUNDS, start=3)
)

FRAMINGS: dict[str, tuple[OpenFraming, str, tuple[str, ...]]] = {
    "plain": (Plain, "", PLAIN),
    "resumable": (Resumable, "id: t1-2\nretry: 1000\n\n", RESUMABLE),
    "older page": (OlderPage, "", OLDER),
    "WebSocket": (WebSocketMessages, "", SOCKET),
}

every = pytest.mark.parametrize(
    ("open_framing", "opening", "frames"), FRAMINGS.values(), ids=FRAMINGS
)


@every
@pytest.mark.parametrize("size", [1, 2, len(EVENTS)])
def test_events_are_written_the_same_in_batches_of_any_size(
    open_framing: OpenFraming, opening: str, frames: tuple[str, ...], size: int
) -> None:
    framing = open_framing(EventLog("t1", begins_after=2).follow(after=2))
    batches = [Batch(2 + at, EVENTS[at : at + size]) for at in range(0, len(EVENTS), size)]

    assert framing.opening().decode() == opening
    assert [frame.decode() for batch in batches for frame in framing.frames(batch)] == list(frames)


@every
def test_a_closing_notice_has_the_place_of_its_reader(
    open_framing: OpenFraming,
    opening: str,  # noqa: ARG001
    frames: tuple[str, ...],
) -> None:
    framing = open_framing(EventLog("t1", begins_after=2).follow(after=2))

    (notice,) = framing.frames(Batch(2, EVENTS[:1], True))

    assert notice.decode() == frames[0].replace("t1-3", "t1-2")
