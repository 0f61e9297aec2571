"""The cost of a door: `make bench-doors`.

One server gets the same question in turn by `POST /query` and by the protocol of each other front
end, for about a second each. The cost of a door is the CPU of its turn by that of ours, which is
asked the same way: resumable and with an idempotency key, if the door does so.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from loadtests.bench.dialects import LEX, Dialect, Script
from loadtests.bench.measures import WORD
from loadtests.bench.processes import Server
from loadtests.bench.servers import collector, lex, standin
from loadtests.bench.sides import EVERYTHING, Side

AT_ONCE = 8


class _Resumable(Dialect):
    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:
        return {"query": query, "session_id": session_id or uuid4().hex, "resume": True}


class _Keyed(_Resumable):
    def request(self, script: Script, session_id: str | None) -> bytes:
        head, _, rest = super().request(script, session_id).partition(b"\r\n")
        return head + f"\r\nidempotency-key: {uuid4().hex}\r\n".encode() + rest


class _AiSdk(Dialect):
    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:
        parts = [{"type": "text", "text": query}]
        return {
            "id": session_id or uuid4().hex,
            "trigger": "submit-message",
            "messages": [{"id": uuid4().hex, "role": "user", "parts": parts}],
        }


class _AgUi(Dialect):
    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:
        return {
            "threadId": session_id or uuid4().hex,
            "runId": uuid4().hex,
            "messages": [{"id": uuid4().hex, "role": "user", "content": query}],
            "tools": [],
            "context": [],
            "state": {},
            "forwardedProps": {"resume": True},
        }


class _OpenAi(Dialect):
    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:  # noqa: ARG002 - it has none
        return {
            "model": "lex",
            "stream": True,
            "messages": [{"role": "user", "content": query}],
        }


KEYED = _Keyed("/query", b"event: chunk\n", b"event: end\n", b"event: error\n")
AI_SDK = _AiSdk("/api/chat", b'"text-delta"', b"[DONE]", b'"type":"error"')
AG_UI = _AgUi("/ag-ui", b'"TEXT_MESSAGE_CONTENT"', b'"RUN_FINISHED"', b'"RUN_ERROR"')
OPENAI = _OpenAi("/v1/chat/completions", b'"content":"', b"[DONE]", b'"error"')


@dataclass
class Door:
    """A door, and the way of `POST /query` that does the same."""

    side: Side
    by: Side
    ratios: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        spread = f"{min(self.ratios):.3f} … {max(self.ratios):.3f}"
        return f"{self.side.name:<7} {statistics.median(self.ratios):.3f} of a turn ({spread})"


async def cost(side: Side, *, seconds: float) -> float:
    """The CPU seconds of a turn."""
    before = side.server.cpu_seconds
    got = await side.keep_asking(WORD, at_once=AT_ONCE, seconds=seconds)
    return (side.server.cpu_seconds - before) / len(got)


async def measure(server: Server, *, windows: int, seconds: float) -> list[Door]:
    plain, keyed = (
        Side.of(name, server, dialect=d) for name, d in (("ours", LEX), ("keyed", KEYED))
    )
    doors = [
        Door(Side.of("AI SDK", server, dialect=AI_SDK), keyed),
        Door(Side.of("AG-UI", server, dialect=AG_UI), keyed),
        Door(Side.of("OpenAI", server, dialect=OPENAI), plain),
    ]
    sides = [plain, keyed, *(door.side for door in doors)]
    for window in range(windows + 1):  # the first fills caches and does not count
        costs = {}
        for side in sides if window % 2 else reversed(sides):
            costs[side.name] = await cost(side, seconds=seconds)
        for door in doors if window else ():
            door.ratios.append(costs[door.side.name] / costs[door.by.name])
    if failures := [failure for side in sides for failure in side.failures]:
        sys.exit(f"{len(failures)} streams failed, the first by {failures[0]}")
    return doors


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.doors")
    parser.add_argument("--windows", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each side in each window")
    parser.add_argument("--at-most", type=float, default=1.05, metavar="RATIO")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        collector(Path(scratch, "collector")) as spans,
        standin() as upstream,
        lex(
            upstream.url,
            Path(scratch, "lex"),
            variables={**EVERYTHING, "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url},
        ) as server,
    ):
        doors = asyncio.run(measure(server, windows=given.windows, seconds=given.seconds))
    print(*doors, f"the limit is {given.at_most:g}", sep="\n")
    sys.exit(any(statistics.median(door.ratios) > given.at_most for door in doors))


if __name__ == "__main__":
    main()
