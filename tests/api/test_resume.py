"""Coming back to a stream, joining one, stopping one."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.serving import Lex, ids_of, lex, parse, text_of, without_ids

SLOW = {"text": "one two three four five six", "tokens_per_second": 20}


@pytest.fixture
async def chunks(service: Lex) -> AsyncIterator[httpx.Response]:
    """A resumable stream that has just begun."""
    service.standin.script(SLOW)
    body = {"query": "Count", "session_id": "s1", "resume": True}
    async with service.client.stream("POST", "/query", json=body) as stream:
        yield stream


async def test_a_resumable_stream_has_an_id_for_every_event(service: Lex) -> None:
    service.standin.script({"text": "Hello"})
    body = {"query": "Hi", "session_id": "s1", "resume": True}

    answer = await service.client.post("/query", json=body)

    turn_id = answer.headers["x-turn-id"]
    assert answer.text == (
        f"id: {turn_id}-0\nretry: 1000\n\n"
        f"id: {turn_id}-1\nevent: chunk\ndata: Hello\n\n"
        f"id: {turn_id}-2\nevent: end\ndata: \n\n"
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

    for last in ids_of(answer.text)[1:]:
        rest = await service.client.get(url, headers={"Last-Event-ID": last})
        before = without_ids(answer.text[: answer.text.index(f"id: {last}\n")])
        events = parse(before) + parse(without_ids(rest.text))
        seen = parse(without_ids(answer.text))
        at = int(last.split("-")[1])
        assert events == seen[: at - 1] + seen[at:]
    whole = await service.client.get(url)
    assert whole.text == answer.text


async def test_stopping_ends_the_stream_and_the_upstream_call(
    service: Lex, chunks: httpx.Response
) -> None:
    turn_id = chunks.headers["x-turn-id"]
    texts = chunks.aiter_text()
    received = await anext(texts)

    stopped = await service.client.delete(f"/turns/{turn_id}")
    async for text in texts:
        received += text

    assert stopped.status_code == 204
    assert parse(without_ids(received))[-1] == ("end", "")
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


async def test_a_service_that_does_not_run_for_long_forgets_old_logs_too(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/lex.db"
    async with lex(database_url=database) as service:
        asked = await service.client.post("/query", json={"query": "Hello"})
        url = f"/turns/{asked.headers['x-turn-id']}/events"
        kept = await service.client.get(url)

    async with lex(database_url=database, event_log_hours=1e-6) as service:
        async with asyncio.timeout(10):
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
    opening, error, end, rest = refused.text.split("\n\n")
    assert json.loads(error.split("data: ")[1])["code"] == code
    assert "event: end" in end
    assert rest == ""
    assert opening.startswith("id: refused-0")
    last = {"Last-Event-ID": ids_of(refused.text)[-1]}
    assert (await service.client.get("/query", params=params, headers=last)).status_code == 204
    assert service.standin.stats.requests == 0
