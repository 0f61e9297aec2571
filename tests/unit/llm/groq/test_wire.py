"""Groq's bytes, and everything that is not quite a completion."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.conversation import ToolCall
from backend.domain.errors import UpstreamError, UpstreamGarbled, UpstreamUnavailable
from backend.domain.usage import Usage
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.wire import Decoder
from backend.llm.port import Delta, Finish, Text


def frame(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    body = {"id": "chatcmpl-1", "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


FIRST = frame({"role": "assistant", "content": ""}, x_groq={"id": "req_1", "seed": 7})
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "queue_time": 0.01}
STOP = frame({}, "stop", x_groq={"id": "req_1", "usage": USAGE}, usage=USAGE)
INCLUDED_USAGE = b'data: {"id":"chatcmpl-1","model":"m","choices":[],"usage":null}\n\n'
DONE = b"data: [DONE]\n\n"


def call_frame(*calls: tuple[int, str | None, str | None, str]) -> bytes:
    return frame(
        {
            "tool_calls": [
                {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
                for index, call_id, name, arguments in calls
            ]
        }
    )


def decoded(*data: bytes) -> tuple[str, list[Delta]]:
    decoder = Decoder()
    text = "".join([decoder.feed(part) for part in data])
    rest = list(decoder.end())
    text += "".join([delta.text for delta in rest if isinstance(delta, Text)])
    return text, [delta for delta in rest if not isinstance(delta, Text)]


def test_a_good_stream_is_its_text_and_one_finish() -> None:
    text, rest = decoded(
        FIRST, frame({"content": "Hi"}), frame({"content": " there"}), STOP, INCLUDED_USAGE, DONE
    )

    assert text == "Hi there"
    finish = Finish(reason="stop", model="m", usage=Usage(12, 3), id="chatcmpl-1")
    assert rest == [finish]


def test_the_space_behind_the_name_of_a_field_may_be_missing() -> None:
    stream = (FIRST, frame({"content": "Hi"}), STOP, DONE)

    assert decoded(*[line.replace(b"data: ", b"data:") for line in stream]) == decoded(*stream)


def test_reasoning_is_never_text() -> None:
    text, _ = decoded(
        FIRST,
        frame({"reasoning": "Let me see", "channel": "analysis"}),
        frame({"content": "Hi"}),
        STOP,
    )

    assert text == "Hi"


def test_a_second_choice_is_not_read() -> None:
    other, other_stop = (
        line.replace(b'"index": 0', b'"index": 1')
        for line in (frame({"content": "Hello"}), frame({}, "length"))
    )

    text, rest = decoded(FIRST, other, frame({"content": "Hi"}), other_stop, STOP)

    assert text == "Hi"
    assert [delta.reason for delta in rest if isinstance(delta, Finish)] == ["stop"]


def test_calls_come_at_the_end_in_order_of_their_index() -> None:
    calls = (
        call_frame((1, "b", "get_weather", '{"city":"Tokyo"}')),
        call_frame((0, "a", "get_weather", '{"city":"Paris"}')),
    )

    text, rest = decoded(FIRST, *calls, frame({}, "tool_calls"), DONE)

    assert text == ""
    assert rest[:2] == [
        ToolCall("a", "get_weather", '{"city":"Paris"}'),
        ToolCall("b", "get_weather", '{"city":"Tokyo"}'),
    ]


def test_arguments_that_are_split_over_chunks_are_joined() -> None:
    parts = (
        call_frame((0, "a", "echo", '{"wo')),
        call_frame((0, None, None, 'rd":"')),
        call_frame((0, None, None, 'x"}')),
    )

    _, rest = decoded(FIRST, *parts, frame({}, "tool_calls"), DONE)

    assert rest[0] == ToolCall("a", "echo", '{"word":"x"}')


@pytest.mark.parametrize("ids", [("a", "a", None), ("a_", "a", "a"), ("", None, "call_0")])
def test_ids_that_are_missing_or_repeated_are_made_unique(ids: tuple[str | None, ...]) -> None:
    calls = call_frame(*((index, id_, "echo", "{}") for index, id_ in enumerate(ids)))

    _, rest = decoded(FIRST, calls, frame({}, "tool_calls"))

    found = [call.id for call in rest if isinstance(call, ToolCall)]
    assert len(set(found)) == 3
    assert all(found)


def test_an_index_that_comes_again_under_another_id_is_another_call() -> None:
    calls = call_frame((0, "a", "echo", '{"word":"x"}'), (0, "b", "echo", '{"word":"y"}'))

    _, rest = decoded(FIRST, calls, frame({}, "tool_calls"))

    assert rest[:2] == [
        ToolCall("a", "echo", '{"word":"x"}'),
        ToolCall("b", "echo", '{"word":"y"}'),
    ]


def test_names_and_ids_are_bounded_and_without_nul() -> None:
    calls = call_frame((0, "i\x00d" * 300, "e\x00cho" * 300, '{"word":"\x00"}'))

    _, rest = decoded(FIRST, calls, frame({}, "tool_calls"))

    (call,) = [call for call in rest if isinstance(call, ToolCall)]
    assert len(call.id) <= 256
    assert len(call.name) <= 256
    assert "\x00" not in call.id + call.name + call.arguments


@pytest.mark.parametrize(("reported", "counted"), [(-5, 0), (2**70, 2**31 - 1)])
def test_a_strange_usage_is_bounded(reported: int, counted: int) -> None:
    usage = {"prompt_tokens": reported, "completion_tokens": reported}

    _, rest = decoded(FIRST, frame({"content": "x"}), frame({}, "stop", usage=usage))

    assert isinstance(rest[-1], Finish)
    assert rest[-1].usage == Usage(counted, counted)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        FIRST,
        FIRST + frame({"content": "half"}),
        FIRST + call_frame((0, "a", "echo", "{}")),
        FIRST + DONE,
        b"<html><body>502 Bad Gateway</body></html>",
        FIRST + frame({"content": "x"}, "error"),
    ],
    ids=["empty", "first", "text", "call", "done", "html", "error for a reason"],
)
def test_a_stream_that_is_not_whole_is_never_a_short_success(stream: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        decoded(stream)


@pytest.mark.parametrize(
    "line", [b"data: {\n", b"data: 5\n", b'data: {"choices": "\xff"}\n', b'data: {"choices": 1}\n']
)
def test_a_frame_that_makes_no_sense_is_garbled(line: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        decoded(FIRST, line, STOP)


def test_an_error_frame_is_raised_where_it_stands() -> None:
    error = b'event: error\ndata: {"error":{"message":"over capacity","type":"server"}}\n\n'

    with pytest.raises(UpstreamUnavailable):
        decoded(FIRST, frame({"content": "x"}), error)


@pytest.mark.parametrize(
    ("reported", "seconds"),
    [(0.25, 0.25), (3, 3.0), (0, 0.0), (-1, None), (1e9, None), (None, None), ("1 s", None)],
)
def test_a_time_that_the_upstream_reports_is_taken_if_it_can_be_one(
    reported: Any, seconds: float | None
) -> None:
    usage = {"prompt_tokens": 1, "queue_time": reported, "completion_time": reported}
    decoder = Decoder()

    decoder.feed(frame({}, "stop", usage=usage))

    assert decoder.failure is None
    reported = decoder.reported
    assert (reported.queue_seconds, reported.writing_seconds) == (seconds, seconds)


def test_an_error_in_x_groq_is_raised() -> None:
    with pytest.raises(UpstreamGarbled):
        decoded(FIRST, frame({}, x_groq={"id": "req_1", "error": "stopped early"}), STOP)


def test_a_large_frame_passes_and_an_endless_one_does_not() -> None:
    text, _ = decoded(FIRST, frame({"content": "x" * 1_048_576}), STOP)
    assert len(text) == 1_048_576

    with pytest.raises(UpstreamGarbled):
        decoded(b"data: " + b"x" * CompletionBounds().max_line_bytes)


@pytest.mark.parametrize(
    ("bounds", "frames"),
    [
        ({"max_completion_bytes": 10}, frame({"content": "x" * 6}) * 2),
        ({"max_completion_bytes": 10}, frame({"reasoning": "x" * 6}) * 2),
        ({"max_completion_bytes": 10}, frame({"reasoning": "é" * 3, "content": "é" * 3})),
        ({"max_completion_bytes": 50}, call_frame((0, "a", "echo", "x" * 30)) * 2),
        ({"max_argument_bytes": 10}, call_frame((0, "a", "echo", "x" * 6)) * 2),
        ({"max_tool_calls": 2}, call_frame(*((n, f"c{n}", "echo", "{}") for n in range(3)))),
    ],
    ids=["text", "reasoning", "bytes, not characters", "all arguments", "arguments", "calls"],
)
def test_more_than_a_completion_may_bring_is_garbled_where_it_comes(
    bounds: dict[str, int], frames: bytes
) -> None:
    decoder = Decoder(CompletionBounds(**bounds))

    decoder.feed(FIRST + frames)

    assert isinstance(decoder.failure, UpstreamGarbled)


@pytest.mark.parametrize("piece_bytes", [10_000, 100, 1])
def test_text_is_shown_up_to_its_bound(piece_bytes: int) -> None:
    decoder = Decoder(CompletionBounds(max_completion_bytes=9))
    body = FIRST + frame({"content": "Grüße"}) + frame({"content": "東京"})

    texts = []
    for start in range(0, len(body), piece_bytes):
        texts.append(decoder.feed(body[start : start + piece_bytes]))

    assert "".join(texts) == "Grüße"
    assert isinstance(decoder.failure, UpstreamGarbled)


def test_events_of_endless_lines_are_bounded() -> None:
    decoder = Decoder(CompletionBounds(max_completion_bytes=1000))

    for _ in range(100):
        decoder.feed(b"data: x\n" * 1000)

    assert isinstance(decoder.failure, UpstreamGarbled)


def test_thousands_of_ids_that_are_all_alike_are_made_unique_in_linear_time() -> None:
    decoder = Decoder(CompletionBounds(max_tool_calls=20_000))
    same = call_frame(*((number, "same", "echo", "{}") for number in range(20_000)))

    decoder.feed(FIRST + same + frame({}, "tool_calls"))

    ids = [delta.id for delta in decoder.end() if isinstance(delta, ToolCall)]
    assert len(set(ids)) == 20_000
    assert max(map(len, ids)) < 20


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
        ("", "other"),
        ("function_call", "tool_calls"),
        ("max_tokens", "length"),
        ("moderated", "other"),
    ],
)
def test_the_finish_says_why_in_our_words(reason: str, meant: str) -> None:
    _, rest = decoded(FIRST, frame({"content": "x"}), frame({}, reason))

    assert isinstance(rest[-1], Finish)
    assert rest[-1].reason == meant


def test_what_comes_behind_the_finish_is_not_waited_for_and_breaks_nothing() -> None:
    decoder = Decoder()
    decoder.feed(FIRST + frame({"content": "x"}) + STOP)

    decoder.feed(b"data: {" + b"x" * CompletionBounds().max_line_bytes)

    assert decoder.is_finished
    assert decoder.is_done
    assert decoder.failure is None


def test_a_last_frame_without_its_blank_line_counts() -> None:
    text, rest = decoded(FIRST, frame({"content": "x"}), STOP.rstrip(b"\n") + b"\n")

    assert (text, len(rest)) == ("x", 1)


@pytest.mark.parametrize(
    "tail",
    [STOP.rstrip(), STOP + DONE.rstrip(), frame({"content": "y"}, "stop").rstrip()],
    ids=["finish", "done", "text"],
)
def test_a_last_line_without_its_line_end_counts(tail: bytes) -> None:
    text, rest = decoded(FIRST, frame({"content": "x"}), tail)

    assert text in ("x", "xy")
    assert ("y" in text) == (b'"y"' in tail)
    assert len(rest) == 1


def test_a_nul_never_gets_through() -> None:
    text, _ = decoded(FIRST, frame({"content": "a\x00b"}), STOP)

    assert text == "a\N{REPLACEMENT CHARACTER}b"


GOOD = b"".join(
    [
        FIRST,
        frame({"content": "Grüße, 東京 "}),
        frame({"content": "🚗"}),
        call_frame((0, "a", "echo", '{"word":"ü"}')),
        frame({}, "tool_calls", usage=USAGE),
        DONE,
    ]
)


@given(st.lists(st.integers(0, len(GOOD)), max_size=12))
def test_however_a_good_stream_is_split_it_means_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(GOOD)]
    parts = [GOOD[start:end] for start, end in pairwise(edges)]

    assert decoded(*parts) == decoded(GOOD)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_are_an_error_of_ours(parts: list[bytes]) -> None:
    with pytest.raises(UpstreamError):
        decoded(*parts)


@given(st.lists(st.sampled_from([FIRST, b"data: ", b"{", b'{"choices":[{"delta":null}]}', b"\n"])))
def test_bytes_that_look_like_frames_are_an_error_of_ours(parts: list[bytes]) -> None:
    with pytest.raises(UpstreamError):
        decoded(*parts)
