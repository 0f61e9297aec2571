"""OpenAI's client for JavaScript, unmodified: all its scenarios in one process of Node."""

from typing import Any

from tests.live.doors.openai_scenarios import TEXT, play
from tests.live.doors.test_openai import history, outcome_of
from tests.processes import ROOT
from tests.serving import lex
from tests.system import vendors

CLIENT = ROOT / "tests/system/clients/openai.mjs"


async def test_the_client_for_javascript_understands_every_scenario() -> None:
    async with (
        lex(heartbeat_seconds=0.05) as service,
        lex(rate_limit_session="1/minute") as limited,
    ):
        play(service)
        said = await run(service.url, limited.url)

        assert await outcome_of(service, "stopped") == "disconnected"
        assert await history(service, "js") == [
            ("user", "Text?"),
            ("assistant", TEXT),
            ("user", "Two tools?"),
            ("assistant", "Let me look."),
            ("assistant", "Both are mild."),
        ]

    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    broken = {"code": "upstream_unavailable"}
    tools = "Let me look.\n\nBoth are mild."
    assert said == {
        "streamed": {"text": TEXT, "usage": usage},
        "whole": {"role": "assistant", "content": TEXT, "refusal": None},
        "tools": {"text": tools},
        "refusing": {"text": "There is no such dealership."},
        "broken": {"text": "One two", "error": {**broken, "param": None}},
        "failed": {**broken, "status": 503},
        "again": {"text": tools},
        "invented": {
            "text": "",
            "error": {"code": "invalid_field", "status": 422, "param": "messages[0].content"},
        },
        "models": ["lex"],
        "limited": {
            "text": "",
            "error": {"code": "rate_limit_exceeded", "status": 429, "param": None},
        },
    }


async def run(*arguments: str) -> dict[str, Any]:
    said: dict[str, Any] = await vendors.play(CLIENT, *arguments)
    return said
