"""The `/sessions` routes."""

import json
import re

import pytest

from tests.credentials import WITH_SECRET, bearer, token
from tests.serving import Lex, lex, parse, text_of


async def test_a_session_is_made_used_shown_and_forgotten(service: Lex) -> None:
    created = await service.client.post("/sessions")
    location = created.headers["location"]
    session_id = created.json()["session_id"]

    stream = await service.client.post(f"{location}/messages", json={"content": "Hello"})
    shown = (await service.client.get(location)).json()
    forgotten = await service.client.delete(location)
    gone = await service.client.get(location)

    assert created.status_code == 201
    assert parse(stream.text)[-1] == ("end", "")
    assert shown["session_id"] == session_id
    assert shown["created_at"] == created.json()["created_at"]
    assert shown["turns"] == 1
    assert shown["last_turn"] == {
        "turn_id": stream.headers["x-turn-id"],
        "outcome": "completed",
        "finish_reason": "stop",
    }
    assert shown["usage"]["input_tokens"] > 0
    assert forgotten.status_code == 204
    assert gone.status_code == 404


async def test_a_caller_lists_and_names_its_own_sessions() -> None:
    """Also across pages, and never those of somebody else."""
    async with lex(**WITH_SECRET) as service:
        mine, theirs = (bearer(token(user)) for user in ("alice", "bob"))
        for number in range(3):
            body = {"query": f"Question {number}", "session_id": f"s{number}"}
            await service.client.post("/query", json=body, headers=mine)
        first = await service.client.get("/sessions?limit=2", headers=mine)
        rest = await service.client.get(
            "/sessions", params={"cursor": first.json()["next_cursor"]}, headers=mine
        )
        change = {"title": " Cars "}
        named = await service.client.patch("/sessions/s1", json=change, headers=mine)
        foreign = await service.client.patch("/sessions/s1", json=change, headers=theirs)
        empty = await service.client.get("/sessions", headers=theirs)

    pages = [page.json()["sessions"] for page in (first, rest)]
    assert [[(s["session_id"], s["title"]) for s in page] for page in pages] == [
        [("s2", "Question 2"), ("s1", "Question 1")],
        [("s0", "Question 0")],
    ]
    assert rest.json()["next_cursor"] is None
    assert (named.json()["title"], named.json()["turns"]) == ("Cars", 1)
    assert foreign.status_code == 404
    assert empty.json() == {"sessions": [], "next_cursor": None}


async def test_nobody_lists_the_sessions_that_all_share(service: Lex) -> None:
    await service.ask("Hello")

    assert (await service.client.get("/sessions")).json()["sessions"] == []


@pytest.mark.parametrize(
    "title", ["", " ", "a\tb", "a\u2028b", "\u0085", "\x00", "\ud800", "x" * 201, 7, ["a"], ...]
)
async def test_a_title_that_cannot_be_shown_is_refused(service: Lex, title: object) -> None:
    await service.ask("Hello")

    body = json.dumps({} if title is ... else {"title": title})
    refused = await service.client.patch(
        "/sessions/s1", content=body, headers={"Content-Type": "application/json"}
    )

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "title"
    assert (await service.client.get("/sessions/s1")).json()["title"] == "Hello"


@pytest.mark.parametrize("cursor", ["", "5", "x-s1", "1-", "1-_", "123456789012345678-s1", "٣-s1"])
async def test_a_cursor_that_no_page_gave_is_refused(service: Lex, cursor: str) -> None:
    refused = await service.client.get("/sessions", params={"cursor": cursor})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "cursor"


async def test_the_description_of_a_title_is_the_rule(service: Lex) -> None:
    await service.ask("Hello")
    schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]
    text, null = schemas["SessionChange"]["properties"]["title"]["anyOf"]
    titles = [
        "x",
        "x" * 200,
        f" {'x' * 200}\u3000",
        "x" * 201,
        "Wetter 🌞",
        "a  b",
        " ",
        "a\nb",
        "a\n",
    ]

    answers = [
        (await service.client.patch("/sessions/s1", json={"title": title})).status_code
        for title in titles
    ]

    assert null == {"type": "null"}
    assert answers == [200 if re.fullmatch(text["pattern"], title) else 422 for title in titles]
    assert answers == [200, 200, 200, 422, 200, 200, 422, 422, 422]


async def test_a_session_names_its_running_turn(service: Lex) -> None:
    service.standin.script({"text": "a b c d e f g h i j", "tokens_per_second": 4})

    async with service.client.stream(
        "POST", "/query", json={"query": "Count", "session_id": "s1"}
    ) as stream:
        await anext(stream.aiter_text())
        running = (await service.client.get("/sessions/s1")).json()

    assert running["running_turn_id"] == stream.headers["x-turn-id"]


async def test_the_history_has_calls_and_outputs_in_order(service: Lex) -> None:
    await service.ask("What is the weather in New York?")

    page = (await service.client.get("/sessions/s1/messages")).json()

    user, assistant, tool, answer = page["messages"]
    assert user["content"] == "What is the weather in New York?"
    assert assistant["tool_calls"][0]["arguments"] == {"city": "New York"}
    assert tool["tool_call_id"] == assistant["tool_calls"][0]["id"]
    assert tool["output"]["temperature"] == "34°C"
    assert "34°C" in answer["content"]
    assert [message["position"] for message in page["messages"]] == [1, 2, 3, 4]
    turn_id = user["turn_id"]
    assert [message["id"] for message in page["messages"]] == [
        f"{turn_id}-{n}" for n in (1, 2, 3, 4)
    ]
    assert "next_cursor" not in page


async def test_the_history_comes_in_pages_when_asked_for(service: Lex) -> None:
    for number in range(5):
        await service.ask(f"Hello {number}")
    url, cursor, pages = "/sessions/s1/messages", None, []

    while True:
        params = {"limit": 4} | ({"cursor": cursor} if cursor else {})
        page = (await service.client.get(url, params=params)).json()
        pages.append([message["position"] for message in page["messages"]])
        if (cursor := page.get("next_cursor")) is None:
            break

    assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_the_events_tell_what_happened(service: Lex) -> None:
    await service.ask("What is the weather in New York?")
    service.standin.script({"fault": {"kind": "status", "status": 400, "code": "bad"}}, times=None)
    await service.ask("And now?")

    events = (await service.client.get("/sessions/s1/events")).json()["events"]

    assert [event["type"] for event in events] == [
        "user_message",
        "tool_call",
        "tool_result",
        "assistant_message",
        "user_message",
        "error",
    ]
    assert events[-1]["data"] == {"outcome": "failed", "code": "upstream_refused"}


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_the_events_tell_of_an_answer_that_was_cut(service: Lex, reason: str) -> None:
    service.standin.script({"text": "It is", "finish_reason": reason}, times=1)
    await service.ask("Weather?")
    await service.ask("And now?")

    events = (await service.client.get("/sessions/s1/events")).json()["events"]

    told = [event["data"] for event in events if event["type"] in ("error", "system")]
    assert told == [{"outcome": "completed", "finish_reason": reason}]


async def test_a_turn_can_be_looked_up(service: Lex) -> None:
    answer = await service.client.post("/query", json={"query": "Hello", "session_id": "s1"})

    turn = (await service.client.get(f"/turns/{answer.headers['x-turn-id']}")).json()

    assert turn["outcome"] == "completed"
    assert turn["finish_reason"] == "stop"
    assert turn["session_id"] == "s1"
    assert turn["rounds"] == 1
    assert turn["model"] == "groq-standin/llama-3.3-70b-versatile"
    assert 0 < turn["first_chunk_seconds"] <= turn["seconds"] + 0.05


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sessions/nope"),
        ("DELETE", "/sessions/nope"),
        ("GET", "/sessions/nope/messages"),
        ("GET", "/sessions/nope/events"),
        ("POST", "/sessions/nope/messages"),
        ("GET", "/turns/0123456789abcdef"),
    ],
)
async def test_missing_sessions_and_turns_are_not_found(
    service: Lex, method: str, path: str
) -> None:
    body = {"content": "Hello"} if method == "POST" else None

    answer = await service.client.request(method, path, json=body)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in ("session_not_found", "turn_not_found")
    assert service.standin.stats.requests == 0


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "-1"}, "cursor"),
        ({"cursor": "²"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
    ],
)
async def test_a_page_that_makes_no_sense_is_refused(
    service: Lex, params: dict[str, str], field: str
) -> None:
    await service.ask("Hello")

    answer = await service.client.get("/sessions/s1/messages", params=params)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


async def test_a_message_that_cannot_be_used_names_its_field(service: Lex) -> None:
    location = (await service.client.post("/sessions")).headers["location"]

    answers = [
        await service.client.post(f"{location}/messages", json={"content": content})
        for content in ("", "x" * 101)
    ]

    for answer in answers:
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "content"


async def test_deleting_a_session_stops_its_turn(service: Lex) -> None:
    service.standin.script({"text": "a b c d e f g h i j", "tokens_per_second": 4})

    async with service.client.stream(
        "POST", "/query", json={"query": "Count", "session_id": "s1"}
    ) as stream:
        chunks = stream.aiter_text()
        received = await anext(chunks)
        deleted = await service.client.delete("/sessions/s1")
        async for more in chunks:
            received += more

    assert deleted.status_code == 204
    assert parse(received)[-1] == ("end", "")
    assert len(text_of(parse(received))) < len("a b c d e f g h i j")
    await service.standin.stats.until(lambda stats: stats.closed_early == 1)
    assert (await service.client.get("/sessions/s1")).status_code == 404
