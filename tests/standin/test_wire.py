"""The stand-in's answers, byte for byte."""

import json
import re
from typing import Any

import pytest

from infrastructure.groq_standin import Standin
from tests.waiting import within_limit

from .raw import MODEL, ask, body, connect, exchange, read, request, user

GPT_OSS = "openai/gpt-oss-120b"

NUMBER = r"[0-9.e-]+"
USAGE = (
    rf'\{{"queue_time":{NUMBER},"prompt_tokens":\d+,"prompt_time":{NUMBER},'
    rf'"completion_tokens":\d+,"completion_time":{NUMBER},"total_tokens":\d+,'
    rf'"total_time":{NUMBER}\}}'
)


def chunk(rest: str, *, model: str = MODEL) -> str:
    """A pattern that matches one frame."""
    return (
        r'data: \{"id":"chatcmpl-[0-9a-f-]{36}","object":"chat\.completion\.chunk",'
        rf'"created":\d+,"model":"groq-standin/{model}",'
        rf'"system_fingerprint":"fp_[0-9a-f]{{10}}",{rest}\}}\n\n'
    )


def choice(delta: str, *, reason: str = "null") -> str:
    delta = re.escape(delta) if "[" not in delta else delta
    return (
        rf'"choices":\[\{{"index":0,"delta":{delta},"logprobs":null,'
        rf'"finish_reason":{reason}\}}\]'
    )


FIRST = r',"x_groq":\{"id":"req_01[0-9a-z]{24}","seed":\d+\}'
LAST = rf',"x_groq":\{{"id":"req_01[0-9a-z]{{24}}","usage":{USAGE}\}},"usage":{USAGE}'
DONE = r"data: \[DONE\]\n\n"


async def test_a_text_comes_one_token_a_chunk_between_its_role_and_its_usage(
    standin: Standin,
) -> None:
    standin.script({"text": "The Apex <GT> waits."})

    answer = await ask(standin.url)

    expected = [
        chunk(choice('{"role":"assistant","content":""}') + FIRST),
        chunk(choice('{"content":"The"}')),
        chunk(choice('{"content":" Apex"}')),
        chunk(choice('{"content":" \\u003c"}')),
        chunk(choice('{"content":"GT"}')),
        chunk(choice('{"content":"\\u003e"}')),
        chunk(choice('{"content":" waits"}')),
        chunk(choice('{"content":"."}')),
        chunk(choice("{}", reason='"stop"') + LAST),
        DONE,
    ]
    assert re.fullmatch("".join(expected), answer.body.decode())
    assert len({piece["id"] for piece in answer.chunks}) == 1


async def test_tool_calls_come_whole_one_a_chunk_with_their_index(standin: Standin) -> None:
    calls = [
        {"name": "get_weather", "arguments": {"city": "Paris"}},
        {"name": "get_weather", "arguments": '{"city": "Tokyo"}'},
    ]
    standin.script({"calls": calls})

    answer = await ask(standin.url)

    def call(index: int, arguments: str) -> str:
        return (
            r'\{"tool_calls":\[\{"id":"[0-9a-z]{9}","type":"function","function":'
            rf'\{{"name":"get_weather","arguments":"{re.escape(arguments)}"\}},'
            rf'"index":{index}\}}\]\}}'
        )

    expected = [
        chunk(choice('{"role":"assistant","content":null}') + FIRST),
        chunk(choice(call(0, r"{\"city\":\"Paris\"}"))),
        chunk(choice(call(1, r"{\"city\": \"Tokyo\"}"))),
        chunk(choice("{}", reason='"tool_calls"') + LAST),
        DONE,
    ]
    assert re.fullmatch("".join(expected), answer.body.decode())


@pytest.mark.parametrize(
    ("model", "delta"),
    [
        (GPT_OSS, {"reasoning": "Hm", "channel": "analysis"}),
        ("qwen/qwen3-32b", {"reasoning": "Hm"}),
    ],
)
async def test_reasoning_comes_before_the_text(
    standin: Standin, model: str, delta: dict[str, Any]
) -> None:
    standin.script({"reasoning": "Hm", "text": "Yes"})

    answer = await ask(standin.url, model=model)

    deltas = [piece["choices"][0]["delta"] for piece in answer.chunks]
    assert deltas == [{"role": "assistant", "content": ""}, delta, {"content": "Yes"}, {}]
    assert answer.chunks[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}


async def test_gpt_oss_names_its_calls_fc_and_a_uuid(standin: Standin) -> None:
    standin.script({"calls": [{"name": "get_weather"}]})

    answer = await ask(standin.url, model=GPT_OSS)

    (call,) = answer.chunks[1]["choices"][0]["delta"]["tool_calls"]
    assert re.fullmatch(r"fc_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", call["id"])
    assert call["function"]["arguments"] == "{}"


async def test_usage_comes_once_more_without_choices_when_asked_for(standin: Standin) -> None:
    standin.script({"text": "Yes", "usage": {"prompt_tokens": 7}})

    answer = await ask(standin.url, stream_options={"include_usage": True})

    assert answer.chunks[-1]["choices"] == []
    assert answer.chunks[-1]["usage"] == answer.chunks[-2]["usage"]
    assert answer.chunks[-1]["usage"]["prompt_tokens"] == 7


async def test_arguments_can_be_split_as_other_servers_do(standin: Standin) -> None:
    call = {"name": "get_weather", "arguments": {"city": "Paris"}, "id": "c1"}
    standin.script({"calls": [call], "split_arguments_into": 3})

    answer = await ask(standin.url)

    pieces = [piece["choices"][0]["delta"]["tool_calls"][0] for piece in answer.chunks[1:-1]]
    assert len(pieces) == 3
    assert [piece.get("id") for piece in pieces] == ["c1", None, None]
    assert "".join(one["function"]["arguments"] for one in pieces) == '{"city":"Paris"}'


async def test_a_stream_has_the_headers_of_groq(standin: Standin) -> None:
    standin.script({"text": "Yes", "headers": {"x-ratelimit-remaining-tokens": "12", "vary": None}})

    answer = await ask(standin.url)

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-request-id"] == answer.chunks[0]["x_groq"]["id"]
    assert answer.headers["x-ratelimit-remaining-tokens"] == "12"
    assert answer.headers["x-ratelimit-reset-requests"] == "172.8ms"
    assert "x-groq-region" in answer.headers
    assert "vary" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "named"),
    [("groq-standin", "groq-standin"), (MODEL, f"groq-standin/{MODEL}")],
)
async def test_no_completion_can_be_taken_for_one_of_a_model(
    standin: Standin, asked: str, named: str
) -> None:
    answer = await ask(standin.url, model=asked)

    assert {piece["model"] for piece in answer.chunks} == {named}


async def test_without_a_stream_the_completion_is_one_body(standin: Standin) -> None:
    standin.script({"text": "Yes", "reasoning": "Hm", "calls": [{"name": "get_weather"}]})

    answer = await ask(standin.url, stream=False)

    (only,) = answer.json["choices"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["object"] == "chat.completion"
    assert only["message"]["content"] == "Yes"
    assert only["message"]["reasoning"] == "Hm"
    (call,) = only["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": "{}"}
    assert only["finish_reason"] == "tool_calls"
    assert answer.json["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("key", [None, "invalid"])
async def test_a_missing_or_invalid_key_is_refused(standin: Standin, key: str | None) -> None:
    (answer,) = await exchange(standin.url, request(body(), key=key))

    assert answer.status == 401
    assert answer.json["error"]["code"] == "invalid_api_key"
    assert answer.headers["x-request-id"].startswith("req_")


async def test_an_unknown_address_is_a_404_in_the_shape_of_groq(standin: Standin) -> None:
    (answer,) = await exchange(standin.url, request(method="GET", path="/v1/chat"))

    assert answer.status == 404
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["error"]["code"] == "unknown_url"


@pytest.mark.parametrize(
    "data",
    [b"{", b"\xff", b"[]", b'{"model":"m","messages":[{"role":"cat"}]}', b'{"a":' + b"[" * 99_999],
    ids=["cut", "not utf-8", "a list", "a role", "deep"],
)
async def test_a_body_that_is_no_request_is_a_400(standin: Standin, data: bytes) -> None:
    (answer,) = await exchange(standin.url, request(data))

    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert (standin.stats.failed, standin.stats.open_streams) == (1, 0)


async def test_models_are_listed(standin: Standin) -> None:
    (answer,) = await exchange(standin.url, request(method="GET", path="/openai/v1/models"))

    assert answer.json["object"] == "list"
    assert {"groq-standin", MODEL, GPT_OSS} <= {model["id"] for model in answer.json["data"]}


async def test_a_connection_is_kept_and_pipelined_requests_are_answered_in_order(
    standin: Standin,
) -> None:
    for text in ("one", "two", "three"):
        standin.script({"text": text, "first_token_after": 0.01})

    answers = await exchange(standin.url, *[request(body())] * 3)

    assert [answer.text for answer in answers] == ["one", "two", "three"]
    assert standin.stats.connections == 1


async def test_a_body_of_megabytes_is_read(standin: Standin) -> None:
    long = user("x" * 5_000_000)

    answer = await ask(standin.url, long)

    assert answer.status == 200
    assert answer.chunks[-1]["usage"]["prompt_tokens"] > 1_000_000


async def test_a_client_that_expects_100_continue_gets_it(standin: Standin) -> None:
    reader, writer = await connect(standin.url)
    head, _, data = request(body()).partition(b"\r\n\r\n")

    writer.write(head + b"\r\nexpect: 100-continue\r\n\r\n")
    allowed = await within_limit(reader.readuntil(b"\r\n\r\n"))
    writer.write(data)
    answer = await within_limit(read(reader))
    writer.close()

    assert allowed == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.status == 200


async def test_what_is_not_http_is_refused(standin: Standin) -> None:
    reader, writer = await connect(standin.url)

    writer.write(b"\x16\x03\x01 not http\r\n\r\n")
    answer = await within_limit(reader.read())
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400 Bad Request")


def test_the_json_of_the_wire_is_plain_json() -> None:
    from infrastructure.groq_standin.encoding import encode

    value = {"text": "a <b> & 'c' é 🏁", "n": [1, 2.5, None]}

    assert json.loads(encode(value)) == value
