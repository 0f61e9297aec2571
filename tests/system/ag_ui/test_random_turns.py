"""Whatever happens in a turn, its stream is valid AG-UI and says the same as the stored history.

The turns are played by the real loop. `DOOR_TURNS` is their number.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ag_ui.core import Event as OfficialEvent
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from backend.agent.flush_pace import FlushPace
from backend.agent.loop import Assistant, Turn
from backend.api.doors.ag_ui.events import frame, run_finished, run_started, snapshot
from backend.api.doors.ag_ui.framing import RunEvents
from backend.api.doors.ag_ui.run_input import RunInput
from backend.api.doors.ag_ui.thread import Thread
from backend.domain.conversation import Message, Outcome, ToolCall, as_json
from backend.domain.errors import ServiceError, UpstreamBusy
from backend.domain.events import (
    End,
    Event,
    Failure,
    TokenUsage,
    TurnOutcome,
    failure,
)
from backend.domain.usage import Usage
from backend.llm.port import Finish, Text
from backend.storage.ports.sessions import StoredMessage
from backend.tools.registry import Toolbox
from backend.turns.event_log import Batch, EventLog
from tests.fakes import Scripted, ScriptedModel, Step, a_context, echo, refuse
from tests.system.vendors import play

TURNS = int(os.environ.get("DOOR_TURNS", "200"))

TURN = "0123456789abcdef"
RUN = RunInput(threadId="thread", runId="run", protocolVersion="1.0", messages=[])
OLDER = RunInput(threadId="thread", runId="run", messages=[])

pieces = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
words = pieces | st.sampled_from(
    ["__proto__", "constructor", "data: x\n\ndata: y", "\u2028", "\r\n"]
)
arguments = (
    st.dictionaries(words, words | st.integers() | st.none() | st.lists(words), max_size=2).map(
        as_json
    )
    | words.map(lambda word: as_json({"word": word}))
    | st.sampled_from(["", "{not JSON", "null"])
)
calls = st.lists(
    st.tuples(st.sampled_from(["echo", "refuse", "no such tool", "__proto__"]), arguments),
    max_size=3,
)


@dataclass(frozen=True)
class Round:
    texts: list[str]
    calls: list[tuple[str, str]]


@dataclass(frozen=True)
class Script:
    """`end` says what the model does after its last round: it ends, breaks or is stopped."""

    rounds: list[Round]
    end: str
    sizes: list[int]
    """How many events come at once."""


rounds = st.builds(Round, st.lists(words, max_size=3), calls)
scripts = st.builds(
    Script,
    st.lists(rounds, min_size=1, max_size=3),
    st.sampled_from(["stop", "breaks", "stopped"]),
    st.lists(st.integers(1, 5), max_size=10),
)


class Stop(asyncio.Event):
    """Stops the turn that waits for it."""

    async def wait(self) -> bool:  # type: ignore[override] # as in asyncio, but it always raises
        raise asyncio.CancelledError


@dataclass(frozen=True)
class Played:
    events: Sequence[Event]
    stored: Thread
    outcome: Outcome

    @property
    def ending(self) -> str:
        """How clients name it."""
        failures = [event.code for event in self.events if isinstance(event, Failure)]
        is_stopped = self.outcome is Outcome.CANCELLED
        return failures[0] if failures else "cancelled" if is_stopped else "success"

    def stream(self, run: RunInput, sizes: Sequence[int]) -> bytes:
        framing = RunEvents(EventLog(TURN, session_id="s1").follow(), run=run)
        stream, at, rest = framing.opening(), 0, iter(sizes)
        while at < len(self.events):
            size = next(rest, len(self.events))
            stream += b"".join(framing.frames(Batch(at, self.events[at : at + size])))
            stream += framing.heartbeat
            at += size
        return stream

    def snapshot(self) -> bytes:
        begin, end = run_started(RUN, session_id="s1"), run_finished(RUN)
        return b"".join(map(frame, [begin, *snapshot(self.stored.messages), end]))


async def played(script: Script) -> Played:
    completions = []
    for number, each in enumerate(script.rounds, start=1):
        steps: list[Step] = [Text(text) for text in each.texts]
        is_last = number == len(script.rounds)
        if is_last and script.end == "breaks":
            steps.append(UpstreamBusy(retry_after=3))
        elif is_last and script.end == "stopped":
            steps.append(Stop())
        # Ids repeat in each round.
        steps += [
            ToolCall(f"call_{number}", *call) for number, call in enumerate(each.calls, start=1)
        ]
        steps.append(Finish(reason="stop", model="scripted", usage=Usage(10, 5)))
        completions.append(Scripted(steps))
    assistant = Assistant(
        model=ScriptedModel(completions),
        toolbox=Toolbox((echo, refuse), timeout_seconds=5),
        max_rounds=len(completions),
        pace=FlushPace(0),
    )
    turn = Turn(assistant, context=a_context(), prompt="You are Lex.", query="?")
    events: list[Event] = []
    outcome = Outcome.COMPLETED
    try:
        await turn.run(events.append)
    except ServiceError as error:
        outcome = Outcome.FAILED
        events.append(failure(error))
    except asyncio.CancelledError:
        outcome = Outcome.CANCELLED
    usage = TokenUsage(7, 5, 12)
    events += [TurnOutcome(outcome, turn.finish_reason, turn.model, turn.rounds, usage), End()]
    messages = [Message.user("?"), *turn.messages]
    stored = [StoredMessage(at, TURN, each, at) for at, each in enumerate(messages, start=1)]
    return Played(events, Thread(stored), outcome)


_official = TypeAdapter[Any](OfficialEvent)


def check_official(stream: bytes) -> None:
    """Every frame is an event by the types of PyPI, with no field that they do not know."""
    for line in stream.split(b"\n\n"):
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            read = _official.validate_python(event)
            assert read.model_dump(by_alias=True, exclude_unset=True, mode="json") == event


async def test_a_stream_says_the_same_as_the_history() -> None:
    made: list[Script] = []

    @settings(max_examples=TURNS, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(scripts)
    def collect(script: Script) -> None:
        made.append(script)

    collect()
    turns = [await played(script) for script in made]
    streams = [
        (turn.stream(RUN, script.sizes), turn.stream(OLDER, script.sizes), turn.snapshot())
        for turn, script in zip(turns, made, strict=True)
    ]
    asked = json.dumps([[stream.decode() for stream in each] for each in streams])
    shown = await play(Path(__file__).with_name("rebuild.mjs"), given=asked.encode())

    for turn, each, (new, old, loaded) in zip(turns, streams, shown, strict=True):
        question, *answer = turn.stored.messages
        as_older = "success" if turn.ending == "cancelled" else turn.ending
        assert new == {"messages": answer, "ended": [turn.ending]}
        assert old == {"messages": answer, "ended": [as_older]}
        assert loaded == {"messages": [question, *answer], "ended": ["success"]}
        for stream in each:
            check_official(stream)
    assert len(made) >= TURNS
