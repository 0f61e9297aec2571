"""All doors share sign-in, limits, budgets, drain, heartbeats, metrics and CORS."""

import asyncio
from typing import Any

import httpx
import pytest

from backend.api.doors import CHAT_PATHS
from tests.credentials import WITH_SECRET, bearer, token
from tests.doors import AG_UI, AI_SDK, DOORS, OPENAI, Door, code_of
from tests.scraping import scrape
from tests.serving import Lex, lex

PAGE = "http://localhost:3000"

each_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


async def ask(
    service: Lex, door: Door, query: str = "Hello", session_id: str = "s1", **headers: str
) -> httpx.Response:
    return await service.client.post(
        door.path, json=door.body(session_id, query), headers=door.headers(session_id) | headers
    )


def test_every_door_is_tested() -> None:
    assert {door.path for door in DOORS} == set(CHAT_PATHS)


@each_door
async def test_a_door_leads_to_the_same_sessions(door: Door) -> None:
    async with lex(**WITH_SECRET) as service:
        alice, bob = bearer(token("alice")), bearer(token("bob"))
        first = await ask(service, door, "Hello", **alice)
        await service.client.post(
            "/query", json={"query": "And?", "session_id": "s1"}, headers=alice
        )
        messages = await service.client.get("/sessions/s1/messages", headers=alice)
        foreign = await service.client.get("/sessions/s1/messages", headers=bob)
        nobody = await ask(service, door)

    assert door.end in first.text
    assert first.headers["x-session-id"] == "s1"
    assert [each["content"] for each in messages.json()["messages"]][::2] == ["Hello", "And?"]
    assert foreign.status_code == 404
    assert nobody.status_code == 401
    assert code_of(nobody.text) == ("invalid_api_key" if door is OPENAI else "not_authenticated")


@each_door
@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"rate_limit_session": "1/minute"}, "too_many_requests"),
        ({"token_budget_session": "1/day"}, "budget_exhausted"),
    ],
    ids=["rate", "budget"],
)
async def test_a_door_is_limited_and_says_when_to_come_back(
    door: Door, limit: dict[str, Any], code: str
) -> None:
    async with lex(**limit) as service:
        fine = await ask(service, door)
        refused = await ask(service, door)

    assert fine.status_code == 200
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    if door is not OPENAI:  # which has codes of its own
        assert code_of(refused.text) == code


@each_door
async def test_a_door_says_that_a_session_is_busy(service: Lex, door: Door) -> None:
    service.standin.script({"text": "a b c d", "tokens_per_second": 2})
    body = {"query": "Count", "session_id": "s1"}

    async with service.client.stream("POST", "/query", json=body) as running:
        await anext(running.aiter_text())
        busy = await ask(service, door)

    assert (busy.status_code, code_of(busy.text)) == (409, "session_busy")


@each_door
async def test_a_quiet_stream_has_heartbeats_that_are_comments(door: Door) -> None:
    async with lex(heartbeat_seconds=0.1) as service:
        service.standin.script({"text": "a b", "tokens_per_second": 2})
        answer = await ask(service, door)

    comments = [line for line in answer.text.splitlines() if line.startswith(":")]
    assert comments
    data = [line for line in answer.text.splitlines() if line and not line.startswith(":")]
    assert all(line.startswith(("data: ", "id: ")) for line in data)


@each_door
async def test_metrics_tell_the_doors_apart(service: Lex, door: Door) -> None:
    before = await scrape(service.client)
    await ask(service, door)
    after = await scrape(service.client)

    for name, labels in (
        ("lex_turns_total", {"outcome": "completed"}),
        ("lex_time_to_first_chunk_seconds_count", {}),
    ):
        labels |= {"transport": door.name}
        assert after.value(name, **labels) - before.value(name, **labels) == 1


@each_door
async def test_a_repeated_request_asks_once(service: Lex, door: Door) -> None:
    body = door.body("s1", "Hello", message_id="m1")
    headers = {**door.headers("s1"), "Idempotency-Key": "k1"}

    answers = await asyncio.gather(
        *(service.client.post(door.path, json=body, headers=headers) for _ in range(3))
    )

    assert len({answer.headers["x-turn-id"] for answer in answers}) == 1
    assert len({_without_heartbeats(answer.text) for answer in answers}) == 1
    assert service.standin.stats.requests == 1


def _without_heartbeats(text: str) -> str:
    return "".join(line for line in text.splitlines() if not line.startswith(":"))


@pytest.mark.parametrize("door", [AI_SDK, AG_UI], ids=lambda door: door.name)
async def test_a_whole_chat_may_be_larger_than_other_bodies(door: Door) -> None:
    async with lex(max_body_bytes=1000, max_chat_body_bytes=5000) as service:
        fits, does_not = (door.body("s1", "Hello") | {"x": "x" * size} for size in (3000, 6000))
        fine = await service.client.post(door.path, json=fits)
        refused = await service.client.post(door.path, json=does_not)
        elsewhere = await service.client.post("/query", json={"query": "x" * 3000})

    assert [each.status_code for each in (fine, refused, elsewhere)] == [200, 413, 413]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_pages_of_allowed_origins_may_use_every_method(service: Lex, method: str) -> None:
    wanted = "content-type,authorization,x-session-id,user-agent,x-stainless-lang"
    for path in (*CHAT_PATHS, "/sessions/s1"):
        answers = [
            await service.client.options(
                path,
                headers={
                    "Origin": origin,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": wanted,
                },
            )
            for origin in (PAGE, "https://evil.example")
        ]
        assert [answer.status_code for answer in answers] == [200, 400], path
