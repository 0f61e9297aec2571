"""`DefaultChatTransport` and the chat of `useChat`, unmodified, against a running service."""

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
        {"text": "Both are fine."},
    ],
    "Refused?": [
        {"calls": [{"name": "get_weather", "arguments": {}, "id": "call_1"}]},
        {"text": "Which city?"},
    ],
    "Broken?": [{"text": "It is eighteen", "fault": {"kind": "x_groq_error", "after_tokens": 2}}],
    "Slow?": [{"text": "slow " * 5000, "tokens_per_second": 50}],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ai_sdk")
    keys = key_file(folder / "keys", secret="alice")
    limited = {**with_key_file(keys), "rate_limit_session": "1/day"}
    # A cut of a resumable answer would show only after the grace.
    stored: Any = {"database_url": f"sqlite:///{folder}/lex.db", "disconnect_grace_seconds": 3600}
    async with lex(**stored) as service, lex(**limited) as secured:
        for each in (service, secured):
            for query, rounds in SCRIPTS.items():
                each.standin.script(*rounds, contains=query, times=None)
        yield await play(HERE / "scenarios.mjs", service.url, secured.url)


def answer(seen: dict[str, Any]) -> dict[str, Any]:
    """The last message, which must be the stored one too."""
    shown: dict[str, Any] = seen["shown"][-1]
    assert shown == seen["stored"][-1]
    assert shown["role"] == "assistant"
    return shown


def text_of(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


async def test_a_text(seen: dict[str, Any]) -> None:
    shown = answer(seen["text"])

    turn_id = shown["metadata"]["turnId"]
    assert shown["id"] == f"{turn_id}-2"
    assert shown["parts"] == [
        {"type": "step-start"},
        {"type": "text", "text": "It is 18 degrees.", "state": "done"},
    ]
    assert shown["metadata"]["sessionId"] == "text"
    assert shown["metadata"]["outcome"] == "completed"
    assert shown["metadata"]["usage"]["totalTokens"] > 0
    assert seen["text"]["status"] == "ready"
    assert seen["text"]["wire"][0]["protocol"] == "v1"


async def test_two_tools_at_once_are_one_step(seen: dict[str, Any]) -> None:
    parts = answer(seen["two_tools_at_once"])["parts"]

    types = [part["type"] for part in parts]
    tools = ["tool-get_weather"] * 2
    assert types == ["step-start", "text", *tools, "step-start", "text"]
    assert [part["state"] for part in parts[2:4]] == ["output-available"] * 2
    assert parts[2]["input"] == {"city": "Paris"}
    assert parts[2]["output"]["city"] == "Paris"


async def test_a_tool_that_refuses(seen: dict[str, Any]) -> None:
    call = answer(seen["a_tool_that_refuses"])["parts"][1]

    assert call["state"] == "output-error"
    assert "city" in call["errorText"]


async def test_an_error_in_mid_answer_keeps_the_text(seen: dict[str, Any]) -> None:
    broken = seen["an_error_in_mid_answer"]

    shown, kept = broken["shown"][-1], broken["stored"][-1]
    assert broken["status"] == "error"
    assert "over capacity" not in broken["error"]  # the upstream's own words
    assert text_of(shown) == text_of(kept) != ""
    assert shown["metadata"]["errorCode"] == kept["metadata"]["errorCode"] != ""
    assert kept["metadata"]["outcome"] == "failed"


@pytest.mark.parametrize("name", ["stop", "stop_as_documented"])
async def test_a_stop_keeps_the_text(seen: dict[str, Any], name: str) -> None:
    shown = answer(seen[name])

    assert seen[name]["status"] == "ready"
    assert shown["metadata"]["outcome"] == "cancelled"
    assert text_of(shown).startswith("slow")
    assert '{"type":"abort","reason":"cancelled"}' in seen[name]["wire"][0]["body"]


async def test_a_cut_is_not_a_stop(seen: dict[str, Any]) -> None:
    resumed = seen["reload_in_mid_stream"]

    shown = answer(resumed)
    assert text_of(shown).startswith(resumed["left"])
    assert [entry["status"] for entry in resumed["wire"]] == [200, 204]


async def test_a_cut_of_a_plain_answer_is_a_stop(seen: dict[str, Any]) -> None:
    plain = seen["a_cut_of_a_plain_answer"]

    first, last = plain["stored"][1], answer(plain)
    assert first["metadata"]["outcome"] == "disconnected"
    assert text_of(first).startswith(text_of(plain["shown"][1]))
    assert last["metadata"]["outcome"] == "completed"


async def test_a_page_sends_what_it_shows(seen: dict[str, Any]) -> None:
    conversation = seen["a_conversation"]

    assert conversation["error"] is None
    assert conversation["shown"][1::2] == conversation["stored"][1::2]
    assert len(conversation["stored"]) == 4


async def test_a_repeated_request_gets_the_same_answer(seen: dict[str, Any]) -> None:
    repeated = seen["a_repeated_request"]

    assert repeated["repeats"]
    assert len(repeated["stored"]) == 2


async def test_an_answer_is_asked_for_again(seen: dict[str, Any]) -> None:
    again = seen["regenerate"]

    assert again["error"] is None
    assert len(again["stored"]) == 2
    assert text_of(answer(again)) == "It is 18 degrees."
    assert len({_started(entry) for entry in again["wire"]}) == 5


async def test_an_answer_is_asked_for_again_after_a_reload(seen: dict[str, Any]) -> None:
    again = seen["regenerate_after_a_reload"]

    assert len(again["stored"]) == 2
    assert len({again["first"], *map(_started, again["wire"])}) == 3
    assert answer(again)["id"] == _started(again["wire"][-1])


async def test_a_refused_question_is_asked_again_as_a_new_one(seen: dict[str, Any]) -> None:
    again = seen["regenerate_what_was_refused"]

    assert [entry["status"] for entry in again["wire"]] == [200, 422, 200]
    assert len(again["stored"]) == 4
    assert text_of(answer(again)).endswith("Both are fine.")


@pytest.mark.parametrize(("name", "messages"), [("edit", 2), ("edit_after_a_reload", 4)])
async def test_an_edit_replaces_the_question_and_all_after_it(
    seen: dict[str, Any], name: str, messages: int
) -> None:
    edited = seen[name]

    assert edited["error"] is None
    assert len(edited["stored"]) == len(edited["shown"]) == messages
    assert text_of(edited["stored"][0]) == "Two tools?"
    assert edited["stored"][1]["parts"] == edited["shown"][1]["parts"]
    answer(edited)


async def test_a_greeting_of_the_page_becomes_history(seen: dict[str, Any]) -> None:
    greeted = seen["a_greeting_of_the_page"]

    assert greeted["error"] is None
    assert [text_of(message) for message in greeted["stored"][:2]] == ["Welcome!", "Text?"]
    assert len(greeted["stored"]) == 5


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("an_answer_that_nobody_gave", "messages"),
        ("an_output_that_no_tool_gave", "messages"),
        ("an_image", "messages.parts.type"),
    ],
)
async def test_a_refusal_names_the_field(seen: dict[str, Any], name: str, field: str) -> None:
    refused = seen[name]

    assert refused["wire"][-1]["status"] == 422
    assert f'"field":"{field}"' in refused["error"]
    assert refused["status"] == "error"


async def test_a_chat_goes_on_after_a_refusal(seen: dict[str, Any]) -> None:
    went_on = seen["a_message_after_a_refused_one"]

    assert [entry["status"] for entry in went_on["wire"]] == [422, 200]
    assert text_of(answer(went_on)) == "It is 18 degrees."


async def test_a_limit_says_when_to_come_back(seen: dict[str, Any]) -> None:
    limited = seen["a_limit"]

    assert [entry["status"] for entry in limited["wire"]] == [200, 429]
    assert int(limited["wire"][-1]["retryAfter"]) > 0
    assert '"code":"too_many_requests"' in limited["error"]


async def test_a_page_must_sign_in(seen: dict[str, Any]) -> None:
    assert seen["no_sign_in"]["wire"][0]["status"] == 401
    assert seen["no_sign_in"]["stored"] == []


def _started(entry: dict[str, Any]) -> str:
    """The id of the message that a stream begins."""
    found = re.search(r'"messageId":"([^"]+)"', entry["body"])
    assert found is not None, entry
    return found[1]


async def test_the_wire_is_as_kept(seen: dict[str, Any]) -> None:
    """`KEEP_GOLDEN=1` writes the files."""
    wires = {name: steady(each["wire"]) for name, each in seen.items()}

    if "KEEP_GOLDEN" in os.environ:
        for name, wire in wires.items():
            (GOLDEN / f"{name}.txt").write_text(wire)
    assert wires == {path.stem: path.read_text() for path in sorted(GOLDEN.iterdir())}


def steady(wire: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{entry['method']} {entry['status']}\n\n{_steady_body(entry['body'])}" for entry in wire
    )


def _steady_body(body: str) -> str:
    """Without ids of turns and places of events. Pieces of a text are joined."""
    body = re.sub(r"[0-9a-f]{16}", "<turn>", body)
    body = re.sub(r'"retry_after":\d+', '"retry_after":…', body)
    body = re.sub(r'("(?:input|output|total)Tokens"):\d+', r"\1:…", body)
    joint = re.compile(
        r'(\{"type":"text-delta","id":"(text-\d+)","delta":"[^\n]*)"\}\n\n'
        r'data: \{"type":"text-delta","id":"\2","delta":"'
    )
    while joint.search(body):
        body = joint.sub(r"\1", body)
    body = re.sub(r'"delta":"slow[^"]*', r'"delta":"slow …', body)
    frames = body.split("\n\n")
    outputs = [at for at, frame in enumerate(frames) if '"type":"tool-output-' in frame]
    for at, frame in zip(outputs, sorted(frames[at] for at in outputs), strict=True):
        frames[at] = frame  # tools that run at once end in any order
    return "\n\n".join(frames)
