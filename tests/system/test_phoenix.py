"""Arize Phoenix shows conversations from our spans, if content is captured."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infrastructure.groq_standin import Standin
from tests.chromium import chromium
from tests.phoenix import Phoenix, running_phoenix
from tests.processes import lex_process
from tests.waiting import LIMIT_SECONDS

# The first of these tests waits for Phoenix, for Lex, for the spans and for each text of the page.
pytestmark = pytest.mark.timeout(8 * LIMIT_SECONDS)

WEATHER, BERLIN, BROKEN = "What is the weather in Paris?", "And in Berlin?", "Does it break?"
SAID = (WEATHER, "It is mild in Paris.", BERLIN, "It is mild in Berlin as well.")
LOOK_UP: dict[str, Any] = {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}


@dataclass
class Seen:
    sessions: dict[str, dict[str, Any]]
    page: str
    """The text of the session's page."""
    picture: bytes

    def spans(self, kind: str, session: str = "shopping", turn: int = 0) -> list[dict[str, Any]]:
        """The spans of a turn with this kind, in the order of their names."""
        spans = self.sessions[session]["traces"][turn]["spans"]
        return sorted(
            (span for span in spans if span["spanKind"] == kind), key=lambda span: str(span["name"])
        )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(_watch(tmp_path_factory.mktemp("phoenix")))


async def _watch(folder: Path) -> Seen:
    async with running_phoenix(folder) as phoenix:
        await _converse(phoenix)
        found = await phoenix.sessions(traces=3)
        sessions = {session["sessionId"]: session for session in found}
        async with chromium() as browser:
            page = await browser.new_page(viewport={"width": 1500, "height": 1000})
            await page.goto(phoenix.url + sessions["shopping"]["page"])
            for words in SAID:
                await page.get_by_text(words).last.wait_for()
            text = await page.inner_text("body")
            picture = await page.screenshot(path=folder / "session.png")
    return Seen(sessions, text, picture)


async def _converse(phoenix: Phoenix) -> None:
    async with Standin.serve() as standin:
        standin.script(LOOK_UP, {"text": "It is mild in Paris."}, contains=WEATHER)
        standin.script({"text": "It is mild in Berlin as well."}, contains=BERLIN)
        standin.script(
            {"text": "one two", "fault": {"kind": "close", "after_tokens": 1}}, contains=BROKEN
        )
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": "memory://",
            "OTEL_EXPORTER_OTLP_ENDPOINT": phoenix.url,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        }
        async with lex_process(**variables) as client:
            for query, session in (
                (WEATHER, "shopping"),
                (BERLIN, "shopping"),
                (BROKEN, "unlucky"),
            ):
                body = {"query": query, "session_id": session}
                answer = await client.post("/query", json=body)
                assert answer.status_code == 200


def test_a_session_has_its_turns_and_their_words(seen: Seen) -> None:
    session = seen.sessions["shopping"]

    assert len(session["traces"]) == 2
    assert session["firstInput"]["value"] == WEATHER
    assert session["lastOutput"]["value"] == "It is mild in Berlin as well."


def test_a_turn_has_its_question_and_its_answer(seen: Seen) -> None:
    (turn,) = seen.spans("agent")
    llm = json.loads(turn["attributes"])["llm"]

    (question,) = [each["message"] for each in llm["input_messages"]]
    (answer,) = [each["message"] for each in llm["output_messages"]]
    assert (question["role"], question["content"]) == ("user", WEATHER)
    assert (answer["role"], answer["content"]) == ("assistant", "It is mild in Paris.")
    assert (turn["input"]["value"], turn["output"]["value"]) == (WEATHER, "It is mild in Paris.")


def test_a_tool_call_is_seen_where_it_was_asked_for_and_where_it_ran(seen: Seen) -> None:
    calls = [json.loads(span["attributes"])["llm"] for span in seen.spans("llm")]
    (tool,) = seen.spans("tool")

    asking, answering = sorted(calls, key=lambda llm: len(llm["input_messages"]))
    (asked,) = asking["output_messages"]
    (called,) = asked["message"]["tool_calls"]
    assert called["tool_call"]["function"]["name"] == "get_weather"
    assert json.loads(called["tool_call"]["function"]["arguments"]) == {"city": "Paris"}
    assert [each["message"]["role"] for each in answering["input_messages"]] == [
        *("system", "user", "assistant", "tool")
    ]
    assert tool["name"] == "execute_tool get_weather"
    assert json.loads(tool["attributes"])["tool"]["parameters"] == {"city": "Paris"}
    assert json.loads(tool["output"]["value"])["city"] == "Paris"


def test_a_call_offers_its_tools_and_says_why_it_ended(seen: Seen) -> None:
    calls = [json.loads(span["attributes"])["llm"] for span in seen.spans("llm")]

    assert {llm["finish_reason"] for llm in calls} == {"tool_calls", "stop"}
    for llm in calls:
        offered = [json.loads(each["tool"]["json_schema"]) for each in llm["tools"]]
        assert "get_weather" in {each["function"]["name"] for each in offered}


def test_a_failed_turn_is_an_error_at_its_root_and_shows_what_was_said(seen: Seen) -> None:
    (trace,) = seen.sessions["unlucky"]["traces"]

    assert trace["rootSpan"] == {"name": "POST /query", "statusCode": "ERROR"}
    (turn,) = seen.spans("agent", "unlucky")
    (said,) = json.loads(turn["attributes"])["llm"]["output_messages"]
    assert said["message"]["content"] == "one"


def test_a_person_can_read_the_conversation(seen: Seen) -> None:
    assert all(words in seen.page for words in SAID)
    assert seen.picture.startswith(b"\x89PNG")
