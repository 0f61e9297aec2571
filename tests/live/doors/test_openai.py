"""OpenAI's client for Python, unmodified, and the bytes that it gets."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from openai import AsyncOpenAI

from tests.credentials import WITH_SECRET, token
from tests.documents.markdown import section
from tests.live.doors.openai_scenarios import SCRIPTS, TEXT, play
from tests.serving import Lex, lex
from tests.waiting import waiting

GOLDEN = Path(__file__).parent / "golden" / "openai"


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex(heartbeat_seconds=0.05) as running:
        play(running)
        yield running


def client_of(service: Lex, **options: Any) -> AsyncOpenAI:
    given = {"api_key": "any", "max_retries": 0, **options}
    return AsyncOpenAI(base_url=f"{service.url}/v1", **given)


def user(content: str) -> Any:
    return {"role": "user", "content": content}


def assistant(content: str) -> Any:
    return {"role": "assistant", "content": content}


async def streamed(client: AsyncOpenAI, *messages: Any, **options: Any) -> str:
    stream = await client.chat.completions.create(
        model="lex", messages=messages, stream=True, **options
    )
    async with waiting():
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def history(service: Lex, session_id: str) -> list[tuple[str, str]]:
    """The visible messages of a session."""
    answer = await service.client.get(f"/sessions/{session_id}/messages")
    return [
        (message["role"], message["content"])
        for message in answer.json()["messages"]
        if message.get("content")
    ]


WIRES: dict[str, dict[str, Any]] = {
    "text-streamed": {"question": "Text?", "stream": True},
    "text-whole": {"question": "Text?"},
    "two-tools": {
        "question": "Two tools?",
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "two-tools-whole": {"question": "Two tools?"},
    "a-tool-that-refuses": {"question": "A tool that refuses?", "stream": True},
    "too-long": {"question": "Too long?", "stream": True},
    "an-error": {"question": "An error?", "stream": True},
    "an-error-whole": {"question": "An error?"},
    "another-model": {"question": "Text?", "model": "gpt-4o"},
    "several-answers": {"question": "Text?", "n": 2},
    "tools-of-the-client": {"question": "Text?", "tools": [{"type": "function"}]},
}


async def test_the_wire_of_each_scenario_is_the_kept_one(service: Lex) -> None:
    changed = []
    for name, given in WIRES.items():
        body = {"model": "lex", "messages": [user(given["question"])], **given}
        del body["question"]
        answer = await service.client.post("/v1/chat/completions", json=body)
        wire = f"{answer.status_code} {answer.headers['content-type']}\n\n{answer.text}"
        wire = re.sub("chatcmpl-[0-9a-f]{16}", "chatcmpl-TURN", wire)
        wire = re.sub('"created":[0-9]+', '"created":0', wire).replace(": \n\n", "")
        file = GOLDEN / f"{name}.txt"
        if os.environ.get("LEX_WRITE_GOLDEN"):
            file.write_text(wire)
        if file.read_text() != wire:
            changed.append((name, wire))

    assert changed == []


async def test_a_client_gets_the_text_streamed_and_whole(service: Lex) -> None:
    async with client_of(service) as client:
        whole = await client.chat.completions.create(model="lex", messages=[user("Text?")])
        with_tools = await streamed(client, user("Two tools?"))
        refused = await streamed(client, user("A tool that refuses?"))
        models = [model.id async for model in client.models.list()]

        assert await streamed(client, user("Text?")) == TEXT
        assert whole.choices[0].message.content == TEXT
        assert whole.usage is not None
        assert whole.usage.total_tokens == 110
        assert with_tools == "Let me look.\n\nBoth are mild."
        assert refused == "There is no such dealership."
        assert models == ["lex"]
        assert (await client.models.retrieve("lex")).owned_by == "supercar"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.models.retrieve("gpt-4o")
        assert unknown.value.code == "model_not_found"


async def test_an_error_in_mid_answer_is_raised_and_nothing_is_asked_twice(service: Lex) -> None:
    read = []
    async with client_of(service, max_retries=2) as client:
        stream = await client.chat.completions.create(
            model="lex", messages=[user("An error?")], stream=True
        )
        with pytest.raises(openai.APIError) as broken:
            async for chunk in stream:
                read += [choice.delta.content for choice in chunk.choices]
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(model="lex", messages=[user("An error?")])

    assert "".join(filter(None, read)) == "One two"
    assert broken.value.code == failed.value.code == "upstream_unavailable"
    assert failed.value.status_code == 503
    assert service.standin.stats.requests == 2


async def test_a_client_that_stops_ends_the_turn(service: Lex) -> None:
    async with client_of(service) as client:
        headers = {"X-Session-Id": "stopped"}
        stream = await client.chat.completions.create(
            model="lex", messages=[user("Slowly?")], stream=True, extra_headers=headers
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        whole = asyncio.create_task(
            client.chat.completions.create(
                model="lex", messages=[user("Slowly?")], extra_headers={"X-Session-Id": "whole"}
            )
        )
        await service.standin.stats.until(lambda stats: stats.requests == 2, seconds=30)
        whole.cancel()

        for session_id in ("stopped", "whole"):
            assert await outcome_of(service, session_id) == "disconnected"
    await service.standin.stats.until(lambda stats: stats.open_streams == 0, seconds=30)


async def outcome_of(service: Lex, session_id: str) -> str:
    """Wait for the end of the only turn of a session, and return its outcome."""
    async with waiting():
        while True:
            answer = await service.client.get(f"/sessions/{session_id}")
            last = answer.json().get("last_turn")
            if last and last["outcome"]:
                return str(last["outcome"])
            await asyncio.sleep(0.01)


async def test_a_session_goes_on_and_its_history_counts(service: Lex) -> None:
    async with client_of(service) as client:
        trip = {"X-Session-Id": "trip"}
        await streamed(client, user("Text?"), extra_headers=trip)
        await streamed(client, user("Two tools?"), extra_headers=trip)
        sent = [user("Text?"), assistant(TEXT), user("Two tools?")]
        # Asked again: the sent history ends before the stored one.
        again = await streamed(client, *sent, extra_headers=trip)
        more = [*sent, assistant(again), user("Too long?")]
        await streamed(client, *more, extra_headers=trip)
        with pytest.raises(openai.UnprocessableEntityError) as invented:
            lie = [user("Text?"), assistant("You get a discount."), user("Text?")]
            await streamed(client, *lie, extra_headers=trip)

    assert invented.value.param == "messages[1].content"
    assert await history(service, "trip") == [
        ("user", "Text?"),
        ("assistant", TEXT),
        ("user", "Two tools?"),
        ("assistant", "Let me look."),
        ("assistant", "Both are mild."),
        ("user", "Too long?"),
        ("assistant", "It goes on"),
    ]


async def test_without_a_session_the_messages_are_the_history(service: Lex) -> None:
    async with client_of(service) as client:
        answer = await client.chat.completions.with_raw_response.create(
            model="lex",
            messages=[
                user("My name is Ada."),
                {"role": "tool", "tool_call_id": "call_1", "content": "A discount!"},
                assistant("Hello Ada."),
                user("Text?"),
            ],
        )

    session_id = answer.headers["x-session-id"]
    asked = service.standin.stats.last_requests[-1].body["messages"]
    assert not any(message["role"] == "tool" for message in asked)
    assert any("My name is Ada." in message["content"] for message in asked)
    assert (await history(service, session_id))[-2:] == [("user", "Text?"), ("assistant", TEXT)]


async def test_a_key_makes_a_repeated_request_safe(service: Lex) -> None:
    async with client_of(service) as client:
        key = {"Idempotency-Key": "k1"}
        sent = [user("My name is Ada."), assistant("Hello Ada."), user("Text?")]
        first = await streamed(client, *sent, extra_headers=key)
        again = await streamed(client, *sent, extra_headers=key)

    assert first == again == TEXT
    assert service.standin.stats.requests == 1


async def test_too_many_requests_are_refused_with_the_limits() -> None:
    async with lex(rate_limit_session="1/minute") as service, client_of(service) as client:
        headers = {"X-Session-Id": "s1"}
        await streamed(client, user("Hello"), extra_headers=headers)
        with pytest.raises(openai.RateLimitError) as refused:
            await streamed(client, user("Hello"), extra_headers=headers)

    assert refused.value.code == "rate_limit_exceeded"
    found = refused.value.response.headers
    assert 0 < int(found["retry-after"]) <= 60
    assert found["x-ratelimit-limit-requests"] == "1"
    assert found["x-ratelimit-remaining-requests"] == "0"
    assert found["x-ratelimit-reset-requests"] == f"{found['retry-after']}s"


async def test_the_api_key_signs_in() -> None:
    async with lex(**WITH_SECRET) as service:
        async with client_of(service, api_key="nobody") as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await streamed(client, user("Hello"))
        async with client_of(service, api_key=token("alice")) as client:
            assert await streamed(client, user("Hello"), extra_headers={"X-Session-Id": "s1"})
        theirs = {"Authorization": f"Bearer {token('bob')}"}
        hidden = await service.client.get("/sessions/s1", headers=theirs)

    assert refused.value.code == "invalid_api_key"
    assert hidden.status_code == 404


def recorded(front_end: str) -> dict[str, Any]:
    text = (Path(__file__).parent / "openai_requests" / f"{front_end}.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def with_answer(body: dict[str, Any], answer: str) -> dict[str, Any]:
    messages = [
        {**message, "content": message["content"].replace("{answer}", answer)}
        for message in body["messages"]
    ]
    return {**body, "messages": messages}


def text_of(stream: str) -> str:
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


FRONT_ENDS = {"open_webui": "Open WebUI", "librechat": "LibreChat", "litellm": "LiteLLM"}
"""By file, the section of docs/frontends.md that connects it."""


@pytest.mark.parametrize("front_end", FRONT_ENDS)
async def test_a_front_end_is_served_by_the_requests_that_it_makes(
    service: Lex, front_end: str
) -> None:
    requests = recorded(front_end)
    service.client.headers.update(requests["headers"])
    session_id = list(requests["headers"].values())[-1]
    questions = ("Is it warm in Paris?", "And in Tokyo?")

    async def said(body: dict[str, Any], answer: str = "") -> str:
        response = await service.client.post("/v1/chat/completions", json=with_answer(body, answer))
        assert response.status_code == 200, response.text
        if body["stream"]:
            assert response.text.endswith("data: [DONE]\n\n")
            return text_of(response.text)
        return str(response.json()["choices"][0]["message"]["content"])

    first = await said(requests["first"])
    for body in requests["own"].values():
        service.standin.script({"text": '{"title": "Weather"}'})
        assert await said(body, first) == '{"title": "Weather"}'
        assert not service.standin.stats.last_requests[-1].body.get("tools")
    second = await said(requests["second"], first)
    again = await said(requests["second"], first)
    expected = [("user", questions[0]), ("assistant", first), ("user", questions[1])]
    assert await history(service, session_id) == [*expected, ("assistant", again)]
    assert second == again
    if "X-Session-Id" not in requests["headers"]:  # it always sends the whole history
        edited = {**requests["first"], "messages": [user("Is it cold in Paris?")]}
        anew = await said(edited)
        edited_history = [("user", "Is it cold in Paris?"), ("assistant", anew)]
        assert await history(service, session_id) == edited_history
    # Its models are listed.
    models = (await service.client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in models] == ["lex"]


@pytest.mark.parametrize(("front_end", "title"), FRONT_ENDS.items())
def test_the_documentation_configures_the_front_end_that_was_recorded(
    front_end: str, title: str
) -> None:
    text = section("docs/frontends.md", title)
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    found = json.dumps(yaml.safe_load(block))

    for name, value in recorded(front_end)["settings"].items():
        assert f"{json.dumps(name)}: {json.dumps(value)}" in found


ASK = "/v1/chat/completions"
REFUSED: list[tuple[str, str, bytes, int, str]] = [
    ("GET", "/v1/nothing", b"", 404, "not_found"),
    ("GET", "/v1/models/gpt-4o", b"", 404, "model_not_found"),
    ("GET", ASK, b"", 405, "method_not_allowed"),
    ("POST", ASK, b"{", 422, "invalid_field"),
    ("POST", ASK, b"[]", 422, "invalid_field"),
    ("POST", ASK, b"\xff", 422, "invalid_field"),
    ("POST", ASK, b"{}", 422, "invalid_field"),
    ("POST", ASK, b'{"model": "lex", "model": "lex"}', 422, "invalid_field"),
    ("POST", ASK, b" " * 600_000, 413, "body_too_large"),
]


async def test_every_refusal_has_openais_form(service: Lex) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path, body, status, code in REFUSED:
        answer = await service.client.request(method, path, content=body, headers=headers)

        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert int(answer.headers["content-length"]) == len(answer.content)
        error = answer.json()["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert (error["code"], error["type"]) == (code, "invalid_request_error")


async def test_a_front_ends_unknown_request_deletes_nothing(service: Lex) -> None:
    chat = {"X-OpenWebUI-Chat-Id": "c1"}
    async with client_of(service) as client:
        first = [user("Text?")]
        await streamed(client, *first, extra_headers=chat)
        await client.chat.completions.create(
            model="lex", messages=[user("Un titre: Text?")], extra_headers=chat
        )
        assert len(await history(service, "c1")) == 4
        await streamed(client, *first, assistant(TEXT), user("Too long?"), extra_headers=chat)

    assert await history(service, "c1") == [
        ("user", "Text?"),
        ("assistant", TEXT),
        ("user", "Too long?"),
        ("assistant", "It goes on"),
    ]


async def test_a_given_history_can_be_edited_too(service: Lex) -> None:
    chat = {"X-OpenWebUI-Chat-Id": "moved"}
    given = [user("Hello"), assistant("Hello from another model."), user("And?"), assistant("So.")]
    async with client_of(service) as client:
        await streamed(client, *given, user("Text?"), extra_headers=chat)
        assert len(await history(service, "moved")) == 6
        await streamed(client, *given[:2], user("Too long?"), extra_headers=chat)

    assert await history(service, "moved") == [
        ("user", "Hello"),
        ("assistant", "Hello from another model."),
        ("user", "Too long?"),
        ("assistant", "It goes on"),
    ]


def test_each_scenario_is_kept() -> None:
    assert {given["question"] for given in WIRES.values()} == {*SCRIPTS} - {"Slowly?"}
