"""Helpers that ask a model and collect its answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from backend.llm.port import ChatModel, CompletionRequest, Delta, NamedModel, Text, ToolSpec
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.retry import Retry, Schedule


class Retrying:
    """A model with retries and without a fallback."""

    def __init__(self, model: NamedModel, schedule: Schedule, gate: Gate | None = None) -> None:
        self._retry = Retry(model, schedule, gate or Gate())

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        begun = await self._retry.begin(request)
        async with aclosing(begun.rest) as rest:
            yield begun.first
            async for delta in rest:
                yield delta


def a_request(silent: set[str] | None = None) -> CompletionRequest:
    tools = [ToolSpec(name, "", {}) for name in ("get_weather", "a")]
    silent = set() if silent is None else silent
    return CompletionRequest(prompt="You are Lex.", messages=[], tools=tools, silent=silent)


def an_unawaited_request() -> CompletionRequest:
    return CompletionRequest(prompt="Sum up.", messages=[], is_awaited=False)


async def deltas_of(model: ChatModel, request: CompletionRequest | None = None) -> list[Delta]:
    async with aclosing(model.complete(request or a_request())) as deltas:
        return [delta async for delta in deltas]


async def said(model: ChatModel, *, silent: set[str] | None = None) -> str:
    deltas = await deltas_of(model, a_request(silent))
    return "".join([delta.text for delta in deltas if isinstance(delta, Text)])


async def heard_before_failing(model: ChatModel, error: type[Exception]) -> list[Delta]:
    """Return the deltas before the failure, which must have the given type."""
    heard: list[Delta] = []
    try:
        async for delta in model.complete(a_request()):
            heard.append(delta)
    except error:
        return heard
    raise AssertionError(f"{error.__name__} was not raised")
