"""`HttpAgent` and CopilotKit's core, unmodified, against a running service."""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.credentials import key_file, with_key_file
from tests.serving import lex
from tests.system.vendors import play

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "Text?": [{"text": "It is 18 degrees."}],
    "Two tools?": [
        {
            "text": "I look.",
            "calls": [
                {"name": "get_weather", "arguments": {"city": "Paris"}, "id": "call_1"},
                {"name": "get_weather", "arguments": {"city": "Rome"}, "id": "call_2"},
            ],
        },
        {"calls": [{"name": "get_weather", "arguments": {"city": "Tokyo"}, "id": "call_1"}]},
        {"text": "All are fine."},
    ],
    "Refused?": [
        {"calls": [{"name": "get_weather", "arguments": {}, "id": "call_1"}]},
        {"text": "Which city?"},
    ],
    "Broken?": [{"text": "It is eighteen", "fault": {"kind": "x_groq_error", "after_tokens": 2}}],
    "Slow?": [{"text": "slow " * 1000, "tokens_per_second": 50}],
    "Resumed?": [{"text": "word " * 120, "tokens_per_second": 40}],
}

Seen = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    keys = key_file(tmp_path_factory.mktemp("keys") / "keys", secret="alice")
    limited = {**with_key_file(keys), "rate_limit_session": "1/day"}
    async with lex() as service, lex(**limited) as secured:
        for each in (service, secured):
            for query, rounds in SCRIPTS.items():
                each.standin.script(*rounds, contains=query, times=None)
        shown: Seen = await play(HERE / "scenarios.mjs", service.url, secured.url)
        for thread, scenario in shown.items():
            answer = await service.client.get(f"/sessions/{thread}/messages")
            scenario["stored"] = answer.json().get("messages")
        yield shown


def said(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The messages that a client shows, without their ids."""
    return [
        (
            each["role"],
            json.loads(each["content"]) if each["role"] == "tool" else each.get("content") or "",
            [
                (call["function"]["name"], json.loads(call["function"]["arguments"]))
                for call in each.get("toolCalls", ())
            ],
        )
        for each in messages
    ]


def kept(stored: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The same for messages of our own API."""
    return [
        (
            each["role"],
            each["output"] if each["role"] == "tool" else each.get("content") or "",
            [(call["name"], call["arguments"]) for call in each.get("tool_calls", ())],
        )
        for each in stored
    ]


@pytest.mark.parametrize(
    "name",
    [
        "text",
        "two_tools_at_once",
        "a_tool_that_refuses",
        "an_error_in_mid_answer",
        "abort",
        "cut_is_not_a_stop",
        "repeat_of_a_run",
        "reload_in_mid_stream",
        "question_from_a_new_page",
        "asked_again",
        "stopped_elsewhere",
        "stopped_elsewhere_for_an_older_client",
        "unsupported",
        "copilotkit",
        "copilotkit_stops_and_connects",
    ],
)
async def test_a_client_shows_what_is_stored(seen: Seen, name: str) -> None:
    messages, stored = seen[name]["messages"], seen[name]["stored"]

    ids: dict[str, int] = {}
    for each in stored:
        ids[each["turn_id"]] = number = ids.get(each["turn_id"], 0) + 1
        each["id"] = f"{each['turn_id']}-{number}"
    if name == "abort":  # text may have been on its way to the client that left
        assert kept(stored)[-1][1].startswith(said(messages)[-1][1])
        assert said(messages)[:-1] == kept(stored)[:-1] != []
    else:
        assert said(messages) == kept(stored) != []
    shown = {(each["role"], each["id"]) for each in messages if each["role"] != "user"}
    assert shown == {(each["role"], each["id"]) for each in stored if each["role"] != "user"}


async def test_two_calls_at_once_are_one_message_with_their_text(seen: Seen) -> None:
    first, *_ = [each for each in seen["two_tools_at_once"]["messages"] if "toolCalls" in each]

    assert first["content"] == "I look."
    assert len(first["toolCalls"]) == 2


async def test_ids_of_calls_are_unique_in_a_thread(seen: Seen) -> None:
    for name in ("two_tools_at_once", "copilotkit"):
        calls = [call for each in seen[name]["messages"] for call in each.get("toolCalls", ())]
        outputs = [each for each in seen[name]["messages"] if each["role"] == "tool"]

        ids = [call["id"] for call in calls]
        assert len(set(ids)) == len(ids) >= 3
        assert sorted(each["toolCallId"] for each in outputs) == sorted(ids)


ENDINGS: dict[str, dict[str, str]] = {
    "text": {"outcome": "success"},
    "a_tool_that_refuses": {"outcome": "success"},
    "an_error_in_mid_answer": {"code": "upstream_garbled"},
    "abort": {"code": "abort"},
    "cut_is_not_a_stop": {"outcome": "success"},
    "stopped_elsewhere": {"outcome": "cancelled"},
    "stopped_elsewhere_for_an_older_client": {"outcome": "success"},
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_an_ending_is_named(seen: Seen, name: str) -> None:
    assert seen[name]["ended"] == ENDINGS[name]


async def test_a_plain_run_ends_with_its_client(seen: Seen) -> None:
    shown = seen["abort"]

    assert shown["again"] == {"outcome": "success"}
    slow = shown["stored"][1]["content"]
    assert 1 <= slow.count("slow") < 1000


async def test_a_cut_of_a_resumable_run_is_not_a_stop(seen: Seen) -> None:
    shown = seen["cut_is_not_a_stop"]

    assert shown["cut"] == {"code": "abort"}
    partial, whole = shown["partial"][-1]["content"], shown["messages"][-1]["content"]
    assert partial.count("word") < whole.count("word") == 120


async def test_a_repeated_run_joins_the_first_one(seen: Seen) -> None:
    shown = seen["repeat_of_a_run"]

    assert shown["other"] == {"messages": shown["messages"], "ended": {"outcome": "success"}}
    assert len(shown["stored"]) == 2
    assert shown["refused"]["status"] == 422
    assert '"field":"runId"' in shown["refused"]["refused"]


async def test_a_new_page_loads_the_thread_and_the_running_answer(seen: Seen) -> None:
    shown = seen["reload_in_mid_stream"]

    assert shown["cut"] == {"code": "abort"}
    assert shown["idle"]["messages"] == shown["messages"]
    assert shown["fresh"]["messages"] == []


async def test_a_question_is_asked_again_in_its_place(seen: Seen) -> None:
    shown = seen["asked_again"]

    assert said(shown["before"]) == [("user", "Text?", []), ("assistant", "It is 18 degrees.", [])]
    assert [each["role"] for each in shown["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert {each["id"] for each in shown["before"]}.isdisjoint(
        each["id"] for each in shown["messages"]
    )


async def test_messages_of_the_page_begin_a_thread(seen: Seen) -> None:
    shown = seen["given_messages"]

    assert shown["ended"] == {"outcome": "success"}
    texts = [each[:2] for each in kept(shown["stored"])]
    assert texts[:4] == [
        ("assistant", "How can I help?"),
        ("user", "A car?"),
        ("assistant", "Which one?"),
        ("user", "Text?"),
    ]
    assert len(shown["stored"]) == 9
    assert all("SNAPSHOT" not in wire["body"] for wire in shown["wire"])


REFUSALS = {
    "tools": "tools",
    "system": "messages",
    "answer": "messages",
    "output": "messages",
    "image": "messages.content",
    "edited": "messages",
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_names_the_field(seen: Seen, name: str) -> None:
    refused = seen["unsupported"]["refused"][name]

    assert refused["status"] == 422
    assert f'"field":"{REFUSALS[name]}"' in refused["refused"]


async def test_refusals_are_statuses(seen: Seen) -> None:
    shown = seen["sign_in_and_429"]

    assert [shown["refused"]["status"], shown["limited"]["status"]] == [401, 429]
    assert '"code":"too_many_requests"' in shown["limited"]["payload"]
    assert int(shown["wire"][-1]["retryAfter"]) > 0
    assert shown["ended"] == {"outcome": "success"}


async def test_copilotkit_reports_the_error(seen: Seen) -> None:
    assert seen["copilotkit"]["errors"] == ["agent_run_error_event"]


async def test_copilotkit_stops_a_run(seen: Seen) -> None:
    shown = seen["copilotkit_stops_and_connects"]

    (_, slow), (_, stopped) = shown["messages"], shown["stopped"]
    assert slow["content"].startswith(stopped["content"])
    assert slow["content"].count("slow") < 1000


async def test_the_wire_is_as_kept(seen: Seen) -> None:
    """`KEEP_GOLDEN=1` writes the files."""
    wires = {name: steady(each["wire"]) for name, each in seen.items()}
    # The next question may come too early. Whether it begins with a snapshot depends on the cut.
    wires["abort"] = steady(seen["abort"]["wire"][:1])

    if "KEEP_GOLDEN" in os.environ:
        for name, wire in wires.items():
            (GOLDEN / f"{name}.txt").write_text(wire)
    assert wires == {path.stem: path.read_text() for path in sorted(GOLDEN.iterdir())}


def steady(wires: list[dict[str, Any]]) -> str:
    return "\n".join(f"{wire['status']}\n\n{steady_body(wire['body'])}\n" for wire in wires)


UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


def steady_body(body: str) -> str:
    """Without ids of turns and runs, and numbers of tokens. Pieces of a text are joined."""
    body = re.sub(UUID, "<run>", body)
    body = re.sub(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])", "<turn>", body)
    body = re.sub(r'("(?:input|output|total)Tokens"):\d+', r"\1:…", body)
    body = re.sub(r'("retry_after"):\d+', r"\1:…", body)
    joint = re.compile(
        r'(\{"type":"TEXT_MESSAGE_CONTENT","messageId":"([^"]+)","delta":"[^\n]*)"\}\n\n'
        r'data: \{"type":"TEXT_MESSAGE_CONTENT","messageId":"\2","delta":"'
    )
    while joint.search(body):
        body = joint.sub(r"\1", body)
    body = re.sub(r'"(slow|word) (?:\1 ?)*"', r'"\1 …"', body)
    body = re.sub(r'"(slow|word)"', r'"\1 …"', body)
    body = re.sub(r"[^\n]*\[cut\]", "[cut]", body)
    frames = body.split("\n\n")
    results = [at for at, frame in enumerate(frames) if "TOOL_CALL_RESULT" in frame]
    # Tools that run at once end in any order, and the ids of their outputs count.
    rest = sorted(frames[at].split(',"toolCallId":')[1] for at in results)
    for at, each in zip(results, rest, strict=True):
        frames[at] = frames[at].split(',"toolCallId":')[0] + ',"toolCallId":' + each
    return "\n\n".join(frames)
