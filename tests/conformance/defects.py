"""The defects of `broken.py`: at least one for each MUST, and the changes that make them."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance.broken import Defect, Headers


def swap(pattern: str, replacement: str, count: int = 0) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, replacement, text, count=count, flags=re.DOTALL)


def without(name: str) -> Callable[[Headers], Headers]:
    return lambda headers: {key: value for key, value in headers.items() if key != name}


FRAME = r"event: {}\n(?:(?!\n\n).)*\n\n"
END = FRAME.format("end")


def output_first(text: str) -> str:
    """Put an output behind the first of two calls. The real one follows, so O4 breaks as well."""
    call = (
        r'(event: tool_call\ndata: {"id": ("[^"]*"), "name": ("[^"]*")[^\n]*\n\n)(event: tool_use)'
    )
    output = r'event: tool_output\ndata: {"name": \3, "output": {}, "id": \2}\n\n'
    return re.sub(call, rf"\1{output}\4", text, count=1)


def dropped(_: str) -> None:
    """The server never sees the header."""


def moved(by: int) -> Callable[[str], str]:
    """Resume from a place nearby."""
    return lambda id_: f"{id_.rpartition('-')[0]}-{int(id_.rpartition('-')[2]) + by}"


def ok(_: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
    return 200, headers, body


def bare(status: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
    problem = {key: value for key, value in json.loads(body).items() if key != "code"}
    return status, headers, json.dumps(problem)


def with_status(given: int) -> Callable[[int, Headers, str], tuple[int, Headers, str]]:
    """Refuse with another status, in the header and in the body."""

    def change(status: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
        return given, headers, body.replace(f'"status":{status}', f'"status":{given}')

    return change


def told(outcome: str, instead: str) -> Callable[[int, Headers, str], tuple[int, Headers, str]]:
    """Say another outcome of a turn."""
    key = '"outcome":"{}"'.format
    return lambda status, headers, body: (
        status, headers, body.replace(key(outcome), key(instead))
    )  # fmt: skip


def late(status: int, headers: Headers, body: str) -> tuple[int, Headers, str]:
    return status, without("retry-after")(headers), body


def dumped(body: dict[str, Any]) -> list[str]:
    data = body["data"]
    return [json.dumps({**body, "data": data if isinstance(data, str) else json.dumps(data)})]


def without_turn(body: dict[str, Any]) -> list[str]:
    return [json.dumps({key: value for key, value in body.items() if key != "turn"})]


def changed(pattern: str, replacement: str) -> Callable[[dict[str, Any]], list[str]]:
    return lambda body: [re.sub(pattern, replacement, json.dumps(body))]


def twice(body: dict[str, Any]) -> list[str]:
    return [json.dumps(body)] * (2 if body["type"] == "end" else 1)


def one_turn(headers: Headers) -> Headers:
    return {**headers, "x-turn-id": "0" * 16}


DEAF: Mapping[str, Callable[[str], str | None]] = {"last-event-id": dropped}

DEFECTS: Mapping[str, Defect] = {
    "media-type": Defect(
        "F1", "short-answer", "plain", head=lambda h: {**h, "content-type": "text/plain"}
    ),
    "crlf": Defect("F2", "short-answer", "plain", stream=swap("\n", "\r\n")),
    "latin-1": Defect("F2", "lines", "plain", encoding="latin-1"),
    "data-first": Defect(
        "F3", "short-answer", "resumable", stream=swap(r"(event: \w+\n)(data: [^\n]*\n)", r"\2\1")
    ),
    "id-first": Defect(
        "F3", "short-answer", "resumable", stream=swap(r"(event: \w+.*?\n)(id: \S+\n)", r"\2\1")
    ),
    "no-space": Defect("F4", "short-answer", "plain", stream=swap(r"data: \n", "data:\n")),
    "lines-joined": Defect("F5", "lines", "plain", stream=swap(r"\ndata: ", " ")),
    "lines-cut": Defect("F5", "lines", "resumable", stream=swap(r"(?<=\n)data: - b\n", "")),
    "no-turn-id": Defect("F6", "short-answer", "plain", head=without("x-turn-id")),
    "cached": Defect("F7", "short-answer", "plain", head=without("cache-control")),
    "heartbeat-event": Defect(
        "H1", "heartbeats", "resumable", stream=swap("^: \n\n$", "event: ping\ndata: \n\n")
    ),
    "call-without-id": Defect(
        "E2", "one-tool", "plain", stream=swap('"id": "[^"]*", "name"', '"name"')
    ),
    "output-as-text": Defect(
        "E3", "one-tool", "plain", stream=swap('"output": {[^}]*}', '"output": "mild"')
    ),
    "outcome-without-usage": Defect(
        "E5", "short-answer", "plain", stream=swap(', "usage".*?}', "")
    ),
    "end-with-data": Defect(
        "E6", "short-answer", "plain", stream=swap("end\ndata: ", "end\ndata: bye")
    ),
    "no-end": Defect("O1", "short-answer", "plain", stream=swap(END, "")),
    "two-ends": Defect("O1", "short-answer", "plain", stream=swap(f"({END})", r"\1\1")),
    "event-after-end": Defect(
        "O1", "short-answer", "plain", stream=swap(f"({END})", "\\1event: stats\ndata: 1\n\n")
    ),
    "no-outcome": Defect("O2", "short-answer", "plain", stream=swap(FRAME.format("outcome"), "")),
    "no-tool-use": Defect("O3", "one-tool", "plain", stream=swap(FRAME.format("tool_use"), "")),
    "output-between-calls": Defect("O3", "two-tools", "plain", stream=output_first),
    "no-output": Defect(
        "O4", "two-tools", "plain", stream=swap(FRAME.format("tool_output"), "", 1)
    ),
    "output-twice": Defect(
        "O4", "one-tool", "plain", stream=swap(f"({FRAME.format('tool_output')})", r"\1\1")
    ),
    "text-after-error": Defect(
        "O5",
        "error-at-once",
        "plain",
        stream=swap(f"({FRAME.format('error')})", "\\1event: chunk\ndata: Sorry\n\n"),
    ),
    "no-opening": Defect(
        "I1", "short-answer", "resumable", stream=swap(r"id: \S+\nretry: \d+\n\n", "")
    ),
    "one-id": Defect("I2", "one-tool", "resumable", stream=swap(r"-\d+\n", "-1\n")),
    "ids-of-another-turn": Defect(
        "I2", "short-answer", "resumable", stream=swap(r"id: \w{4}", "id: 0000")
    ),
    "other-data-in-replay": Defect(
        "I3",
        "two-readers",
        "resumable",
        stream=swap('"outcome": "completed"', '"outcome": "failed"'),
        where="/turns/",
    ),
    "ids-unasked": Defect(
        "I4", "short-answer", "plain", stream=swap("data: ([^\n]*)\n\n", "data: \\1\nid: x-1\n\n")
    ),
    "resume-repeats-an-event": Defect(
        "R1",
        "cut-and-followed",
        "resumable",
        request={"last-event-id": moved(-1)},
    ),
    "resume-skips-an-event": Defect(
        "R1",
        "cut-and-followed",
        "resumable",
        request={"last-event-id": moved(1)},
    ),
    "resume-asks-again": Defect("R2", "cut-and-repeated", "resumable", request=DEAF),
    "no-204": Defect("R4", "read-to-the-end", "event_source", request=DEAF),
    "any-place": Defect("R6", "place-that-does-not-exist", "resumable", request=DEAF),
    "key-ignored": Defect(
        "K1", "key-replays-a-finished-turn", "plain", request={"idempotency-key": dropped}
    ),
    "key-takes-any-question": Defect(
        "K2", "key-with-another-question", "plain", request={"idempotency-key": dropped}
    ),
    "refusal-with-200": Defect("P1", "empty-question", "plain", answer=ok),
    "problem-without-code": Defect("P1", "empty-question", "message", answer=bare),
    "refusal-that-ends-at-once": Defect(
        "P2", "empty-question", "event_source", stream=swap(END, "")
    ),
    "no-retry-after": Defect("P6", "too-many-questions", "plain", answer=late),
    "error-without-retryable": Defect(
        "X1", "error-at-once", "plain", stream=swap(', "retryable": (true|false)', "")
    ),
    "retry-after-as-text": Defect(
        "X1",
        "error-at-once",
        "plain",
        stream=swap('"retryable"', '"retry_after": "1", "retryable"'),
    ),
    "text-lost-before-error": Defect(
        "X2", "error-in-mid-answer", "plain", stream=swap(FRAME.format("chunk"), "")
    ),
    "failing-tool-as-error": Defect(
        "X3", "failing-tool", "plain", stream=swap("event: tool_output", "event: error")
    ),
    "not-stored": Defect(
        "T1", "stored-before-the-end", "plain", answer=told("completed", "failed")
    ),
    "length-hidden": Defect("T2", "cut-by-a-limit", "plain", stream=swap('"length"', '"stop"')),
    "stop-looks-complete": Defect("S3", "stop", "resumable", stream=swap("cancelled", "completed")),
    "socket-data-as-text": Defect("W1", "socket-messages", "websocket", message=dumped),
    "socket-without-turn": Defect("W1", "socket-messages", "websocket", message=without_turn),
    "socket-with-two-ends": Defect(
        "O1", "socket-goes-on-after-a-refusal", "websocket", message=twice
    ),
    "refusal-with-turn": Defect(
        "W3",
        "empty-question",
        "websocket",
        message=lambda body: [json.dumps({"turn": "0", **body})],
    ),
    "no-round": Defect("E7", "one-tool", "resumable", stream=swap(r', "round": \d+', "")),
    "rounds-from-two": Defect(
        "E7", "rounds", "websocket", message=changed('"round": 1', '"round": 2')
    ),
    "socket-without-round": Defect(
        "W8", "socket-messages", "websocket", message=changed(', "round": 1', "")
    ),
    "no-heartbeats": Defect("H2", "heartbeats", "plain", stream=swap("^: \n\n$", "")),
    "tool-use-as-json": Defect(
        "E1", "one-tool", "plain", stream=swap("(tool_use\ndata: )([^\n]*)", r'\1{"name": "\2"}')
    ),
    "text-as-object": Defect(
        "E4",
        "short-answer",
        "websocket",
        message=changed('"data": ("Go.*?")', r'"data": {"text": \1}'),
    ),
    "replay-without-its-start": Defect(
        "R3",
        "replay-of-a-plain-stream",
        "plain",
        stream=swap(FRAME.format("tool_use"), "", 1),
        where="/turns/",
    ),
    "second-reader-gets-less": Defect(
        "R5", "two-readers", "websocket", stream=swap(FRAME.format("chunk"), "", 1), where="/turns/"
    ),
    "turns-of-others": Defect(
        "R7", "turn-of-another-session", "resumable", answer=with_status(403)
    ),
    "keys-of-all-sessions": Defect("K3", "key-of-another-session", "plain", head=one_turn),
    "key-gets-an-empty-answer": Defect(
        "K4", "key-after-a-refusal", "plain", stream=swap("event: chunk\ndata: Good.*?\n\n", "")
    ),
    "any-key": Defect(
        "K5", "key-with-a-space", "plain", request={"idempotency-key": swap(" ", "")}
    ),
    "bad-question-is-400": Defect("P3", "empty-question", "plain", answer=with_status(400)),
    "busy-is-423": Defect("P4", "busy-session", "plain", answer=with_status(423)),
    "no-session-is-403": Defect("P5", "missing-session", "message", answer=with_status(403)),
    "left-and-completed": Defect(
        "S1", "leave-a-plain-stream", "plain", answer=told("disconnected", "completed")
    ),
    "left-and-stopped": Defect(
        "S2", "leave-a-resumable-stream", "resumable", answer=told("completed", "disconnected")
    ),
    "deleted-and-completed": Defect(
        "S4", "delete-the-session", "plain", stream=swap("cancelled", "completed")
    ),
    "socket-ids-of-its-own": Defect(
        "W2", "from-a-socket-to-http", "websocket", message=changed('"id": "', '"id": "ws-')
    ),
    "socket-end-without-id": Defect(
        "W4", "socket-at-the-end", "websocket", message=changed('("end", )"id": "[^"]*", ', r"\1")
    ),
    "socket-stop-completes": Defect(
        "W5", "socket-stop", "websocket", message=changed("cancelled", "completed")
    ),
    "socket-text-is-refused": Defect(
        "W6",
        "socket-takes-plain-text",
        "websocket",
        message=changed('"type": "chunk"', '"type": "error"'),
    ),
    "socket-closes-with-1000": Defect("W7", "socket-that-is-refused", "websocket", closes=1000),
}
