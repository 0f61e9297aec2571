# ruff: noqa: ARG001 - a tool takes both arguments, whether or not it needs them

import asyncio
import json
from typing import Any

import pytest
from pydantic import Field
from structlog.testing import capture_logs

from backend.domain.conversation import ToolCall
from backend.domain.errors import (
    InvalidArguments,
    NotStorable,
    Overloaded,
    StorageError,
    StoreAway,
    ToolRefused,
)
from backend.storage.ports.side_effects import ClaimLost
from backend.tools import TOOLS
from backend.tools.arguments import Arguments, parsed
from backend.tools.context import ToolContext
from backend.tools.registry import UNCERTAIN, Output, Tool, Toolbox, ToolOutcome, ToolResult, tool
from tests.unit.tools.fakes import TOOLBOX, a_context


class Words(Arguments):
    words: str = Field("nothing", description="What to say")


class Said(Output):
    said: str
    heard_by: str | None = None


@tool()
async def say(arguments: Words, context: ToolContext) -> Said:
    """Say it,
    loud."""
    return Said(said=arguments.words)


def failing(error: Exception) -> Tool:
    @tool()
    async def fail(arguments: Words, context: ToolContext) -> Said:
        raise error

    return fail


async def run(
    *tools: Tool, name: str, arguments: str = "{}", timeout_seconds: float = 5, limit: int = 1000
) -> ToolResult:
    box = Toolbox(tools, timeout_seconds=timeout_seconds, max_output_characters=limit)
    return await box.run(ToolCall("call_1", name, arguments), a_context())


def test_a_tool_is_described_by_its_function_and_its_arguments() -> None:
    assert say.name == "say"
    assert say.spec.description == "Say it, loud."
    assert say.spec.parameters == {
        "type": "object",
        "properties": {
            "words": {"type": ["string", "number", "null"], "description": "What to say"}
        },
        "required": [],
    }


def test_the_schemas_sent_upstream_name_every_argument() -> None:
    schemas = {spec.name: spec.parameters for spec in TOOLBOX.specs}

    arguments = {name: list(schema["properties"]) for name, schema in schemas.items()}
    assert arguments["get_weather"] == ["city"]
    assert arguments["schedule_appointment"] == [
        "dealership_id",
        "date",
        "user_id",
        "time",
        "car_model",
    ]
    assert schemas["schedule_appointment"]["required"] == [
        "dealership_id",
        "date",
        "time",
        "car_model",
    ]
    for spec in TOOLBOX.specs:
        assert spec.description
        for field in spec.parameters["properties"].values():
            assert field["type"] == ["string", "number", "null"]
            assert field["description"]


def test_only_the_booking_has_side_effects() -> None:
    with_side_effects = [tool.name for tool in TOOLS if TOOLBOX.has_side_effects(tool.name)]

    assert with_side_effects == ["schedule_appointment"]
    assert not TOOLBOX.has_side_effects("no_such_tool")


async def test_an_output_is_shown_without_what_is_not_known() -> None:
    result = await run(say, name="say", arguments='{"words": "hello"}')

    assert result.outcome is ToolOutcome.OK
    assert result.output == {"said": "hello"}
    assert result.seconds > 0


async def test_an_unknown_tool_is_told_which_there_are() -> None:
    result = await run(say, name="shout")

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"] == {
        "code": "unknown_tool",
        "message": "There is no tool 'shout'. There are: say.",
    }


@pytest.mark.parametrize("arguments", ["", "  ", "null", "{}", '{"extra": [1]}'])
async def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    result = await run(say, name="say", arguments=arguments)

    assert result.output == {"said": "nothing"}


@pytest.mark.parametrize(
    "arguments",
    [
        "{",
        '{"words": }',
        "words",
        '{"words": NaN}',
        '{"words": "\\ud83d"}',
        '{"words": ' + "9" * 5000 + "}",
        "[" * 100_000,
    ],
)
async def test_what_is_not_json_is_told_so(arguments: str) -> None:
    result = await run(say, name="say", arguments=arguments)

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"]["message"].startswith("The arguments are not valid JSON: ")


@pytest.mark.parametrize("arguments", ["[]", '"hello"', "7", "true"])
async def test_json_that_is_no_object_is_told_so(arguments: str) -> None:
    result = await run(say, name="say", arguments=arguments)

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"]["message"] == "The arguments must be a JSON object."


def test_parsed_arguments_can_be_shown() -> None:
    assert parsed('{"city": "Zürich"}') == {"city": "Zürich"}
    with pytest.raises(InvalidArguments):
        parsed("{")


async def test_a_refusal_is_an_output_with_its_details() -> None:
    refusing = failing(ToolRefused("Not now.", code="too_early", opens="09:00"))

    result = await run(refusing, name="fail")

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output == {
        "error": {"code": "too_early", "message": "Not now.", "opens": "09:00"}
    }


async def test_a_tool_that_breaks_is_logged_and_told_without_its_secrets() -> None:
    with capture_logs() as logs:
        result = await run(failing(RuntimeError("password=1234")), name="fail")

    assert result.outcome is ToolOutcome.FAILED
    assert result.output == {
        "error": {"code": "failed", "message": "fail failed. Its result is not known."}
    }
    assert [(entry["event"], entry["tool"]) for entry in logs] == [("tool_failed", "fail")]


async def test_a_tool_without_its_store_is_not_available() -> None:
    with capture_logs() as logs:
        result = await run(failing(StorageError()), name="fail")

    assert result.outcome is ToolOutcome.FAILED
    assert result.output["error"]["message"] == "fail is not available at the moment."
    assert logs[0]["code"] == "storage_unavailable"


@pytest.mark.parametrize(
    ("error", "is_uncertain"),
    [(StoreAway(), True), (StorageError(), True), (NotStorable(), False), (Overloaded(), False)],
)
async def test_a_tool_with_side_effects_whose_commit_was_not_answered_may_have_taken_effect(
    error: Exception, is_uncertain: bool
) -> None:
    @tool(has_side_effects=True)
    async def book(arguments: Words, context: ToolContext) -> Said:
        raise error

    result = await run(book, name="book")

    expected = "book is not available at the moment."
    assert result.outcome is ToolOutcome.FAILED
    assert result.output["error"]["message"] == expected + f" {UNCERTAIN}" * is_uncertain


async def test_an_output_of_the_wrong_kind_is_a_failure_of_the_tool() -> None:
    @tool()
    async def mumble(arguments: Words, context: ToolContext) -> Any:
        return None

    with capture_logs():
        result = await run(mumble, name="mumble")

    assert result.outcome is ToolOutcome.FAILED


@pytest.mark.parametrize(
    ("has_side_effects", "advice"), [(False, "try once more"), (True, "is safe")]
)
async def test_a_tool_has_a_time_limit(has_side_effects: bool, advice: str) -> None:
    @tool(has_side_effects=has_side_effects)
    async def ponder(arguments: Words, context: ToolContext) -> Said:
        await asyncio.sleep(60)
        return Said(said="at last")

    result = await run(ponder, name="ponder", timeout_seconds=0.01)

    assert result.outcome is ToolOutcome.TIMED_OUT
    assert result.output["error"]["code"] == "timed_out"
    assert advice in result.output["error"]["message"]


async def test_a_cancelled_call_is_cancelled() -> None:
    @tool()
    async def ponder(arguments: Words, context: ToolContext) -> Said:
        await asyncio.sleep(60)
        return Said(said="at last")

    task = asyncio.create_task(run(ponder, name="ponder"))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_result_has_a_size_limit() -> None:
    fits = await run(say, name="say", arguments=json.dumps({"words": "x" * 20}), limit=32)
    exceeds = await run(say, name="say", arguments=json.dumps({"words": "x" * 21}), limit=32)

    assert fits.outcome is ToolOutcome.OK
    assert exceeds.outcome is ToolOutcome.FAILED
    assert exceeds.output["error"]["message"] == (
        "The result is too large (33 characters). Ask for less."
    )


async def test_a_turn_that_lost_its_session_is_told_that_nothing_was_done() -> None:
    result = await run(failing(ClaimLost()), name="fail")

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"]["code"] == "turn_closed"
    assert "Nothing was done" in result.output["error"]["message"]
