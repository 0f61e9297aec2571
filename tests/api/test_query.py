"""`POST /query`: the stream, and the refusals before it."""

import asyncio
import json

import pytest

from backend.tools import TOOLS
from tests.scraping import scrape
from tests.serving import Lex, lex, outcome_of, parse, text_of, without_outcome
from tests.waiting import waiting

WEATHER = "What is the weather in New York?"


async def test_a_plain_call_gets_exactly_the_promised_bytes(service: Lex) -> None:
    call = {"name": "get_weather", "arguments": {"city": "New York"}, "id": "call_1"}
    service.standin.script(
        {"calls": [call], "usage": {"prompt_tokens": 1000, "completion_tokens": 15}},
        {"text": "Sunny.", "usage": {"prompt_tokens": 1100, "completion_tokens": 5}},
    )

    answer = await service.client.post("/query", json={"query": WEATHER, "session_id": "s1"})

    assert answer.content.decode() == (
        "event: tool_use\n"
        "data: get_weather\n"
        "\n"
        "event: tool_call\n"
        'data: {"id": "call_1", "name": "get_weather", "arguments": {"city": "New York"}}\n'
        "\n"
        "event: tool_output\n"
        'data: {"name": "get_weather", "output": {"temperature": "34°C", "conditions": "Sunny", '
        '"city": "New York", "source": "sample"}, "id": "call_1"}\n'
        "\n"
        "event: chunk\n"
        "data: Sunny.\n"
        "\n"
        "event: outcome\n"
        'data: {"outcome": "completed", "finish_reason": "stop", '
        '"model": "groq-standin/llama-3.3-70b-versatile", "rounds": 2, '
        '"usage": {"prompt_tokens": 2100, "completion_tokens": 20, "total_tokens": 2120}}\n'
        "\n"
        "event: end\n"
        "data: \n"
        "\n"
    )


async def test_a_stream_says_whose_it_is_and_is_not_kept_by_anybody(service: Lex) -> None:
    answer = await service.client.post(
        "/query",
        json={"query": "Hello", "session_id": "s1"},
        headers={"Origin": "http://localhost:3000", "X-Request-Id": "mine-1"},
    )

    headers = answer.headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-session-id"] == "s1"
    assert len(headers["x-turn-id"]) == 16
    assert headers["x-request-id"] == "mine-1"
    exposed = headers["access-control-expose-headers"]
    assert {"X-Session-Id", "X-Turn-Id", "X-Request-Id"} <= set(exposed.split(", "))


async def test_without_a_session_id_one_is_made_and_named(service: Lex) -> None:
    answer = await service.client.post("/query", json={"query": "Hello"})

    session_id = answer.headers["x-session-id"]
    assert (await service.client.get(f"/sessions/{session_id}")).json()["turns"] == 1


async def test_text_with_line_breaks_arrives_as_it_was_said(service: Lex) -> None:
    text = "One:\n\n- two\n- three\n\ndata: not a frame\n\nevent: end\n"
    service.standin.script({"text": text})

    events = await service.ask("List")

    assert text_of(events) == text
    assert [event for event, _ in events].count("end") == 1


async def test_two_tools_at_once(service: Lex) -> None:
    events = await service.ask("What is the weather in Paris and in Tokyo?")

    names = [event for event, _ in events]
    assert names[:6] == ["tool_use", "tool_call"] * 2 + ["tool_output"] * 2
    cities = {
        json.loads(data)["output"]["city"] for event, data in events if event == "tool_output"
    }
    assert cities == {"Paris", "Tokyo"}
    assert "Paris" in text_of(events)
    assert "Tokyo" in text_of(events)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "  \n"}, "query"),
        ({"query": "a\x00b"}, "query"),
        ({"query": "\ud800"}, "query"),
        ({"query": 7}, "query"),
        ({"query": None}, "query"),
        ({"query": ["Hi"]}, "query"),
        ({"query": "x" * 101}, "query"),
        ({"query": "Hi", "session_id": ""}, "session_id"),
        ({"query": "Hi", "session_id": ".."}, "session_id"),
        ({"query": "Hi", "session_id": "-s"}, "session_id"),
        ({"query": "Hi", "session_id": "a b"}, "session_id"),
        ({"query": "Hi", "session_id": "a\n"}, "session_id"),
        ({"query": "Hi", "session_id": "x" * 129}, "session_id"),
        ({"query": "Hi", "session_id": 5}, "session_id"),
        (["query"], "body"),
        ("query", "body"),
    ],
)
async def test_a_body_that_cannot_be_used_is_refused_by_field(
    service: Lex, body: object, field: str
) -> None:
    answer = await service.client.post(
        "/query", content=json.dumps(body), headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid_field"
    assert [error["field"] for error in problem["errors"]] == [field]
    assert service.standin.stats.requests == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"query": "Hi"'])
async def test_a_body_that_is_not_json_is_refused(service: Lex, content: bytes) -> None:
    answer = await service.client.post(
        "/query", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert service.standin.stats.requests == 0


@pytest.mark.parametrize("session_id", ["a", "A.b:c_d-9", "x" * 128])
async def test_the_widest_session_ids_are_taken(service: Lex, session_id: str) -> None:
    events = await service.ask("Hello", session_id=session_id)

    assert events[-1] == ("end", "")


async def test_a_body_that_is_too_large_is_refused(service: Lex) -> None:
    answer = await service.client.post("/query", json={"query": "x" * 5000})

    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


async def test_a_body_that_turns_out_too_large_is_refused_while_it_is_read(service: Lex) -> None:
    async def endless() -> None:
        reader, writer = await asyncio.open_connection(*service.url[7:].split(":"))
        writer.write(
            b"POST /query HTTP/1.1\r\nhost: lex\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        writer.write((b"400\r\n" + b"x" * 1024 + b"\r\n") * 5)
        await writer.drain()
        status = await reader.readline()
        writer.close()
        assert b"413" in status

    async with waiting():
        await endless()
    assert service.standin.stats.requests == 0


async def test_a_second_turn_on_a_busy_session_is_refused_and_the_first_unharmed(
    service: Lex,
) -> None:
    service.standin.script({"text": "One two three", "tokens_per_second": 10})
    body = {"query": "Count", "session_id": "s1"}

    async with service.client.stream("POST", "/query", json=body) as first:
        refused = await service.client.post("/query", json=body)
        events = parse((await first.aread()).decode())

    assert refused.status_code == 409
    assert refused.json()["code"] == "session_busy"
    assert text_of(events) == "One two three"
    assert events[-1] == ("end", "")


async def test_beyond_its_slots_the_service_says_when_to_come_back() -> None:
    async with lex(max_streams=1) as service:
        service.standin.script({"text": "One two", "tokens_per_second": 5})
        async with service.client.stream("POST", "/query", json={"query": "Count"}):
            refused = await service.client.post("/query", json={"query": "Me too"})

    assert refused.status_code == 503
    assert refused.json()["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) > 0


async def test_an_upstream_that_fails_is_an_error_event_and_an_end(service: Lex) -> None:
    service.standin.script({"fault": {"kind": "status", "status": 500}}, times=None)

    events = await service.ask("Hello")

    assert [event for event, _ in without_outcome(events)] == ["error", "end"]
    assert outcome_of(events) == {
        "outcome": "failed",
        "finish_reason": None,
        "model": None,
        "rounds": 1,
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    error = json.loads(events[0][1])
    assert error["code"] == "upstream_unavailable"
    assert error["retryable"] is True
    assert service.standin.stats.requests == 9, "each of three models was asked three times"


async def test_a_tool_call_that_makes_no_sense_is_told_to_the_model(service: Lex) -> None:
    service.standin.script(
        {
            "calls": [
                {"name": "get_weather", "arguments": "{broken"},
                {"name": "dance", "arguments": {}},
                {"name": "get_weather", "arguments": {"town": "Paris"}},
            ]
        },
        {"text": "My mistake."},
    )

    events = await service.ask("Hello")

    outputs = [json.loads(data)["output"] for event, data in events if event == "tool_output"]
    assert {output["error"]["code"] for output in outputs} == {"invalid_arguments", "unknown_tool"}
    assert text_of(events) == "My mistake."


async def test_a_model_that_is_not_served_is_replaced_by_the_next_and_remembered(
    service: Lex,
) -> None:
    service.standin.script(
        {"fault": {"kind": "model_not_found"}}, model="llama-3.3-70b-versatile", times=None
    )

    events = [await service.ask("Hello"), await service.ask("Hello again")]

    assert all(without_outcome(stream)[-2][0] == "chunk" for stream in events)
    assert {outcome_of(stream)["model"] for stream in events} == {
        "groq-standin/openai/gpt-oss-120b"
    }
    models = service.standin.stats.models
    assert models == {"llama-3.3-70b-versatile": 1, "openai/gpt-oss-120b": 2}
    ready = await service.client.get("/readyz")
    first, *others = ready.json()["models"]
    assert ready.status_code == 200
    assert first.pop("asked_again_in") in range(200, 301)
    assert first == {
        "name": "llama-3.3-70b-versatile",
        "breaker": "closed",
        "reason": "model_not_found",
    }
    assert others[0] == {"name": "openai/gpt-oss-120b", "breaker": "closed"}


@pytest.mark.parametrize(
    ("fault", "reason", "is_final"),
    [
        ({"kind": "model_not_found"}, "model_not_found", False),
        (
            {"kind": "model_permission_blocked", "level": "org"},
            "model_permission_blocked_org",
            False,
        ),
        ({"kind": "model_terms_required"}, "model_terms_required", False),
        ({"kind": "model_decommissioned"}, "model_decommissioned", True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_while_no_model_is_served_turns_are_refused_and_the_pod_stays_ready(
    fault: dict[str, str], reason: str, is_final: bool
) -> None:
    async with lex(model_fallbacks="openai/gpt-oss-120b") as service:
        service.standin.script({"fault": fault}, times=None)
        first = await service.ask("Hello")

        refused = await service.client.post("/query", json={"query": "Hello"})
        ready = await service.client.get("/readyz")
        seen = await scrape(service.client)

    assert [event for event, _ in first] == ["error", "outcome", "end"]
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "upstream_unavailable"
    assert int(refused.headers["retry-after"]) in range(200, 301)
    assert service.standin.stats.models == {
        "llama-3.3-70b-versatile": 1,
        "openai/gpt-oss-120b": 1,
    }
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    for model in ready.json()["models"]:
        assert model["reason"] == reason
        assert ("asked_again_in" in model) is not is_final
        assert seen.value("lex_model_retired", gen_ai_request_model=model["name"]) == 1


async def test_the_upstream_is_sent_the_prompt_the_history_and_the_tools(service: Lex) -> None:
    await service.ask(WEATHER)
    await service.ask("Thank you")

    sent = service.standin.stats.last_requests[-1].body
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert "manhattan" in sent["messages"][0]["content"]
    assert [tool["function"]["name"] for tool in sent["tools"]] == [tool.name for tool in TOOLS]
    assert sent["stream"] is True
    assert sent["max_completion_tokens"] == 2048


@pytest.mark.parametrize("kind", ["too_large_413", "context_overflow"])
async def test_a_session_that_is_too_large_for_the_model_goes_on_without_its_oldest_turns(
    service: Lex, kind: str
) -> None:
    for number in range(4):
        service.standin.script({"text": f"Answer {number}."})
        await service.ask(f"Question {number}?")
    service.standin.script({"text": "Answer 4.", "fault": {"kind": kind, "times": 1}}, times=None)

    events = await service.ask("Question 4?")

    assert text_of(events) == "Answer 4."
    assert [event for event, _ in events if event == "error"] == []
    refused, taken = [
        [message["content"] for message in request.body["messages"]]
        for request in list(service.standin.stats.last_requests)[-2:]
    ]
    assert 1 < len(taken) < len(refused)
    assert taken == [refused[0], *refused[-len(taken) + 1 :]], "the prompt, and the newest turns"
    history = (await service.client.get("/sessions/s1/messages")).json()["messages"]
    assert len(history) == 10


async def test_heartbeats_come_while_the_upstream_is_silent() -> None:
    async with lex(heartbeat_seconds=0.1) as service:
        service.standin.script({"text": "late", "first_token_after": 0.6})

        answer = await service.client.post("/query", json={"query": "Think"})

    before, _, after = answer.text.partition("event: chunk")
    assert before.count(": \n\n") >= 3
    assert "late" in after


NESTED = '{"city": ' + "[" * 300 + "]" * 300 + "}"


@pytest.mark.parametrize("arguments", [NESTED, "[" * 50_000, '{"city": 1e999}', '{"city": NaN}'])
async def test_arguments_that_nothing_could_encode_harm_neither_stream_nor_history(
    service: Lex, arguments: str
) -> None:
    call = {"name": "get_weather", "arguments": arguments}
    service.standin.script({"calls": [call]}, {"text": "x"})

    events = await service.ask("Hello")
    history = await service.client.get("/sessions/s1/messages")
    audit = await service.client.get("/sessions/s1/events")
    again = await service.ask("And now?")

    called = json.loads(events[1][1], parse_constant=lambda _: pytest.fail("not JSON"))
    assert called["arguments"] == arguments
    assert json.loads(events[2][1])["output"]["error"]["code"] == "invalid_arguments"
    assert (history.status_code, audit.status_code) == (200, 200)
    assert again[-1] == ("end", "")


async def test_a_hundred_and_fifty_streams_start_at_once() -> None:
    async with lex() as service:
        service.standin.script({"text": "Hello", "first_token_after": 2}, times=None)

        streams = await asyncio.gather(*(service.ask("Hi", f"s{number}") for number in range(150)))

        assert service.standin.stats.peak_streams == 150
        assert {text_of(events) for events in streams} == {"Hello"}
