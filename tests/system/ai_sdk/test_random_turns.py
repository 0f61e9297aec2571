"""Whatever happens in a turn, its stream is valid and says the same as the stored history.

`DOOR_TURNS` is the number of turns.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backend.api.doors.ai_sdk.framing import UiMessageStream
from backend.api.doors.ai_sdk.ui_message import ui_messages
from backend.domain.conversation import Message, Outcome, ToolCall, TurnRecord, as_json, now
from backend.domain.events import (
    Chunk,
    End,
    Event,
    Failure,
    TokenUsage,
    ToolCalled,
    ToolOutput,
    ToolUse,
    TurnOutcome,
)
from backend.domain.usage import Usage
from backend.storage.ports.sessions import StoredMessage
from backend.turns.event_log import Batch, EventLog
from tests.system.vendors import play

TURNS = int(os.environ.get("DOOR_TURNS", "200"))

TURN = "0123456789abcdef"

Output = dict[str, Any]

pieces = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
names = pieces | st.sampled_from(["__proto__", "constructor", "toString", "error", "type"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | pieces,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
refusals = st.fixed_dictionaries({"code": st.just("refused"), "message": pieces})
outputs = st.fixed_dictionaries({"error": refusals}) | st.dictionaries(pieces, values, max_size=3)


@dataclass(frozen=True)
class Round:
    texts: list[str]
    calls: list[tuple[ToolCall, dict[str, Any] | str, Output]]
    """With their arguments as they are shown, in the order in which the calls are announced."""
    returned: list[int]
    """The order in which they end."""


@dataclass(frozen=True)
class RandomTurn:
    rounds: list[Round]
    outcome: Outcome
    error_code: str | None
    reason: str | None
    sizes: list[int]
    """How many events come at once."""

    def events(self) -> Iterator[Event]:
        for number, of_round in enumerate(self.rounds, start=1):
            yield from (Chunk(text, number) for text in of_round.texts)
            for call, arguments, _ in of_round.calls:
                yield ToolUse(call.name, number)
                yield ToolCalled(call.id, call.name, arguments, number)
            for at in of_round.returned:
                call, _, output = of_round.calls[at]
                yield ToolOutput(call.name, output, call.id, number)
        if self.error_code is not None:
            yield Failure(self.error_code, "It failed.", retryable=True)
        usage = TokenUsage(7, 5, 12)
        yield TurnOutcome(self.outcome, self.reason, "a/model", len(self.rounds), usage)
        yield End()

    def stream(self) -> str:
        framing = UiMessageStream(EventLog(TURN, session_id="s1").follow())
        stream = framing.opening()
        events, at, sizes = list(self.events()), 0, iter(self.sizes)
        while at < len(events):
            size = next(sizes, len(events))
            stream += b"".join(framing.frames(Batch(at, events[at : at + size])))
            stream += framing.heartbeat
            at += size
        return stream.decode()

    def stored(self) -> dict[str, Any]:
        messages = [Message.user("?")]
        for of_round in self.rounds:
            calls = [call for call, _, _ in of_round.calls]
            if of_round.texts or calls:
                messages.append(Message.assistant("".join(of_round.texts), calls))
            for at in of_round.returned:
                call, _, output = of_round.calls[at]
                messages.append(Message.tool(call, as_json(output)))
        record = TurnRecord(
            id=TURN,
            session_id="s1",
            started_at=now(),
            outcome=self.outcome,
            error_code=self.error_code,
            model="a/model",
            usage=Usage(7, 5),
        )
        stored = [StoredMessage(at, TURN, message) for at, message in enumerate(messages, start=1)]
        return ui_messages(stored, [record])[-1].model_dump(exclude_unset=True)


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[ToolCall, dict[str, Any] | str, Output]]:
    made = []
    # Ids repeat in other rounds.
    for number in range(draw(st.integers(0, 3))):
        arguments = draw(st.dictionaries(names, values, max_size=3) | st.just("{not JSON"))
        raw = arguments if isinstance(arguments, str) else as_json(arguments)
        name = draw(st.sampled_from(["get_weather", "no such tool", "__proto__"]) | pieces)
        made.append((ToolCall(f"call_{number}", name, raw), arguments, draw(outputs)))
    return made


@st.composite
def turns(draw: st.DrawFn) -> RandomTurn:
    rounds = []
    for _ in range(draw(st.integers(0, 3))):
        of_round = draw(calls())
        order = draw(st.permutations(range(len(of_round))))
        rounds.append(Round(draw(st.lists(pieces, max_size=3)), of_round, list(order)))
    outcome = draw(st.sampled_from(Outcome))
    error_code = "upstream_busy" if outcome in (Outcome.FAILED, Outcome.TIMED_OUT) else None
    reason = draw(
        st.sampled_from(["stop", "length", "content_filter", "tool_calls", "other", None])
    )
    return RandomTurn(
        rounds, outcome, error_code, reason, draw(st.lists(st.integers(1, 5), max_size=10))
    )


async def test_a_stream_says_the_same_as_the_history() -> None:
    made: list[RandomTurn] = []

    @settings(max_examples=TURNS, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(turns())
    def collect(turn: RandomTurn) -> None:
        made.append(turn)

    collect()
    given_ = json.dumps([{"stream": turn.stream(), "stored": turn.stored()} for turn in made])
    problems = await play(Path(__file__).with_name("rebuild.mjs"), given=given_.encode())

    assert [(problem, made[problem["at"]]) for problem in problems[:3]] == []
    assert len(made) >= TURNS
