"""Budgets of sessions and clients, over every transport."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.api.test_realtime import address, until_end
from tests.serving import Lex, lex, parse, without_ids


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    """Sessions may ask once a day, whatever the answer takes."""
    async with lex(token_budget_session="1/day", cost_budget_client="1000/day") as running:
        yield running


async def post(service: Lex, session_id: str = "s1", **headers: str) -> httpx.Response:
    body = {"query": "Hello", "session_id": session_id}
    return await service.client.post("/query", json=body, headers=headers)


async def test_a_query_over_a_budget_is_a_problem_that_says_when(service: Lex) -> None:
    first, second, other = await post(service), await post(service), await post(service, "s2")

    assert [answer.status_code for answer in (first, second, other)] == [200, 429, 200]
    problem = second.json()
    assert problem["code"] == "budget_exhausted"
    assert 0 < problem["retry_after"] == int(second.headers["retry-after"]) <= 86_400
    metrics = (await service.client.get("/metrics")).text
    assert 'lex_budget_refusals_total{budget="session_tokens"}' in metrics


async def test_a_websocket_gets_an_error_object_and_goes_on(service: Lex) -> None:
    async with connect(address(service), proxy=None) as socket:
        await socket.send("Hello")
        first = await until_end(socket)
        await socket.send("Hello")
        refusal = json.loads(await socket.recv())
    assert first[-1]["type"] == "end"
    assert (refusal["type"], refusal["data"]["code"]) == ("error", "budget_exhausted")
    assert refusal["data"]["retry_after"] > 0


async def test_an_event_source_is_refused_in_its_stream(service: Lex) -> None:
    asked = {"query": "Hello", "session_id": "s1"}
    await post(service)

    answer = await service.client.get("/query", params=asked)

    (name, error), end = parse(without_ids(answer.text))
    assert (name, end) == ("error", ("end", ""))
    assert json.loads(error)["code"] == "budget_exhausted"


async def test_a_repeated_query_joins_its_turn_and_takes_nothing(service: Lex) -> None:
    first = await post(service, **{"Idempotency-Key": "k"})
    again = await post(service, **{"Idempotency-Key": "k"})

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.headers["x-turn-id"] == again.headers["x-turn-id"]


async def test_a_turn_that_cannot_start_gives_its_reservation_back() -> None:
    async with lex(token_budget_client="1/day") as service:
        unknown = "/sessions/unknown/messages"
        refused = await service.client.post(unknown, json={"content": "Hi"})
        answer = await post(service)

    assert refused.status_code == 404
    assert answer.status_code == 200


async def test_a_cost_budget_counts_models_without_a_price() -> None:
    async with lex(
        cost_budget_client="0.000001/day", model_name="unpriced", model_fallbacks="none"
    ) as service:
        answers = [await post(service, f"s{number}") for number in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]


async def test_no_budget_is_the_default_on_this_machine() -> None:
    async with lex() as service:
        answers = [await post(service, f"s{number}") for number in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
