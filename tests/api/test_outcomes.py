"""Every stream of a turn has its outcome; refusals have none."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.serving import Lex, outcome_of, parse, without_ids

Way = Callable[[Lex], Awaitable[httpx.Response]]


async def ask(service: Lex) -> httpx.Response:
    return await service.client.post("/query", json={"query": "Hi", "session_id": "s1"})


async def ask_to_be_resumed(service: Lex) -> httpx.Response:
    body = {"query": "Hi", "session_id": "s1", "resume": True}
    return await service.client.post("/query", json=body)


async def ask_as_a_browser(service: Lex) -> httpx.Response:
    return await service.client.get("/query", params={"query": "Hi", "session_id": "s1"})


async def say_in_a_session(service: Lex) -> httpx.Response:
    location = (await service.client.post("/sessions")).headers["location"]
    return await service.client.post(f"{location}/messages", json={"content": "Hi"})


async def replay(service: Lex) -> httpx.Response:
    turn_id = (await ask(service)).headers["x-turn-id"]
    return await service.client.get(f"/turns/{turn_id}/events")


WAYS = [ask, ask_to_be_resumed, ask_as_a_browser, say_in_a_session, replay]


@pytest.mark.parametrize("way", WAYS)
async def test_the_outcome_event_says_what_is_stored(service: Lex, way: Way) -> None:
    service.standin.script({"text": "It is", "finish_reason": "length"})

    answer = await way(service)

    text = answer.text if answer.text.startswith("event: ") else without_ids(answer.text)
    outcome = outcome_of(parse(text))
    turn = (await service.client.get(f"/turns/{answer.headers['x-turn-id']}")).json()
    told = {name: outcome[name] for name in ("outcome", "finish_reason", "model", "rounds")}
    assert told == {name: turn[name] for name in told}
    assert (told["outcome"], told["finish_reason"]) == ("completed", "length")
    usage = outcome["usage"]
    assert usage["prompt_tokens"] == turn["usage"]["input_tokens"] > 0
    assert usage["completion_tokens"] == turn["usage"]["output_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_refusal_that_is_told_in_a_stream_has_none(service: Lex) -> None:
    refused = await service.client.get("/query", params={"query": ""})

    assert [event for event, _ in parse(without_ids(refused.text))] == ["error", "end"]
