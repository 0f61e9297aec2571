"""Resume, join and stop streams."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import httpx
import pytest

from backend.aio.periodic import SOONEST_SECONDS
from tests.scraping import scrape
from tests.serving import Lex, ids_of, lex, outcome_of, parse, text_of, without_ids
from tests.transports import WebSockets
from tests.waiting import waiting

SLOW = {"text": "one two three four five six", "tokens_per_second": 20}


@pytest.fixture
async def chunks(service: Lex) -> AsyncIterator[httpx.Response]:
    """A resumable stream that has just started."""
    service.standin.script(SLOW)
    body = {"query": "Count", "session_id": "s1", "resume": True}
    async with service.client.stream("POST", "/query", json=body) as stream:
        yield stream


async def test_a_resumable_stream_has_an_id_for_every_event(service: Lex) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 1}
    service.standin.script({"text": "Hello", "usage": usage})
    body = {"query": "Hi", "session_id": "s1", "resume": True}

    answer = await service.client.post("/query", json=body)

    turn_id = answer.headers["x-turn-id"]
    assert answer.text == (
        f"id: {turn_id}-0\nretry: 1000\n\n"
        f"event: chunk\ndata: Hello\nid: {turn_id}-1\n\n"
        "event: outcome\n"
        'data: {"outcome": "completed", "finish_reason": "stop", '
        '"model": "groq-standin/llama-3.3-70b-versatile", "rounds": 1, '
        '"usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13}}\n'
        f"id: {turn_id}-2\n\n"
        f"event: end\ndata: \nid: {turn_id}-3\n\n"
    )


async def test_a_plain_stream_has_none(service: Lex) -> None:
    answer = await service.client.post("/query", json={"query": "Hello"})

    assert ids_of(answer.text) == []


async def test_a_cut_stream_goes_on_where_it_was_cut(service: Lex, chunks: httpx.Response) -> None:
    received = ""
    async for text in chunks.aiter_text():
        received += text
        if received.count("event: chunk") == 2:
            break
    await chunks.aclose()
    last = ids_of(received)[-1]

    rest = await service.client.get(
        f"/turns/{chunks.headers['x-turn-id']}/events", headers={"Last-Event-ID": last}
    )

    events = parse(without_ids(received)) + parse(without_ids(rest.text))
    assert text_of(events) == SLOW["text"]
    assert [event for event, _ in events].count("end") == 1
    positions = [int(id_.split("-")[1]) for id_ in ids_of(received)[1:] + ids_of(rest.text)[1:]]
    assert positions == list(range(1, len(events) + 1))


async def test_a_finished_turn_is_replayed_from_any_event(service: Lex) -> None:
    body = {"query": "What is the weather in Paris?", "session_id": "s1", "resume": True}
    answer = await service.client.post("/query", json=body)
    url = f"/turns/{answer.headers['x-turn-id']}/events"

    for last in ids_of(answer.text)[1:-1]:
        rest = await service.client.get(url, headers={"Last-Event-ID": last})
        seen = parse(without_ids(answer.text))
        at = int(last.split("-")[1])
        assert parse(without_ids(rest.text)) == seen[at:]
    whole = await service.client.get(url)
    assert whole.text == answer.text


FOLLOW, ASK, SAY, OPEN = "follow", "ask", "say", "open"
WAYS = [FOLLOW, ASK, SAY, OPEN]
"""All requests that resume: the turn's events, and a repeat of each request that asks."""


async def read_on(
    service: Lex, way: str, last: str, session_id: str = "s1", **headers: str
) -> httpx.Response:
    headers = {"Last-Event-ID": last, **headers}
    match way:
        case "follow":
            url = f"/turns/{last.partition('-')[0]}/events"
            return await service.client.get(url, headers=headers)
        case "ask":
            body = {"query": "Hello", "session_id": session_id, "resume": True}
            return await service.client.post("/query", json=body, headers=headers)
        case "say":
            url = f"/sessions/{session_id}/messages"
            body = {"content": "Hello", "resume": True}
            return await service.client.post(url, json=body, headers=headers)
        case _:
            params = {"query": "Hello", "session_id": session_id}
            return await service.client.get("/query", params=params, headers=headers)


async def asked(service: Lex, session_id: str = "s1") -> httpx.Response:
    body = {"query": "Hello", "session_id": session_id, "resume": True}
    return await service.client.post("/query", json=body)


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_request_reads_on_and_asks_nothing(service: Lex, way: str) -> None:
    answer = await asked(service)
    first, *_, last = ids_of(answer.text)
    requests = service.standin.stats.requests

    again = await read_on(service, way, first)
    done = await read_on(service, way, last)

    assert again.text == answer.text
    assert (done.status_code, done.content) == (204, b"")
    for response in (answer, again, done):
        assert response.headers["x-turn-id"] == answer.headers["x-turn-id"]
        assert response.headers["x-session-id"] == "s1"
    assert service.standin.stats.requests == requests
    assert (await service.client.get("/sessions/s1")).json()["turns"] == 1


@pytest.mark.parametrize("way", [ASK, SAY, OPEN])
async def test_a_stream_that_is_cut_is_read_on_by_the_same_request(service: Lex, way: str) -> None:
    await service.client.post("/query", json={"query": "Hello", "session_id": "s1"})
    service.standin.script(SLOW)
    received = ""
    body = {"query": "Count", "session_id": "s1", "resume": True}
    async with service.client.stream("POST", "/query", json=body) as stream:
        async for text in stream.aiter_text():
            received += text
            if received.count("event: chunk") == 2:
                break

    rest = await read_on(service, way, ids_of(received)[-1])

    events = parse(without_ids(received)) + parse(without_ids(rest.text))
    assert text_of(events) == SLOW["text"]
    assert [event for event, _ in events].count("end") == 1
    assert (await service.client.get("/sessions/s1")).json()["turns"] == 2


async def test_without_a_session_any_turn_of_the_caller_is_read_on(service: Lex) -> None:
    answer = await asked(service)
    body = {"query": "Hello", "resume": True}

    again = await service.client.post(
        "/query", json=body, headers={"Last-Event-ID": ids_of(answer.text)[0]}
    )

    assert again.text == answer.text
    assert again.headers["x-session-id"] == "s1"


@pytest.mark.parametrize("way", [FOLLOW, ASK, SAY])
@pytest.mark.parametrize("place", ["{n}", "900000001", "lost-1"])
async def test_a_place_that_a_turn_does_not_have_is_refused_before_the_stream(
    service: Lex, way: str, place: str
) -> None:
    answer = await asked(service)
    turn_id, _, last = ids_of(answer.text)[-1].partition("-")

    refused = await read_on(service, way, f"{turn_id}-{place.format(n=int(last) + 1)}")

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["errors"][0]["field"] == "Last-Event-ID"


@pytest.mark.parametrize("way", [ASK, SAY])
@pytest.mark.parametrize("last", ["", "x", "0123456789abcdef-x", "0123456789abcdef-1-1"])
async def test_an_id_of_no_event_is_refused_before_the_stream(
    service: Lex, way: str, last: str
) -> None:
    refused = await read_on(service, way, last)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "Last-Event-ID"
    assert service.standin.stats.requests == 0


@pytest.mark.parametrize("way", [ASK, SAY])
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_turn_of_another_session_is_not_read_on(
    service: Lex, way: str, is_known: bool
) -> None:
    last = ids_of((await asked(service, "s2")).text)[0] if is_known else "0123456789abcdef-1"
    requests = service.standin.stats.requests

    refused = await read_on(service, way, last)

    assert (refused.status_code, refused.json()["code"]) == (404, "turn_not_found")
    assert service.standin.stats.requests == requests


async def test_an_event_source_that_comes_back_at_a_wrong_place_is_told_and_stays_away(
    service: Lex,
) -> None:
    answer = await asked(service)
    last = f"{answer.headers['x-turn-id']}-900000001"

    refused = await read_on(service, OPEN, last)
    done = await read_on(service, OPEN, ids_of(refused.text)[-1])

    error, end = parse(without_ids(refused.text))
    assert json.loads(error[1])["code"] == "invalid_field"
    assert end == ("end", "")
    assert done.status_code == 204


async def transactions(service: Lex) -> Counter[str]:
    """Count transactions by name, without those of background clean-up."""
    counts = (await scrape(service.client)).values(
        "lex_store_transaction_seconds_count", "operation"
    )
    return Counter({name: int(n) for name, n in counts.items() if not name.startswith("purge")})


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[Lex]:
    """A service with a database, and a lease so long that it is only renewed for a reason."""
    database = f"sqlite:///{tmp_path}/lex.db"
    async with lex(database_url=database, lease_seconds=3600, summary_idle_seconds=0) as service:
        yield service


async def transactions_of(service: Lex, request: Awaitable[object]) -> Counter[str]:
    before = await transactions(service)
    await request
    await asyncio.sleep(3 * SOONEST_SECONDS)  # the soonest that a renewal could come
    return await transactions(service) - before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, -1])
async def test_to_come_back_takes_one_transaction_and_no_renewal(
    counted: Lex, way: str, place: int
) -> None:
    last = ids_of((await asked(counted)).text)[place]

    assert await transactions_of(counted, read_on(counted, way, last)) == {"settled": 1}


async def test_to_come_back_over_a_websocket_takes_one_transaction_and_no_renewal(
    counted: Lex,
) -> None:
    ids = ids_of((await asked(counted)).text)

    async def resume(last: str) -> None:
        async with WebSockets().resume(counted, last, "s1") as reader:
            await reader.rest()

    for last in (ids[0], ids[-1]):
        assert await transactions_of(counted, resume(last)) == {"settled": 1}


async def test_to_repeat_a_key_takes_one_transaction_and_no_renewal(counted: Lex) -> None:
    async def ask() -> None:
        body = {"query": "Hello", "session_id": "s1"}
        await counted.client.post("/query", json=body, headers={"Idempotency-Key": "k1"})

    await ask()

    assert await transactions_of(counted, ask()) == {"settled_key": 1}


async def test_stopping_ends_the_stream_and_the_upstream_call(service: Lex) -> None:
    service.standin.script({"tokens": 1000, "tokens_per_second": 20})
    body = {"query": "Count", "session_id": "s1", "resume": True}
    async with service.client.stream("POST", "/query", json=body) as chunks:
        turn_id = chunks.headers["x-turn-id"]
        texts = chunks.aiter_text()
        received = await anext(texts)

        stopped = await service.client.delete(f"/turns/{turn_id}")
        async for text in texts:
            received += text

    assert stopped.status_code == 204
    assert outcome_of(parse(without_ids(received)))["outcome"] == "cancelled"
    await service.standin.stats.until(lambda stats: stats.closed_early == 1)
    turn = (await service.client.get(f"/turns/{turn_id}")).json()
    assert turn["outcome"] == "cancelled"
    messages = (await service.client.get("/sessions/s1/messages")).json()["messages"]
    said = "".join(message["content"] for message in messages[1:])
    assert said == text_of(parse(without_ids(received)))


async def test_a_key_asks_once(service: Lex) -> None:
    body = {"query": "Hello", "session_id": "s1"}
    key = {"Idempotency-Key": "k1"}

    answers = [await service.client.post("/query", json=body, headers=key) for _ in range(3)]

    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["x-turn-id"] for answer in answers}) == 1
    assert service.standin.stats.requests == 1


async def test_a_key_is_refused_for_another_question_and_may_change_its_framing(
    service: Lex,
) -> None:
    body = {"query": "Hello", "session_id": "s1"}
    key = {"Idempotency-Key": "k1"}
    first = await service.client.post("/query", json=body, headers=key)

    refused = await service.client.post("/query", json={**body, "query": "Bye"}, headers=key)
    again = await service.client.post("/query", json={**body, "resume": True}, headers=key)

    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"field": "Idempotency-Key", "message": "was used for another question"}
    ]
    assert parse(without_ids(again.text)) == parse(first.text)


@pytest.mark.parametrize("url", ["/query", "/sessions/s1/messages"])
async def test_many_with_one_key_on_a_busy_session_are_all_refused(service: Lex, url: str) -> None:
    service.standin.script({"tokens": 1000, "tokens_per_second": 20})
    busy = {"query": "Count", "session_id": "s1"}
    body = busy if url == "/query" else {"content": "Count"}
    async with service.client.stream("POST", "/query", json=busy):
        answers = await asyncio.gather(
            *(
                service.client.post(url, json=body, headers={"Idempotency-Key": "k1"})
                for _ in range(12)
            )
        )

    assert [answer.status_code for answer in answers] == [409] * 12
    assert {answer.json()["code"] for answer in answers} == {"session_busy"}


async def test_a_service_that_does_not_run_for_long_forgets_old_logs_too(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/lex.db"
    async with lex(database_url=database) as service:
        asked = await service.client.post("/query", json={"query": "Hello"})
        url = f"/turns/{asked.headers['x-turn-id']}/events"
        kept = await service.client.get(url)

    async with lex(database_url=database, event_log_hours=1e-6) as service, waiting():
        while (replay := await service.client.get(url)).status_code == 200:
            await asyncio.sleep(0.05)

    assert kept.status_code == 200
    assert (replay.status_code, replay.json()["code"]) == (410, "log_gone")


@pytest.mark.parametrize("last", ["", "x", "0123456789abcdef-x", "0123456789abcdef-1"])
async def test_an_id_of_nothing_is_refused(service: Lex, last: str) -> None:
    answer = await service.client.post("/query", json={"query": "Hello"})

    refused = await service.client.get(
        f"/turns/{answer.headers['x-turn-id']}/events", headers={"Last-Event-ID": last}
    )

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "Last-Event-ID"


@pytest.mark.parametrize(("method", "path"), [("GET", "/events"), ("DELETE", "")])
async def test_a_turn_that_does_not_exist_is_not_found(
    service: Lex, method: str, path: str
) -> None:
    answer = await service.client.request(method, f"/turns/0123456789abcdef{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "turn_not_found")


async def test_a_turn_id_that_not_every_store_takes_is_refused(service: Lex) -> None:
    refused = await service.client.get("/turns/a%00b")

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "turn_id"


@pytest.mark.parametrize("key", ["", "a b", "x" * 129])
async def test_a_key_that_cannot_be_used_is_refused(service: Lex, key: str) -> None:
    answer = await service.client.post(
        "/query", json={"query": "Hello"}, headers=[("Idempotency-Key", key)]
    )

    assert answer.status_code == 422
    assert service.standin.stats.requests == 0


async def test_an_event_source_asks_reads_on_and_is_told_to_stay_away(service: Lex) -> None:
    params = {"query": "What is the weather in Paris?", "session_id": "s1"}

    asked = await service.client.get("/query", params=params)
    ids = ids_of(asked.text)
    again = await service.client.get("/query", params=params, headers={"Last-Event-ID": ids[2]})
    done = await service.client.get("/query", params=params, headers={"Last-Event-ID": ids[-1]})

    assert parse(without_ids(asked.text))[2:] == parse(without_ids(again.text))
    assert (done.status_code, done.content) == (204, b"")
    assert (await service.client.get("/sessions/s1")).json()["turns"] == 1


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "invalid_field"),
        ({"query": "x" * 101}, "invalid_field"),
        ({"query": "Hi", "session_id": ".."}, "invalid_field"),
        ({"query": "Hi", "more": "x" * 8192}, "invalid_field"),
    ],
)
async def test_an_event_source_is_refused_in_a_stream_and_stays_away(
    service: Lex, params: dict[str, str], code: str
) -> None:
    refused = await service.client.get("/query", params=params)

    assert refused.status_code == 200
    (error, data), end = parse(without_ids(refused.text))
    assert (error, json.loads(data)["code"], end) == ("error", code, ("end", ""))
    assert refused.text.startswith("id: refused-0")
    last = {"Last-Event-ID": ids_of(refused.text)[-1]}
    assert (await service.client.get("/query", params=params, headers=last)).status_code == 204
    assert service.standin.stats.requests == 0


@pytest.mark.parametrize(("too_many", "event"), [(0, "outcome"), (1, "error")])
async def test_an_address_may_be_8192_bytes_long(service: Lex, too_many: int, event: str) -> None:
    address = "/query?query=Hello&more="
    address += "x" * (8192 + len("?") - len(address) + too_many)

    answer = await service.client.get(address)

    assert event in dict(parse(without_ids(answer.text)))
