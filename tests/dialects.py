"""Completion bodies in the dialects of various servers, with the result expected from each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DONE = b"data: [DONE]\n\n"
CITY = '{"city":"Paris"}'
GARBLED = "upstream_garbled"


@dataclass(frozen=True)
class Dialect:
    """A body and its expected result.

    `calls` has the arguments of the calls of get_weather. `code` is the code of the error after
    `text`, if there is one.
    """

    name: str
    body: bytes
    text: str = ""
    calls: tuple[str, ...] = ()
    code: str | None = None
    tokens: tuple[int, int] | None = None


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def choice(delta: Any, reason: Any = None, **more: Any) -> bytes:
    return event(
        {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}
    )


def says(content: Any) -> bytes:
    return choice({"content": content})


def thinks(text: str = "Let me see.") -> bytes:
    return choice({"reasoning": text, "channel": "analysis"})


def call(**given: Any) -> dict[str, Any]:
    """A complete tool call as Groq sends it; None removes a field."""
    function = {"name": "get_weather", "arguments": CITY, **given.pop("function", {})}
    whole = {"index": 0, "id": "fc_1", "type": "function", "function": function, **given}
    return {name: value for name, value in whole.items() if value is not None}


def calls(*wanted: Any) -> bytes:
    return choice({"tool_calls": list(wanted)})


def more(text: Any, **given: Any) -> dict[str, Any]:
    """A further piece of a call's arguments."""
    return {"function": {"arguments": text}, **given}


FIRST = choice({"role": "assistant", "content": ""})
HI = FIRST + says("Hi") + says(" there")
USAGE = {"prompt_tokens": 12, "completion_tokens": 3}


def ends(reason: Any = "stop", **more: Any) -> bytes:
    return choice({}, reason, **more) + DONE


def text(name: str, body: bytes, expected: str = "Hi there", **more: Any) -> Dialect:
    return Dialect(name, body, expected, **more)


def called(name: str, body: bytes, *arguments: str) -> Dialect:
    return Dialect(name, body, calls=arguments or (CITY,))


def fails(name: str, body: bytes, expected: str = "", *, code: str = GARBLED) -> Dialect:
    return Dialect(name, body, expected, code=code)


def _finishes() -> Iterator[Dialect]:
    for reason in ("length", "content_filter", "eos", "function_call", "tool_calls", "", "STOP"):
        yield text(f"text, then {reason!r}", HI + ends(reason))
    for odd in (True, 7, {"type": "stop"}):
        yield text(f"a reason of another type: {odd}", HI + ends(odd))
    yield text(
        "a reason in the frame of the last text",
        FIRST + choice({"content": "Hi"}, "stop") + DONE,
        "Hi",
    )
    yield text(
        "an empty reason in each frame",
        FIRST + choice({"content": "Hi"}, "") * 3 + ends(),
        "HiHiHi",
    )
    yield text(
        "a reason that is the word null", choice({"content": "Hi"}, "null") * 2 + ends(), "HiHi"
    )
    yield text("text behind the reason", HI + choice({}, "stop") + says("!") + DONE, "Hi there!")
    yield text("cut after reasoning and text", FIRST + thinks() + says("Hi") + ends("length"), "Hi")
    yield fails("cut after reasoning alone", FIRST + thinks() * 3 + ends("length"))
    yield fails("cut before anything", FIRST + ends("length"))
    yield fails("filtered before anything", FIRST + ends("content_filter"), code="upstream_refused")
    yield fails("an unknown reason before anything", FIRST + ends("eos_reached"))
    yield fails("stopped without a word", FIRST + ends())
    yield fails("an empty reason before anything", FIRST + ends(""))
    yield fails("an error for a reason", HI + ends("error"), "Hi there")
    yield fails("no reason", HI, "Hi there")
    yield fails("no reason, but done", HI + DONE, "Hi there")
    yield fails("an empty reason and then no end", choice({"content": "Hi"}, "") * 2, "HiHi")
    yield called("cut after a whole call", FIRST + calls(call()) + ends("length"))
    yield called(
        "cut within the second call",
        FIRST
        + calls(call())
        + calls(call(index=1, id="b", function={"arguments": '{"ci'}))
        + ends("length"),
    )
    yield fails(
        "cut within the only call",
        FIRST + calls(call(function={"arguments": '{"ci'})) + ends("length"),
    )
    yield fails(
        "cut before the arguments", FIRST + calls(call(function={"arguments": ""})) + ends("length")
    )
    yield text(
        "text, then cut within a call",
        HI + calls(call(function={"arguments": '{"ci'})) + ends("length"),
    )
    for reason in ("stop", "function_call", "eos", ""):
        yield called(f"a call, then {reason!r}", FIRST + calls(call()) + ends(reason))
    yield text(
        "a refusal",
        FIRST + choice({"refusal": "I can"}) + choice({"refusal": "not."}) + ends(),
        "I cannot.",
    )
    yield text(
        "a refusal beside no content", choice({"content": None, "refusal": "No."}) + ends(), "No."
    )


def _usage() -> Iterator[Dialect]:
    for name, usage, tokens in (
        ("floats", {"prompt_tokens": 12.0, "completion_tokens": 3.0}, (12, 3)),
        ("null", None, (0, 0)),
        ("nulls", {"prompt_tokens": None, "completion_tokens": 3}, (0, 3)),
        ("texts", {"prompt_tokens": "12", "completion_tokens": "3"}, (12, 3)),
        ("other names", {"input_tokens": 12, "output_tokens": 3}, (12, 3)),
        ("a list", [12, 3], (0, 0)),
        ("a number", 15, (0, 0)),
        ("nonsense", {"prompt_tokens": {"a": []}, "completion_tokens": "many"}, (0, 0)),
        ("negative", {"prompt_tokens": -12, "completion_tokens": -3}, (0, 0)),
    ):
        yield text(f"usage: {name}", HI + ends(usage=usage), tokens=tokens)
    alone = event({**HEAD, "choices": [], "usage": USAGE})
    yield text(
        "usage in a frame of its own", HI + choice({}, "stop") + alone + DONE, tokens=(12, 3)
    )
    yield text("usage of its own, and no end", HI + choice({}, "stop") + alone, tokens=(12, 3))
    yield text(
        "usage without choices",
        HI + choice({}, "stop") + event({"usage": USAGE}) + DONE,
        tokens=(12, 3),
    )
    yield text("usage before the finish", HI + alone + ends(), tokens=(12, 3))
    yield text(
        "usage in each frame",
        choice({"content": "Hi"}, usage=USAGE) * 2 + ends(usage=USAGE),
        "HiHi",
        tokens=(12, 3),
    )
    yield text("usage in x_groq", HI + ends(x_groq={"id": "r", "usage": USAGE}), tokens=(12, 3))
    yield text(
        "usage in a choice",
        HI
        + event({**HEAD, "choices": [{"delta": {}, "finish_reason": "stop", "usage": USAGE}]})
        + DONE,
        tokens=(12, 3),
    )
    for name, value in (
        ("a text", "r"),
        ("a list", []),
        ("usage that is a text", {"usage": "much"}),
    ):
        yield text(f"x_groq: {name}", HI + ends(x_groq=value))
    for name, last in (
        ("cut JSON", b'data: {"usage": {"prom'),
        ("no JSON", b"data: usage follows\n\n"),
        ("a number", b"data: 5\n\n"),
        ("choices that are a number", b'data: {"choices": 1}\n\n'),
        ("an error", event({"error": {"message": "no usage today"}})),
    ):
        yield text(f"behind the finish: {name}", HI + choice({}, "stop") + last)


def _shapes() -> Iterator[Dialect]:
    for name, frame in (
        ("no choices", event(HEAD)),
        ("null choices", event({**HEAD, "choices": None})),
        ("a null choice", event({**HEAD, "choices": [None]})),
        ("a null delta", choice(None)),
        ("a delta that is an empty list", choice([])),
        ("null calls", choice({"content": None, "tool_calls": None, "function_call": None})),
        ("a list of null calls", choice({"tool_calls": [None]})),
        ("an empty call", choice({"tool_calls": [{}]})),
        ("null data", b"data: null\n\n"),
        ("empty data", b"data:\n\ndata: \n\n"),
        ("an empty object", b"data: {}\n\n"),
        ("null errors", event({"error": None, "choices": []})),
        ("NaN", b'data: {"choices": [{"index": 0, "logprobs": NaN, "delta": {}}]}\n\n'),
        ("a second choice", event({"choices": [{"index": 1, "delta": {"content": "Ho"}}]})),
        ("ids of another type", event({"id": 7, "model": 8, "choices": [], "created": "now"})),
        (
            "unknown fields",
            choice({"audio": [1], "annotations": {"a": None}}, obfuscation="x", nvext=[{}]),
        ),
    ):
        yield text(f"among others: {name}", FIRST + says("Hi") + frame + says(" there") + ends())
    for index in (None, "0", 0.0, 3, "first"):
        frames = [
            event({"choices": [{"index": index, "delta": delta, "finish_reason": reason}]})
            for delta, reason in (
                ({"content": "Hi"}, None),
                ({"content": " there"}, None),
                ({}, "stop"),
            )
        ]
        yield text(f"index of a choice: {index!r}", b"".join(frames) + DONE)
    bare = [event({"choices": [{"delta": {"content": part}}]}) for part in ("Hi", " there")]
    yield text(
        "no index and no reason",
        b"".join(bare) + event({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    )
    yield text(
        "content in parts",
        FIRST + says([{"type": "text", "text": "Hi"}, {"text": " there"}]) + ends(),
    )
    yield text("content as one part", FIRST + says({"type": "text", "text": "Hi there"}) + ends())
    yield text(
        "a thought among parts",
        FIRST
        + says(
            [
                {"type": "thinking", "thinking": [{"text": "Hm"}]},
                {"type": "text", "text": "Hi there"},
            ]
        )
        + ends(),
    )
    yield text("content that is a number", FIRST + says("4") + says(2) + ends(), "42")
    yield text("no role, null first", choice({"content": None}) + says("Hi there") + ends())
    yield text(
        "a character in two frames",
        FIRST
        + b'data: {"choices":[{"delta":{"content":"go \\ud83d"}}]}\n\n'
        + thinks()
        + b'data: {"choices":[{"delta":{"content":"\\ude97!"}}]}\n\n'
        + ends(),
        "go 🚗!",
    )
    yield text(
        "half a character",
        FIRST + b'data: {"choices":[{"delta":{"content":"Hi\\ud83d"}}]}\n\n' + ends(),
        "Hi\N{REPLACEMENT CHARACTER}",
    )
    yield text(
        "a byte order mark in a text", FIRST + says("\ufeffHi there") + ends(), "\ufeffHi there"
    )
    yield text(
        "a tab that is not escaped",
        FIRST + b'data: {"choices":[{"delta":{"content":"Hi\tthere"}}]}\n\n' + ends(),
        "Hi\tthere",
    )
    yield text(
        "reasoning under another name",
        FIRST + choice({"reasoning_content": "Hm."}) + says("Hi there") + ends(),
    )
    yield text(
        "reasoning of another type",
        FIRST + choice({"reasoning": [{"text": "Hm."}]}) + says("Hi there") + ends(),
    )
    yield fails("choices that are a number", FIRST + event({"choices": 1}) + ends())
    yield fails("content that is true", FIRST + says("Hi") + says(True) + ends(), "Hi")
    yield fails(
        "an error in mid-stream",
        HI + event({"error": {"message": "no"}}),
        "Hi there",
        code="upstream_unavailable",
    )
    yield fails(
        "an error that is a text",
        HI + b'event: error\ndata: {"error": "overloaded"}\n\n',
        "Hi there",
        code="upstream_unavailable",
    )


def _calls() -> Iterator[Dialect]:
    end = ends("tool_calls")
    start, rest = call(function={"arguments": CITY[:5]}), CITY[5:]
    for name, wanted in (
        ("no index", call(index=None)),
        ("a null index", {**call(), "index": None}),
        ("an index that is a text", call(index="0")),
        ("an index that is a float", call(index=0.0)),
        ("no type", call(type=None)),
        ("another type", call(type=7)),
        ("no id", call(id=None)),
        ("an empty id", call(id="")),
        ("an id that is a number", call(id=12345)),
        ("arguments that are an object", call(function={"arguments": {"city": "Paris"}})),
    ):
        yield called(f"call: {name}", FIRST + calls(wanted) + end)
    yield called("calls that are one object", choice({"tool_calls": call()}) + end)
    yield called(
        "a function_call", choice({"function_call": call()["function"]}) + ends("function_call")
    )
    yield called(
        "arguments in parts",
        FIRST
        + calls(start)
        + calls(more(rest[:3], index=0))
        + calls(more(rest[3:], index=0))
        + end,
    )
    yield called(
        "parts without an index",
        calls(call(index=None, function={"arguments": CITY[:5]})) + calls(more(rest)) + end,
    )
    yield called(
        "parts with the id again", calls(start) + calls(more(rest, index=0, id="fc_1")) + end
    )
    yield called(
        "parts with id and name again",
        calls(start) + calls(call(function={"arguments": rest})) + end,
    )
    yield called("parts with an empty id", calls(start) + calls(more(rest, index=0, id="")) + end)
    yield called("parts in one frame", calls(start, more(rest, index=0)) + end)
    yield called(
        "a null part of arguments",
        calls(call(function={"arguments": None})) + calls(more(CITY, index=0)) + end,
    )
    two = (CITY, '{"city":"Tokyo"}')
    tokyo = {"arguments": two[1]}
    for name, second in (
        ("index 1", call(index=1, id="b", function=tokyo)),
        ("the same index", call(id="b", function=tokyo)),
        ("the same id", call(index=1, function=tokyo)),
        ("the same index and id", call(function=tokyo)),
        ("the same index and no id", call(id=None, function=tokyo)),
    ):
        yield called(f"two calls: {name}", FIRST + calls(call()) + calls(second) + end, *two)
    neither = [call(index=None, id=None), call(index=None, id=None, function=tokyo)]
    yield called(
        "two calls: no index, no ids", FIRST + calls(neither[0]) + calls(neither[1]) + end, *two
    )
    yield called("two calls in one frame, no index", FIRST + calls(*neither) + end, *two)
    woven = calls(start, call(index=1, id="b", function={"arguments": CITY[:4]}))
    woven += calls(more(rest, index=0)) + calls(more(CITY[4:], index=1))
    yield called("two calls, woven", FIRST + woven + end, CITY, CITY)
    yield Dialect("text and a call", HI + calls(call()) + end, "Hi there", (CITY,))
    many = [call(index=n, id=f"c{n}") for n in range(17)]
    yield called("sixteen calls", FIRST + calls(*many[:16]) + end, *[CITY] * 16)
    yield fails("seventeen calls", FIRST + calls(*many) + end)
    long = json.dumps({"city": "x" * 70_000})
    yield fails(
        "arguments that are too long", FIRST + calls(call(function={"arguments": long})) + end
    )


def _lines() -> Iterator[Dialect]:
    whole = HI + ends(usage=USAGE)
    yield text("CRLF", whole.replace(b"\n", b"\r\n"))
    yield text("CR", whole.replace(b"\n", b"\r"))
    yield text(
        "all three line ends",
        HI + says("!").replace(b"\n", b"\r") + ends().replace(b"\n", b"\r\n"),
        "Hi there!",
    )
    yield text("a byte order mark", b"\xef\xbb\xbf" + whole)
    yield text("a byte order mark before a comment", b"\xef\xbb\xbf: hello\n\n" + whole)
    yield text("no space behind the colon", whole.replace(b"data: ", b"data:"))
    yield text("more space", whole.replace(b"data: ", b"data:   ").replace(b"\n\n", b"  \n\n"))
    yield text("comments", b": OPENROUTER PROCESSING\n\n" + HI + b":\n\n: ping\n" + ends())
    yield text(
        "other fields", whole.replace(b"data: ", b"event: message\nid: 7\nretry: 10\ndata: ")
    )
    yield text("fields that nobody knows", whole.replace(b"data: ", b"data\nfoo: bar\ndata: "))
    yield text("single line feeds", whole.replace(b"\n\n", b"\n"))
    yield text("many blank lines", b"\n\n\n" + whole.replace(b"\n\n", b"\n\n\n\n"))
    yield text("no DONE", HI + choice({}, "stop"))
    yield text("no DONE and no blank line", (HI + choice({}, "stop")).rstrip())
    yield text(
        "a last text without its end",
        FIRST + says("Hi") + choice({"content": " there"}, "stop").rstrip(),
    )
    yield text("DONE without its end", whole.rstrip())
    for done in (
        b"data:[DONE]\n\n",
        b"data:  [DONE]  \n\n",
        b'data: "[DONE]"\n\n',
        b"data: [ done ]\n\n",
        b"event: done\ndata: [DONE]\n\n",
    ):
        yield text(f"DONE as {done!r}", HI + choice({}, "stop") + done)
    yield text("words behind DONE", whole + says("More"))
    spread = json.dumps({"choices": [{"delta": {"content": "Hi there"}}]}, indent=1).encode()
    yield text(
        "an event of several lines",
        b"data: " + spread.replace(b"\n", b"\ndata: ") + b"\n\n" + ends(),
    )
    yield fails("a broken frame", HI + b'data: {"id": "chat\n\n' + says("!") + ends(), "Hi there")
    yield fails("a page", b"<html>\n<body>502 Bad Gateway</body>\n</html>\n")
    yield fails("a whole completion", b'{"choices": [{"message": {"content": "Hi"}}]}')
    yield fails(
        "bytes that are no text",
        HI + b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n' + ends(),
        "Hi there",
    )
    yield fails("nothing", b"")
    yield fails("comments alone", b": ping\n\n" * 3)
    yield fails("a line without end", HI + b"data: " + b"x" * 2_500_000, "Hi there")
    yield fails(
        "text without end",
        FIRST + b"".join([says("x" * 100_000) for _ in range(11)]) + ends(),
        "x" * 1_048_576,
    )


DIALECTS = [*_finishes(), *_usage(), *_shapes(), *_calls(), *_lines()]
