"""Questions that take the place of earlier ones: `replaces`."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.live.test_lost_bookings import booking
from tests.serving import Lex, lex, parse, text_of
from tests.waiting import waiting

SLOW = {"text": "one two three four five six", "tokens_per_second": 20}


async def test_a_question_is_asked_again_in_place_of_an_earlier_one(service: Lex) -> None:
    first = await asked(service, "What is the weather in New York?")
    await asked(service, "And in Paris?")

    again = await asked(service, "Hello", replaces=f"{first}-1")

    history = await messages(service)
    assert [(each["position"], each["turn_id"]) for each in history] == [(1, again), (2, again)]
    assert history[0]["content"] == "Hello"
    assert [each["role"] for each in service.standin.stats.last_requests[-1].body["messages"]] == [
        "system",
        "user",
    ]


async def test_a_replaced_turn_can_still_be_shown_and_replayed_and_counts(service: Lex) -> None:
    first = await asked(service, "Hello")
    live = (await service.client.get(f"/turns/{first}/events")).text
    await asked(service, "Hi", replaces=f"{first}-2")

    shown = await service.client.get(f"/turns/{first}")
    replayed = await service.client.get(f"/turns/{first}/events")
    session = (await service.client.get("/sessions/s1")).json()
    events = (await service.client.get("/sessions/s1/events")).json()["events"]

    assert (shown.json()["outcome"], replayed.text) == ("completed", live)
    assert (session["turns"], session["spent"]["calls"]) == (2, 2)
    assert [(event["type"], event["data"].get("replaced")) for event in events] == [
        ("system", True),
        ("user_message", None),
        ("assistant_message", None),
    ]


@pytest.mark.parametrize(
    "replaces",
    [
        "",
        "x",
        "0123456789abcdef",
        "0123456789abcdef-0",
        "0123456789abcdef-1",
        "given-1-1",
        1,
        "\x00",
    ],
)
async def test_the_id_must_be_that_of_a_message_of_the_session(service: Lex, replaces: Any) -> None:
    await asked(service, "Hello")

    body = {"content": "Again", "replaces": replaces}
    refused = await service.client.post("/sessions/s1/messages", json=body)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "replaces"
    assert len(await messages(service)) == 2


async def test_what_was_replaced_cannot_be_replaced_again(service: Lex) -> None:
    first = await asked(service, "Hello")
    await asked(service, "Hi", replaces=f"{first}-1")

    body = {"content": "Hey", "replaces": f"{first}-1"}
    refused = await service.client.post("/sessions/s1/messages", json=body)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")


async def test_of_two_at_once_exactly_one_replaces(service: Lex) -> None:
    first = await asked(service, "Hello")
    service.standin.script(SLOW, times=None)
    body = {"content": "Again", "replaces": f"{first}-1"}

    answers = await asyncio.gather(
        *(service.client.post("/sessions/s1/messages", json=body) for _ in range(4))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert [each["content"] for each in await messages(service)] == ["Again", SLOW["text"]]


async def test_a_repeated_key_joins_and_replaces_nothing_more(service: Lex) -> None:
    key = {"Idempotency-Key": "first"}
    asked_first = await say(service, "Hello", headers=key)
    first = asked_first.headers["x-turn-id"]
    key_again = {"Idempotency-Key": "again"}
    again = await say(service, "Hi", headers=key_again, replaces=f"{first}-1")
    await asked(service, "More")

    repeated = await say(service, "Hi", headers=key_again, replaces=f"{first}-1")
    of_replaced = await say(service, "Hello", headers=key)
    reused = await say(service, "Another", headers=key)

    assert (repeated.headers["x-turn-id"], repeated.text) == (
        again.headers["x-turn-id"],
        again.text,
    )
    assert (of_replaced.headers["x-turn-id"], of_replaced.text) == (first, asked_first.text)
    assert reused.status_code == 422
    assert len(await messages(service)) == 4


async def test_a_running_turn_that_nobody_reads_gives_way_and_is_replaced(service: Lex) -> None:
    service.standin.script({**SLOW, "tokens_per_second": 2}, times=1)
    body = {"query": "Count", "session_id": "s1", "resume": True}
    async with service.client.stream("POST", "/query", json=body) as stream:
        turn_id = stream.headers["x-turn-id"]
        busy = await say(service, "Again", replaces=f"{turn_id}-1")

    async with waiting():  # the server notices on its own that the reader has left
        while (answer := await say(service, "Again", replaces=f"{turn_id}-1")).status_code == 409:
            await asyncio.sleep(0.01)

    assert busy.status_code == 409
    assert answer.status_code == 200
    assert [each["turn_id"] for each in await messages(service)] == [
        answer.headers["x-turn-id"]
    ] * 2
    shown = (await service.client.get(f"/turns/{turn_id}")).json()
    assert shown["outcome"] == "disconnected"


async def test_a_booking_of_a_replaced_turn_is_told_to_the_model() -> None:
    async with lex() as service:
        await check_a_booking_is_told(service)


async def check_a_booking_is_told(service: Lex) -> None:
    booked = await say(service, booking(1, then={"text": "Booked."}))
    assert '"confirmation_id": "SC-' in booked.text, booked.text

    await asked(service, "Hello", replaces=f"{booked.headers['x-turn-id']}-1")

    [system, *_] = service.standin.stats.last_requests[-1].body["messages"]
    assert "Booked in it:\n- SC-" in system["content"]


async def test_a_websocket_and_a_query_replace_too(service: Lex) -> None:
    first = await asked(service, "Hello")

    url = f"{service.url.replace('http', 'ws')}/ws/sessions/s1"
    async with connect(url, proxy=None) as socket:
        await socket.send(json.dumps({"type": "query", "query": "Hi", "replaces": "no-1"}))
        refused = json.loads(await socket.recv())
        ask = {"type": "query", "query": "Hi", "replaces": f"{first}-1"}
        await socket.send(json.dumps(ask))
        while (event := json.loads(await socket.recv()))["type"] != "end":
            pass
    body = {"query": "Hey", "session_id": "s1", "replaces": f"{event['turn']}-1"}
    third = await service.client.post("/query", json=body)

    assert refused["data"]["message"].startswith("replaces: must be the id of a message")
    assert parse(third.text)[-1] == ("end", "")
    assert [each["turn_id"] for each in await messages(service)] == [third.headers["x-turn-id"]] * 2


async def say(
    service: Lex, content: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Any:
    if (await service.client.get("/sessions/s1")).status_code == 404:
        body = {"query": content, "session_id": "s1", **more}
        return await service.client.post("/query", json=body, headers=headers)
    body = {"content": content, **more}
    return await service.client.post("/sessions/s1/messages", json=body, headers=headers)


async def asked(service: Lex, content: str, **more: Any) -> str:
    """Ask in the session s1, read to the end, and return the turn's id."""
    answer = await say(service, content, **more)
    assert answer.status_code == 200, answer.text
    assert text_of(parse(answer.text))
    return str(answer.headers["x-turn-id"])


async def messages(service: Lex) -> list[dict[str, Any]]:
    page = (await service.client.get("/sessions/s1/messages")).json()
    return list(page["messages"])
