"""`CLIENT_PROFILE=legacy`: what older pages show of each turn, over a real socket."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.client import connect

from backend.api.sse.legacy import PROMPT, SORRY
from tests.fakes import Gates
from tests.older_page import OlderPage
from tests.older_readers import (
    LITERAL_READERS,
    joined_as_sent,
    outputs,
    trimmed_and_joined,
    weather_card,
)
from tests.raw import wire
from tests.serving import Lex, ids_of, lex, parse
from tests.waiting import waiting

DAY = next(
    day
    for ahead in range(3, 10)
    if (day := (datetime.now(UTC) + timedelta(days=ahead)).date()).weekday() == 1
)
"""A Tuesday, when all dealerships are open."""


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex(client_profile="legacy") as running:
        yield running


async def page_of(service: Lex, query: str = "Hello", **body: Any) -> OlderPage:
    page = OlderPage()
    asked = {"query": query, "session_id": "s1", **body}
    async with service.client.stream("POST", "/query", json=asked) as answer:
        assert answer.status_code == 200
        async for piece in answer.aiter_bytes():
            page.read(piece)
    assert page.has_ended
    return page


def called(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


async def test_the_page_gets_exactly_these_bytes(service: Lex) -> None:
    service.standin.script(
        {"calls": [called("get_weather", city="New York")]}, {"text": "Sunny.\nAnd warm."}
    )

    answer = await service.client.post("/query", json={"query": "Weather?", "session_id": "s1"})

    assert answer.content.decode() == (
        "event: tool_use\n"
        "data: get_weather\n"
        "\n"
        "event: tool_output\n"
        'data: {"name": "get_weather", "output": "The weather in New York is 34°C and sunny"}\n'
        "\n"
        "event: chunk\n"
        "data: Sunny. And\n"
        "\n"
        "event: chunk\n"
        "data:  warm.\n"
        "\n"
        "event: end\n"
        "data: \n"
        "\n"
    )


async def test_every_tool_has_something_to_show(service: Lex) -> None:
    slot = {"dealership_id": "manhattan", "date": str(DAY)}
    service.standin.script(
        {"calls": [called("get_weather", city="Paris")]},
        {"calls": [called("get_dealership_address", dealership_id="manhattan")]},
        {"calls": [called("check_appointment_availability", **slot)]},
        {
            "calls": [
                called(
                    "schedule_appointment", user_id="123", time="11:00", car_model="Apex GT", **slot
                )
            ]
        },
        {"calls": [called("fetch_user_profile", user_id="123")]},
        {"text": "There you are."},
    )

    page = await page_of(service)

    assert page.tools == [name for name, _ in page.shown]
    shown = dict(page.shown)
    assert shown["get_weather"] == "The weather in Paris is 18°C and partly cloudy"
    assert " Phone: " in shown["get_dealership_address"]
    assert " Hours: " in shown["get_dealership_address"]
    assert "11:00" in shown["check_appointment_availability"].split(", ")
    assert shown["schedule_appointment"].startswith(f"{DAY}\n11:00\nApex GT\nSC-")
    assert f"Apex GT at SuperCar Manhattan on {DAY} at 11:00" in shown["fetch_user_profile"]
    assert page.text == "There you are."


async def test_others_of_its_family_read_the_same_turn(service: Lex) -> None:
    slot = {"dealership_id": "manhattan", "date": str(DAY)}
    words = "The Élan's weather is fine.\nOn Tuesday, 11:00 is free; shall I book it?\n\nGood-bye."
    service.standin.script(
        {"calls": [called("get_weather", city="Oslo")]},
        {"calls": [called("check_appointment_availability", **slot)]},
        {"text": words, "tokens_per_second": 200},
    )

    answer = await service.client.post("/query", json={"query": "Hi", "session_id": "s1"})

    weather, slots = outputs(answer.text)
    assert weather_card(weather["output"]) == ("4", "snowy")
    for read in LITERAL_READERS:
        assert "11:00" in read(slots["output"])
    assert trimmed_and_joined(answer.text).split() == words.split()
    assert joined_as_sent(answer.text) == words.replace("\n", " ")


@pytest.mark.parametrize("profile", ["legacy", "standard"])
async def test_the_model_is_asked_for_plain_text_for_this_page_alone(profile: str) -> None:
    async with lex(client_profile=profile) as service:
        await service.client.post("/query", json={"query": "Hello", "session_id": "s1"})
        prompt = service.standin.stats.last_requests[-1].body["messages"][0]["content"]

    assert (PROMPT in prompt) == (profile == "legacy")
    assert ("Markdown" in prompt) == (profile == "legacy")


async def test_whatever_a_tool_refuses_is_a_notice(service: Lex) -> None:
    taken = {"dealership_id": "manhattan", "date": str(DAY), "time": "03:00"}
    service.standin.script(
        {
            "calls": [
                called("get_weather", city="Atlantis"),
                called("get_weather", town="Paris"),
                {"name": "get_weather", "arguments": "{broken"},
                called("schedule_appointment", user_id="1", car_model="Apex GT", **taken),
                called("fetch_user_profile", user_id="nobody"),
                called("dance"),
            ]
        },
        {"text": "None of it."},
    )

    page = await page_of(service)

    assert {name for name, _ in page.shown} == {"notice"}
    assert len(page.shown) == len(page.tools) == 6
    assert all(sentence.endswith(".") for _, sentence in page.shown)


@pytest.mark.parametrize(
    ("played", "text"),
    [
        ({"text": "x", "fault": {"kind": "status", "status": 400}}, SORRY),
        ({"text": "x", "fault": {"kind": "close", "after_tokens": 0}}, SORRY),
        ({"text": "", "finish_reason": "stop"}, SORRY),
        ({"text": "one two three", "fault": {"kind": "reset", "after_tokens": 2}}, "one two"),
    ],
    ids=["refused", "closed at once", "empty", "in mid-stream"],
)
async def test_a_failure_is_a_sentence_that_the_page_can_show(
    service: Lex, played: dict[str, Any], text: str
) -> None:
    service.standin.script(played, times=None)

    page = await page_of(service)

    assert page.text.startswith(text)
    assert page.text.endswith(SORRY)
    assert page.events[-3:] == ["chunk", "error", "end"]
    assert page.events.count("error") == 1


async def test_a_turn_that_is_stopped_before_it_says_anything_is_one_too(service: Lex) -> None:
    service.standin.script({"text": "late", "first_token_after": 60})
    body = {"query": "Wait", "session_id": "s1"}

    async with service.client.stream("POST", "/query", json=body) as answer:
        await service.client.delete(f"/turns/{answer.headers['x-turn-id']}")
        page = OlderPage.reading([await answer.aread()])

    assert page.dispatched == [("chunk", SORRY), ("end", "")]


async def test_a_tool_that_was_interrupted_is_a_notice() -> None:
    gates = Gates()
    async with lex(client_profile="legacy", tools=gates.tools) as service:
        service.standin.script({"calls": [called("wait", word="a")]}, {"text": "So."})
        body = {"query": "Wait", "session_id": "s1"}
        async with service.client.stream("POST", "/query", json=body) as answer:
            await gates.begun.wait()
            await service.client.delete(f"/turns/{answer.headers['x-turn-id']}")
            page = OlderPage.reading([await answer.aread()])

    assert page.shown == [("notice", "The turn ended before the result.")]
    assert page.text == SORRY


MARKDOWN = "# Cars\r\n\r\n- Apex GT\r- Aurora\n\n\ndata: no event\n\nevent: end\n: no comment\n"


async def test_no_word_of_a_text_with_line_breaks_is_lost_or_taken_for_an_event(
    service: Lex,
) -> None:
    service.standin.script({"text": MARKDOWN, "tokens_per_second": 200})

    page = await page_of(service)

    assert page.text.split() == MARKDOWN.split()
    assert set(page.events) == {"chunk", "end"}


@asynccontextmanager
async def asked(service: Lex, query: str) -> AsyncIterator[bytes]:
    """Yield the body as it is on the wire, before a client joins its chunks."""
    body = json.dumps({"query": query, "session_id": "s1"}).encode()
    head = (
        b"POST /query HTTP/1.1\r\nHost: lex\r\nConnection: close\r\nContent-Type: application/json"
        b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    async with wire(service) as line:
        await line.send(head + body)
        await line.head()
        yield b"".join(_chunks(await line.rest()))


def _chunks(body: bytes) -> list[bytes]:
    """Split a body in chunked transfer coding."""
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    assert pieces[-1] == b""
    return pieces[:-1]


async def test_a_page_reads_the_same_wherever_the_network_cuts(service: Lex) -> None:
    service.standin.script(
        {"calls": [called("get_weather", city="São Paulo"), called("get_weather", city="X")]},
        {"text": "Olá 🌞\nSão\r\nPaulo", "fault": {"kind": "close", "after_tokens": 3}},
    )
    async with asked(service, "Tempo?") as body:
        whole = OlderPage.reading([body])

    assert whole.events[-3:] == ["chunk", "error", "end"]
    assert OlderPage.reading(bytes([byte]) for byte in body).dispatched == whole.dispatched
    chance = random.Random(7)  # noqa: S311 - not used for secrets
    for _ in range(50):
        cuts = sorted(chance.choices(range(len(body)), k=12))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert OlderPage.reading(pieces).dispatched == whole.dispatched


async def test_comments_do_not_disturb_the_page() -> None:
    async with lex(client_profile="legacy", heartbeat_seconds=0.05) as service:
        service.standin.script({"text": "late", "first_token_after": 0.4})
        async with asked(service, "Think") as body:
            page = OlderPage.reading([body])

    assert body.count(b": \n\n") >= 3
    assert page.dispatched == [("chunk", "late"), ("end", "")]


async def test_streams_that_can_be_resumed_are_the_standard_ones(service: Lex) -> None:
    service.standin.script({"calls": [called("get_weather", city="Paris")]}, {"text": "a\nb"})
    standard = ["tool_use", "tool_call", "tool_output", "chunk", "outcome", "end"]
    body = {"query": "Weather?", "session_id": "s1", "resume": True}

    asked = await service.client.post("/query", json=body)
    again = await service.client.get(f"/turns/{asked.headers['x-turn-id']}/events")
    by_address = await service.client.get("/query", params={"query": "Hi", "session_id": "s2"})

    assert len(ids_of(asked.text)) == 7
    assert [line[7:] for line in asked.text.split("\n") if line[:7] == "event: "] == standard
    assert again.text == asked.text
    assert len(ids_of(by_address.text)) > 1
    assert SORRY not in by_address.text


async def test_a_refusal_on_a_browsers_own_stream_is_the_standard_one(service: Lex) -> None:
    answer = await service.client.get("/query", params={"query": ""})

    assert [line[7:] for line in answer.text.split("\n") if line[:7] == "event: "] == [
        "error",
        "end",
    ]


async def test_a_replay_is_in_the_words_of_its_own_stream(service: Lex) -> None:
    service.standin.script({"calls": [called("get_weather", city="Paris")]}, {"text": "Mild."})
    body = {"query": "Weather?", "session_id": "s1"}
    key = {"Idempotency-Key": "k1"}

    plain = await service.client.post("/query", json=body, headers=key)
    again = await service.client.post("/query", json=body, headers=key)
    resumable = await service.client.post("/query", json={**body, "resume": True}, headers=key)

    assert again.content == plain.content
    assert "event: tool_call" not in plain.text
    assert "event: tool_call" in resumable.text


async def test_the_history_and_a_websocket_are_the_standard_ones(service: Lex) -> None:
    service.standin.script({"calls": [called("get_weather", city="Paris")]}, {"text": "Mild."})

    url = f"{service.url.replace('http', 'ws')}/ws/sessions/s1"
    events: list[dict[str, Any]] = []
    async with connect(url, proxy=None) as socket, waiting():
        await socket.send("Weather?")
        while not events or events[-1]["type"] != "end":
            events.append(json.loads(await socket.recv()))
    history = (await service.client.get("/sessions/s1/messages")).json()["messages"]

    names = [event["type"] for event in events]
    assert names == ["tool_use", "tool_call", "tool_output", "chunk", "outcome", "end"]
    assert events[2]["data"]["output"]["source"] == "sample"
    assert '"source": "sample"' in json.dumps(history)


async def test_messages_of_a_session_stream_for_the_page_as_well(service: Lex) -> None:
    await service.client.post("/sessions", json={})
    await page_of(service)
    service.standin.script({"calls": [called("get_weather", city="Paris")]}, {"text": "Mild."})

    answer = await service.client.post("/sessions/s1/messages", json={"content": "Weather?"})

    assert OlderPage.reading([answer.content]).shown == [
        ("get_weather", "The weather in Paris is 18°C and partly cloudy")
    ]


async def test_without_the_setting_nothing_is_put_differently() -> None:
    async with lex() as service:
        service.standin.script(
            {"calls": [called("get_weather", city="Atlantis")]}, {"text": "a\nb"}
        )
        answer = await service.client.post("/query", json={"query": "Hi"})
        service.standin.script({"text": "x", "fault": {"kind": "status", "status": 400}})
        failed = await service.ask("Hello", "s2")

    events = parse(answer.text)
    assert [event for event, _ in events] == [
        "tool_use",
        "tool_call",
        "tool_output",
        "chunk",
        "outcome",
        "end",
    ]
    assert json.loads(events[2][1])["output"]["error"]["code"] == "unknown_city"
    assert "data: a\ndata: b\n" in answer.text
    assert [event for event, _ in failed] == ["error", "outcome", "end"]
