"""`make smoke` against the stand-in instead of Groq."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from infrastructure.groq_standin import Standin
from infrastructure.smoke.__main__ import NO_KEY
from tests.processes import ROOT, environment
from tests.waiting import within_limit

KINDS = {
    "plain": "-",
    "weather": "get_weather",
    "dealership": "get_dealership_address",
    "availability": "check_appointment_availability",
    "profile": "fetch_user_profile",
    "booking": "schedule_appointment",
    "reasoning": "get_weather",
}


@dataclass(frozen=True)
class Smoked:
    code: int
    lines: list[str]
    errors: str

    @property
    def rows(self) -> dict[str, list[str]]:
        """The rows by kind: model, tools, rounds, tokens, seconds, dollars and result."""
        split = [line.split(maxsplit=8) for line in self.lines[1:]]
        return {row[0]: row[1:] for row in split if row[0] in KINDS}


async def smoke(**variables: str) -> Smoked:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infrastructure.smoke"),
        cwd=ROOT,
        env=environment(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await within_limit(running.communicate())
    return Smoked(running.returncode or 0, said.decode().splitlines(), errors.decode())


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


async def test_one_question_of_each_kind_calls_its_tool_and_is_counted(standin: Standin) -> None:
    # The settings of a real service in the environment are not used.
    smoked = await smoke(
        GROQ_BASE_URL=standin.url,
        REDIS_URL="redis://127.0.0.1:9/0",
        DATABASE_URL="postgresql://lex@127.0.0.1:9/lex",
        AUTH="api_key",
        API_KEYS_FILE="/nowhere",
        METRICS_PORT="9",
    )

    assert {kind: row[1] for kind, row in smoked.rows.items()} == KINDS
    assert {row[-1] for row in smoked.rows.values()} == {"ok"}
    assert smoked.rows["reasoning"][0] == "groq-standin/openai/gpt-oss-120b"
    assert all(int(row[3]) > 0 and int(row[4]) > 0 for row in smoked.rows.values())
    assert smoked.lines[-1] == "All questions succeeded."
    assert (smoked.code, smoked.errors) == (0, "")


async def test_what_fails_is_named_and_the_others_are_asked_all_the_same(standin: Standin) -> None:
    wrong = {"fault": {"kind": "status", "status": 400, "message": "no"}}
    standin.script(wrong, contains="address", times=None)
    standin.script({"text": "It is fine."}, contains="profile", times=None)
    smoked = await smoke(GROQ_BASE_URL=standin.url)

    assert smoked.code == 1
    assert smoked.rows["dealership"][-1].startswith("upstream_refused: ")
    assert smoked.rows["profile"][-1] == "fetch_user_profile was not called"
    assert smoked.rows["booking"][-1] == "ok"
    assert smoked.lines[-1] == "Failed: dealership, profile."


async def test_without_a_key_it_says_so_in_one_line() -> None:
    smoked = await smoke(GROQ_API_KEY=" ")

    assert (smoked.code, smoked.lines, smoked.errors) == (2, [], f"{NO_KEY}\n")


async def test_a_wrong_setting_is_told_as_by_the_service() -> None:
    smoked = await smoke(MAX_ROUNDS="many")

    assert (smoked.code, smoked.lines) == (1, [])
    assert smoked.errors.startswith("lex: MAX_ROUNDS cannot be used: ")
