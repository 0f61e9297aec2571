"""Every fault, in raw bytes and as the SDK sees it."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import groq as sdk
import httpx
import pytest
from groq import AsyncGroq

from infrastructure.groq_standin import Standin
from infrastructure.groq_standin.faults import AnyFault, Raw
from infrastructure.groq_standin.script import decode
from tests.waiting import at_once, within_limit

from .raw import MODEL, Answer, ask, body, connect, read, request, user

TEXT = "one two three four"


@dataclass
class Refused:
    """A fault that is answered with an error status."""

    fault: dict[str, Any]
    status: int
    code: str | None
    more: Callable[[Answer], bool] = lambda _answer: True


REFUSED = [
    Refused({"kind": "status"}, 500, None),
    Refused({"kind": "status", "status": 503, "code": "over_capacity"}, 503, "over_capacity"),
    Refused(
        {"kind": "rate_limit"}, 429, "rate_limit_exceeded",
        lambda answer: answer.headers["retry-after"] == "35"
        and "Please try again in 34.1475s." in answer.json["error"]["message"]
        and answer.headers["x-ratelimit-remaining-tokens"] == "0"
        and answer.headers["x-ratelimit-reset-tokens"] == "34.1475s"
        and answer.json["error"]["type"] == "tokens",
    ),
    Refused(
        {"kind": "rate_limit", "type": "requests", "wait": "29m0s", "retry_after": None,
         "x_should_retry": False},
        429, "rate_limit_exceeded",
        lambda answer: answer.headers["x-should-retry"] == "false"
        and "retry-after" not in answer.headers
        and answer.headers["x-ratelimit-reset-requests"] == "29m0s",
    ),
    Refused(
        {"kind": "too_large_413"}, 413, "rate_limit_exceeded",
        lambda answer: answer.headers["retry-after"] == "12",
    ),
    Refused({"kind": "model_not_found"}, 404, "model_not_found"),
    Refused({"kind": "model_decommissioned"}, 400, "model_decommissioned"),
    Refused({"kind": "model_permission_blocked"}, 403, "model_permission_blocked_project"),
    Refused(
        {"kind": "model_permission_blocked", "level": "org"}, 403, "model_permission_blocked_org",
    ),
    Refused({"kind": "model_terms_required"}, 400, "model_terms_required"),
    Refused(
        {"kind": "capacity_exceeded_498"}, 498, "capacity_exceeded",
        lambda answer: "retry-after" not in answer.headers,
    ),
    Refused(
        {"kind": "capacity_exceeded_498", "retry_after": "2"}, 498, "capacity_exceeded",
        lambda answer: answer.headers["retry-after"] == "2",
    ),
    Refused(
        {"kind": "output_parse_failed", "failed_generation": "<|call|>"},
        400, "output_parse_failed",
        lambda answer: answer.json["error"]["failed_generation"] == "<|call|>",
    ),
    Refused({"kind": "invalid_api_key"}, 401, "invalid_api_key"),
    Refused({"kind": "json_validate_failed", "failed_generation": "{"}, 400,
            "json_validate_failed"),
    Refused(
        {"kind": "context_overflow"}, 400, None,
        lambda answer: answer.json["error"]["param"] == "messages",
    ),
    Refused(
        {"kind": "tool_use_failed", "failed_generation": '<function=f>{"a":1}</function>'},
        400, "tool_use_failed",
        lambda answer: answer.json["error"]["failed_generation"]
        == '<function=f>{"a":1}</function>',
    ),
]  # fmt: skip


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: json.dumps(refused.fault))
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_is_a_status_and_an_error(
    standin: Standin, refused: Refused, stream: bool
) -> None:
    standin.script({"text": TEXT, "fault": refused.fault})

    answer = await ask(standin.url, stream=stream)

    assert answer.status == refused.status
    assert answer.json["error"].get("code") == refused.code
    assert answer.json["error"]["message"]
    assert refused.more(answer)
    assert standin.stats.failed == 1


async def test_a_proxy_may_answer_with_a_page(standin: Standin) -> None:
    standin.script({"fault": {"kind": "html_200"}})
    standin.script({"fault": {"kind": "status", "status": 502, "html": True}})
    standin.script(
        {"fault": {"kind": "status", "status": 500, "body": "oops", "headers": {"via": "x"}}}
    )

    answers = [await ask(standin.url) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 502, 500]
    assert [answer.headers["content-type"][:9] for answer in answers[:2]] == ["text/html"] * 2
    assert answers[2].body == b"oops"
    assert answers[2].headers["via"] == "x"


@dataclass
class Broken:
    """A fault in the middle of a stream."""

    fault: dict[str, Any]
    text: str
    is_terminated: bool
    ends_with: bytes


FINISHED = b"data: [DONE]\n\n"

BROKEN = [
    Broken({"kind": "reset", "after_tokens": 2}, "one two", False, b"]}\n\n"),
    Broken({"kind": "close", "after_tokens": 0}, "", True, b"}\n\n"),
    Broken({"kind": "close", "after_tokens": 2}, "one two", True, b"]}\n\n"),
    Broken({"kind": "close", "after_tokens": 2, "terminated": False}, "one two", False,
           b"]}\n\n"),
    Broken({"kind": "close", "after_tokens": 99}, TEXT, True, b"]}\n\n"),
    Broken({"kind": "no_finish_reason"}, TEXT, True, FINISHED),
    Broken({"kind": "no_finish_reason", "done": False}, TEXT, True, b"]}\n\n"),
    Broken({"kind": "x_groq_error", "after_tokens": 1}, "one", True, FINISHED),
    Broken({"kind": "empty_choices", "after_tokens": 2}, TEXT, True, FINISHED),
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: json.dumps(broken.fault))
async def test_a_stream_breaks_where_it_was_told_to(standin: Standin, broken: Broken) -> None:
    standin.script({"text": TEXT, "fault": broken.fault})

    answer = await ask(standin.url)

    assert answer.status == 200
    assert answer.text == broken.text
    assert answer.is_terminated is broken.is_terminated
    assert answer.body.endswith(broken.ends_with)


@pytest.mark.parametrize("piece_bytes", [None, 1, 7])
async def test_a_body_can_be_any_bytes_in_pieces_of_any_size(
    standin: Standin, piece_bytes: int | None
) -> None:
    body = b"\xef\xbb\xbfdata: \xff\r\n\r"
    standin.script({"fault": {"kind": "raw", "body": body, "piece_bytes": piece_bytes}})

    answer = await ask(standin.url)

    assert answer.body == body
    assert answer.is_terminated


def test_a_body_of_any_bytes_is_base64_in_json() -> None:
    pushed = decode('{"rounds": [{"fault": {"kind": "raw", "body": "/w==", "ending": "reset"}}]}')

    assert pushed.rounds[0].fault == Raw(body=b"\xff", ending="reset")


async def test_a_call_can_be_lost_after_it_was_made(standin: Standin) -> None:
    standin.script({"calls": [{"name": "f"}], "fault": {"kind": "close", "after_tokens": 1}})

    answer = await ask(standin.url)

    assert answer.chunks[-1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "f"
    assert answer.chunks[-1]["choices"][0]["finish_reason"] is None


async def test_a_tool_use_can_fail_in_the_stream(standin: Standin) -> None:
    fault = {"kind": "tool_use_failed", "after_tokens": 1, "failed_generation": '{"name":"f"}'}
    standin.script({"text": TEXT, "fault": fault})

    answer = await ask(standin.url)

    last = answer.frames[-1].split(b"\n")
    error = json.loads(last[1].removeprefix(b"data: "))["error"]
    assert last[0] == b"event: error"
    assert list(error) == ["message", "type", "code", "failed_generation", "status_code"]
    assert error["failed_generation"] == '{"name":"f"}'
    assert b"[DONE]" not in answer.body
    assert b'"finish_reason":"' not in answer.body


async def test_half_a_frame_can_be_the_last(standin: Standin) -> None:
    standin.script({"text": TEXT, "fault": {"kind": "cut_json", "after_tokens": 1}})

    answer = await ask(standin.url)

    assert answer.text == "one"
    assert not answer.body.endswith(b"\n")
    assert answer.is_terminated


@pytest.mark.parametrize(
    ("frame", "ending"), [("finish", b"}}"), ("done", b"data: [DONE]")], ids=["finish", "done"]
)
async def test_the_last_frame_can_lack_its_blank_line(
    standin: Standin, frame: str, ending: bytes
) -> None:
    fault = {"kind": "last_frame_unterminated", "frame": frame}
    standin.script({"text": TEXT, "fault": fault})

    answer = await ask(standin.url)

    assert answer.body.endswith(ending)
    assert (b"[DONE]" in answer.body) is (frame == "done")


async def test_a_frame_can_be_no_utf8_no_json_or_huge(standin: Standin) -> None:
    for kind in ("invalid_utf8", "bad_json", "huge_frame"):
        standin.script({"text": TEXT, "fault": {"kind": kind, "after_tokens": 1}})

    not_utf8, not_json, huge = [await ask(standin.url) for _ in range(3)]

    with pytest.raises(UnicodeDecodeError):
        not_utf8.frames[2].decode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(not_json.frames[2].removeprefix(b"data: "))
    assert len(huge.frames[2]) > 1024 * 1024
    for answer in (not_utf8, not_json, huge):
        assert answer.body.endswith(FINISHED)


async def test_calls_can_share_an_index_and_have_null_for_arguments(standin: Standin) -> None:
    calls = [{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]
    standin.script({"calls": calls, "fault": {"kind": "duplicate_tool_index"}})
    standin.script({"calls": calls, "fault": {"kind": "null_arguments"}})

    shared, null = [await ask(standin.url) for _ in range(2)]

    def made(answer: Answer) -> list[dict[str, Any]]:
        return [one["choices"][0]["delta"]["tool_calls"][0] for one in answer.chunks[1:-1]]

    assert [call["index"] for call in made(shared)] == [0, 0]
    assert [call["function"]["arguments"] for call in made(null)] == ["null", "null"]


@pytest.mark.parametrize(("text", "read_text"), [("ab é cd", "ab é cd"), ("ab", "ab 🏁")])
async def test_a_character_of_several_bytes_can_come_in_two_writes(
    standin: Standin, text: str, read_text: str
) -> None:
    fault = {"kind": "split_multibyte", "seconds": 0.1}
    standin.script({"text": text, "fault": fault}, times=None)

    reads = [b""]
    # If the reader does not run between two writes, it gets both at once. So retry a few times.
    for _ in range(20):
        reads = await _reads(standin.url)
        if not _is_text(reads[0]):
            break

    assert not _is_text(reads[0])
    whole = b"".join(reads).decode()
    assert all(f'"content":"{token}"' in whole for token in (read_text[:2], read_text[2:4]))


async def _reads(url: str) -> list[bytes]:
    """An answer in two parts: up to shortly after its first text, and the rest."""
    reader, writer = await connect(url)
    try:
        writer.write(request(body()))
        start = await reader.readuntil(b"ab")
        await asyncio.sleep(0.05)
        start += await reader.read(100_000)
        end = b"0\r\n\r\n"
        rest = b"" if start.endswith(end) else await within_limit(reader.readuntil(end))
        return [start, rest]
    finally:
        writer.close()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


async def test_silence_can_last_for_a_while_or_for_ever(standin: Standin) -> None:
    standin.script({"text": TEXT, "fault": {"kind": "silence", "seconds": 0.1}})
    standin.script({"text": TEXT, "fault": {"kind": "silence"}})

    began = time.monotonic()
    answer = await at_once(ask(standin.url), seconds=1)
    waited = time.monotonic() - began
    reader, writer = await connect(standin.url)
    writer.write(request(body()))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    writer.close()

    assert answer.text == TEXT
    assert waited > 0.09
    await standin.stats.until(lambda stats: stats.closed_before_first_byte == 1)


async def test_a_stream_can_stall_for_a_while_or_for_ever(standin: Standin) -> None:
    standin.script({"text": TEXT, "fault": {"kind": "stall", "after_tokens": 2, "seconds": 0.1}})
    standin.script({"text": TEXT, "fault": {"kind": "stall", "after_tokens": 2}})

    began = time.monotonic()
    answer = await at_once(ask(standin.url), seconds=1)
    waited = time.monotonic() - began
    reader, writer = await connect(standin.url)
    writer.write(request(body()))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(reader), 0.2)
    writer.close()

    assert answer.text == TEXT
    assert waited > 0.09
    await standin.stats.until(lambda stats: stats.closed_in_mid_stream == 1)


@pytest.mark.parametrize(
    ("kind", "seen"), [("reset", ConnectionResetError), ("close", asyncio.IncompleteReadError)]
)
async def test_a_connection_can_end_before_the_first_byte(
    standin: Standin, kind: str, seen: type[Exception]
) -> None:
    standin.script({"text": TEXT, "fault": {"kind": kind}})

    with pytest.raises(seen):
        await ask(standin.url)

    assert standin.stats.failed == 1


async def test_a_fault_can_be_over_after_some_times(standin: Standin) -> None:
    standin.script({"text": TEXT, "fault": {"kind": "status", "times": 2}})
    written = '{"rounds": [{"text": "ok", "fault": {"kind": "status", "times": 1}}], "key": "k"}'
    query = user(f"[[script {written}]]")

    pushed = [(await ask(standin.url)).status for _ in range(3)]
    in_query = [(await ask(standin.url, query)).status for _ in range(3)]

    assert pushed == [500, 500, 200]
    assert in_query == [500, 200, 200]


async def test_a_fault_can_be_only_for_one_model(standin: Standin) -> None:
    standin.script({"text": TEXT, "fault": {"kind": "status", "model": MODEL}}, times=None)

    failing = await ask(standin.url, model=MODEL)
    healthy = await ask(standin.url, model="openai/gpt-oss-120b")

    assert (failing.status, healthy.status) == (500, 200)


async def test_what_breaks_a_stream_needs_one(standin: Standin) -> None:
    standin.script({"text": TEXT, "fault": {"kind": "stall"}})

    answer = await ask(standin.url, stream=False)

    assert answer.status == 400
    assert answer.json["error"]["code"] == "invalid_script"


# How the SDK reports each fault, in the order of the stand-in's table.


async def consume(client: AsyncGroq) -> list[Any]:
    stream = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    # If the iteration raises, the connection stays open without this.
    async with stream:
        return [chunk async for chunk in stream]


SDK_RAISES: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"kind": "tool_use_failed"}, sdk.BadRequestError),
    ({"kind": "tool_use_failed", "after_tokens": 1}, sdk.APIError),
    ({"kind": "tool_use_failed", "after_tokens": 1, "error_is_string": True}, sdk.APIError),
    ({"kind": "output_parse_failed"}, sdk.BadRequestError),
    ({"kind": "output_parse_failed", "after_tokens": 1}, sdk.APIError),
    ({"kind": "model_permission_blocked"}, sdk.PermissionDeniedError),
    ({"kind": "capacity_exceeded_498"}, sdk.APIStatusError),
    ({"kind": "rate_limit"}, sdk.RateLimitError),
    ({"kind": "too_large_413"}, sdk.APIStatusError),
    ({"kind": "invalid_api_key"}, sdk.AuthenticationError),
    ({"kind": "model_not_found"}, sdk.NotFoundError),
    ({"kind": "model_decommissioned"}, sdk.BadRequestError),
    ({"kind": "json_validate_failed"}, sdk.BadRequestError),
    ({"kind": "context_overflow"}, sdk.BadRequestError),
    ({"kind": "status", "status": 503}, sdk.InternalServerError),
    ({"kind": "bad_json"}, json.JSONDecodeError),
    ({"kind": "invalid_utf8"}, UnicodeDecodeError),
    ({"kind": "reset", "after_tokens": 1}, httpx.HTTPError),
    ({"kind": "close", "after_tokens": 1, "terminated": False}, httpx.HTTPError),
    ({"kind": "reset"}, sdk.APIConnectionError),
    ({"kind": "close"}, sdk.APIConnectionError),
]


@pytest.mark.parametrize(
    ("fault", "raised"), SDK_RAISES, ids=[json.dumps(fault) for fault, _ in SDK_RAISES]
)
async def test_the_sdk_raises(
    standin: Standin, groq: AsyncGroq, fault: dict[str, Any], raised: type[Exception]
) -> None:
    standin.script({"text": TEXT, "fault": fault})

    with pytest.raises(raised):
        await consume(groq)


SDK_SILENT: list[tuple[dict[str, Any], str]] = [
    ({"kind": "close", "after_tokens": 2}, "one two"),
    ({"kind": "last_frame_unterminated"}, TEXT),
    ({"kind": "html_200"}, ""),
    ({"kind": "no_finish_reason"}, TEXT),
    ({"kind": "x_groq_error", "after_tokens": 2}, "one two"),
]


@pytest.mark.parametrize(
    ("fault", "text"), SDK_SILENT, ids=[json.dumps(fault) for fault, _ in SDK_SILENT]
)
async def test_the_sdk_takes_it_for_a_success(
    standin: Standin, groq: AsyncGroq, fault: dict[str, Any], text: str
) -> None:
    standin.script({"text": TEXT, "fault": fault})

    chunks = await consume(groq)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert not any(chunk.choices[0].finish_reason for chunk in chunks)


def test_every_kind_of_fault_is_tried_here() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")
    kinds = [fault.__struct_config__.tag for fault in get_args(AnyFault)]

    assert [kind for kind in kinds if f'"{kind}"' not in tried] == []
