"""Registers tools, and turns the model's calls into outputs.

A tool is a typed function in its own file, marked with `@tool`. The model sees the function's name,
its docstring and the schema of its arguments. `tools/__init__.py` lists all tools.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_type_hints

import structlog
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_jsonable_python

from backend.domain.conversation import ToolCall, as_json
from backend.domain.errors import (
    InvalidArguments,
    NotStorable,
    ServiceError,
    StorageError,
    ToolError,
    ToolFailed,
    ToolRefused,
    ToolTimedOut,
    UnknownTool,
)
from backend.llm.port import ToolSpec
from backend.storage.ports.side_effects import ClaimLost
from backend.telemetry import metrics, tracing
from backend.tools.arguments import Arguments, parameters, validated
from backend.tools.context import ToolContext

logger = structlog.get_logger()

UNCERTAIN = "It may have taken effect. The same call again is safe, and will say so."


class Output(BaseModel):
    """Base class for a tool's result. Client and model both see it."""

    model_config = ConfigDict(frozen=True)

    @property
    def shown(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)


ToolFunction = Callable[[Any, ToolContext], Awaitable[Output]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, with its description for the model.

    A tool with side effects has two duties. It must be idempotent, because the model may repeat the
    call after a time-out. And it must pass its context's `call` to the store, which refuses the
    write if the turn no longer holds its session. A turn that is stopped waits for a started call.
    """

    spec: ToolSpec
    arguments: type[Arguments]
    function: ToolFunction
    has_side_effects: bool

    @property
    def name(self) -> str:
        return self.spec.name


def tool(*, has_side_effects: bool = False) -> Callable[[ToolFunction], Tool]:
    """Make a tool from `async def name(arguments: Some, context: ToolContext) -> SomeOutput`.

    The function's docstring becomes the description that the model reads.
    """

    def mark(function: ToolFunction) -> Tool:
        arguments = get_type_hints(function)["arguments"]
        spec = ToolSpec(
            name=function.__name__,
            description=" ".join((function.__doc__ or "").split()),
            parameters=parameters(arguments),
        )
        return Tool(spec, arguments, function, has_side_effects)

    return mark


class ToolOutcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    INVALID = "invalid"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The output of a call, as a JSON object, and how the call ended."""

    output: dict[str, Any]
    outcome: ToolOutcome
    seconds: float = 0.0


class Toolbox:
    """The tools of one assistant, with their time-out and size limit."""

    def __init__(
        self,
        tools: Iterable[Tool],
        *,
        timeout_seconds: float,
        max_output_characters: int = 16_000,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._timeout_seconds = timeout_seconds
        self._max_output_characters = max_output_characters
        self.specs = tuple(tool.spec for tool in self._tools.values())
        """The tools as a model sees them: always the same object, so that it can be recognised."""
        metrics.prepare_tools(self._tools)

    def has_side_effects(self, name: str) -> bool:
        return name in self._tools and self._tools[name].has_side_effects

    async def run(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Run one call. Any error becomes an output that the model can act on."""
        with self._span(call) as span:
            result = await self._result(call, context)
            span.ended(result.outcome, result.output)
        return result

    def _span(self, call: ToolCall) -> AbstractContextManager[tracing.ToolSpan]:
        tool = self._tools.get(call.name)
        return tracing.tool_called(
            self._known_name(call),
            call_id=call.id,
            description=tool.spec.description if tool else "",
            arguments=call.arguments,
        )

    async def _result(self, call: ToolCall, context: ToolContext) -> ToolResult:
        begun = time.perf_counter()
        try:
            output, outcome = await self._output(call, context), ToolOutcome.OK
        except ToolError as error:
            # A tool may put values of any type into the details of its error.
            details = to_jsonable_python(error.details, fallback=str, inf_nan_mode="null")
            output, outcome = {"error": details}, _outcome_of(error)
        result = ToolResult(output, outcome, time.perf_counter() - begun)
        metrics.tool_called(self._known_name(call), result.outcome, result.seconds)
        return result

    def _known_name(self, call: ToolCall) -> str:
        """The name for metrics and spans. An invented name would be unbounded, and content."""
        return call.name if call.name in self._tools else metrics.UNKNOWN_TOOL

    async def _output(self, call: ToolCall, context: ToolContext) -> dict[str, Any]:
        tool = self._tools.get(call.name)
        if tool is None:
            raise UnknownTool(
                f"There is no tool {call.name!r}. There are: {', '.join(self._tools)}."
            )
        arguments = validated(tool.arguments, call.arguments)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return self._bounded(await tool.function(arguments, context))
        except ToolError:
            raise
        except ClaimLost as error:
            raise ToolRefused(
                f"This turn was closed before {call.name} could take effect. Nothing was done.",
                code="turn_closed",
            ) from error
        except TimeoutError as error:
            raise ToolTimedOut(
                f"{call.name} did not answer within {self._timeout_seconds:g} seconds. "
                + (UNCERTAIN if tool.has_side_effects else "Say so, or try once more.")
            ) from error
        except ServiceError as error:
            logger.warning("tool_unavailable", tool=call.name, code=error.code)
            message = f"{call.name} is not available at the moment."
            is_uncertain = tool.has_side_effects and _may_have_committed(error)
            raise ToolFailed(f"{message} {UNCERTAIN}" if is_uncertain else message) from error
        except Exception as error:
            # A bug in a tool must not end the turn: the model learns of it and goes on.
            logger.exception("tool_failed", tool=call.name)
            raise ToolFailed(f"{call.name} failed. Its result is not known.") from error

    def _bounded(self, output: Output) -> dict[str, Any]:
        shown = output.shown
        size = len(as_json(shown))
        if size > self._max_output_characters:
            raise ToolFailed(f"The result is too large ({size} characters). Ask for less.")
        return shown


def _may_have_committed(error: ServiceError) -> bool:
    """Whether the write may have happened: the reply to the commit may have been lost."""
    return isinstance(error, StorageError) and not isinstance(error, NotStorable)


def _outcome_of(error: ToolError) -> ToolOutcome:
    match error:
        case ToolRefused():
            return ToolOutcome.REFUSED
        case InvalidArguments() | UnknownTool():
            return ToolOutcome.INVALID
        case ToolTimedOut():
            return ToolOutcome.TIMED_OUT
        case _:
            return ToolOutcome.FAILED
