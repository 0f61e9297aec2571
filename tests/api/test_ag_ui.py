"""`POST /ag-ui`, in the ways that well-behaved clients do not show."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.api.doors.thread_ids import session_id_of
from tests.serving import Lex, lex
from tests.waiting import waiting


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex() as running:
        running.standin.script({"text": "It is 18 degrees."}, contains="Text?", times=None)
        yield running


async def run(
    service: Lex, *messages: dict[str, Any], thread_id: str = "t1", run_id: str = "r1", **more: Any
) -> httpx.Response:
    body = {"threadId": thread_id, "runId": run_id, "messages": messages, **more}
    return await service.client.post("/ag-ui", json=body)


def user(content: Any, id_: str = "m1") -> dict[str, Any]:
    return {"id": id_, "role": "user", "content": content}


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = answer.text.split("\n\n")[:-1]
    return [json.loads(frame[6:]) for frame in frames if frame.startswith("data: ")]


def types(answer: httpx.Response) -> list[str]:
    return [event["type"] for event in events_of(answer)]


TEXT = [
    "RUN_STARTED",
    "TEXT_MESSAGE_START",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_END",
    "RUN_FINISHED",
]
LOADED = ["RUN_STARTED", "MESSAGES_SNAPSHOT", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]


async def test_any_text_is_a_thread(service: Lex) -> None:
    thread_id = "My thread / ñ"

    asked = await run(service, user("Text?"), thread_id=thread_id)
    stored = await service.client.get(f"/sessions/{session_id_of(thread_id)}/messages")

    assert types(asked) == TEXT
    assert events_of(asked)[0]["threadId"] == thread_id
    assert asked.headers["x-session-id"] == session_id_of(thread_id)
    assert len(stored.json()["messages"]) == 2


async def test_a_repeated_run_is_replayed(service: Lex) -> None:
    first = await run(service, user("Text?"), run_id="Run ñ")
    again = await run(service, user("Text?"), run_id="Run ñ")
    later = await run(service, user("Text?", "m2"), run_id="Run 2")

    turns = [answer.headers["x-turn-id"] for answer in (first, again, later)]
    assert turns[0] == turns[1] != turns[2]
    assert events_of(again)[-4:] == events_of(first)[-4:]


async def test_a_question_alone_gets_the_history_that_its_page_lacks(service: Lex) -> None:
    first = await run(service, user("Text?"))
    second = await run(service, user("Text? More."), run_id="r2")
    repeats = [
        await run(service, user("Text?")),
        await run(service, user("Text? More."), run_id="r2"),
    ]

    assert types(first) == types(repeats[0]) == TEXT
    assert types(second) == types(repeats[1]) == [TEXT[0], *LOADED[1:3], *TEXT[1:]]
    for answer in (second, repeats[1]):
        snapshot = events_of(answer)[2]["messages"]
        assert [each["content"] for each in snapshot] == [
            "Text?",
            "It is 18 degrees.",
            "Text? More.",
        ]


async def test_a_run_without_a_question_asks_nothing(service: Lex) -> None:
    new = await run(service)
    asked = await run(service, user("Text?"))
    loaded = await run(service, run_id="r2")

    *_, snapshot, _finished = events_of(loaded)
    turn_id = asked.headers["x-turn-id"]
    assert types(new) == ["RUN_STARTED", "RUN_FINISHED"]
    assert types(loaded) == LOADED
    assert [(each["id"], each["content"]) for each in snapshot["messages"]] == [
        (f"{turn_id}-1", "Text?"),
        (f"{turn_id}-2", "It is 18 degrees."),
    ]
    assert service.standin.stats.requests == 1


async def test_a_log_that_is_gone_is_replaced_by_the_history(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/lex.db"
    async with lex(database_url=database) as service:
        service.standin.script({"text": "It is 18 degrees."}, contains="Text?", times=None)
        turn_id = (await run(service, user("Text?"))).headers["x-turn-id"]
        said = {"id": f"{turn_id}-2", "role": "assistant", "content": "It is"}
        replayed = await run(service, user("Text?"), said, run_id="r2")

    async with lex(database_url=database, event_log_hours=1e-6) as service, waiting():
        while (await service.client.get(f"/turns/{turn_id}/events")).status_code == 200:
            await asyncio.sleep(0.05)
        loaded = await run(service, user("Text?"), said, run_id="r2")

    assert types(replayed) == [TEXT[0], *LOADED[1:3], *TEXT[1:]]
    assert types(loaded) == LOADED
    assert events_of(loaded)[2]["messages"][-1]["content"] == "It is 18 degrees."


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no thread": ("threadId", {"threadId": ""}),
    "a thread in broken Unicode": ("threadId", {"threadId": "\ud800"}),
    "no run": ("runId", {"runId": ""}),
    "a run in broken Unicode": ("runId", {"runId": "\udfff"}),
    "frontend tools": ("tools", {"tools": [{"name": "alert", "description": ""}]}),
    "an answered interrupt": ("resume", {"resume": [{"interruptId": "i", "status": "resolved"}]}),
    "a system message": (
        "messages",
        {"messages": [{"id": "m0", "role": "system", "content": "Be rude."}, user("Text?")]},
    ),
    "a developer message": (
        "messages",
        {"messages": [user("Text?"), {"id": "m0", "role": "developer", "content": ""}]},
    ),
    "an unknown role": ("messages.role", {"messages": [{**user("Text?"), "role": "wizard"}]}),
    "an empty question": ("messages.content", {"messages": [user(" \n")]}),
    "no content": ("messages.content", {"messages": [user(None)]}),
    "content without parts": ("messages.content", {"messages": [user([])]}),
    "a NUL": ("messages.content", {"messages": [user("a\x00b")]}),
    "broken Unicode": ("messages.content", {"messages": [user("\ud800")]}),
    "a long question": ("messages.content", {"messages": [user("x" * 4001)]}),
    "an image": (
        "messages.content",
        {"messages": [user([{"type": "text", "text": "Text?"}, {"type": "image", "source": {}}])]},
    ),
    "a file": (
        "messages.content",
        {"messages": [user([{"type": "binary", "mimeType": "text/plain", "data": "aGk="}])]},
    ),
    "given text with a NUL": (
        "messages.content",
        {"messages": [{"id": "m0", "role": "assistant", "content": "\x00"}, user("Text?", "m1")]},
    ),
}


async def test_a_refusal_names_the_field(service: Lex) -> None:
    named = {}
    for name, (_, changed) in REFUSED.items():
        body = {"threadId": "t1", "runId": "r1", "messages": [user("Text?")], **changed}
        answer = await service.client.post(
            "/ag-ui", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        errors = answer.json().get("errors", ())
        named[name] = answer.status_code, [error["field"] for error in errors]

    assert named == {name: (422, [field]) for name, (field, _) in REFUSED.items()}
    assert service.standin.stats.requests == 0


async def test_what_changes_nothing_is_ignored(service: Lex) -> None:
    answer = await run(
        service,
        {"id": "a1", "role": "activity", "activityType": "x", "content": {}},
        user([{"type": "text", "text": "Text?"}, {"type": "text", "text": "Please."}]),
        {"id": "r1", "role": "reasoning", "content": "Hm."},
        tools=[],
        resume=[],
        context=[{"description": "x", "value": "y"}],
        state={"a": 1},
        forwardedProps={"resume": "yes"},
        parentRunId="r0",
        temperature=2,
    )
    stored = await service.client.get("/sessions/t1/messages")

    assert types(answer) == TEXT
    assert stored.json()["messages"][0]["content"] == "Text?\nPlease."


async def test_a_question_of_the_history_is_asked_in_its_place(service: Lex) -> None:
    first = (await run(service, user("Text?"))).headers["x-turn-id"]
    await run(service, user("Text?", "m2"), run_id="r2")
    again = await run(service, user("Text? Again.", f"{first}-1"), run_id="r3")
    repeated = await run(service, user("Text? Again.", f"{first}-1"), run_id="r3")

    stored = (await service.client.get("/sessions/t1/messages")).json()["messages"]
    assert [each["content"] for each in stored] == ["Text? Again.", "It is 18 degrees."]
    assert types(again) == [TEXT[0], *LOADED[1:3], *TEXT[1:]]
    assert events_of(again)[2]["messages"] == [
        user("Text? Again.", f"{again.headers['x-turn-id']}-1")
    ]
    assert repeated.headers["x-turn-id"] == again.headers["x-turn-id"]


async def test_a_question_that_was_replaced_is_not_asked_at_the_end(service: Lex) -> None:
    first = (await run(service, user("Text?"))).headers["x-turn-id"]
    again = await run(service, user("Text? Again.", f"{first}-1"), run_id="r2")
    history = events_of(await run(service, run_id="r3"))[2]["messages"]

    stale = await run(service, user("Text? Once more.", f"{first}-1"), run_id="r4")
    repeats = [
        await run(service, user("Text? Again.", f"{first}-1"), run_id="r2"),
        await run(service, user("Text?")),
        await run(service, user("Hello", "m0"), user("Text?")),
    ]

    assert (stale.status_code, stale.json()["errors"][0]["field"]) == (422, "messages.id")
    assert repeats[0].headers["x-turn-id"] == again.headers["x-turn-id"]
    # The turn of this run is no longer in the history, so the run shows what is.
    for repeat in repeats[1:]:
        assert types(repeat) == LOADED
        assert events_of(repeat)[2]["messages"] == history
    assert events_of(await run(service, run_id="r5"))[2]["messages"] == history


async def test_an_edit_of_a_running_question_is_no_repeat(service: Lex) -> None:
    slow = {"text": "one two three four", "tokens_per_second": 5}
    service.standin.script(slow, contains="Slow?", times=None)
    body = {"threadId": "t1", "runId": "r1", "messages": [user("Slow?")]}
    resumable = {**body, "forwardedProps": {"resume": True}}
    async with service.client.stream("POST", "/ag-ui", json=resumable) as stream:
        question = f"{stream.headers['x-turn-id']}-1"
        followed = await run(service, user("Text? Edited.", question), run_id="r2")

    async with waiting():  # the server notices on its own that the reader has left
        while (edited := await run(service, user("Text? Edited.", question), run_id="r2")).is_error:
            assert edited.status_code == 409
            await asyncio.sleep(0.01)

    stored = (await service.client.get("/sessions/t1/messages")).json()["messages"]
    assert (followed.status_code, followed.json()["code"]) == (409, "session_busy")
    assert [each["content"] for each in stored] == ["Text? Edited.", "It is 18 degrees."]


async def test_heartbeats_are_comments() -> None:
    async with lex(heartbeat_seconds=0.05) as service:
        service.standin.script({"text": "Late.", "first_token_after": 0.4}, times=None)
        answer = await run(service, user("Text?"))

    assert types(answer) == TEXT
    assert "\n\n: \n\n" in answer.text
